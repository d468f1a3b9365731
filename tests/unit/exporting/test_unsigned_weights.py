"""Standard integer products give exact sums on every processor, with onnxruntime's defaults."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper

from edgegnn.exporting.pack_zeros import DOMAIN, pack_zeros
from edgegnn.exporting.unsigned_weights import unsigned_weights

HEAD = '<ir_version: 9, opset_import: ["": 18]>\n'
INTEGER = """product (uint8[r, 64] x) => (int32[r, 8] y, int32[r, 8] z) {
  y = MatMulInteger (x, w, zero)
  z = MatMulInteger (x, w)
}"""
DEQUANTIZED = """product (uint8[r, 64] x) => (float[r, 8] y) {
  a = DequantizeLinear (x, one, zero)
  b = DequantizeLinear <axis = 1> (w, ones, zeros)
  y = MatMul (a, b)
}"""
TURNED = """product (uint8[r, 64] x) => (float[r, 8] y) {
  a = DequantizeLinear (x, one, zero)
  b = DequantizeLinear (turned_w, one)
  c = Transpose (b)
  y = MatMul (a, c)
}"""
W = np.random.default_rng(0).integers(-127, 128, (64, 8)).astype(np.int8)
CONSTANTS = {
    "w": W,
    "turned_w": W.T.copy(),
    "zero": np.uint8(3),
    "one": np.float32(1),
    "ones": np.ones(8, np.float32),
    "zeros": np.zeros(8, np.int8),
}
X = np.random.default_rng(1).integers(128, 256, (5, 64)).astype(np.uint8)  # pairs of these overflow 16 bits


def model(text: str) -> onnx.ModelProto:
    made = onnx.parser.parse_model(HEAD + text)
    made.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items() if name in text
    )
    return made


@pytest.mark.parametrize("text", [INTEGER, DEQUANTIZED, TURNED])
def test_sums_are_exact(text: str) -> None:
    made = unsigned_weights(model(text))
    onnx.checker.check_model(made, full_check=True)
    y, *others = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": X})
    weights = W.astype(np.int64)
    assert y.tolist() == ((X.astype(np.int64) - 3) @ weights).tolist()
    assert all(z.tolist() == (X.astype(np.int64) @ weights).tolist() for z in others)
    assert [t.data_type for t in made.graph.initializer if t.name.endswith("w")][:1] == [onnx.TensorProto.INT8]


def test_a_product_without_codes_of_activations_stays() -> None:
    text = "product (float[r, 64] x) => (float[r, 8] y) { b = DequantizeLinear (w, one)  y = MatMul (x, b) }"
    plain = model(text)
    assert unsigned_weights(plain) is plain


def test_a_model_with_packed_zeros_too_imports_the_domain_once() -> None:
    kept = np.zeros((64, 512), np.int8)
    kept[::16] = np.tile(W[::16], 64)
    made = model(INTEGER.replace("r, 8]", "r, 512]"))
    weights = next(t for t in made.graph.initializer if t.name == "w")
    weights.CopyFrom(numpy_helper.from_array(kept, "w"))
    packed = pack_zeros(unsigned_weights(made))
    assert {function.name for function in packed.functions} == {"FromGaps", "ToUnsigned"}
    assert sum(o.domain == DOMAIN for o in packed.opset_import) == 1
    y, _ = onnxruntime.InferenceSession(packed.SerializeToString()).run(None, {"x": X})
    assert y.tolist() == ((X.astype(np.int64) - 3) @ kept.astype(np.int64)).tolist()
