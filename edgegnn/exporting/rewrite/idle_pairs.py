"""Pairs of QuantizeLinear and DequantizeLinear that cost time and accuracy, and let nothing be computed in integers.

Post-training quantization puts a pair at both ends of each product. Behind the product, the codes are often read by
float operators alone: then two passes over a tensor, and a rounding, buy nothing.
"""

from __future__ import annotations

import onnx_ir as ir

from edgegnn.exporting.rewrite.codes import dequantized_weight
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, array, same_values
from edgegnn.exporting.rewrite.rule import Rule

__all__ = ["IdlePair"]

_SUMS = {"SpMM", "SpMMMean", "SpMMWeighted", "AttentionSpMM"}


class IdlePair(Rule[ir.Node]):
    """A pair whose numbers no integer operator can read gives way to the numbers themselves.

    Only for points that nobody trained with: a trained model expects the rounding.
    """

    def pattern(self, node: ir.Node, sheet: Sheet) -> ir.Node | None:
        """A QuantizeLinear of one known scale that only DequantizeLinears read."""
        if node.op_type != "QuantizeLinear" or node.domain or node.outputs[0].is_graph_output():
            return None
        readers = [use.node for use in node.outputs[0].uses()]
        if not readers or any(reader.op_type != "DequantizeLinear" for reader in readers):
            return None
        known = all((a := array(v)) is not None and a.size == 1 for v in node.inputs[1:])
        return node if known and not any(_reads_codes(reader.outputs[0]) for reader in readers) else None

    def rewrite(self, node: ir.Node, sheet: Sheet) -> None:
        """What was quantized, wherever it was dequantized."""
        x = node.inputs[0]
        assert x is not None
        for use in list(node.outputs[0].uses()):
            sheet.replace(use.node.outputs[0], x)


def _reads_codes(value: ir.Value) -> bool:
    """Whether an integer operator may take the place of one that reads this dequantized tensor."""
    for node, index in ((use.node, use.idx) for use in value.uses()):
        if node.op_type in {"Gemm", "MatMul"} and index == 0 and dequantized_weight(node.inputs[1]) is not None:
            return True
        if node.domain == DOMAIN and node.op_type in _SUMS and index == 0:
            return True
        layout = index == 0 and len(node.outputs) == 1 and same_values(node.outputs[0]) is not node.outputs[0]
        if layout and _reads_codes(node.outputs[0]):
            return True
    return False
