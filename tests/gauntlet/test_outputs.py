"""Outputs of any level and rank, one or several: what they belong to is told from sizes, and each is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv, global_mean_pool

import edgegnn
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import UsageError
from edgegnn.runtime.roles import EDGE, FIXED, GRAPH, LEVELS, NODE
from edgegnn.signature.outputs import recognised, tensors_by_name
from edgegnn.tasks import load_task


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = SAGEConv(6, 16), SAGEConv(16, 8), nn.Linear(8, 3)

    def encode(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


class Levels(Encoder):
    """Nodes, edges and graphs in one dictionary, of three ranks; a loss beside them."""

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> dict[str, Tensor]:
        h = self.encode(x, edge_index)
        edge = (h[edge_index[0]] * h[edge_index[1]]).sum(-1)
        return {"node": h.view(-1, 2, 4), "edge": edge, "graph": global_mean_pool(h, batch), "bias": self.head.bias}


class Found(NamedTuple):
    logits: Tensor
    embedding: Tensor


class Named(Encoder):
    """A named tuple: logits, and the embedding that they come from."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Found:
        h = self.encode(x, edge_index)
        return Found(self.head(h), h)


class Vector(Encoder):
    """A number for each node, without an axis of its own."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.encode(x, edge_index).sum(-1)


class ThreeHeads(Encoder):
    """A class, two values and three labels of each graph."""

    def __init__(self) -> None:
        super().__init__()
        self.kind, self.size, self.tags = (nn.Linear(8, columns) for columns in (3, 2, 3))

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> dict[str, Tensor]:
        h = global_mean_pool(self.encode(x, edge_index).relu(), batch)
        return {"kind": self.kind(h), "size": self.size(h), "tags": self.tags(h)}


@pytest.mark.slow
def test_several_heads_have_a_loss_and_a_metric_each(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator, graphs = torch.Generator().manual_seed(0), []
    for i in range(40):
        nodes = 5 + i % 4
        x = torch.randn(nodes, 6, generator=generator)
        size = torch.stack([x.mean(), 5 + x.std()]).view(1, 2)
        tags = torch.randint(2, (1, 3), generator=generator).float()
        edges = torch.randint(nodes, (2, 3 * nodes), generator=generator)
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([i % 3]), size=size, tags=tags))
    torch.save(graphs, tmp_path / "data.pt")
    asked = {"data": str(tmp_path / "data.pt"), "max_accuracy_drop": 1000.0, "force": True}
    checkpoint = Checkpoint(ThreeHeads().eval(), {"factory": "gauntlet:build", "args": {}})
    exported = {}
    for main in ("kind=y", "size=size"):  # y is a head, too, where another attribute comes first
        targets = [main, *(each for each in ("kind=y", "size=size", "tags=tags") if each != main)]
        result = edgegnn.export(
            checkpoint,
            quant="dq-int8",
            targets=targets,
            output=tmp_path / "heads",
            settings={"epochs": 20, "lr": 0.1},
            **asked,
        )
        exported[main] = {head.output: head for head in result.manifest.heads}
        assert edgegnn.verify(result.path).ok
    found = exported["kind=y"]
    assert {name: (head.target, head.name) for name, head in found.items()} == {
        "size": ("values", "mae"),
        "tags": ("labels", "mean_roc_auc"),
    }
    assert exported["size=size"]["kind"].target == "classes"
    before = edgegnn.export(
        checkpoint, quant="none", targets=["kind=y", "size=size"], output=tmp_path / "float", **asked
    ).manifest.heads[0]
    assert found["size"].artifact < 0.7 * before.artifact  # its loss was trained, too
    want = np.abs(_of_test(checkpoint.model, graphs, tmp_path) - before.pytorch)
    assert want < 1e-5
    with pytest.raises(UsageError, match=r"nope=\.\.\.: the model gives no such output, it gives kind, size, tags"):
        edgegnn.export(checkpoint, targets=["kind=y", "nope=size"], output=tmp_path / "none", **asked)


def _of_test(model: nn.Module, graphs: list[Data], folder: Path) -> float:
    """The mean absolute error of `size` on the test split, by hand."""
    index = load_task(str(folder / "data.pt")).index["test"].tolist()
    errors = []
    for i in index:
        graph = graphs[i]
        with torch.no_grad():
            out = ThreeHeads.forward(model, graph.x, graph.edge_index, torch.zeros(len(graph.x), dtype=torch.int64))
        errors.append((out["size"] - graph["size"]).abs())
    return float(torch.cat(errors).mean())


def one_graph(y: Tensor | None = None) -> Data:
    """As many edges as nodes."""
    generator = torch.Generator().manual_seed(0)
    x, edges = torch.randn(40, 6, generator=generator), torch.randint(40, (2, 40), generator=generator)
    return Data(x=x, edge_index=edges, y=y)


CASES = {
    Levels: (None, "node", {"node": ("node", 3), "edge": ("edge", 1), "graph": ("graph", 2), "bias": ("fixed", 1)}),
    Named: (torch.arange(40) % 3, "logits", {"logits": ("node", 2), "embedding": ("node", 2)}),
    Vector: (torch.linspace(-1, 1, 40), "logits", {"logits": ("node", 1)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", CASES)
@pytest.mark.parametrize("recipe", ["none", "static-int8"])
def test_levels_and_ranks(model: Any, recipe: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    y, main, wanted = CASES[model]
    data, module = one_graph(y), model().eval()
    torch.save(data, tmp_path / "data.pt")
    result = edgegnn.export(
        Checkpoint(module, {"factory": "gauntlet:build", "args": {}}),
        quant=recipe,
        data=str(tmp_path / "data.pt"),
        task={Levels: "none", Vector: "node-regression"}.get(model),
        output=tmp_path / "out",
        max_accuracy_drop=100.0,
        min_agreement=0.0,
        format="both" if recipe == "none" else None,
    )
    assert {each.name: (each.role, len(each.shape)) for each in result.manifest.outputs} == wanted
    report = edgegnn.verify(result.path)
    assert report.ok, report.problems
    assert set(report.outputs) == set(wanted) - {main}
    opened = edgegnn.runtime.open(result.path, guard="off")
    inputs = {name: data[name].numpy() for name in ("x", "edge_index")}
    batch = {"batch": torch.zeros(40, dtype=torch.int64)} if model is Levels else {}
    found = opened.every(**inputs, **{name: value.numpy() for name, value in batch.items()})
    with torch.no_grad():
        want = tensors_by_name(module(x=data.x, edge_index=data.edge_index, **batch))
    want = {name: value.detach() for name, value in want.items()}
    found = found if len(found) > 1 else {"output": found[opened.manifest.main.name]}
    assert list(found) == list(want)
    for name, value in want.items():
        allowed = (1e-4 if recipe == "none" else 0.25) * max(1.0, float(value.abs().max()))
        assert found[name].shape == tuple(value.shape)
        assert float(np.abs(found[name] - value.numpy()).max()) <= allowed


def test_one_coincidence_decides_nothing() -> None:
    sizes = [dict.fromkeys((role.size for role in LEVELS.values()), 40) | {"num_graphs": 1}]
    with pytest.raises(UsageError, match="whether the output z belongs to nodes or edges or links can't be told"):
        recognised([{"z": [40, 3]}], sizes)
    more = [*sizes, {"num_nodes": 24, "num_edges": 56, "num_graphs": 1, "num_links": 0}]
    found = recognised(
        [{"z": [40, 3], "s": [40], "g": [1], "c": [7]}, {"z": [24, 3], "s": [56], "g": [1], "c": [7]}], more
    )
    assert found == {"z": NODE, "s": EDGE, "g": GRAPH, "c": FIXED}
    with pytest.raises(UsageError, match="on graphs of different sizes: its first size must be"):
        recognised([{"z": [3, 40]}, {"z": [5, 24]}], more)


def test_names_of_outputs() -> None:
    a, b = torch.zeros(2), torch.zeros(3, 4)
    assert list(tensors_by_name((a, None, [b, a]))) == ["output_0", "output_2_0", "output_2_1"]
    assert list(tensors_by_name({"x": a, "a b": b}, ["x"])) == ["x_out", "a_b"]
    assert tensors_by_name(torch.tensor(2.0))["output"].shape == (1,)
    with pytest.raises(UsageError, match="returns str as loss, which is no tensor"):
        tensors_by_name({"z": a, "loss": "none"})


class Heads(Encoder):
    """Two heads that the labels fit."""

    def forward(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encode(x, edge_index)
        return self.head(h), self.head(h.relu())


def test_the_scored_output_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = one_graph(torch.arange(40) % 3)
    data.kind = (torch.arange(40) + 1) % 3
    torch.save(data, tmp_path / "data.pt")
    checkpoint = Checkpoint(Heads().eval(), {"factory": "gauntlet:build", "args": {}})
    asked = {"data": str(tmp_path / "data.pt"), "output": tmp_path / "out"}
    with pytest.raises(UsageError, match="fit output_0 and output_1: say which they are for with --target output_0=y"):
        edgegnn.export(checkpoint, **asked)
    with pytest.raises(UsageError, match="has no attribute z"):
        edgegnn.export(checkpoint, targets=["output_1=z"], **asked)
    result = edgegnn.export(checkpoint, targets=["output_1=kind"], **asked)
    assert result.manifest.main == "output_1"
    labels = edgegnn.runtime.open(result.path).samples()[0].label
    assert labels is not None
    assert labels.tolist() == data.kind.tolist()
