"""Let onnxruntime's own integer products read weights as uint8.

On x86 processors without VNNI, onnxruntime adds products of uint8 with int8 in pairs of 16 bits, which overflow: one
sum in a few is wrong by thousands. Products of uint8 with uint8 are added exactly on every processor, and as fast where
VNNI is there (`GemmU8U8Dispatch` in https://github.com/microsoft/onnxruntime, core/mlas/lib/platform.cpp). The file
keeps int8 codes, so that zeros stay zeros; onnxruntime moves them by 128 once, while it loads the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgegnn.exporting.weight_functions import DOMAIN, add_functions, standard_opset, weight_function

__all__ = ["unsigned_weights"]

_NAME = "ToUnsigned"
_BODY = """
ToUnsigned (codes) => (unsigned)
{
  wide = Cast <to = 6> (codes)
  middle = Constant <value = int32 {128}> ()
  raised = Add (wide, middle)
  unsigned = Cast <to = 2> (raised)
}"""
_PRODUCTS = {"MatMul", "Gemm", "Conv"}
_SHAPES = {"Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


@dataclass(frozen=True)
class _Place:
    """A node that reads int8 weights for an integer product: at which input, and where their zero point is."""

    node: onnx.NodeProto
    codes: int
    zero_point: int


def unsigned_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give standard integer products their weights as uint8, with zero points moved by 128.

    Args:
        model: any ONNX model; weights are int8 initializers, read by MatMulInteger, or by a DequantizeLinear between
            which and a dequantized activation stands a product.

    Returns:
        A new model that computes the same sums, or `model` where it has no such product.
    """
    new = onnx.ModelProto()
    new.CopyFrom(model)
    constants = {t.name: t for t in new.graph.initializer}
    places = [p for p in _places(new.graph) if _is_int8(constants.get(p.node.input[p.codes]))]
    if not places:
        return model
    moved: dict[str, str] = {}
    for place in places:
        _move(new.graph, place, constants, moved)
    add_functions(new, [weight_function(_BODY, standard_opset(model))])
    return new


def _is_int8(tensor: onnx.TensorProto | None) -> bool:
    return tensor is not None and tensor.data_type == onnx.TensorProto.INT8


def _places(graph: onnx.GraphProto) -> list[_Place]:
    makers = {name: node for node in graph.node for name in node.output}
    constants = {t.name for t in graph.initializer}
    found: dict[str, _Place] = {}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            found[node.output[0]] = _Place(node, 1, 3)
        if node.op_type in _PRODUCTS:
            factors = [_dequantize(name, makers) for name in node.input[:2]]
            weights = [f for f in factors if f is not None and f.input[0] in constants]
            if None not in factors:
                found.update({reader.output[0]: _Place(reader, 0, 2) for reader in weights})
    return list(found.values())


def _dequantize(name: str, makers: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The DequantizeLinear behind an operand that is at most turned on its way."""
    maker = makers.get(name)
    while maker is not None and maker.op_type in _SHAPES:
        maker = makers.get(maker.input[0])
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _move(graph: onnx.GraphProto, place: _Place, constants: dict[str, onnx.TensorProto], moved: dict[str, str]) -> None:
    node, codes = place.node, place.node.input[place.codes]
    if codes not in moved:
        moved[codes] = f"{codes}.unsigned"
        graph.node.insert(0, helper.make_node(_NAME, [codes], [moved[codes]], f"{codes}/{_NAME}", domain=DOMAIN))
    given = node.input[place.zero_point] if len(node.input) > place.zero_point else ""
    zero = numpy_helper.to_array(constants[given]) if given else _no_zero_point(place, constants)
    name = f"{node.output[0]}.weight_zero_point"
    graph.initializer.append(numpy_helper.from_array((zero.astype(np.int32) + 128).astype(np.uint8), name))
    node.input[place.codes] = moved[codes]
    node.input.extend([""] * (place.zero_point + 1 - len(node.input)))
    node.input[place.zero_point] = name


def _no_zero_point(place: _Place, constants: dict[str, onnx.TensorProto]) -> np.ndarray:
    """Zeros of the shape that the node's zero point must have: its scale's, or a scalar."""
    scaled = place.node.op_type == "DequantizeLinear"
    return np.zeros(tuple(constants[place.node.input[1]].dims) if scaled else (), np.int8)
