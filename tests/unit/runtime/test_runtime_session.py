"""The session that every model runs in."""

from __future__ import annotations

import numpy as np
import onnx.parser

from edgegnn.runtime import make_session

PRODUCT = """<ir_version: 9, opset_import: ["": 18]>
product (uint8[1, 64] x) => (int32[1, 8] y) <int8[64, 8] w> { y = MatMulInteger (x, w) }"""


def test_products_of_bytes_are_exact_on_every_processor() -> None:
    """Two products of 255 and 127 are more than 16 bits hold: x86 without VNNI saturates them where it may."""
    x, w = np.full((1, 64), 255, np.uint8), np.full((64, 8), 127, np.int8)
    model = onnx.parser.parse_model(PRODUCT)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    (y,) = make_session(model.SerializeToString(), threads=1).run(None, {"x": x})
    assert y.tolist() == [[64 * 255 * 127] * 8]


SHARED = """<ir_version: 9, opset_import: ["": 18]>
linear (uint8[1, 8] x) => (uint8[1, 8] y, uint8[1, 8] z) <
  float s = {0.1}, uint8 zero = {3}, int8[8, 8] a, int8[8, 8] b, float[8] scale, int8[8] same, float[8] none> {
  given = DequantizeLinear (x, s, zero)
  left = DequantizeLinear <axis = 0> (a, scale, same)
  right = DequantizeLinear <axis = 0> (b, scale, same)
  first = Gemm <transB = 1> (given, left, none)
  second = Gemm <transB = 1> (given, right, none)
  y = QuantizeLinear (first, s, zero)
  z = QuantizeLinear (second, s, zero)
}"""


def test_weights_that_share_their_zero_points_load() -> None:
    """Where onnxruntime can't make their sums exact, they run as it would run them."""
    model = onnx.parser.parse_model(SHARED)
    constants = {
        "a": 100 * np.eye(8, dtype=np.int8),
        "b": -100 * np.eye(8, dtype=np.int8),
        "scale": np.full(8, 0.01, np.float32),
        "same": np.zeros(8, np.int8),
        "none": np.zeros(8, np.float32),
    }
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    x = np.array([[0, 1, 2, 3, 4, 5, 6, 6]], np.uint8)
    y, z = make_session(model.SerializeToString(), threads=1).run(None, {"x": x})
    assert y.tolist() == x.tolist()
    assert z.tolist() == (6 - x).tolist()
