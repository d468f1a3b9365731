"""The models that `models.py` measures, and the files that are made of them beforehand: peers' and ours."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import model_peers as peers
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from graphs import Graph, large, power_law
from torch import Tensor, nn
from torch_geometric.data import Data
from workers import say

from edgegnn import api
from edgegnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.exporting.rewrite.constant import fix_graph
from edgegnn.models import build
from edgegnn.quantize import finetune, recipe
from edgegnn.tasks import Task, collate, load_task, task_from_graphs
from edgegnn.training import fit_defaults

INT8 = "dq-int8"
CLASSES, FEATURES = 16, 100
SIBLING = (2_000, 40_000)  # the large graph's law at a size that trains in a second: for quantizers' ranges


@dataclass(frozen=True)
class Case:
    """One model on one kind of data.

    Attributes:
        name: for files.
        title: for tables.
        model: of the zoo.
        data: "large", or a data set.
        each: run test graphs one at a time; the time is the p50 over them.
        batch: run one batch of so many graphs.
        architecture: arguments of the zoo's model beside its defaults.
        quant: recipe of what is called INT8.
    """

    name: str
    title: str
    model: str
    data: str
    each: bool = False
    batch: int = 0
    architecture: dict[str, Any] = field(default_factory=dict)
    quant: str = INT8

    @property
    def one_graph(self) -> bool:
        """The graph may be a constant."""
        return not self.each and not self.batch


_GIN = {"hidden": 64, "layers": 5}
CASES = {
    case.name: case
    for case in (
        Case("sage-100k", "SAGE 100→64→16, 100k/2M", "sage", "large", architecture={"hidden": 64, "layers": 2}),
        Case("gcn-100k", "GCN 100→64→16, 100k/2M", "gcn", "large", architecture={"hidden": 64, "layers": 2}),
        Case("gcn-cora", "GCN 2x128, Cora", "gcn", "cora", architecture={"hidden": 128, "layers": 2}),
        Case("gat-cora", "GAT 8x8, Cora", "gat", "cora", architecture={"hidden": 8, "heads": 8, "layers": 2}),
        Case("gcn-cora-a2q", "GCN 2x128 with A2Q, Cora", "gcn", "cora", quant="a2q"),
        Case("gin-cora-a2q", "GIN 2x64 with A2Q, Cora", "gin", "cora", quant="a2q"),
        Case("gin-one", "GIN 5x64, PROTEINS, one graph", "gin", "proteins", each=True, architecture=_GIN),
        Case("gin-batch", "GIN 5x64, PROTEINS, batch of 128", "gin", "proteins", batch=128, architecture=_GIN),
    )
}


def prepare(case: Case, folder: Path) -> None:
    """Train briefly (speed does not depend on it), and make every file that `case` needs; failures go into notes.json.

    Files that are there already are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes: dict[str, str] = {}

    def make(name: str, maker: Callable[[Path], object]) -> None:
        path = folder / name
        if path.exists():
            return
        start = time.perf_counter()
        try:
            maker(path)
            say(f"{case.name}: {name} made in {time.perf_counter() - start:.1f} s")
        except Exception as error:
            notes[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            say(f"{case.name}: {name} failed: {notes[name]}")

    task = _task(case)
    make("float.pt", lambda path: save_checkpoint(_train(case, task), path))
    make("inputs.pt", lambda path: torch.save(_inputs(case, task), path))
    float_model = load_checkpoint(folder / "float.pt")
    inputs = load_inputs(folder)
    assert isinstance(float_model.model, nn.Module)
    model = float_model.model
    example = max(inputs, key=lambda one: one["edge_index"].shape[1])
    calibration = [peers.as_numpy(one) for one in inputs[:32]]
    make("plain.onnx", lambda path: peers.plain_export(model, example, path))
    make("dynamic.onnx", lambda path: peers.dynamic_int8(folder / "plain.onnx", path))
    make("static.onnx", lambda path: peers.static_int8(folder / "plain.onnx", path, calibration))
    make("int8.pt", lambda path: save_checkpoint(_quantize(case, float_model, task), path))
    for precision, checkpoint in (("fp32", "float.pt"), ("int8", "int8.pt")):
        make(artifact_name(precision, False), partial(export, case, folder / checkpoint))
        if case.one_graph:
            make(artifact_name(precision, True), partial(with_graph, folder / artifact_name(precision, False)))
    old = folder / "notes.json"
    known = json.loads(old.read_text()) if old.exists() else {}
    old.write_text(json.dumps({k: v for k, v in {**known, **notes}.items() if not (folder / k).exists()}, indent=1))


def export(case: Case, checkpoint: Path, path: Path) -> None:
    """Our artifact of a checkpoint."""
    loaded = load_checkpoint(checkpoint)
    quant = loaded.recipe.name if loaded.recipe else "none"
    data = str(_large_file(path.parent)) if case.data == "large" else case.data
    api.export(loaded, quant=quant, data=data, output=path, min_agreement=0.9)


def with_graph(artifact: Path, path: Path) -> None:
    """The model of an artifact with the case's graph inside."""
    (graph,) = load_inputs(artifact.parent)
    model = ir.load(artifact / "model.onnx")
    fix_graph(model, graph["edge_index"].numpy(), graph["x"].shape[0])
    path.mkdir()
    ir.save(model, path / "model.onnx")


def artifact_name(precision: str, constant: bool) -> str:
    """Where our artifact is, in the folder of its case."""
    return f"ours-{precision}" + "-constant" * constant


def load_inputs(folder: Path) -> list[dict[str, Tensor]]:
    """What a prepared case is run on: one graph, or several to run one at a time."""
    inputs: list[dict[str, Tensor]] = torch.load(folder / "inputs.pt", weights_only=True)
    return inputs


def logits(checkpoint: Path, graphs: list[dict[str, Tensor]]) -> list[npt.NDArray[np.float32]]:
    """What PyTorch computes."""
    model = load_checkpoint(checkpoint).model
    assert isinstance(model, nn.Module)
    with torch.inference_mode():
        return [model(**graph).numpy() for graph in graphs]


# ---------------------------------------------------------------------------------------------------------------------


def _task(case: Case) -> Task:
    return _sibling() if case.data == "large" else load_task(case.data)


def _sibling() -> Task:
    return task_from_graphs(_data(power_law(*SIBLING, name="sibling"), seed=1), data="power law 2k/40k")


def _data(graph: Graph, seed: int) -> Data:
    """Random features and labels, every node in one of the three splits."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(graph.nodes, FEATURES, generator=generator)
    y = torch.randint(CLASSES, (graph.nodes,), generator=generator)
    y[:CLASSES] = torch.arange(CLASSES)
    part = torch.arange(graph.nodes) % 10
    masks = {"train_mask": part < 8, "val_mask": part == 8, "test_mask": part == 9}
    return Data(x=x, edge_index=torch.from_numpy(graph.edge_index), y=y, **masks)


def _large_file(folder: Path) -> Path:
    path = folder.parent / "large.pt"
    if not path.exists():
        torch.save(_data(large(), seed=2), path)
    return path


def _train(case: Case, task: Task) -> Checkpoint:
    epochs = {"node": 30, "graph": 2}[task.spec.kind]
    if case.data != "large":
        return api.train(case.model, case.data, architecture=case.architecture, settings={"epochs": epochs})
    torch.manual_seed(0)
    args = {"in_channels": FEATURES, "out_channels": CLASSES, "kind": "node", **case.architecture}
    return Checkpoint(build(case.model, **args).eval(), {"zoo": case.model, "args": args}, task.spec)


def _quantize(case: Case, checkpoint: Checkpoint, task: Task) -> Checkpoint:
    """Ranges, and two epochs of fine-tuning at a learning rate that hardly changes the weights."""
    config = fit_defaults(task.spec.kind, model=case.model, data=task.spec.data, epochs=2, lr=1e-5)
    assert isinstance(checkpoint.model, nn.Module)
    module, _ = finetune(copy.deepcopy(checkpoint.model), task, recipe(case.quant), config)
    return Checkpoint(module, checkpoint.source, task.spec)


def _inputs(case: Case, task: Task) -> list[dict[str, Tensor]]:
    if case.data == "large":
        data = _data(large(), seed=2)
        return [{"x": data.x, "edge_index": data.edge_index}]
    if task.spec.kind == "node":
        return [{"x": task.graphs[0].x, "edge_index": task.graphs[0].edge_index}]
    if case.batch:
        batch = collate([task.graphs[i] for i in task.index["train"][: case.batch].tolist()])
        return [{"x": batch.x, "edge_index": batch.edge_index, "batch": batch.batch}]
    graphs = [task.graphs[i] for i in task.index["test"].tolist()]
    return [
        {"x": g.x, "edge_index": g.edge_index, "batch": torch.zeros(g.num_nodes, dtype=torch.int64)} for g in graphs
    ]
