"""Graphs much larger than the rest: ranges hold those of the user's data, and what grows with a graph has no range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sweep import sweep
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import AttentiveFP, GINConv, global_add_pool

from edgegnn.checkpoint import Checkpoint
from edgegnn.compression.compress import compress
from edgegnn.exporting.pipeline import export_checkpoint
from edgegnn.quantize import QuantModel, recipe
from edgegnn.quantize.finetuning import finetune
from edgegnn.quantize.reach import hold_data
from edgegnn.runtime import open_artifact, predict
from edgegnn.runtime.ranges import parse_ranges
from edgegnn.tasks import Task, task_from_graphs
from edgegnn.training import FitConfig, fit

IN_TRAINING, IN_VALIDATION, BEYOND = 200, 150, 1000
SHARE = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.2, 0.9])


def tree(nodes: int, seed: int) -> Data:
    """A random tree; its value is a sum over nodes."""
    draw = torch.Generator().manual_seed(seed)
    x = nn.functional.one_hot(torch.randint(6, (nodes,), generator=draw), 6).float()
    child = torch.arange(1, nodes)
    parent = (child * torch.rand(nodes - 1, generator=draw)).long()
    edges = torch.cat([torch.stack([child, parent]), torch.stack([parent, child])], 1)
    attributes = torch.rand(edges.shape[1], 3, generator=draw)
    return Data(x=x, edge_index=edges, edge_attr=attributes, y=(x @ SHARE).sum().view(1, 1))


def heavy_tail() -> Task:
    """60 trees of 6 to 20 nodes, one much larger to train on and one to validate on."""
    sizes = [6 + i % 15 for i in range(60)]
    task = task_from_graphs([tree(n, i) for i, n in enumerate([*sizes, IN_TRAINING, IN_VALIDATION])], data="mine")
    index = torch.arange(60)
    task.index.update(train=torch.cat([index[:40], torch.tensor([60])]), val=torch.tensor([*range(40, 50), 61]))
    task.index.update(test=index[50:])
    return task


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = AttentiveFP(6, 24, 1, edge_dim=3, num_layers=2, num_timesteps=2)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        return self.net(x, edge_index, edge_attr, batch)


@pytest.fixture(scope="module")
def trained() -> tuple[Task, nn.Module]:
    torch.manual_seed(0)
    task, model = heavy_tail(), Regression()
    fit(model, task, FitConfig(epochs=25, lr=5e-3))
    return task, model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sweep(["dq-int8", "static-int8", "qat-int8", "dq-int4", "dynamic-int8"], lambda i: i < 2)
)
def test_a_sum_over_a_graph_of_any_size_follows_the_float_model(
    trained: tuple[Task, nn.Module], tmp_path: Path, name: str
):
    task, model = trained
    checkpoint = Checkpoint(model, {}, task.spec)
    if recipe(name).trains:
        config = FitConfig(epochs=4, lr=1e-3)
        checkpoint = compress(checkpoint, task, None, recipe(name), config, config).checkpoint
    export_checkpoint(checkpoint, task, recipe(name), tmp_path / "a", max_accuracy_drop=100.0)
    for data in (task.graphs[60], task.graphs[61], tree(BEYOND, 99)):
        args = (data.x, data.edge_index, data.edge_attr, torch.zeros(len(data.x), dtype=torch.long))
        quantized = checkpoint.model
        with torch.no_grad():
            if isinstance(quantized, QuantModel):
                with quantized.as_float() as plain:
                    want = float(plain(*args))
            else:
                want = float(model(*args))
        names = ("x", "edge_index", "edge_attr", "batch")
        (got,) = predict(tmp_path / "a", {n: a.numpy() for n, a in zip(names, args, strict=True)}).ravel()
        assert abs(want) > 20  # several times what most graphs give
        assert got == pytest.approx(want, rel=0.15 if "4" in name else 0.05), len(data.x)


class Hubs(nn.Module):
    """Sums over neighbours that a product reads, which grow with the degree."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.conv = GINConv(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)))
        self.head = nn.Linear(8, 1)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        return self.head(global_add_pool(self.conv(self.first(x).relu(), edge_index).relu(), batch))


def star(leaves: int, seed: int) -> Data:
    draw = torch.Generator().manual_seed(seed)
    edges = torch.stack([torch.arange(1, leaves + 1), torch.zeros(leaves, dtype=torch.long)])
    return Data(x=torch.rand(leaves + 1, 3, generator=draw), edge_index=edges, y=torch.rand(1, 1, generator=draw))


def stars() -> Task:
    """Stars of 4 to 8 leaves, one of 24 to train on and one of 20 to validate on."""
    leaves = [*(4 + i % 5 for i in range(60)), 24, 20]
    task = task_from_graphs([star(n, i) for i, n in enumerate(leaves)], data="mine")
    index = torch.arange(60)
    task.index.update(train=torch.cat([torch.tensor([60]), index[:40]]), val=torch.tensor([*range(40, 50), 61]))
    task.index.update(test=index[50:])
    return task


@pytest.mark.parametrize("name", ["dq-int8", "qat-int8", "dq-int4", "dq-int8:placement=paper,quantile=0.1"])
def test_ranges_hold_the_largest_graph(name: str):
    torch.manual_seed(0)
    task = stars()
    quantized, result = finetune(Hubs(), task, recipe(name), FitConfig(epochs=2, lr=1e-4))
    assert result.val_metric is not None
    before = {point.name: (float(point.lo.min()), float(point.hi.max())) for point in quantized._all_points()}
    point = quantized.point("conv.nn.0.input")
    with torch.no_grad(), quantized.as_float() as plain:
        sums = float(plain.first(task.graphs[60].x).relu().sum(0).max())
    held = float(point.hi) >= 0.98 * sums
    assert held == (name in ("dq-int8", "qat-int8")), (float(point.hi), sums)
    hold_data(quantized, task)  # all is held: nothing moves
    assert before == {p.name: (float(p.lo.min()), float(p.hi.max())) for p in quantized._all_points()}


def test_a_range_is_widened_eight_times_at_most():
    torch.manual_seed(0)
    task = stars()
    quantized, _ = finetune(Hubs(), task, recipe("dq-int8"), FitConfig(epochs=1, lr=1e-4))
    point = quantized.point("conv.nn.0.input")
    point.hi.fill_(0.1)
    point.lo.fill_(0.0)
    hold_data(quantized, task)
    assert float(point.hi) == pytest.approx(0.8)
    assert float(point.scale) == pytest.approx(0.8 / 255)


@pytest.mark.slow
def test_a_product_behind_a_readout_has_no_range(tmp_path: Path):
    torch.manual_seed(0)
    task = stars()
    checkpoint = Checkpoint(Hubs().eval(), {}, task.spec)
    config = FitConfig(epochs=1, lr=1e-4)
    compressed = compress(checkpoint, task, None, recipe("dq-int8"), config, config).checkpoint
    assert isinstance(compressed.model, QuantModel)
    assert "head.input" not in compressed.model.structure()["points"]
    assert "sums of graphs of any size" in compressed.model.stayed_float["head.input"]
    export_checkpoint(compressed, task, recipe("dq-int8"), tmp_path / "a", max_accuracy_drop=1000.0)
    assert parse_ranges(open_artifact(tmp_path / "a").manifest.raw)
    data = task.graphs[60]
    predict(tmp_path / "a", inputs(data), guard=True)


def inputs(data: Data) -> dict[str, np.ndarray]:
    return {"x": data.x.numpy(), "edge_index": data.edge_index.numpy(), "batch": np.zeros(len(data.x), np.int64)}
