"""Layers of PyG whose own forward can't be traced, or is slow to, by forwards that compute the same with tensors alone.

Aggregation        refuses groups out of order by a look at values; while tracing, rows are sorted by group
HeteroLinear       sorts by type, and takes slices of sizes that only the data know
RGCNConv           selects edges and adds up neighbours once a relation: a second each to trace
SortAggregation    asks in Python whether the largest graph has k nodes
ASAPooling         multiplies sparse matrices, which ONNX doesn't have
MemPooling         pads each graph to the size of the largest one, which only the data know
coalesce           asks in Python whether any edge is there twice; `to_undirected` and sparse products call it
sort_edge_index    asks in Python whether numbers of edges are too large
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import ASAPooling, MemPooling, RGCNConv, SortAggregation
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.dense.linear import HeteroLinear
from torch_geometric.utils import add_remaining_self_loops, remove_self_loops, scatter, softmax, to_dense_batch
from torch_geometric.utils import coalesce as _pyg_coalesce
from torch_geometric.utils import sort_edge_index as _pyg_sort_edge_index
from torch_geometric.utils.num_nodes import maybe_num_nodes

from edgegnn.quantize.operator_placement import quantizes_input_alone
from edgegnn.training.sparse_entries import Entries, product, summed

__all__ = ["traceable_layers"]


@contextmanager
def traceable_layers() -> Iterator[None]:
    """Give the layers above the methods below."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(Aggregation, "to_dense_batch", _dense_groups))
        for layer, forward in _FORWARDS.items():
            stack.enter_context(patch.object(layer, "forward", forward))
        for module in list(sys.modules.values()):  # wherever somebody imported it to
            for own, ours in _FUNCTIONS.items() if isinstance(module, ModuleType) else ():
                if vars(module).get(own.__name__) is own:
                    stack.enter_context(patch.object(module, own.__name__, ours))
        yield


def _dense_groups(
    self: Aggregation,
    x: Tensor,
    index: Tensor | None = None,
    ptr: Tensor | None = None,
    dim_size: int | None = None,
    dim: int = -2,
    fill_value: float = 0.0,
    max_num_elements: int | None = None,
) -> tuple[Tensor, Tensor]:
    self.assert_index_present(index)
    self.assert_two_dimensional_input(x, dim)
    assert index is not None
    groups, order = index.sort(stable=True)
    return to_dense_batch(x[order], groups, batch_size=dim_size, fill_value=fill_value, max_num_nodes=max_num_elements)


def _hetero_linear(self: HeteroLinear, x: Tensor, type_vec: Tensor) -> Tensor:
    rows = [(type_vec == i).to(x.dtype).unsqueeze(-1) * (x @ weight) for i, weight in enumerate(self.weight)]
    out = torch.stack(rows).sum(0)
    return out if self.bias is None else out + self.bias[type_vec]


_rgcn_loop = RGCNConv.forward


def _rgcn(self: RGCNConv, x: Any, edge_index: Any, edge_type: Tensor | None = None) -> Tensor:
    """All relations at once: neighbours are added up by target and relation, [nodes * relations, channels]."""
    own = type(self).message is RGCNConv.message and ("propagate" not in vars(self) or quantizes_input_alone(self))
    if not own or not isinstance(edge_index, Tensor) or edge_index.layout != torch.strided or edge_type is None:
        return _rgcn_loop(self, x, edge_index, edge_type)
    given, target = x if isinstance(x, tuple) else (x, x)
    source = torch.arange(self.in_channels_l, device=self.weight.device) if given is None else given
    target = source if target is None else target
    relations, nodes, weight = self.num_relations, target.shape[0], self.weight
    if self.num_bases is not None:
        weight = (self.comp @ weight.view(self.num_bases, -1)).view(relations, self.in_channels_l, self.out_channels)
    at = 1 if self.flow == "source_to_target" else 0
    sent, place = source[edge_index[1 - at]], edge_index[at] * relations + edge_type
    if source.is_floating_point():
        added = self.aggr_module(sent, place, dim_size=nodes * relations, dim=0)
        if self.num_blocks is None:
            out = added.view(nodes, relations * self.in_channels_l) @ weight.reshape(-1, self.out_channels)
        else:
            blocks = added.view(nodes, relations, weight.shape[1], weight.shape[2])
            out = torch.einsum("nrbi,rbio->nbo", blocks, weight).reshape(nodes, self.out_channels)
    else:  # features are numbers of nodes, each with a learnt row for every relation
        added = self.aggr_module(weight[edge_type, sent], place, dim_size=nodes * relations, dim=0)
        out = added.view(nodes, relations, self.out_channels).sum(1)
    if self.root is not None:
        out = out + (target @ self.root if target.is_floating_point() else self.root[target])
    return out if self.bias is None else out + self.bias


def _sort_aggregation(
    self: SortAggregation,
    x: Tensor,
    index: Tensor | None = None,
    ptr: Tensor | None = None,
    dim_size: int | None = None,
    dim: int = -2,
    max_num_elements: int | None = None,
) -> Tensor:
    """The first k rows of each group by the last column; groups always get k rows more, which are cut off again."""
    lowest = x.detach().min() - 1
    dense, _ = self.to_dense_batch(x, index, ptr, dim_size, dim, fill_value=lowest, max_num_elements=max_num_elements)
    order = dense[:, :, -1].sort(dim=-1, descending=True).indices
    rows = dense.gather(1, order.unsqueeze(-1).expand_as(dense))
    first = torch.cat([rows, lowest.expand(rows.shape[0], self.k, rows.shape[2])], dim=1)[:, : self.k]
    return first.masked_fill(first == lowest, 0.0).reshape(rows.shape[0], self.k * rows.shape[2])


_mem_padded = MemPooling.forward


def _mem_pooling(
    self: MemPooling,
    x: Tensor,
    batch: Tensor | None = None,
    mask: Tensor | None = None,
    max_num_nodes: int | None = None,
    batch_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Each node's share of each cluster, and their sums over each graph: no node is padded."""
    if x.dim() > 2:
        return _mem_padded(self, x, batch, mask, max_num_nodes, batch_size)
    batch = torch.zeros_like(x[:, 0], dtype=torch.int64) if batch is None else batch
    keys = self.k.reshape(1, self.heads * self.num_clusters, -1)
    near = (x.unsqueeze(1) - keys).square().sum(-1).view(-1, self.heads, 1, self.num_clusters)
    near = (1.0 + near / self.tau).pow(-(self.tau + 1.0) / 2.0)
    share = self.conv(near / near.sum(dim=-1, keepdim=True)).flatten(1).softmax(dim=-1)
    pooled = scatter(share.unsqueeze(-1) * x.unsqueeze(1), batch, dim=0, dim_size=batch_size, reduce="sum")
    padded, _ = to_dense_batch(share, batch, batch_size=batch_size, max_num_nodes=max_num_nodes)
    return self.lin(pooled), padded


# Cluster pooling ------------------------------------------------------------


def _asa_pooling(
    self: ASAPooling, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None, batch: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    nodes = x.shape[0]
    edge_index, edge_weight = add_remaining_self_loops(edge_index, edge_weight, fill_value=1.0, num_nodes=nodes)
    if batch is None:
        batch = edge_index.new_zeros(nodes)
    x = x.unsqueeze(-1) if x.dim() == 1 else x
    inner = x
    if self.gnn_intra_cluster is not None:
        inner = self.gnn_intra_cluster(x=x, edge_index=edge_index, edge_weight=edge_weight)
    source, target = edge_index
    sent = inner[source]
    query = self.lin(scatter(sent, target, dim=0, dim_size=nodes, reduce="max"))[target]
    score = F.leaky_relu(self.att(torch.cat([query, sent], dim=-1)).view(-1), self.negative_slope)
    score = softmax(score, target, num_nodes=nodes)
    x = scatter(x[source] * score.view(-1, 1), target, dim=0, dim_size=nodes, reduce="sum")
    fitness = self.gnn_score(x, edge_index).sigmoid().view(-1)
    kept = self.select(fitness, batch).node_index
    clusters = kept.shape[0]
    # A: the graph; S: how much of each node is in each cluster.
    place = torch.full_like(batch, -1).scatter(0, kept, torch.arange(clusters, device=kept.device))
    in_kept = (place[target] >= 0).nonzero().view(-1)
    s = Entries(source[in_kept], place[target[in_kept]], score[in_kept])
    links = summed(source, target, nodes, sent.new_ones(source.shape[0]) if edge_weight is None else edge_weight)
    if edge_weight is None:  # an edge that is there twice counts once
        links = Entries(links.row, links.column, torch.ones_like(links.value))
    coarse = product(s.transposed, product(links, s, nodes, clusters), nodes, clusters)
    edges = torch.stack([coarse.row, coarse.column])
    weight = None if edge_weight is None else coarse.value
    if self.add_self_loops:
        edges, weight = add_remaining_self_loops(edges, weight, num_nodes=clusters)
    else:
        edges, weight = remove_self_loops(edges, weight)
    return x[kept] * fitness[kept].view(-1, 1), edges, weight, batch[kept], kept


_MISSING = inspect.signature(_pyg_coalesce).parameters["edge_attr"].default


def _coalesce(
    edge_index: Tensor,
    edge_attr: Any = _MISSING,
    num_nodes: Any = None,
    reduce: str = "sum",
    is_sorted: bool = False,
    sort_by_row: bool = True,
) -> Any:
    """Edges sorted by their ends, those that are there twice joined into one."""
    nodes = maybe_num_nodes(edge_index, num_nodes)
    first, second = (edge_index[0], edge_index[1]) if sort_by_row else (edge_index[1], edge_index[0])
    places, at = (first * nodes + second).unique(return_inverse=True)
    first = places // nodes
    second = places - first * nodes
    edges = torch.stack([first, second] if sort_by_row else [second, first])
    if isinstance(edge_attr, Tensor):
        return edges, scatter(edge_attr, at, 0, places.shape[0], reduce)
    if isinstance(edge_attr, list | tuple):
        return edges, [scatter(each, at, 0, places.shape[0], reduce) for each in edge_attr]
    return (edges, None) if edge_attr is None else edges


def _sort_edge_index(
    edge_index: Any,
    edge_attr: Any = _MISSING,
    num_nodes: Any = None,
    sort_by_row: bool = True,
) -> Any:
    """Edges sorted by one end and then by the other."""
    first = 0 if sort_by_row else 1
    order = edge_index[1 - first].sort(stable=True).indices
    order = order[edge_index[first][order].sort(stable=True).indices]
    edges = edge_index[:, order] if isinstance(edge_index, Tensor) else tuple(row[order] for row in edge_index)
    if isinstance(edge_attr, Tensor):
        return edges, edge_attr[order]
    if isinstance(edge_attr, list | tuple):
        return edges, [each[order] for each in edge_attr]
    return (edges, None) if edge_attr is None else edges


_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _pyg_coalesce: _coalesce,
    _pyg_sort_edge_index: _sort_edge_index,
}
_FORWARDS: dict[type, Callable[..., Any]] = {
    HeteroLinear: _hetero_linear,
    RGCNConv: _rgcn,
    SortAggregation: _sort_aggregation,
    ASAPooling: _asa_pooling,
    MemPooling: _mem_pooling,
}
