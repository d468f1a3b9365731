"""The `.pt2` twin: the same model as a `torch.export` program, for who builds on torch's newer format."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils._sympy.value_ranges import ValueRanges

from edgegnn.errors import ExportError, first_line
from edgegnn.exporting.capture import GRAPHS
from edgegnn.exporting.torchscript import kernels
from edgegnn.exporting.tracing import quiet
from edgegnn.quantize.ops import code_range
from edgegnn.tasks.points.operators import nearest, within

__all__ = ["make_twin"]


def make_twin(program: ExportedProgram, names: Sequence[str]) -> tuple[bytes, list[str]]:
    """Save a model as a `torch.export` program with free numbers of nodes, edges and graphs, also none and one.

    It holds torch's own operators only, and `torch.export.load(...).module()` takes its inputs by position.

    Args:
        program: what `capture_program` gave, which is used up.
        names: the model's inputs.

    Returns:
        The file, and the names of its inputs: those of the model. A program that needs the number of graphs takes one
        more, "num_graphs", a uint8 vector of that length.

    Raises:
        ExportError: torch can't save the program.
    """
    with quiet(), torch.no_grad():
        program = program.run_decompositions(_own_operators())
        graph = program.graph
        for node in reversed(list(graph.nodes)):
            node.meta.pop("stack_trace", None)  # names files of this machine
            # Tracing takes every size for two or more, which is not so.
            if not node.users and any(word in str(node.target) for word in ("_assert_scalar", "sym_constrain")):
                graph.erase_node(node)
        graph.eliminate_dead_code()
        program.graph_module.recompile()
        for symbol, limits in program.range_constraints.items():
            program.range_constraints[symbol] = ValueRanges(0, limits.upper)
        program._example_inputs = None  # zeros of the size of the example graph
        buffer = io.BytesIO()
        try:
            torch.export.save(program, buffer)
        except Exception as error:
            raise ExportError(f"torch.export can't save the model: {first_line(error)}") from error
    taken = len(program.graph_signature.user_inputs)
    return buffer.getvalue(), [*names, GRAPHS][:taken]


def _own_operators() -> dict[Any, Any]:
    """Decompositions of edgegnn's operators into torch's own."""

    def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, bits: int, name: str) -> Tensor:
        low, high = code_range(bits)
        shape = [-1 if i == axis else 1 for i in range(x.dim())] if axis >= 0 else [1]
        scale, zero_point = scale.view(shape), zero_point.view(shape)
        return (torch.clamp(torch.round(x / scale) + zero_point, low, high) - zero_point) * scale

    def learnt_quantize(
        x: Tensor, step: Tensor, bits: Tensor, boundaries: Tensor, axis: int, signed: bool, name: str
    ) -> Tensor:
        return kernels.learnt_quantize(x, step, bits, boundaries, axis, signed)

    def knn(x: Tensor, y: Tensor, batch_x: Tensor, batch_y: Tensor, k: int, loop: bool) -> Tensor:
        return nearest(x, y, *_pairs(batch_x, batch_y), k, loop)

    def radius(
        x: Tensor, y: Tensor, batch_x: Tensor, batch_y: Tensor, squared_radius: float, most: int, loop: bool
    ) -> Tensor:
        return within(x, y, *_pairs(batch_x, batch_y), squared_radius, most, loop)

    return {
        torch.ops.edgegnn.knn.default: knn,
        torch.ops.edgegnn.radius.default: radius,
        torch.ops.edgegnn.fake_quantize.default: fake_quantize,
        torch.ops.edgegnn.learnt_quantize.default: learnt_quantize,
    }


def _pairs(batch_x: Tensor, batch_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which pairs of points are of one graph, and the numbers of the points."""
    numbers = (torch.arange(batch.shape[0], device=batch.device) for batch in (batch_x, batch_y))
    return (batch_y.unsqueeze(1) == batch_x, *numbers)  # type: ignore[return-value]
