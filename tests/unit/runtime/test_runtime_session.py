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
