"""Find the quantization points of a model, by running it on an example and on other graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from edgegnn.errors import QuantizeError
from edgegnn.quantize import operator_placement
from edgegnn.quantize.dataflow import DataFlow
from edgegnn.quantize.other_graphs import fewer_edges, first_graph, is_edges, number_of_graphs, random_graphs
from edgegnn.quantize.quant_model import QuantModel
from edgegnn.quantize.recipe import Recipe
from edgegnn.runtime.roles import Role
from edgegnn.tasks.collating import by_name
from edgegnn.utils.layer_caches import drop_graph_caches

__all__ = ["prepare"]


def prepare(
    model: nn.Module,
    recipe: Recipe,
    example_args: Mapping[str, Tensor] | Sequence[Tensor],
    nodes: int = 0,
    roles: Mapping[str, Role] = MappingProxyType({}),
) -> QuantModel:
    """Find the quantization points of `model` by one dry run and return the model that trains with them.

    Args:
        model: any module; its parameters are shared with the result.
        recipe: "qat", "dq" or "a2q".
        example_args: forward arguments, by name or in its order (a real graph with at least one edge).
        nodes: nodes of the one graph that the model is for; 0 for any graphs ("a2q" asks).
        roles: what the arguments belong to; the usual ones of their names where that isn't said.

    Raises:
        QuantizeError: the recipe doesn't train, or no tensor of the model can be quantized.
    """
    args = by_name(model, example_args)
    drop_graph_caches(model)  # what the example gives would hide what other graphs give
    quantized = QuantModel(model, recipe, nodes=nodes)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        quantized.eval()
        _look(quantized, args, roles)
        quantized.train(not recipe.does.learns_bits)
        quantized.graphs = number_of_graphs(args, roles)
        quantized.points.train()  # learnt steps start from what inference sees, without dropout
        quantized(**args)
        quantized.finding = False
        _share_calls(quantized, args, roles)
        _drop_unused(quantized.eval(), args)
        quantized.train()
    for name, value in model.named_buffers():  # the dry runs must not move batch-norm statistics
        value.copy_(buffers[name])
    if not quantized.points:
        raise QuantizeError("nothing to quantize: the model has no Linear, no weight matrix, no message passing layer")
    for point in quantized._all_points():
        point.forget()
    return quantized


def _look(quantized: QuantModel, example: Mapping[str, Tensor], roles: Mapping[str, Role]) -> None:
    """Learn how layers use their rows: what they compute, on the example and on random graphs of its size."""
    quantized.looking = True
    try:
        for graph in (example, fewer_edges(example, roles)):
            _run_followed(quantized, graph)
        for args in random_graphs(example, roles):
            try:
                _run_followed(quantized, args)
            except Exception:  # the model is for graphs of a certain kind, of which one example shows too little
                for layer in quantized.layers.values():
                    layer.update({"scaled": False} if layer else {})
                break
    finally:
        quantized.looking, quantized.flow = False, None


def _run_followed(quantized: QuantModel, args: Mapping[str, Tensor]) -> None:
    flow = quantized.flow = DataFlow()
    for name, value in (*quantized.model.named_parameters(), *quantized.model.named_buffers()):
        flow.mark(value, name)
    for name, value in args.items():
        flow.mark(value, operator_placement.EDGES if is_edges(value) else f"input {name}")
    with flow:
        quantized(**args)


def _share_calls(quantized: QuantModel, args: Mapping[str, Tensor], roles: Mapping[str, Role]) -> None:
    """Let calls that only a batch of several graphs makes share the points of the first call.

    A model may call a layer once for each group of graphs of similar size: how often depends on the data, and the
    exported graph, which runs one graph, has no such calls.
    """
    alone = first_graph(args, roles)
    if alone is None:
        return
    many = quantized.step.calls
    try:
        quantized(**alone)
    except Exception:  # a graph that the model can't run alone says nothing
        return
    few = quantized.step.calls
    for what, count in many.items():
        layer = what.removesuffix(".propagate")
        for call in range(max(1, few[what]), count):
            for name in (f"{layer}.input.{call}", f"{layer}.message.{call}", f"{what}.{call}"):
                key = name.replace(".", "/")
                if key in quantized.points:
                    del quantized.points[key]


def _drop_unused(quantized: QuantModel, args: Mapping[str, Tensor]) -> None:
    """Take out points that no output is computed from: an old head, weights of edges that nobody gave."""
    with DataFlow() as flow:
        out = quantized(**args)
    used = flow.sources(out)
    quantized.drop([p.name for p in quantized._all_points() if p.name not in used], "forward does not use it")
