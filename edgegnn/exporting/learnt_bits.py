"""What is learnt for nodes or of widths (A2Q) means for an artifact: the graph it is for, and its bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import onnx
from torch import nn
from torch.export import ExportedProgram

from edgegnn.exporting.table import table_sizes
from edgegnn.manifest import LearntBits
from edgegnn.quantize import QuantModel
from edgegnn.tasks import Task, example_graph
from edgegnn.tasks.collating import named_args

__all__ = ["fixed_nodes", "fixed_sizes", "integer_operators", "learnt_facts", "with_fixed_nodes"]

_INTEGER = ("QGemm", "QuantizeGemm", "NormalizeQuantizeGemm", "QSpMM", "QAttentionSpMM", "QEdge")
_STANDARD = {"QLinearMatMul", "MatMulInteger", "ConvInteger", "QLinearConv"}


def fixed_nodes(model: nn.Module | ExportedProgram, task: Task) -> int | None:
    """Nodes of the one graph that a model has parameters for; None for a model of any graph."""
    return sum(fixed_sizes(model, task).values()) or None


def fixed_sizes(model: nn.Module | ExportedProgram, task: Task) -> dict[str, int]:
    """The same for each type of nodes: name of the size -> how many there are; {} for a model of any graph."""
    if isinstance(model, QuantModel) and model.fixed_nodes is not None:
        return {"num_nodes": model.fixed_nodes}
    if task.many or isinstance(model, ExportedProgram):
        return {}
    return table_sizes(model.eval(), named_args(model, task, example_graph(task, 1)), task.roles)


def with_fixed_nodes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """The model with numbers of nodes written into its inputs and outputs; `model` itself where it takes any number."""
    if not sizes:
        return model
    new = onnx.ModelProto()
    new.CopyFrom(model)
    for value in (*new.graph.input, *new.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in sizes:
                size.dim_value = sizes[size.dim_param]
    return new


def integer_operators(model: onnx.ModelProto) -> dict[str, int]:
    """Operator -> how many of them a model has, for those that multiply or add up codes in integer arithmetic."""
    kinds = [node.op_type for node in model.graph.node]
    return dict(sorted(Counter(k for k in kinds if k in _STANDARD or k.startswith(_INTEGER)).items()))


def learnt_facts(
    model: nn.Module | ExportedProgram,
) -> tuple[dict[str, float] | None, dict[str, LearntBits] | None]:
    """`average_bits` and `learnt_bits` of the manifest; None for a model without learnt widths."""
    if not isinstance(model, QuantModel) or not model.average_bits():
        return None, None
    return model.average_bits(), {name: LearntBits(**point) for name, point in model.learnt_bits().items()}
