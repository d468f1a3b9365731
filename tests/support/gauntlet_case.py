"""A case of the gauntlet: a model as somebody wrote it, its graphs, and what eager PyTorch computes for them."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gauntlet import inputs_of
from torch import nn
from torch_geometric.data import Batch, Data

import edgegnn
from edgegnn.checkpoint import Checkpoint
from edgegnn.exporting.pipeline import ExportResult
from edgegnn.manifest import CForm
from edgegnn.runtime.manifest import Manifest
from edgegnn.tasks.points import point_graphs

TRAINED = ("dq-int8", "qat-int8", "dq-int4", "a2q")
# What an answer may differ from eager PyTorch by, as a share of the largest answer.
FLOAT_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Case:
    """What is exported, and how.

    Attributes:
        model: builds the module.
        data: builds what `torch.save` writes as the data file: a graph, or a list of graphs.
        task: of `edgegnn.export`; None: told from the labels.
        options: more of `edgegnn.export`.
        decibels: least ratio of signal to noise of the INT8 answers.
        native: fewest operators of `ai.edgegnn` that the artifact has, in any recipe.
        refused: recipe -> the words of its refusal.
    """

    model: Callable[[], nn.Module]
    data: Callable[[], Any]
    task: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    decibels: float = 10.0
    native: int = 1
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipes(self) -> tuple[str, ...]:
        """What the case is exported with: a recipe that trains needs labels."""
        wanted = ("none", "static-int8") if self.task == "none" else ("none", "static-int8", "dq-int8")
        return tuple(recipe for recipe in wanted if recipe not in self.refused)


@dataclass(frozen=True)
class Compared:
    """How an artifact's answers compare with eager PyTorch's.

    Attributes:
        difference: largest, as a share of the largest answer.
        decibels: signal to noise; inf: equal.
        native: how many aggregations run in operators of `ai.edgegnn`.
        speedup: time of eager PyTorch over the artifact's, one graph, medians.
    """

    difference: float
    decibels: float
    native: int
    speedup: float


def compare(case: Case, recipe: str, folder: Path) -> Compared:
    """Export a case and compare the artifact with eager PyTorch on graphs of its own, one by one and together.

    Raises:
        EdgeGNNError: it can't be exported.
        AssertionError: the artifact's own check fails, or its answers have another shape.
    """
    torch.manual_seed(0)
    model, graphs = case.model(), case.data()
    settle(model, graphs)
    asked = asked_of(graphs)
    want = [answer(model, graph) for graph in asked]
    eager = _median(lambda: answer(model, asked[0]))
    torch.save(graphs, folder / "data.pt")
    result = _export(case, model, recipe, folder)
    report = edgegnn.verify(result.path)
    assert report.ok, report.problems
    runner = edgegnn.runtime.open(result.path, guard="off")
    inputs = [given(result.manifest, graph) for graph in asked]
    got = [first_of(runner(**each)) for each in inputs]
    for ours, theirs in zip(got, want, strict=True):
        assert ours.shape == theirs.shape
    ours, theirs = (np.concatenate([each.reshape(-1) for each in side]) for side in (got, want))
    noise, signal = float(((ours - theirs) ** 2).sum()), float((theirs**2).sum())
    return Compared(
        difference=float(np.abs(ours - theirs).max()) / max(float(np.abs(theirs).max()), 1e-30),
        decibels=math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-30) / noise),
        native=sum(node.domain == "ai.edgegnn" for node in _nodes(result.path)),
        speedup=eager / _median(lambda: runner(**inputs[0])),
    )


def export_c(case: Case, recipe: str, folder: Path) -> CForm:
    """Export a case as plain C, for graphs as large as its own; `edgegnn.export` compiles it and compares it.

    Raises:
        EdgeGNNError: it can't be exported, or has no C form.
    """
    torch.manual_seed(0)
    model, graphs = case.model(), case.data()
    settle(model, graphs)
    torch.save(graphs, folder / "data.pt")
    every = graphs if isinstance(graphs, list) else [graphs]
    limits = {
        "max_nodes": max(int(graph.num_nodes) for graph in every),
        "max_edges": max([1, *(2 * int(graph.num_edges) for graph in every if "edge_index" in graph)]),
    }
    result = _export(case, model, recipe, folder, format="c", **limits)
    assert result.manifest.c is not None
    return result.manifest.c


def _export(case: Case, model: nn.Module, recipe: str, folder: Path, **more: Any) -> ExportResult:
    """Export the model of a case with the case's options, and with `more`; its graphs are in data.pt."""
    return edgegnn.export(
        Checkpoint(model, {"factory": "gauntlet:build", "args": {}}),
        quant=recipe,
        data=str(folder / "data.pt"),
        task=case.task,
        output=folder / recipe,
        settings={"epochs": 4, "seed": 0, "lr": 1e-4} if recipe in TRAINED else None,
        max_accuracy_drop=100.0,
        min_agreement=0.0,
        **{**case.options, **more},
    )


def settle(model: nn.Module, graphs: Any) -> None:
    """Give batch norms the statistics of the data, as training does: recipes that train go on from there."""
    model.train()
    together = Batch.from_data_list(graphs) if isinstance(graphs, list) else graphs
    for _ in range(30):
        answer(model, together)
    model.eval()


def asked_of(graphs: Any) -> list[Any]:
    """The one graph; or of many, three alone and these three as a batch."""
    if not isinstance(graphs, list):
        return [graphs]
    few = [graph.clone() for graph in graphs[1:4]]
    return [*few, Batch.from_data_list(few)]


def answer(model: nn.Module, graph: Any) -> np.ndarray:
    """What the model computes for a graph, called as its `forward` is written."""
    names = list(inspect.signature(type(model).forward).parameters)[1:]
    if graph.get("batch") is None and isinstance(graph, Data):
        graph = graph.clone()
        graph.batch = torch.zeros(int(graph.num_nodes or 0), dtype=torch.int64)
    whole = len(names) == 1 and graph.get(names[0]) is None
    if whole and isinstance(graph, Data) and not isinstance(graph, Batch):  # as a loader gives it
        graph = Batch.from_data_list([graph])
    with torch.no_grad(), point_graphs():  # knn_graph and its like, where torch-cluster isn't installed
        out = model(graph) if whole else model(*[graph[name] for name in names if graph.get(name) is not None])
    return first_of(out).numpy()


def first_of(answers: Any) -> Any:
    """The first of several outputs, or the one."""
    if isinstance(answers, dict):
        return next(iter(answers.values()))
    return answers[0] if isinstance(answers, tuple | list) else answers


def given(manifest: Manifest, graph: Any) -> dict[str, np.ndarray]:
    """What an artifact asks for, of a graph."""
    names = [spec.name for spec in manifest.inputs]
    batch = graph.get("batch")
    if graph.get("adj") is not None:  # a sparse matrix: the artifact takes its edges and entries
        graph = graph.clone()
        graph.edge_index, graph.edge_weight = graph.adj.indices().flip(0).contiguous(), graph.adj.values()
    made = {"x": np.ones((int(graph.num_nodes), 1), np.float32)} if graph.get("x") is None else {}  # as training does
    if batch is not None:
        made["batch"] = batch.numpy()
    return {name: made[name] if name in made else inputs_of(graph, name) for name in names}


def _nodes(folder: Path) -> list[Any]:
    import onnx

    return list(onnx.load(folder / "model.onnx").graph.node)


def _median(call: Callable[[], object], repeats: int = 9) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]
