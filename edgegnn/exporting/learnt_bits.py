"""What learnt steps and widths (A2Q) mean for an artifact: the graph it is for, and what it says about its bits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import onnx
from torch import nn
from torch.export import ExportedProgram

from edgegnn.quantize import QuantModel

__all__ = ["fixed_nodes", "integer_operators", "learnt_facts", "with_fixed_nodes"]

_INTEGER = ("QGemm", "QuantizeGemm", "QSpMM", "QAttentionSpMM")
_STANDARD = {"QLinearMatMul", "MatMulInteger", "ConvInteger", "QLinearConv"}


def fixed_nodes(model: nn.Module | ExportedProgram) -> int | None:
    """Nodes of the one graph that a model has parameters for; None for a model of any graph."""
    return model.fixed_nodes if isinstance(model, QuantModel) else None


def with_fixed_nodes(model: onnx.ModelProto, nodes: int | None) -> onnx.ModelProto:
    """A model that says how many nodes it takes: its `x` has so many rows. `model` itself where it takes any."""
    if nodes is None:
        return model
    new = onnx.ModelProto()
    new.CopyFrom(model)
    for value in (*new.graph.input, *new.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == "num_nodes":
                size.dim_value = nodes
    return new


def integer_operators(model: onnx.ModelProto) -> dict[str, int]:
    """Operator -> how many of them a model has, for those that multiply or add up codes in integer arithmetic."""
    kinds = [node.op_type for node in model.graph.node]
    return dict(sorted(Counter(k for k in kinds if k in _STANDARD or k.startswith(_INTEGER)).items()))


def learnt_facts(model: nn.Module | ExportedProgram) -> dict[str, Any]:
    """What the manifest says about learnt widths; {} for a model without.

    "average_bits": mean over "rows", over "values", and of each point. "learnt_bits": for each point its "kind", how
    many rows or groups have each width ("histogram"), columns, and for a fixed graph the bytes of its codes at their
    widths ("code_bytes") and in float32 ("float_bytes").
    """
    if not isinstance(model, QuantModel) or not model.average_bits():
        return {}
    return {"average_bits": model.average_bits(), "learnt_bits": model.learnt_bits()}
