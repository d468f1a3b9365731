"""Graphs by the shapes of a file's inputs, for a user who gives none: sizes and values that the file runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgegnn.checkpoint.onnx_module import OnnxInput, OnnxModule
from edgegnn.errors import ExportError, UsageError
from edgegnn.exporting.foreign.roles import index_uses
from edgegnn.runtime.roles import BATCH, Role

__all__ = ["made_graphs"]

_SIZES = ((12, 40), (23, 70), (31, 64), (17, 51))
_WIDE = 4  # of a size that the file leaves free


def made_graphs(module: OnnxModule, roles: Mapping[str, Role]) -> list[dict[str, Any]]:
    """Arrays for a few graphs of different sizes.

    Whole numbers that look rows of a table up are within the table; floats are normal with deviation 1.

    Raises:
        UsageError: the file doesn't run on any of them, or an input's shape is none of its role.
    """
    limits = _table_rows(module)
    made = []
    for seed, (nodes, edges) in enumerate(_SIZES):
        random = np.random.default_rng(seed)
        sizes = {"num_nodes": nodes, "num_edges": edges, "num_graphs": 1, "num_links": 9}
        made.append({e.name: _values(e, roles[e.name], sizes, limits.get(e.own, 2), random) for e in module.inputs})
    try:
        for graph in made:
            module.run(graph)
    except ExportError as error:
        raise UsageError(
            f"no graph could be made by the shapes of the file's inputs: give some with --data ({error})"
        ) from error
    return made


def _values(each: OnnxInput, role: Role, sizes: Mapping[str, int], limit: int, random: np.random.Generator) -> Any:
    shape = [size if isinstance(size, int) else _WIDE for size in each.shape or ()]
    if not shape:
        shape = [1]
    if role.axis >= len(shape):
        raise UsageError(f"the file uses {each.name} as a list of edges, but its shape is {shape}, not [2, edges]")
    shape[role.axis] = sizes[role.size]
    if role == BATCH:
        return np.zeros(shape, np.int64)
    if role.numbers_nodes:
        return random.integers(0, sizes["num_nodes"], (2, shape[1]))
    if each.dtype == "int64":
        return random.integers(0, limit, shape)
    if each.dtype == "bool":
        return random.random(shape) < 0.5
    return random.standard_normal(shape).astype(np.float32)


def _table_rows(module: OnnxModule) -> dict[str, int]:
    """Rows of the smallest table that each input looks up rows of."""
    rows = {tensor.name: tensor.dims[0] for tensor in module.proto.graph.initializer if tensor.dims}
    tables = [n for n in module.proto.graph.node if n.op_type == "Gather" and n.input[0] in rows]
    uses = index_uses(module.proto)
    least = min((rows[node.input[0]] for node in tables), default=2)
    direct: dict[str, int] = {}
    for node in tables:
        direct[node.input[1]] = min(direct.get(node.input[1], 2**31), rows[node.input[0]])
    return {e.own: direct.get(e.own, least) for e in module.inputs if "table" in uses[e.own]}
