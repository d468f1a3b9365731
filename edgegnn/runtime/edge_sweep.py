"""Latency against the number of edges: the shipped graph made smaller and larger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import DataError
from edgegnn.runtime.artifact import Artifact
from edgegnn.runtime.inputs import check_inputs
from edgegnn.runtime.measure import latency_pass
from edgegnn.runtime.roles import BATCH, FIXED, PAIRS, Role, find_names, number_of, role_of, size_of

__all__ = ["edge_sweep", "resized"]

Array = npt.NDArray[Any]
_MOST_BYTES = 2 << 30  # of a graph's inputs
_WARM_RUNS, _LEAST_RUNS, _SECONDS = 2, 5, 0.5


def edge_sweep(
    artifact: Artifact,
    session: Any,
    inputs: Mapping[str, Array],
    edges: Sequence[int],
    announce: Callable[[dict[str, Any]], None] = lambda event: None,
) -> list[dict[str, Any]]:
    """Time the model on graphs of about so many edges.

    Args:
        artifact: the model.
        session: of `make_session`.
        inputs: of the graph that is resized, with at least one edge.
        edges: how many, rising.
        announce: told about each size.

    Returns:
        `edges`, `nodes`, `p50_ms`, `n` (timed inferences) of each; where a graph of that size can't be measured,
        `reason` in place of a time, and no larger one is tried.

    Raises:
        DataError: the graph has no edges.
    """
    roles, output = artifact.manifest.roles, [spec.name for spec in artifact.manifest.outputs]
    own = number_of(inputs, roles, "num_edges") or 0
    if not own:
        raise DataError("the model's graphs have no edges: there is nothing to sweep over")
    bytes_each = sum(value.nbytes for value in inputs.values()) / own
    found: list[dict[str, Any]] = []
    for count in edges:
        announce({"event": "phase", "phase": f"graphs of {count:,} edges"})
        try:
            if bytes_each * count > _MOST_BYTES:
                raise DataError(f"its inputs would take {bytes_each * count / 2**30:.3g} GiB, 2 are allowed")
            graph = resized(inputs, roles, count / own)
            check_inputs(artifact.manifest.inputs, graph, limits=artifact.manifest.limits)
        except (DataError, MemoryError) as error:
            found.append({"edges": count, "nodes": 0, "p50_ms": None, "n": 0, "reason": str(error)[:300]})
            break
        step = partial(session.run, output, graph)
        latency_pass([step], runs=_WARM_RUNS, seconds=0.0)
        latency = latency_pass([step], runs=_LEAST_RUNS, seconds=_SECONDS)
        found.append(
            {
                "edges": number_of(graph, roles, "num_edges"),
                "nodes": number_of(graph, roles, "num_nodes") or 0,
                "p50_ms": latency.percentile(50),
                "n": len(latency.times),
                "reason": "",
            }
        )
    return found


def resized(inputs: Mapping[str, Array], roles: Mapping[str, Role], factor: float) -> dict[str, Array]:
    """A graph with `factor` times the nodes, edges and graphs of another, at the same density.

    Rows of features are repeated or left out, edges join nodes at random (always the same ones).

    Args:
        inputs: input name -> array, checked.
        roles: what they belong to.
        factor: above 0; every size stays at least 1.
    """
    random = np.random.default_rng(0)
    sizes: dict[str, int] = {}
    moving = {name: role_of(roles, name) for name in inputs if not role_of(roles, name).is_a(FIXED)}
    for role in moving.values():
        size = role.size
        old = size_of(inputs, roles, size) or 0
        sizes[size] = old if role.is_a(PAIRS) or not old else max(1, round(old * factor))
    graphs = [1 + int(inputs[name].max(initial=0)) for name in find_names(inputs, roles, BATCH)]
    count = sizes.get("num_graphs") or max(1, round(max(graphs, default=1) * factor))
    found = {}
    for name, value in inputs.items():
        if name not in moving:
            found[name] = value
            continue
        role = moving[name]
        if role.ends:
            ends = [random.integers(0, max(1, sizes.get(end, 1)), sizes[role.size]) for end in role.ends]
            found[name] = np.stack(ends).astype(value.dtype).reshape((-1, sizes[role.size])[2 - value.ndim :])
        elif role.is_a(BATCH):
            nodes = sizes[role.size]
            found[name] = (np.arange(nodes) * min(count, nodes) // nodes).astype(value.dtype)
        else:
            found[name] = np.ascontiguousarray(value[np.arange(sizes[role.size]) % max(1, len(value))])
    return found
