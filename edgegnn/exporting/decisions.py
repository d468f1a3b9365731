"""Decisions on an input's own numbers: onnxruntime.quantization gives every reader of a quantized tensor its codes.

A category in a column of features, looked up in a table, would become another category.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

__all__ = ["decide_exactly"]

_LAYOUT = {"Clip", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
_LAYOUT |= {"Max", "Min", "Transpose", "Unsqueeze"}
_DECIDES = {"ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
_DECIDES |= {"NonZero", "Round", "Sign", "TopK"}


def decide_exactly(graph: ir.Graph) -> None:
    """Give lookups and comparisons the graph's inputs as they are, in place, not their rounded values."""
    for value in graph.inputs:
        for rounded in list(_rounded(value)):
            for node, at in list(rounded.uses()):
                if _decides(node):
                    node.replace_input_with(at, value)


def _rounded(value: ir.Value) -> Iterator[ir.Value]:
    for quantize, _ in value.uses():
        if quantize.op_type == "QuantizeLinear":
            for node, _ in quantize.outputs[0].uses():
                if node.op_type == "DequantizeLinear":
                    yield node.outputs[0]


def _decides(node: ir.Node) -> bool:
    """Whether a node, or one behind it that arranges or bounds its numbers, makes whole numbers or truth values."""
    if node.op_type == "Cast":
        return not ir.DataType(node.attributes["to"].as_int()).is_floating_point()
    if node.op_type in _LAYOUT:
        return any(_decides(reader) for out in node.outputs for reader, _ in out.uses())
    return node.op_type in _DECIDES
