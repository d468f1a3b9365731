"""Sums over edges as products with a CSR matrix, where that is faster.

PyG gathers one row for each edge and adds the rows up with `scatter_add`. The same sum is a product with the adjacency
matrix in CSR form: edges are grouped by target once (`kernels.csr`), for all layers that add up over the same edges,
and the product writes no message to memory (`kernels.csr_sum`).

    scatter_add(zeros, i, x[j])            csr_sum(x, rowptr, j in order, None)
    scatter_add(zeros, i, x[j] * w)        csr_sum(x, rowptr, j in order, w in order)
    scatter_add(zeros, i, x[j] * w), heads csr_sum_heads(...)
    scatter_add(zeros, i, messages)        csr_sum(messages, rowptr, order, None)
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from edgegnn.exporting.torchscript import kernels
from edgegnn.exporting.torchscript.program import Program, path_of
from edgegnn.exporting.torchscript.timing import call, evaluate, milliseconds

__all__ = ["AggregationChoice", "sparse_sums"]

_ATEN = torch.ops.aten
_ZEROS = (_ATEN.new_zeros.default, _ATEN.zeros.default, _ATEN.zeros_like.default)
_FULL = (_ATEN.full.default, _ATEN.new_full.default)
_VIEWS = (_ATEN.view.default, _ATEN.reshape.default, _ATEN.unsqueeze.default, _ATEN._unsafe_view.default)
_MAXIMA = (_ATEN.scatter_reduce.two,)


@dataclass(frozen=True)
class AggregationChoice:
    """How a sum over edges (or over the nodes of a graph) is computed; field names are those of the manifest.

    Attributes:
        layer: path of the layer.
        aggregation: what it adds up: "sum of neighbours", "weighted sum of neighbours", "sum of messages", or the
            reduction that has no product ("amax").
        dense_ms: milliseconds by gather and scatter on the graph that was measured; None: not measured.
        sparse_ms: the same as a product with a CSR matrix.
        csr_ms: grouping the edges, which all layers with the same edges share.
        choice: "sparse" or "dense".
    """

    layer: str
    aggregation: str
    dense_ms: float | None
    sparse_ms: float | None
    csr_ms: float | None
    choice: str


@dataclass(frozen=True)
class _Sum:
    """A sum: over `index` [E] into `rows` rows, of x[source] (times weight), or of messages where source is None."""

    node: fx.Node
    index: fx.Node
    rows: Any
    x: fx.Node
    source: fx.Node | None = None
    weight: fx.Node | None = None
    heads: bool = False
    gathered: tuple[fx.Node, ...] = ()  # what nobody else needs when the sum is a product

    @property
    def words(self) -> str:
        if self.source is None:
            return "sum of messages"
        return "sum of neighbours" if self.weight is None else "weighted sum of neighbours"


def sparse_sums(
    program: Program, inputs: Mapping[str, Tensor], *, always: bool | None = None
) -> list[AggregationChoice]:
    """Turn sums over edges into products with a CSR matrix where that is faster, in place.

    Args:
        program: the model.
        inputs: the graph to measure on.
        always: True: all of them; False: none; None: as measured.

    Returns:
        One entry for each aggregation.
    """
    groups: dict[tuple[fx.Node, Any], list[_Sum]] = {}
    choices = []
    for node in program.graph.nodes:
        if node.target in _MAXIMA:
            choices.append(AggregationChoice(path_of(node), str(node.args[4]), None, None, None, "dense"))
        found = _match(node)
        if found is not None:
            groups.setdefault((found.index, found.rows), []).append(found)
    for (index, rows), sums in groups.items():
        choices += _decide(program, inputs, index, rows, sums, always)
    program.tidy()
    return choices


def _decide(
    program: Program, inputs: Mapping[str, Tensor], index: fx.Node, rows: Any, sums: list[_Sum], always: bool | None
) -> list[AggregationChoice]:
    """Measure the sums over the same edges, and replace those that are faster as products."""
    wanted = {node for s in sums for node in s.node.all_input_nodes}
    for s in sums:
        parts = (s.index, s.rows, s.x, s.source, s.weight, *s.gathered)
        wanted.update(n for n in parts if isinstance(n, fx.Node))
        for node in s.gathered:
            wanted.update(node.all_input_nodes)
    env = evaluate(program, inputs, wanted)
    size = env[rows] if isinstance(rows, fx.Node) else rows
    grouping = milliseconds(lambda: kernels.csr(env[index], size))
    rowptr, order = kernels.csr(env[index], size)
    dense = [milliseconds(partial(_scattered, s, env)) for s in sums]
    sparse = [milliseconds(partial(_product, s, env, rowptr, order)) for s in sums]
    worth = sum(max(0.0, d - p) for d, p in zip(dense, sparse, strict=True)) > grouping
    choices = []
    structure: _Csr | None = None
    for s, d, p in zip(sums, dense, sparse, strict=True):
        chosen = (worth and p < d) if always is None else always
        if chosen:
            structure = structure or _Csr(program, s.node, index, rows)
            structure.replace(s)
        times = (round(d, 4), round(p, 4), round(grouping, 4))
        choices.append(AggregationChoice(path_of(s.node), s.words, *times, "sparse" if chosen else "dense"))
    return choices


# Recognising ------------------------------------------------------------


def _match(node: fx.Node) -> _Sum | None:
    if node.target not in (_ATEN.scatter_add.default, _ATEN.index_add.default) or node.kwargs:
        return None
    zeros, dim, spread, messages = node.args
    if not (isinstance(zeros, fx.Node) and isinstance(spread, fx.Node) and isinstance(messages, fx.Node)):
        return None
    value = messages.meta["val"]
    if not _is_zero(zeros) or dim not in (0, -value.dim()) or value.dtype != torch.float32:
        return None
    index = spread if node.target is _ATEN.index_add.default else _column(spread)
    if index is None or not _is_index(index):
        return None
    rows = _first_size(zeros)
    if rows is None:
        return None
    plain = _Sum(node, index, rows, messages)
    gathered = _gather(messages)
    if gathered is not None:
        return _Sum(node, index, rows, *gathered, gathered=_private(messages, node, zeros))
    return _weighted(plain, zeros) or plain


def _weighted(plain: _Sum, zeros: fx.Node) -> _Sum | None:
    product = plain.x
    if product.target is not _ATEN.mul.Tensor or not all(isinstance(a, fx.Node) for a in product.args):
        return None
    shape = _sizes(product)
    for rows, factor in (product.args, product.args[::-1]):
        gathered = _gather(rows)  # type: ignore[arg-type]
        # A factor as long as the messages has one row for each edge: only a single row would be repeated.
        if gathered is None or factor.meta["val"].dtype != torch.float32:  # type: ignore[union-attr]
            continue
        own = _sizes(factor)  # type: ignore[arg-type]
        if _sizes(rows)[1:] != shape[1:] or len(own) != len(shape) or len(shape) < 2 or own[0] == 1:  # type: ignore[arg-type]
            continue
        heads = len(shape) == 3 and own[1] == shape[1] and own[2] == 1
        if heads or all(size == 1 for size in own[1:]):
            chain = _private(product, plain.node, zeros)
            chain = (*_private(rows, product), *chain) if chain else ()  # type: ignore[arg-type]
            x, source = gathered
            return _Sum(plain.node, plain.index, plain.rows, x, source, factor, heads, chain)  # type: ignore[arg-type]
    return None


def _gather(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """Rows x[source]: (x, source)."""
    if node.target is _ATEN.index_select.default:
        x, dim, source = node.args
        if isinstance(x, fx.Node) and isinstance(source, fx.Node) and dim in (0, -x.meta["val"].dim()):
            return x, source
    if node.target is _ATEN.index.Tensor:
        x, indices = node.args
        if isinstance(x, fx.Node) and isinstance(indices, (list, tuple)) and len(indices) == 1:
            source = indices[0]
            if isinstance(source, fx.Node) and _is_index(source):
                return x, source
    return None


def _sizes(node: fx.Node) -> tuple[int | str, ...]:
    """A shape; a free size by its expression, since asking a free size whether it equals another one fixes it."""
    return tuple(size if type(size) is int else str(size) for size in node.meta["val"].shape)


def _is_index(node: fx.Node) -> bool:
    value: Tensor = node.meta["val"]
    return bool(value.dim() == 1 and value.dtype == torch.int64)


def _column(node: fx.Node) -> fx.Node | None:
    """The vector [E] that is repeated to the shape of the messages."""
    if node.target is _ATEN.expand.default:
        node = node.args[0]  # type: ignore[assignment]
    if any(size != 1 for size in _sizes(node)[1:]):
        return None
    while node.target in _VIEWS and node.meta["val"].dim() > 1:
        node = node.args[0]  # type: ignore[assignment]
    return node


def _is_zero(node: fx.Node) -> bool:
    fill = node.args[-1]
    return node.target in _ZEROS or (node.target in _FULL and isinstance(fill, (int, float)) and fill == 0)


def _first_size(zeros: fx.Node) -> Any:
    if zeros.target is _ATEN.zeros_like.default:
        return None
    sizes = zeros.args[1] if zeros.target in (_ATEN.new_zeros.default, _ATEN.new_full.default) else zeros.args[0]
    return sizes[0] if isinstance(sizes, (list, tuple)) and sizes else None


def _private(node: fx.Node, *users: fx.Node) -> tuple[fx.Node, ...]:
    """The node, if it is for these users only."""
    return (node,) if set(node.users) <= set(users) else ()


# Computing ------------------------------------------------------------


def _scattered(s: _Sum, env: Mapping[fx.Node, Any]) -> Any:
    """The sum as it was, together with what only it needs."""
    own = dict(env)
    for node in s.gathered:
        own[node] = call(node, own)
    return call(s.node, own)


def _product(s: _Sum, env: Mapping[fx.Node, Any], rowptr: Tensor, order: Tensor) -> Tensor:
    if s.source is None:
        return kernels.csr_sum(env[s.x], rowptr, order, None)
    columns = kernels.csr_columns(env[s.source], order, env[s.x].size(0))
    if s.weight is None:
        return kernels.csr_sum(env[s.x], rowptr, columns, None)
    if s.heads:
        return kernels.csr_sum_heads(env[s.x], rowptr, columns, env[s.weight].squeeze(-1).index_select(0, order))
    return kernels.csr_sum(env[s.x], rowptr, columns, env[s.weight].reshape(-1).index_select(0, order))


class _Csr:
    """The CSR structure of one list of edges in the graph, computed where the first sum needs it."""

    def __init__(self, program: Program, first: fx.Node, index: fx.Node, rows: Any) -> None:
        self.graph = program.graph
        self.columns: dict[Any, fx.Node] = {}
        both = self.call(first, kernels.csr, index, rows)
        self.rowptr, self.order = (self.call(first, operator.getitem, both, i) for i in (0, 1))

    def call(self, before: fx.Node, function: Any, *args: Any) -> fx.Node:
        """A call in front of a node, which counts as its layer's."""
        with self.graph.inserting_before(before):
            new = self.graph.call_function(function, args)
        new.meta = {k: v for k, v in before.meta.items() if k != "val"}
        return new

    def replace(self, s: _Sum) -> None:
        """Compute a sum as a product."""
        columns, weight = self.order, None
        if s.source is not None:
            key = (s.source, _sizes(s.x)[0])
            if key not in self.columns:
                size = self.call(s.node, _ATEN.sym_size.int, s.x, 0)
                self.columns[key] = self.call(s.node, kernels.csr_columns, s.source, self.order, size)
            columns = self.columns[key]
        if s.weight is not None:
            flat = (_ATEN.squeeze.dim, -1) if s.heads else (_ATEN.reshape.default, [-1])
            weight = self.call(s.node, flat[0], s.weight, flat[1])
            weight = self.call(s.node, _ATEN.index_select.default, weight, 0, self.order)
        # In place: other sums that have been found may be over this one's result.
        s.node.target = kernels.csr_sum_heads if s.heads else kernels.csr_sum
        s.node.args, s.node.kwargs = (s.x, self.rowptr, columns, weight), {}
