"""Load a task by the name of its data set or from a user's file, split it, and restore it later."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.metrics import TARGETS
from edgegnn.runtime.roles import type_name
from edgegnn.signature import TypedGraph, roles_of, with_told
from edgegnn.tasks import datasets, digits, given, graph_checks, labels, published_splits, splits
from edgegnn.tasks.assembling import (
    assemble,
    check_kind,
    draw,
    draw_labelled,
    given_graphs,
    labelled_only,
    transformed,
    untouched,
)
from edgegnn.tasks.catalog import (
    ALIASES,
    CITATION,
    NODE_SETS,
    SUPERPIXELS,
    check_data,
    is_file,
    object_name,
)
from edgegnn.tasks.files import read_graphs
from edgegnn.tasks.hetero import labelled_type, with_labels
from edgegnn.tasks.link import METRICS as LINK_METRICS
from edgegnn.tasks.link import link_split
from edgegnn.tasks.molecules import molecule_net, read_csv
from edgegnn.tasks.named_objects import object_graphs
from edgegnn.tasks.row_tasks import edge_task, is_of_edges, level_of, row_task, rows_of_graphs_task
from edgegnn.tasks.scaffold import scaffold
from edgegnn.tasks.spec import Task, TaskSpec
from edgegnn.tasks.split_file import FROM_FILE, read_split
from edgegnn.tasks.transforms import columns_of
from edgegnn.tasks.unlabelled import unlabelled_task
from edgegnn.tasks.user_transforms import needs_import, prepared_graphs
from edgegnn.tasks.wanted import Wanted, wanted_of
from edgegnn.utils.files import at_hand

__all__ = ["load_task", "restore_task", "task_from_graphs", "with_attributes"]


def load_task(
    data: str,
    *,
    split: str | None = None,
    seed: int = 0,
    root: Path | None = None,
    task: str | None = None,
    metric: str | None = None,
    one_hot: bool = False,
    inputs: dict[str, str] | None = None,
    label: str | None = None,
    transforms: Sequence[str] = (),
) -> Task:
    """Load a data set and split it.

    Args:
        data: a name (see `names`), or the path of a .pt file with a PyG `Data` or a list of them, or of a .csv file
            with a column of SMILES.
        split: "public", "full", "stratified", "scaffold", "random", "fold:K", "given" or "file:PATH"
            (`edgegnn.tasks.split_file`); None: the data set's own.
        seed: of the split; fixed splits ignore it. Where there are several public splits, the number of one.
        root: folder with raw files. None: the environment's EDGEGNN_DATA, else the user's cache folder.
        task: one of `TASKS`, also about one type of nodes ("node:paper"); None: what the labels are.
        metric: one of `edgegnn.runtime.metrics.TARGETS[target]`; None: the data set's own.
        one_hot: the features are categories, each of which becomes a column.
        inputs: of a model, name -> role (`edgegnn.runtime.roles.ROLES`) or the attribute that it is read from.
        label: attribute of the graphs of a file that holds the labels; None: y.
        transforms: what prepares each graph first (`edgegnn.tasks.user_transforms`).

    Raises:
        UsageError: unknown data set, split, task or metric, or one that doesn't suit the data.
        DataError: data that can't be loaded or used.
    """
    if one_hot and transforms:
        raise UsageError("--one-hot and --transform both prepare the features: leave one of them out")
    wanted = wanted_of(split, seed, root, task, metric, one_hot)
    told = dataclasses.replace(wanted, inputs=inputs or {}, label=label, transforms=tuple(transforms))
    return _load(data, told)


def with_attributes(data: str) -> str:
    """Return the name of a TU data set with its node attributes as features.

    Raises:
        UsageError: other data.
    """
    name = ALIASES.get(data.lower(), data)
    if not name.lower().startswith("tu:"):
        raise UsageError(f"--node-attributes is for data sets of the TU collection (tu:PROTEINS), not for {data}")
    return name if name.endswith(datasets.ATTRIBUTES) else name + datasets.ATTRIBUTES


def restore_task(
    spec: TaskSpec, root: Path | None = None, named: str | None = None, transforms: Sequence[str] = ()
) -> Task:
    """Load the task of a checkpoint again: same data, same split, same constants of features and targets.

    Args:
        spec: the task.
        root: folder of the data sets.
        named: data that the user names; data of a module are imported only if they are these.
        transforms: those that the user names; those of a module are imported only if they are among these.

    Raises:
        UsageError: the data or a transform are of a module, and the user doesn't name it.
        DataError: the data are gone, or are not those the spec describes.
    """
    if object_name(spec.data) is not None and named != spec.data:
        raise UsageError(
            f"the model's data are made by a module, which opening a file doesn't import: say --data {spec.data[:80]!r}"
        )
    unnamed = [text for text in spec.transforms if needs_import(text) and text not in transforms]
    if unnamed:
        raise UsageError(
            f"a transform of a module prepares the model's data, which opening a file doesn't import: say --transform "
            f"{unnamed[0][:80]!r}"
        )
    wanted = Wanted(
        split=spec.split,
        seed=spec.seed,
        root=root,
        kind=spec.kind,
        target=spec.target,
        metric=spec.metric,
        features=spec.features,
        inputs=spec.inputs,
        of=spec.of,
        transforms=tuple(spec.transforms),
    )
    task = _load(spec.data, wanted)
    for key in ("kind", "target", "num_features", "num_classes"):
        if getattr(task.spec, key) != getattr(spec, key):
            raise DataError(
                f"{spec.data} has changed since the model was trained: {key} was {getattr(spec, key)}, is "
                f"{getattr(task.spec, key)}; bring the old data back or train again"
            )
    # What versions before this one wrote doesn't say that rows are normalised.
    return dataclasses.replace(
        task, spec=spec if spec.features else dataclasses.replace(spec, features=task.spec.features)
    )


def task_from_graphs(
    graphs: Data | Sequence[Data],
    *,
    data: str,
    split: str | None = None,
    seed: int = 0,
    task: str | None = None,
    metric: str | None = None,
    one_hot: bool = False,
) -> Task:
    """Make a task of graphs in memory.

    One graph with a label per node is a node task; graphs with one class, several labels or values each are a graph
    task (`edgegnn.tasks.labels.target_of`). A split that the graphs have (`edgegnn.tasks.given`) is "given".

    Args:
        graphs: a `Data` or a list of them.
        data: what to call the data in the spec: the path they came from.
        split: "given", "file:PATH", "stratified", "random" or "fold:K". None: "given" where the graphs have one, else
            "stratified" for classes and "random" for the rest.
        seed: of the split.
        task: as of `load_task`, like the next two.
        metric: one of those for the task.
        one_hot: the features are categories.

    Raises:
        UsageError: unknown split, task or metric, or one that doesn't suit the data.
        DataError: graphs that no model can use.
    """
    return _from_graphs(graph_checks.as_graphs(graphs, data), data, wanted_of(split, seed, None, task, metric, one_hot))


def _load(data: str, wanted: Wanted) -> Task:
    if not wanted.transforms:
        return _read(data, wanted, list)
    raw: list[Data] = []

    def prepared(graphs: Sequence[Data]) -> list[Data]:
        raw.extend(graphs)
        return prepared_graphs(graphs, wanted.transforms, data)

    task = _read(data, wanted, prepared)
    spec = dataclasses.replace(task.spec, transforms=list(wanted.transforms))
    return dataclasses.replace(task, spec=spec, raw=tuple(raw))


def _read(data: str, wanted: Wanted, ready: Callable[[Sequence[Data]], list[Data]]) -> Task:
    """The task of data; `ready` prepares the graphs as they were read."""
    if object_name(data) is not None:
        return _from_graphs(ready(object_graphs(data, wanted.root)), data, wanted)
    if is_file(data):
        path = at_hand(data)
        return _from_graphs(ready(read_csv(path) if path.suffix == ".csv" else read_graphs(path)), data, wanted)
    prefix, _, rest = ALIASES.get(data.lower(), data).partition(":")
    prefix, root = prefix.lower(), wanted.root
    if prefix in CITATION and not rest:
        return _node_task(ready(datasets.planetoid(prefix, root))[0], prefix, wanted.but(split="public", rows=True))
    if prefix == "digits-knn":
        return _node_task(ready([digits.knn_graph()])[0], prefix, wanted)
    if prefix == "digits":
        return _graph_task(ready(digits.digit_graphs()), prefix, wanted)
    name = data if ":" in data else data.lower()
    if prefix == "tu" and rest:
        return _graph_task(ready(datasets.tu(rest, root)), name, wanted)
    if prefix == "molnet" and rest:
        graphs, metric = molecule_net(rest.lower(), root)
        target = next(t for t, known in TARGETS.items() if metric in known)
        chosen = wanted.but(split="scaffold", target=target)
        return _graph_task(ready(graphs), name, chosen.but(metric=metric) if chosen.target == target else chosen)
    if prefix == "zinc" and not rest:
        graphs, index = published_splits.zinc(root)
        chosen = wanted.but(split="public", target="values", metric="mae", one_hot=wanted.features is None)
        return _graph_task(ready(graphs), prefix, chosen, index)
    if prefix in SUPERPIXELS:
        graphs, index = published_splits.superpixels(SUPERPIXELS[prefix], root)
        return _graph_task(ready(graphs), prefix, wanted.but(split="public"), index)
    if prefix in NODE_SETS and rest:
        graph, chosen = published_splits.node_set(prefix, rest, root), wanted.but(split="public")
        if chosen.split == "public":
            given.pick_masks(graph, wanted.seed, name)
        return _node_task(ready([graph])[0], name, chosen)
    check_data(data)
    raise UsageError(f"{data} names a collection, not a data set: write the name behind it")


def _unlabelled(graphs: list[Data], data: str, wanted: Wanted) -> Task | None:
    """The task of data whose labels are not looked at; None where they are."""
    if wanted.target is None or TARGETS[wanted.target]:
        return None
    if wanted.metric:
        raise UsageError(f"--task none has no labels, and no {wanted.metric}: leave --metric out")
    if given.has_split(graphs) and len(graphs) > 1:
        wanted = wanted.but(split="given")
    asked = TaskSpec(
        data, wanted.kind or "", wanted.split or "", wanted.seed, "", 0, 0, wanted.features or {}, inputs=wanted.inputs
    )
    return unlabelled_task(graphs, data, asked, one_hot=wanted.one_hot)


def _from_graphs(graphs: list[Data], data: str, wanted: Wanted) -> Task:
    first = graphs[0]
    labels.label_graphs(graphs, wanted.label or "y", data)
    if isinstance(first, TypedGraph):
        return _typed_task([graph for graph in graphs if isinstance(graph, TypedGraph)], data, wanted)
    if (task := _unlabelled(graphs, data, wanted)) is not None:
        return task
    if wanted.of:
        raise UsageError(f"--task {wanted.kind}:{wanted.of}: the graphs of {data} have one type of nodes: leave it out")
    of_graphs = first.get("y") is None or first.y.numel() == 1
    if wanted.kind == "link" and len(graphs) > 1:
        raise UsageError(f"{data} holds {len(graphs)} graphs, a link task is about one: leave --task out")
    if given.has_split(graphs):
        wanted = wanted.but(split="given")
    if len(graphs) > 1:
        level = wanted.kind or level_of(graphs)
        if level != "graph":
            return rows_of_graphs_task(graphs, data, wanted, level)
    if len(graphs) > 1 or wanted.kind == "graph" or (of_graphs and wanted.kind is None):
        return _graph_task(graphs, data, wanted)
    if wanted.kind == "edge" or (wanted.kind is None and is_of_edges(first)):
        return edge_task(first, data, wanted)
    if wanted.kind == "node" and wanted.target not in (None, "classes"):
        return row_task(first, data, wanted, "node", graph_checks.number_of_nodes(first, data))
    return _node_task(first, data, wanted.but(split="stratified"))


def _typed_task(graphs: list[TypedGraph], data: str, wanted: Wanted) -> Task:
    """A task about the nodes of one type, or about graphs with several types of nodes."""
    if wanted.one_hot:
        raise UsageError("--one-hot is for graphs with one type of nodes: leave it out")
    if (task := _unlabelled([*graphs], data, wanted)) is not None:
        return task
    if wanted.kind == "link":
        raise UsageError(
            f"{data} has several types of nodes, and pairs are drawn of one type only: export the encoder with "
            "--task none, or give the edges of a relation labels (edge_label) for --task edge"
        )
    of_graphs = wanted.kind == "graph" or (len(graphs) > 1 and not wanted.kind and graphs[0].get("y") is not None)
    of = "" if of_graphs else labelled_type(graphs[0], wanted.kind, wanted.of, data)
    for graph in graphs if of else ():
        count = with_labels(graph, of, data)
    wanted = wanted.but(split="given") if given.has_split([*graphs]) else wanted
    if not of:
        return _graph_task([*graphs], data, wanted)
    kind = "node" if isinstance(of, str) else "edge"
    wanted = dataclasses.replace(wanted, of=of if isinstance(of, str) else type_name(of))
    if len(graphs) > 1:
        return rows_of_graphs_task([*graphs], data, wanted, kind)
    return row_task(graphs[0], data, wanted, kind, count)


def _node_task(graph: Data, data: str, wanted: Wanted) -> Task:
    if (task := _unlabelled([graph], data, wanted)) is not None:
        return task
    if wanted.kind == "link":
        return _link_task(graph, data, wanted)
    check_kind(wanted, "node", data)
    whole = graph_checks.usable([graph], data)
    split = wanted.split or "stratified"
    own = split == "given" or (split == "public" and data != "digits-knn" and graph.get("train_mask") is not None)
    if own or split.startswith(FROM_FILE):
        if own:
            index = given.node_split(graph, wanted.seed, data)
        else:
            index = read_split(split.removeprefix(FROM_FILE), "node", int(graph.num_nodes or 0), wanted.seed)
        graph_checks.check_split(index, data)
        classes = graph_checks.node_labels(graph, torch.cat(list(index.values())), data)
    else:
        classes = graph_checks.node_labels(graph, None, data)
        if split == "full" and data in CITATION:
            index = splits.random(len(classes), wanted.seed, 500, 500)
        else:
            index = draw_labelled(classes, split, wanted.seed, f"{data}: {{}} nodes")
    graph.y = classes
    index = labelled_only(index, classes, f"{data}: {{}} nodes")
    chosen = dataclasses.replace(wanted, split=split, target="classes")
    return assemble([graph], data, "node", chosen, index, classes, whole)


def _link_task(graph: Data, data: str, wanted: Wanted) -> Task:
    whole = graph_checks.usable([graph], data)
    new, index, split, facts = link_split(graph, wanted.split, wanted.seed, data)
    metric = wanted.metric or LINK_METRICS[0]
    if metric not in LINK_METRICS:
        raise UsageError(f"{metric} is no metric for links: choose {' or '.join(LINK_METRICS)}")
    constants = transformed([new], None, wanted, data, whole)
    roles = roles_of([new], with_told([new], wanted.inputs, data))
    features = columns_of(new.x)
    spec = TaskSpec(data, "link", split, wanted.seed, metric, features, 1, constants, inputs=wanted.inputs)
    return Task(spec, [new], index, {"link_split": facts}, untouched(whole, constants), roles=roles)


def _graph_task(graphs: list[Data], data: str, wanted: Wanted, public: dict[str, Tensor] | None = None) -> Task:
    """A task about graphs; `public` is the split that the data were published with."""
    if (task := _unlabelled(graphs, data, wanted)) is not None:
        return task
    check_kind(wanted, "graph", data)
    whole = graph_checks.usable(graphs, data)
    target = wanted.target or labels.target_of(graphs, data)
    split = wanted.split or ("stratified" if target == "classes" else "random")
    if target == "classes":
        table = graph_checks.graph_labels(graphs, data)
        rows = table.view(-1, 1).unbind()
    else:
        table = labels.label_table(graphs, target, data)
        rows = table.unsqueeze(1).unbind()
    for graph, row in zip(graphs, rows, strict=True):
        graph.y = row
    own = public if split == "public" else given_graphs(graphs, split, wanted.seed, data)
    if own is not None:
        index = own
    elif split == "scaffold":
        if any(graph.get("smiles") is None for graph in graphs):
            other = "stratified" if target == "classes" else "random"
            raise UsageError(f"a scaffold split needs molecules with smiles, {data} has none: choose --split {other}")
        index = scaffold([graph.smiles for graph in graphs])
    elif target == "classes":
        index = draw_labelled(table, split, wanted.seed, f"{data}: {{}} graphs")
    else:
        index = draw(len(table), split, wanted.seed)
    if target == "classes":
        index = labelled_only(index, table, f"{data}: {{}} graphs")
    return assemble(graphs, data, "graph", dataclasses.replace(wanted, split=split, target=target), index, table, whole)
