"""Models whose state is an input and an output: exported over a series, and stepped on the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

import edgegnn
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.cli import main

NODES, WIDTH = 12, 8


class GConvGRU(nn.Module):
    """A gated recurrent unit whose products are graph convolutions, as in pytorch_geometric_temporal."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.states = GCNConv(3, 3 * WIDTH), GCNConv(WIDTH, 2 * WIDTH)
        self.candidate, self.head = GCNConv(WIDTH, WIDTH), nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor, edge_index: Tensor, h: Tensor) -> dict[str, Tensor]:
        of_x, of_h = self.gates(x, edge_index), self.states(h, edge_index)
        update = torch.sigmoid(of_x[:, :WIDTH] + of_h[:, :WIDTH])
        reset = torch.sigmoid(of_x[:, WIDTH : 2 * WIDTH] + of_h[:, WIDTH:])
        new = torch.tanh(of_x[:, 2 * WIDTH :] + self.candidate(h * reset, edge_index))
        h = update * h + (1 - update) * new
        return {"y": self.head(h.relu()), "h": h}


def series(steps: int) -> list[Data]:
    """Snapshots of one graph, whose features go up and down."""
    generator = torch.Generator().manual_seed(0)
    edges, base = torch.randint(NODES, (2, 40), generator=generator), torch.randn(NODES, 3, generator=generator)
    return [Data(x=base * float(np.sin(t / 4)), edge_index=edges) for t in range(steps)]


@pytest.mark.slow
def test_state_is_kept_between_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    graphs, module = series(24), GConvGRU().eval()
    torch.save(graphs, tmp_path / "data.pt")
    for recipe, allowed in (("none", 1e-4), ("static-int8", 0.25)):
        result = edgegnn.export(
            Checkpoint(module, {"factory": "gauntlet:build", "args": {}}),
            quant=recipe,
            data=str(tmp_path / "data.pt"),
            task="none",
            state={"h": "h_out"},
            output=tmp_path / recipe,
        )
        drift = result.manifest.parity.drift
        assert drift is not None
        assert drift.steps == 20
        assert edgegnn.verify(result.path).ok
        session = edgegnn.runtime.open(result.path, guard="off").session()
        h = torch.zeros(NODES, WIDTH)
        for graph in graphs[:20]:
            got = session.step(x=graph.x.numpy(), edge_index=graph.edge_index.numpy())
            with torch.no_grad():
                want = module(graph.x, graph.edge_index, h)
            h = want["h"]
            assert float(np.abs(got["y"] - want["y"].numpy()).max()) <= allowed
        assert float(np.abs(session.state["h"] - h.numpy()).max()) <= allowed
    np.savez(tmp_path / "in.npz", x=graphs[0].x.numpy(), edge_index=graphs[0].edge_index.numpy())
    monkeypatch.chdir(tmp_path / "none")
    arguments = ["predict", "--input", str(tmp_path / "in.npz"), "--state", str(tmp_path / "s.npz"), "--json"]
    assert [main(arguments), main(arguments)] == [0, 0]
    h = torch.zeros(NODES, WIDTH)
    for _ in range(2):
        with torch.no_grad():
            h = module(graphs[0].x, graphs[0].edge_index, h)["h"]
    with np.load(tmp_path / "s.npz") as kept:
        assert float(np.abs(kept["h"] - h.numpy()).max()) <= 1e-4
    opened = edgegnn.runtime.open(tmp_path / "none")
    with pytest.raises(DataError, match=r"h has the shape \[7, 8\], but x says that num_nodes is 12"):
        opened.session({"h": np.zeros((7, WIDTH), np.float32)}).step(
            x=graphs[0].x.numpy(), edge_index=graphs[0].edge_index.numpy()
        )


def test_a_state_that_nothing_feeds(tmp_path: Path) -> None:
    torch.save(series(3), tmp_path / "data.pt")
    asked = {"data": str(tmp_path / "data.pt"), "task": "none", "output": tmp_path / "out"}
    checkpoint = Checkpoint(GConvGRU().eval(), {"factory": "gauntlet:build", "args": {}})
    with pytest.raises(UsageError, match="--state: the model gives no output hh, it gives y, h_out"):
        edgegnn.export(checkpoint, state={"h": "hh"}, **asked)
    with pytest.raises(UsageError, match="--state h=y: no width of h gives it the shape of the output that feeds it"):
        edgegnn.export(checkpoint, state={"h": "y"}, **asked)


class Evolving(nn.Module):
    """After EvolveGCN-O of pytorch_geometric_temporal: a cell evolves the weight of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.conv, self.head = nn.GRUCell(WIDTH, WIDTH), GCNConv(WIDTH, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, edge_index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.cell(weight, weight)
        return self.head(self.conv(x @ weight, edge_index).relu()), weight


@pytest.mark.slow
def test_a_state_that_belongs_to_no_node(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    graph = Data(
        x=torch.randn(30, WIDTH, generator=generator),
        edge_index=torch.randint(30, (2, 90), generator=generator),
        y=torch.randint(3, (30,), generator=generator),
        weight=torch.randn(WIDTH, WIDTH, generator=generator),
    )
    torch.save(graph, tmp_path / "data.pt")
    model = Evolving().eval()
    result = edgegnn.export(
        Checkpoint(model, {"factory": "gauntlet:build", "args": {}}),
        data=str(tmp_path / "data.pt"),
        state={"weight": "output_1"},
        quant="static-int8",
        output=tmp_path / "evolving",
        max_accuracy_drop=100.0,
    )
    assert result.manifest.parity.drift.steps == 20
    assert edgegnn.verify(result.path).ok
    session = edgegnn.runtime.open(result.path).session()
    inputs = {"x": graph.x.numpy(), "edge_index": graph.edge_index.numpy()}
    with pytest.raises(DataError, match="weight missing"):
        session.step(**inputs)
    weight = graph.weight
    session.step(**inputs, weight=weight.numpy())
    with torch.no_grad():
        out, weight = Evolving.forward(model, graph.x, graph.edge_index, weight)
        for _ in range(19):
            out, weight = Evolving.forward(model, graph.x, graph.edge_index, weight)
            got = session.step(**inputs)
    assert np.abs(got["output_1"] - weight.numpy()).max() < 0.1
    assert np.abs(got["output_0"] - out.numpy()).max() < 0.2 * float(out.abs().max())
