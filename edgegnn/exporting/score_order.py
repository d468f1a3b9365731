"""Rank by what PyTorch ranks by: the order of scores behind a function that saturates.

onnxruntime's Tanh and Sigmoid are right to a digit or two of the last place, and not monotone: between 8 and 9 Tanh
gives -1 for an argument above one for which it gives -0.99999994. `rank_exactly` works the scores that a TopK sorts out
in double and rounds them once: as monotone as the function, with ties where PyTorch's saturate. It doesn't rank by the
argument itself, which would break those ties. Between equal scores the lower index comes first (`ties.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgegnn.exporting.qdq import constant

__all__ = ["rank_exactly"]

_LAYOUT = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
_LINEAR = 2.0**-12  # up to here tanh(x) rounds to x in float32


def rank_exactly(graph: ir.Graph) -> None:
    """Replace the scores of each TopK of a Tanh or Sigmoid, in place; other uses of the scores stay."""
    for node in list(graph):
        if node.op_type != "TopK" or node.domain:
            continue
        layouts: list[ir.Node] = []
        made = None if node.inputs[0] is None else node.inputs[0].producer()
        while made is not None and made.op_type in _LAYOUT and made.inputs[0] is not None:
            layouts.append(made)
            made = made.inputs[0].producer()
        if made is None or made.op_type not in {"Tanh", "Sigmoid"} or made.inputs[0] is None:
            continue
        if made.inputs[0].dtype == ir.DataType.FLOAT:
            sheet = _Sheet(graph, node)
            scores = sheet.make("Cast", [sheet.exact(made)], {"to": ir.DataType.FLOAT.value}, made.outputs[0])
            for layout in reversed(layouts):
                inputs = [scores, *layout.inputs[1:]]
                scores = sheet.make(layout.op_type, inputs, dict(layout.attributes), layout.outputs[0])
            node.replace_input_with(0, scores)


class _Sheet:
    """Nodes in front of a TopK."""

    def __init__(self, graph: ir.Graph, at: ir.Node) -> None:
        self.graph, self.at = graph, at

    def make(
        self,
        kind: str,
        inputs: list[ir.Value | None],
        attributes: dict[str, Any] | None,
        like: ir.Value,
        dtype: ir.DataType = ir.DataType.FLOAT,
    ) -> ir.Value:
        """A node of the layer that sorts; its output has the shape of another value."""
        node = ir.node(kind, inputs, attributes)
        node.metadata_props.update(self.at.metadata_props)
        node.outputs[0].shape, node.outputs[0].dtype = like.shape, dtype
        self.graph.insert_before(self.at, node)
        return node.outputs[0]

    def exact(self, node: ir.Node) -> ir.Value:
        """What a Tanh or Sigmoid gives, in double."""
        out, double = node.outputs[0], ir.DataType.DOUBLE

        def of(kind: str, *inputs: ir.Value, dtype: ir.DataType = double) -> ir.Value:
            return self.make(kind, list(inputs), None, out, dtype)

        x = self.make("Cast", [node.inputs[0]], {"to": double.value}, out, double)
        one = self._number(1.0)
        if node.op_type == "Sigmoid":
            return of("Div", one, of("Add", of("Exp", of("Neg", x)), one))
        power = of("Exp", of("Add", x, x))
        curved = of("Sub", one, of("Div", self._number(2.0), of("Add", power, one)))
        small = of("Less", of("Abs", x), self._number(_LINEAR), dtype=ir.DataType.BOOL)
        return of("Where", small, x, curved)

    def _number(self, value: float) -> ir.Value:
        return constant(self.graph, "score", np.asarray(value, np.float64))
