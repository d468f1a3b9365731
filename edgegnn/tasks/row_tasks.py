"""Tasks whose answers belong to the nodes or the edges: of one graph, of which some rows are held out."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError
from edgegnn.tasks import given, graph_checks, labels
from edgegnn.tasks.assembling import assemble, draw, draw_labelled, labelled_only
from edgegnn.tasks.spec import Task
from edgegnn.tasks.split_file import FROM_FILE, read_split
from edgegnn.tasks.wanted import Wanted

__all__ = ["edge_task", "is_of_edges", "row_task"]


def is_of_edges(graph: Data) -> bool:
    """Whether there is a label for each edge, and not for each node."""
    y, edges = graph.get("y"), graph.get("edge_index")
    if not isinstance(y, Tensor) or not isinstance(edges, Tensor) or y.dim() == 0 or edges.dim() != 2:
        return False
    return len(y) == edges.shape[1] != graph.num_nodes


def edge_task(graph: Data, data: str, wanted: Wanted) -> Task:
    """A task about the edges of one graph: y, edge_y or edge_label has a row for each."""
    graph_checks.check_graph(graph, data)
    found = next((graph[key] for key in ("y", "edge_y", "edge_label") if graph.get(key) is not None), None)
    graph.y = found
    if not isinstance(found, Tensor) or len(found) != graph.edge_index.shape[1]:
        rows = "none" if not isinstance(found, Tensor) else f"{len(found)} rows of labels"
        raise DataError(
            f"{data}: an edge task needs a label for each of the {graph.edge_index.shape[1]} edges, the graph has "
            f"{rows}: set y or edge_y"
        )
    return row_task(graph, data, wanted, "edge", len(found))


def row_task(graph: Data, data: str, wanted: Wanted, kind: str, count: int) -> Task:
    """A task about the nodes or the edges of one graph, of classes, labels or values."""
    whole = graph_checks.usable([graph], data)
    target = wanted.target or "classes"
    split = wanted.split or ("stratified" if target == "classes" else "random")
    index: dict[str, Tensor] | None = None
    if split == "given":
        index = given.node_split(graph, wanted.seed, data, kind, count)
    elif split.startswith(FROM_FILE):
        index = read_split(split.removeprefix(FROM_FILE), kind, count, wanted.seed)
    used = None if index is None else torch.cat(list(index.values()))
    if target == "classes":
        table = graph_checks.node_labels(graph, used, data, kind, count)
        index = draw_labelled(table, split, wanted.seed, f"{data}: {{}} {kind}s") if index is None else index
        index = labelled_only(index, table, f"{data}: {{}} {kind}s")
    else:
        table = labels.row_table(graph.get("y"), target, used, data, kind, count)
        index = draw(count, split, wanted.seed) if index is None else index
    graph.y = table
    chosen = dataclasses.replace(wanted, split=split, target=target)
    return assemble([graph], data, kind, chosen, index, table, whole)
