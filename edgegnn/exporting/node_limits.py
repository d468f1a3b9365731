"""Models that run on one graph at a time, and graphs that are too large for them.

A model for graphs takes `batch`, so that a run may hold several. It is exported without that input, for one graph at a
time, where

* it has a limit of nodes, of a module's own (an attribute `max_nodes`: a module that fills matrices of nodes x nodes,
  say, has good reason) or asked for: a limit is one of a graph;
* or nothing that takes several graphs can be exported: its control flow depends on `batch`, say.

Its `forward` is then called without `batch`, or, when it insists on it, with zeros.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgegnn.errors import UsageError
from edgegnn.exporting.samples import Sample
from edgegnn.runtime.roles import BATCH, NODE, Role, role_of, usual_role
from edgegnn.signature import own_inputs

__all__ = ["complete", "input_ways", "limits_of", "node_limit", "within_limit"]


def node_limit(model: nn.Module | ExportedProgram, asked: int | None) -> int | None:
    """The most nodes that a graph may have: as asked, else the smallest `max_nodes` of the model's modules, else None.

    Raises:
        UsageError: it is not a whole number of at least 1.
    """
    own = [] if isinstance(model, ExportedProgram) else [getattr(m, "max_nodes", None) for m in model.modules()]
    found = [n for n in own if n is not None] if asked is None else [asked]
    for n in found:
        if not isinstance(n, int) or n < 1:
            raise UsageError(f"the limit of nodes (--max-nodes, or max_nodes of a module) must be 1 or more, not {n!r}")
    return min(found, default=None)


def input_ways(
    model: nn.Module | ExportedProgram, names: Sequence[str], limit: int | None
) -> list[tuple[tuple[str, ...], str]]:
    """The inputs that an artifact may have, the best first, each with the reason if it is for one graph at a time.

    Args:
        model: what is exported.
        names: its inputs.
        limit: its limit of nodes.
    """
    several = (tuple(names), "")
    alone = tuple(name for name in names if usual_role(name) != BATCH)
    if alone == tuple(names) or isinstance(model, ExportedProgram) or own_inputs(model) is not None:
        return [several]
    if limit is not None:
        return [(alone, f"a limit of {limit} nodes is one of a graph")]
    return [several, (alone, "several at once can't be exported")]


def complete(
    model: nn.Module, args: Mapping[str, Tensor], roles: Mapping[str, Role] | None = None
) -> dict[str, Tensor]:
    """Inputs of one graph, with zeros for a `batch` that the model insists on."""
    if own_inputs(model) is not None:
        return dict(args)
    parameters = inspect.signature(model.forward).parameters.values()
    needed = [p.name for p in parameters if usual_role(p.name) == BATCH and p.default is p.empty]
    if not needed or needed[0] in args:
        return dict(args)
    rows = next(value for name, value in args.items() if role_of(roles or {}, name) == NODE)
    return {**args, needed[0]: torch.zeros(rows.shape[0], dtype=torch.int64, device=rows.device)}


def limits_of(limit: int | None) -> dict[str, int]:
    """The limit as the manifest has it: name of a size in the inputs' shapes -> its largest value."""
    return {} if limit is None else {"num_nodes": limit}


def within_limit(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """Samples that an artifact may be given: awkward ones that are too large are left out.

    Raises:
        UsageError: a graph of the data is too large.
    """
    largest = max((s for s in samples if s.origin == "data"), key=_nodes, default=None)
    if limit is not None and largest is not None and _nodes(largest) > limit:
        raise UsageError(
            f"the graph {largest.name} has {_nodes(largest)} nodes, more than the limit of {limit}: choose "
            f"--max-nodes {_nodes(largest)} or more"
        )
    return [s for s in samples if limit is None or _nodes(s) <= limit]


def _nodes(sample: Sample) -> int:
    return sample.nodes
