"""Decisions stay exact: onnxruntime.quantization gives every reader of a quantized tensor its codes.

A category in a column of features, looked up in a table, would become another category; a point would be among other
points' neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import onnx
import onnx_ir as ir

from edgegnn.exporting.rewrite.functions_geometry import GEOMETRY

__all__ = ["decide_exactly", "places_points"]

_LAYOUT = {"Clip", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
_LAYOUT |= {"Max", "Min", "Transpose", "Unsqueeze"}
_DECIDES = {"ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
_DECIDES |= {"Cast", "NonZero", "Round", "Sign", "TopK"}
_ARRANGES = _LAYOUT | {"Add", "Div", "Mul", "Relu", "Sub"}


def decide_exactly(graph: ir.Graph) -> None:
    """Give decisions their numbers as they are, in place, not rounded values.

    Lookups and comparisons get the graph's inputs, and what makes a graph from points gets any tensor.
    """
    for value in graph.inputs:
        _read_unrounded(value, _DECIDES | GEOMETRY.keys())
    for node in list(graph):
        for value in node.outputs:
            _read_unrounded(value, GEOMETRY.keys())


def places_points(model: onnx.ModelProto) -> set[str]:
    """Names of the products that give the points between which a graph is made: they stay float."""
    if not any(node.op_type in GEOMETRY for node in model.graph.node):
        return set()
    products = (node for node in ir.from_proto(model).graph if node.op_type in {"Gemm", "MatMul"})
    return {node.name for node in products if node.name and _leads_to(_readers(node), GEOMETRY.keys(), _ARRANGES)}


def _read_unrounded(value: ir.Value, decisions: Collection[str]) -> None:
    for rounded in list(_rounded(value)):
        for node, at in list(rounded.uses()):
            if _leads_to([node], decisions, _LAYOUT):
                node.replace_input_with(at, value)


def _rounded(value: ir.Value) -> Iterator[ir.Value]:
    for quantize, _ in value.uses():
        if quantize.op_type == "QuantizeLinear":
            for node, _ in quantize.outputs[0].uses():
                if node.op_type == "DequantizeLinear":
                    yield node.outputs[0]


def _leads_to(nodes: Iterable[ir.Node], decisions: Collection[str], passed: Collection[str]) -> bool:
    """Whether a node, or one that it reaches through `passed` kinds only, makes whole numbers or truth values."""
    waiting, seen = list(nodes), set[ir.Node]()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op_type in decisions and (node.op_type != "Cast" or _to_whole_numbers(node)):
            return True
        if node.op_type in passed:
            waiting += _readers(node)
    return False


def _to_whole_numbers(cast: ir.Node) -> bool:
    return not ir.DataType(cast.attributes["to"].as_int()).is_floating_point()


def _readers(node: ir.Node) -> list[ir.Node]:
    return [reader for out in node.outputs for reader, _ in out.uses()]
