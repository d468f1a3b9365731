"""Which sizes of an exported graph are the same: the names of dimensions, made equal where they have to be.

Shape inference names a size anew wherever it loses track. The exporter lets no free size stand for 1, so two free sizes
that meet in an elementwise operator are one size; a wrong guess would be found by the ops, which check sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import axis_of, tail_of

__all__ = ["unify_sizes"]

_ELEMENTWISE = {
    *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul"),
    *("Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"),
}


def unify_sizes(graph: ir.Graph) -> None:
    """Give sizes that are equal one name; names of the graph's inputs and outputs win."""
    same: dict[str, str] = {}

    def root(name: str) -> str:
        while same.get(name, name) != name:
            name = same[name]
        return name

    ends = (*graph.inputs, *graph.outputs)
    given = [d.value for v in ends for d in v.shape or () if isinstance(d, ir.SymbolicDim) and d.value]

    def join(a: int | ir.SymbolicDim, b: int | ir.SymbolicDim) -> None:
        if isinstance(a, int) or isinstance(b, int) or not a.value or not b.value:
            return
        first, second = root(a.value), root(b.value)
        if second in given and first in given:
            return
        same.update({first: second} if second in given else {second: first})

    for node in graph:
        if node.op_type in _ELEMENTWISE:
            out = node.outputs[0].shape
            for value in node.inputs:
                if value is not None and value.shape is not None and out is not None:
                    for a, b in zip(reversed(tuple(value.shape)), reversed(tuple(out)), strict=False):
                        if not isinstance(a, int):
                            join(a, b)
        elif node.op_type in {"Reshape", "Flatten"} and node.inputs[0] is not None:
            _join_first(node.inputs[0], node.outputs[0], join)
        elif node.op_type == "Concat":
            axis = axis_of(node)
            for value in node.inputs:
                if value is not None and value.shape is not None and node.outputs[0].shape is not None:
                    own, joined = tuple(value.shape), tuple(node.outputs[0].shape)
                    for i, (a, b) in enumerate(zip(own, joined, strict=False)):
                        if i != axis % len(own):
                            join(a, b)
    for value in _values(graph):
        if value.shape is not None:
            value.shape = ir.Shape([d if isinstance(d, int) or not d.value else root(d.value) for d in value.shape])


def _join_first(a: ir.Value, b: ir.Value, join: Callable[[int | ir.SymbolicDim, int | ir.SymbolicDim], None]) -> None:
    tails = tail_of(a), tail_of(b)
    if tails[0] is None or tails[1] is None or not a.shape or not b.shape:
        return
    sizes = [1, 1]
    for i, tail in enumerate(tails):
        for size in tail or ():
            sizes[i] *= size
    if sizes[0] == sizes[1] != 0:
        join(a.shape[0], b.shape[0])


def _values(graph: ir.Graph) -> list[ir.Value]:
    made = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *made]
