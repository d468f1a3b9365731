"""Tasks whose answers belong to nodes or edges: of one graph, some of whose rows are held out, or of many graphs.

Of many graphs, whole graphs are held out, as simulations, molecules or circuits are: the split is one of graphs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError
from edgegnn.runtime.roles import ROWS, typed_size
from edgegnn.signature import TypedGraph
from edgegnn.tasks import given, graph_checks, labels
from edgegnn.tasks.assembling import assemble, draw, draw_labelled, given_graphs, labelled_only
from edgegnn.tasks.notes import note
from edgegnn.tasks.spec import Task
from edgegnn.tasks.split_file import FROM_FILE, read_split
from edgegnn.tasks.wanted import Wanted

__all__ = ["edge_task", "is_of_edges", "labels_of_rows", "level_of", "row_task", "rows_of", "rows_of_graphs_task"]

_OF_EDGES = ("y", "edge_y", "edge_label")


def is_of_edges(graph: Data) -> bool:
    """Whether there is a label for each edge, and not for each node."""
    y, edges = graph.get("y"), graph.get("edge_index")
    if not isinstance(y, Tensor) or not isinstance(edges, Tensor) or y.dim() == 0 or edges.dim() != 2:
        return False
    return len(y) == edges.shape[1] != graph.num_nodes


def edge_task(graph: Data, data: str, wanted: Wanted) -> Task:
    """A task about the edges of one graph: y, edge_y or edge_label has a row for each."""
    graph_checks.check_graph(graph, data)
    found = next((graph[key] for key in _OF_EDGES if graph.get(key) is not None), None)
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


def level_of(graphs: Sequence[Data]) -> str:
    """What the labels of several graphs are of: "node" or "edge" where each has a row for each of its, "graph" else."""
    nodes = [graph_checks.counted_nodes(graph) for graph in graphs]
    edges = [graph.edge_index.shape[-1] if isinstance(graph.get("edge_index"), Tensor) else 0 for graph in graphs]
    found = [graph.get("y") for graph in graphs]
    if all(value is None for value in found):
        return "edge" if any(graphs[0].get(key) is not None for key in _OF_EDGES) else "graph"
    counts = [len(y) if isinstance(y, Tensor) and y.dim() else 0 for y in found]
    if max(nodes) > 1 and counts == nodes:
        return "node"
    return "edge" if max(edges) > 1 and counts == edges else "graph"


def rows_of_graphs_task(graphs: list[Data], data: str, wanted: Wanted, kind: str) -> Task:
    """A task about the nodes or the edges of many graphs, some of which are held out.

    Args:
        graphs: each with a row of y (of edges also edge_y or edge_label) for each of its nodes or edges.
        data: what to call the data.
        wanted: what was asked for; the target is told from the labels where none was.
        kind: "node" or "edge".

    Raises:
        UsageError: a split of nodes, which many graphs don't have.
        DataError: labels that no model can learn.
    """
    whole = graph_checks.usable(graphs, data)
    if any(graph.get(key) is not None for graph in graphs for key in given.MASKS):
        note(f"{data}: masks within {len(graphs)} graphs are not read: whole graphs are held out")
    for graph in graphs:
        own = [graph[key] for key in _OF_EDGES if graph.get(key) is not None]
        graph.y = own[0] if kind == "edge" and own else graph.get("y")
    target, tables = labels_of_rows(graphs, kind, wanted.target, data, wanted.of)
    for graph, table in zip(graphs, tables, strict=True):
        graph.y = table
    every = torch.cat(tables)
    unknown = int((every < 0).sum()) if target == "classes" else 0
    if unknown:
        note(f"{data}: {unknown} {kind}s have no label (-1): they count nowhere")
    split = wanted.split or "random"
    index = given_graphs(graphs, split, wanted.seed, data) or draw(len(graphs), split, wanted.seed)
    rows = rows_of(tables, index)
    if unknown:
        rows = {part: found[every[found] >= 0] for part, found in rows.items()}
    chosen = dataclasses.replace(wanted, split=split, target=target)
    return assemble(graphs, data, kind, chosen, index, every, whole, rows)


def labels_of_rows(
    graphs: Sequence[Data], kind: str, target: str | None, where: str, of: str = ""
) -> tuple[str, list[Tensor]]:
    """What the labels `y` of the nodes or edges of several graphs are, and a table of them for each graph.

    Args:
        graphs: each with a row of y for each of its nodes or edges.
        kind: "node" or "edge".
        target: "classes", "labels" or "values"; None: whole numbers and one-hot rows are classes, other rows of zeros
            and ones are labels, all else are values.
        where: what to call the data in a message.
        of: of graphs with several types of nodes, the type of nodes or edges.

    Raises:
        DataError: another number of rows, or labels that no model can learn.
    """
    size = typed_size(ROWS[kind], of) if of else ROWS[kind]
    counts = [graph.rows(size) if isinstance(graph, TypedGraph) else int(getattr(graph, size) or 0) for graph in graphs]
    for i, (graph, count) in enumerate(zip(graphs, counts, strict=True)):
        y = graph.get("y")
        shape = list(y.shape) if isinstance(y, Tensor) else "nothing"
        if not isinstance(y, Tensor) or y.dim() == 0 or len(y) != count:
            raise DataError(f"{where}: graph {i}: y has {shape}, {kind} labels need a row for each of {count} {kind}s")
        if y.shape[1:] != graphs[0].y.shape[1:]:
            raise DataError(
                f"{where}: graph {i}: y has {shape}, graph 0 has {list(graphs[0].y.shape)}: give all the same columns"
            )
    joined = Data(y=torch.cat([graph.y for graph in graphs]), num_nodes=sum(counts))
    target = target or _target_of(joined.y, where, kind)
    if target == "classes":
        table = graph_checks.node_labels(joined, None, where, kind, sum(counts))
    else:
        table = labels.row_table(joined.y, target, None, where, kind, sum(counts))
    return target, list(table.split(counts))


def rows_of(tables: Sequence[Tensor], index: dict[str, Tensor]) -> dict[str, Tensor]:
    """The rows of the tables, one below the other, that belong to the graphs of each part."""
    graph_of = torch.repeat_interleave(torch.arange(len(tables)), torch.tensor([len(table) for table in tables]))
    return {part: torch.isin(graph_of, graphs).nonzero().view(-1) for part, graphs in index.items()}


def _target_of(y: Tensor, where: str, kind: str) -> str:
    """What rows of labels are, told from their numbers."""
    known = y[torch.isfinite(y)].double() if not y.is_complex() else y.new_zeros(0)
    if not torch.equal(known, known.round()):
        return "values"
    if y.dim() == 1 or y.shape[1] == 1 or bool((y.sum(dim=1) == 1).all()):
        return "classes"
    if bool(((known == 0) | (known == 1)).all()):
        return "labels"
    raise DataError(f"{where}: several whole numbers are given for each {kind}: say --task {kind}-regression")
