"""Models of kinds that the zoo doesn't have, and data for them: `kinds_accuracy.py` trains and exports them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import (
    MLP,
    DynamicEdgeConv,
    GCNConv,
    GINEConv,
    HeteroConv,
    SAGEConv,
    global_max_pool,
)

from edgegnn.bench.generated import traffic as traffic_windows
from edgegnn.tasks import load_task
from edgegnn.tasks.digits import digit_graphs

MOLECULES, CLOUDS = 1500, 600


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Attributes:
        factory: builds the model.
        data: builds what `--data` names.
        task: as of edgegnn train.
        metric: what the scores are called.
        split: as of edgegnn train; None where the data say.
        settings: of training; the rest are the defaults.
    """

    factory: str
    data: Callable[[], Any]
    task: str
    metric: str
    split: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def papers_and_words(name: str) -> HeteroData:
    """A citation network as papers that cite papers and have words; the public split's labels are of papers."""
    graph = load_task(name).graphs[0]
    data = HeteroData()
    paper, word = graph.x.nonzero().T
    data["paper"].x = (graph.x > 0).float()
    data["paper"].y = graph.y
    for part in ("train_mask", "val_mask", "test_mask"):
        data["paper"][part] = graph[part]
    data["paper", "cites", "paper"].edge_index = graph.edge_index
    data["paper", "has", "word"].edge_index = torch.stack([paper, word])
    data["word", "in", "paper"].edge_index = torch.stack([word, paper])
    data["word"].x = torch.ones(graph.x.shape[1], 1)
    return data


class Relational(nn.Module):
    """Papers and words tell each other what they are, one SAGE layer a relation; twice."""

    def __init__(self, words: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.paper, self.word = nn.Linear(words, hidden), nn.Embedding(words, hidden)
        self.first, self.second = (
            HeteroConv(
                {
                    ("paper", "cites", "paper"): SAGEConv(hidden, hidden),
                    ("paper", "has", "word"): SAGEConv(hidden, hidden),
                    ("word", "in", "paper"): SAGEConv(hidden, hidden),
                },
                aggr="mean",
            )
            for _ in range(2)
        )
        self.dropout, self.head = nn.Dropout(0.6), nn.Linear(hidden, classes)

    def forward(self, x_dict: dict[str, Tensor], edge_index_dict: dict[tuple[str, str, str], Tensor]) -> Tensor:
        """Return logits of papers."""
        h = {"paper": self.paper(x_dict["paper"]), "word": x_dict["word"] * self.word.weight}
        for conv in (self.first, self.second):
            h = {kind: self.dropout(value.relu()) for kind, value in h.items()}
            h = conv(h, edge_index_dict)
        return self.head(h["paper"].relu())


def molecules() -> list[Data]:
    """The first molecules of BBBP that have bonds, with PyG's features of atoms and bonds, and their SMILES."""
    logging.disable(logging.WARNING)  # molecules that rdkit can't read are left out
    try:
        graphs = load_task("bbbp").graphs
    finally:
        logging.disable(logging.NOTSET)
    few = [graph.clone() for graph in graphs if graph.num_edges][:MOLECULES]
    for graph in few:
        graph.x, graph.edge_attr = graph.x.long(), graph.edge_attr.long()
    return few


def bonds() -> list[Data]:
    """Molecules without their bonds' features; y: of each bond, whether it is single, double, triple or aromatic."""
    kinds = {1: 0, 2: 1, 3: 2, 12: 3}
    made = []
    for graph in molecules():
        y = torch.tensor([kinds[int(kind)] for kind in graph.edge_attr[:, 0]])
        # Number, charge and hydrogens of each atom. Not what rdkit derives from bonds: aromatic, in a ring, ...
        x = torch.cat([nn.functional.one_hot(graph.x[:, 0].clamp(max=54), 55), graph.x[:, 3:5]], dim=1).float()
        made.append(Data(x=x, edge_index=graph.edge_index, y=y))
    return made


class Bonds(nn.Module):
    """Three GIN layers with a residual, then a class for each bond of what its two ends add up to."""

    def __init__(self, columns: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.into = nn.Linear(columns, hidden)
        self.convs = nn.ModuleList(SAGEConv(hidden, hidden, aggr="sum") for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(3))
        self.head = MLP([hidden, hidden, classes], norm=None)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return logits of bonds."""
        x = self.into(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = x + norm(conv(x, edge_index)).relu()
        return self.head(x[edge_index[0]] + x[edge_index[1]])


def charges() -> list[Data]:
    """Molecules; y: of each atom, the partial charge that Gasteiger's method (in rdkit) gives, in tenths."""
    from rdkit import Chem
    from rdkit.Chem import rdPartialCharges

    made = []
    for graph in molecules():
        molecule = Chem.MolFromSmiles(graph.smiles)
        rdPartialCharges.ComputeGasteigerCharges(molecule)
        y = torch.tensor([atom.GetDoubleProp("_GasteigerCharge") for atom in molecule.GetAtoms()])
        if len(y) == graph.num_nodes and bool(torch.isfinite(y).all()):
            x = torch.cat([nn.functional.one_hot(graph.x[:, 0].clamp(max=54), 55), graph.x[:, 3:5]], dim=1).float()
            bond = nn.functional.one_hot(graph.edge_attr[:, 0].clamp(max=12), 13).float()
            made.append(Data(x=x, edge_index=graph.edge_index, edge_attr=bond, y=10 * y))
    return made


class Charges(nn.Module):
    """Four GINE layers with residuals; a value for each atom."""

    def __init__(self, columns: int, bond: int, hidden: int) -> None:
        super().__init__()
        self.into, self.bond = nn.Linear(columns, hidden), nn.Linear(bond, hidden)
        self.convs = nn.ModuleList(
            GINEConv(nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))) for _ in range(4)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(4))
        self.head = MLP([hidden, hidden, 1], norm=None)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Return the charges of atoms `[N, 1]`."""
        x, edge_attr = self.into(x), self.bond(edge_attr)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = x + norm(conv(x, edge_index, edge_attr)).relu()
        return self.head(x)


def clouds() -> list[Data]:
    """The first handwritten digits as points: row, column and ink. No edges: the model finds neighbours itself."""
    made = []
    for digit in digit_graphs()[:CLOUDS]:
        row, column = (digit.x[:, at : at + 8].argmax(1, keepdim=True) / 8 for at in (1, 9))
        made.append(Data(x=torch.cat([row, column, digit.x[:, :1]], 1), y=digit.y))
    return made


class Dgcnn(nn.Module):
    """DGCNN: each layer looks for the nearest neighbours among the features of the one before."""

    def __init__(self, classes: int, hidden: int = 32, neighbours: int = 8) -> None:
        super().__init__()
        self.first = DynamicEdgeConv(MLP([6, hidden, hidden]), k=neighbours)
        self.second = DynamicEdgeConv(MLP([2 * hidden, 2 * hidden]), k=neighbours)
        self.wide, self.head = nn.Linear(3 * hidden, 128), nn.Linear(128, classes)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        """Return logits of clouds."""
        near = self.first(x, batch)
        far = self.second(near, batch)
        return self.head(global_max_pool(self.wide(torch.cat([near, far], dim=1)).relu(), batch))


def series() -> list[Data]:
    """Windows of speeds at 64 sensors (generated: `edgegnn.bench.generated.traffic`); y: each sensor's next reading."""
    made = []
    for graph in traffic_windows(0, windows=400, steps=9):
        made.append(Data(x=graph.x[:, :8], edge_index=graph.edge_index, y=graph.x[:, 8:], split=graph.split))
    return made


class Recurrent(nn.Module):
    """A GRU whose products are graph convolutions, over a window of readings; a value for each sensor."""

    def __init__(self, steps: int = 8, hidden: int = 32) -> None:
        super().__init__()
        self.steps, self.width = steps, hidden
        self.gates, self.states = GCNConv(1, 3 * hidden), GCNConv(hidden, 2 * hidden)
        self.candidate, self.head = GCNConv(hidden, hidden), nn.Linear(hidden, 1)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the change from the last reading added to it, `[N, 1]`."""
        width = self.width
        h = x.new_zeros(x.shape[0], width)
        for step in range(self.steps):
            of_x, of_h = self.gates(x[:, step : step + 1], edge_index), self.states(h, edge_index)
            update = torch.sigmoid(of_x[:, :width] + of_h[:, :width])
            reset = torch.sigmoid(of_x[:, width : 2 * width] + of_h[:, width:])
            new = torch.tanh(of_x[:, 2 * width :] + self.candidate(h * reset, edge_index))
            h = update * h + (1 - update) * new
        return x[:, -1:] + self.head(h)


def relational(out_channels: int, words: int = 1433, hidden: int = 64) -> nn.Module:
    return Relational(words, hidden, out_channels)


def bond_types(in_channels: int, out_channels: int, hidden: int = 64) -> nn.Module:
    return Bonds(in_channels, hidden, out_channels)


def atom_charges(in_channels: int, hidden: int = 64) -> nn.Module:
    return Charges(in_channels, 13, hidden)


def dgcnn(out_channels: int) -> nn.Module:
    return Dgcnn(out_channels)


def recurrent() -> nn.Module:
    return Recurrent()


GRAPHS = {"epochs": 60, "lr": 0.003, "batch_size": 64, "weight_decay": 0.0}
KINDS = {
    "relational-cora": Kind(
        "kinds:relational", lambda: papers_and_words("cora"), "node:paper", "accuracy, %", settings={"epochs": 60}
    ),
    "bonds-bbbp": Kind("kinds:bond_types", bonds, "edge", "accuracy, %", "random", GRAPHS | {"epochs": 30}),
    "charges-bbbp": Kind("kinds:atom_charges", charges, "node-regression", "MAE, 0.1 e", "random", GRAPHS),
    "dgcnn-digits": Kind("kinds:dgcnn", clouds, "graph", "accuracy, %", "random", GRAPHS | {"epochs": 15}),
    "recurrent-traffic": Kind("kinds:recurrent", series, "node-regression", "MAE", None, GRAPHS),
}


def write_data(name: str, folder: Path) -> Path:
    """Write a kind's data file, and return its path."""
    path = folder / f"{name}.pt"
    torch.save(KINDS[name].data(), path)
    return path
