"""Does the range guard speak where it should, and only there? Layers with and without features of edges, two recipes.

Each model is an untrained network of one layer (a product in front, a sum over nodes behind). Its artifact answers
graphs like those of calibration (validation and test), and such with ten times the edges on the same nodes. For both:
how many of them the guard names, and how far the answers are from the same weights in float, as a share of the float
answers' standard deviation over graphs like those of calibration.

    python benchmarks/range_guard.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_geometric.nn as gnn
from common import environment, write
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.checkpoint import Checkpoint
from edgegnn.compression.compress import compress
from edgegnn.exporting.pipeline import export_checkpoint
from edgegnn.quantize import QuantModel, recipe
from edgegnn.runtime import GuardedModel, guarded, open_artifact
from edgegnn.tasks import task_from_graphs
from edgegnn.training import FitConfig

FEATURES, EDGE_FEATURES, WIDTH = 8, 4, 16
DEGREES = torch.tensor([0, 20, 60, 80, 60, 40, 20, 10])


def layers() -> dict[str, Callable[[], nn.Module]]:
    """Name -> a layer of WIDTH to WIDTH."""
    two = lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))  # noqa: E731
    kinds = {"aggregators": ["mean", "max", "sum"], "scalers": ["identity", "amplification"], "deg": DEGREES}
    of_edges = nn.Sequential(nn.Linear(EDGE_FEATURES, 8), nn.ReLU(), nn.Linear(8, WIDTH * WIDTH))
    return {
        "GCN": lambda: gnn.GCNConv(WIDTH, WIDTH),
        "GIN": lambda: gnn.GINConv(two()),
        "GraphConv": lambda: gnn.GraphConv(WIDTH, WIDTH),
        "GINE": lambda: gnn.GINEConv(two(), edge_dim=EDGE_FEATURES),
        "GATv2": lambda: gnn.GATv2Conv(WIDTH, WIDTH, edge_dim=EDGE_FEATURES),
        "NNConv": lambda: gnn.NNConv(WIDTH, WIDTH, of_edges),
        "TransformerConv": lambda: gnn.TransformerConv(WIDTH, WIDTH, edge_dim=EDGE_FEATURES),
        "CGConv": lambda: gnn.CGConv(WIDTH, EDGE_FEATURES),
        "PNA": lambda: gnn.PNAConv(WIDTH, WIDTH, edge_dim=EDGE_FEATURES, **kinds),
    }


class Network(nn.Module):
    """A product, the layer, a product over nodes, and a sum over them."""

    def __init__(self, layer: nn.Module, *, with_edges: bool) -> None:
        super().__init__()
        self.first, self.conv = nn.Linear(FEATURES, WIDTH), layer
        self.second, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)
        self.with_edges = with_edges

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        """Values [graphs, 1]."""
        x = self.first(x).relu()
        x = self.conv(x, edge_index, edge_attr) if self.with_edges else self.conv(x, edge_index)
        return self.head(gnn.global_add_pool(self.second(x.relu()).relu(), batch))


def graph(seed: int, edges_a_node: float) -> Data:
    """A random graph of 10 to 40 nodes."""
    draw = torch.Generator().manual_seed(seed)
    nodes = int(torch.randint(10, 41, (1,), generator=draw))
    edges = torch.randint(nodes, (2, int(nodes * edges_a_node)), generator=draw)
    return Data(
        x=torch.randn(nodes, FEATURES, generator=draw),
        edge_index=edges,
        edge_attr=torch.rand(edges.shape[1], EDGE_FEATURES, generator=draw),
        y=torch.randn(1, 1, generator=draw),
    )


def measure(name: str, layer: nn.Module, quant: str) -> dict[str, Any]:
    """A row of the table."""
    torch.manual_seed(0)
    task = task_from_graphs([graph(seed, 3.0) for seed in range(150)], data="random graphs")
    model = Network(layer, with_edges=name not in ("GCN", "GIN", "GraphConv")).eval()
    made = Checkpoint(model, {}, task.spec)
    if recipe(quant).trains:
        config = FitConfig(epochs=1, lr=1e-4)
        made = compress(made, task, None, recipe(quant), config, config).checkpoint
    with tempfile.TemporaryDirectory() as folder:
        export_checkpoint(made, task, recipe(quant), Path(folder) / "a", max_accuracy_drop=1e6)
        artifact = guarded(open_artifact(Path(folder) / "a"), threads=1)
        alike = [task.graphs[i] for split in ("val", "test") for i in task.index[split].tolist()]
        beyond = [graph(10_000 + seed, 30.0) for seed in range(20)]
        return {"layer": name, "recipe": quant, **rows(artifact, made.model, alike, beyond)}


def rows(artifact: GuardedModel, model: Any, alike: list[Data], beyond: list[Data]) -> dict[str, Any]:
    """Warnings and errors on graphs like those of calibration, and beyond."""
    found: dict[str, Any] = {}
    deviation = 1.0
    for what, graphs in (("alike", alike), ("beyond", beyond)):
        pairs = [answers(artifact, model, data) for data in graphs]
        want, got = (np.array([pair[at] for pair in pairs]) for at in (0, 1))
        deviation = float(want.std()) if what == "alike" else deviation
        errors = np.abs(want - got) / deviation
        warned = np.array([bool(pair[2]) for pair in pairs])
        found[what] = {
            "graphs": len(graphs),
            "warned": int(warned.sum()),
            "median_error": round(float(np.median(errors)), 4),
            "largest_error_without_warning": round(float(errors[~warned].max(initial=0.0)), 4),
        }
    return found


def answers(artifact: GuardedModel, model: Any, data: Data) -> tuple[float, float, str]:
    """What the float weights give, what the artifact gives, and what the guard says."""
    args = (data.x, data.edge_index, data.edge_attr, torch.zeros(len(data.x), dtype=torch.long))
    with torch.no_grad():
        if isinstance(model, QuantModel):
            with model.as_float() as plain:
                want = float(plain(*args))
        else:
            want = float(model(*args))
    names = ("x", "edge_index", "edge_attr", "batch")
    inputs = {name: value.numpy() for name, value in zip(names, args, strict=True)}
    known = {name: inputs[name] for name in artifact.inputs}
    watched = artifact.run(known)
    return want, float(watched.outputs["logits"].item()), watched.over


def main() -> None:
    """Measure every layer with every recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", nargs="*", default=list(layers()))
    parser.add_argument("--recipes", nargs="*", default=["static-int8", "dq-int8"])
    arguments = parser.parse_args()
    table = []
    for name in arguments.layers:
        for quant in arguments.recipes:
            torch.manual_seed(1)  # of the layer's weights
            table.append(measure(name, layers()[name](), quant))
            print(json.dumps(table[-1]), flush=True)
    write("range-guard", {**environment(), "table": table})


if __name__ == "__main__":
    main()
