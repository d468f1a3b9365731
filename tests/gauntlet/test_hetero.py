"""Several types of nodes and relations: layers of PyG, dictionaries by any name, types without features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gauntlet import FLOAT, run_gauntlet
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    HANConv,
    HeteroConv,
    HGTConv,
    Linear,
    SAGEConv,
    global_add_pool,
    to_hetero,
)

import edgegnn
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import DataError, EdgeGNNError, PruneError, UsageError
from edgegnn.prune.edges import learn_edges
from edgegnn.quantize import QuantModel, recipe
from edgegnn.quantize.degree_protection import add_protection
from edgegnn.runtime import open_artifact, predict
from edgegnn.runtime.roles import BATCH
from edgegnn.signature import nested
from edgegnn.signature.typed import typed_roles
from edgegnn.tasks import load_task
from edgegnn.tasks.hetero import typed_graphs
from edgegnn.training import fit_defaults

PAPERS, AUTHORS, CLASSES = 60, 30, 3
RELATIONS = [("author", "writes", "paper"), ("paper", "written_by", "author"), ("paper", "cites", "paper")]
META = (["paper", "author"], RELATIONS)
SIZES = {"paper": 10, "author": 6}


def library(seed: int = 0) -> HeteroData:
    """Papers with classes, their authors, and who cites whom."""
    generator = torch.Generator().manual_seed(seed)
    graph = HeteroData()
    graph["paper"].x = torch.randn(PAPERS, SIZES["paper"], generator=generator)
    graph["author"].x = torch.randn(AUTHORS, SIZES["author"], generator=generator)
    writes = torch.stack(
        [torch.randint(AUTHORS, (90,), generator=generator), torch.randint(PAPERS, (90,), generator=generator)]
    )
    graph["author", "writes", "paper"].edge_index = writes
    graph["paper", "written_by", "author"].edge_index = writes.flip(0)
    graph["paper", "cites", "paper"].edge_index = torch.randint(PAPERS, (2, 150), generator=generator)
    graph["paper"].y = torch.randint(CLASSES, (PAPERS,), generator=generator)
    for part, rows in zip(("train", "val", "test"), torch.arange(PAPERS).split([36, 12, 12]), strict=True):
        graph["paper"][f"{part}_mask"] = torch.zeros(PAPERS, dtype=torch.bool).index_fill(0, rows, True)
    return graph


class Library(nn.Module):
    """Two rounds of `HeteroConv`, with another layer for each kind of relation."""

    def __init__(self, layer: str = "sage") -> None:
        super().__init__()
        sizes = [SIZES, {"paper": 8, "author": 8}]
        self.convs = nn.ModuleList(
            HeteroConv({r: self._layer(layer, size[r[0]], size[r[2]], r) for r in RELATIONS}) for size in sizes
        )
        self.head = nn.Linear(8, CLASSES)

    @staticmethod
    def _layer(layer: str, source: int, target: int, relation: tuple[str, str, str]) -> nn.Module:
        if layer == "gat":
            return GATConv((source, target), 4, heads=2, add_self_loops=False)
        if layer == "gcn" and relation[0] == relation[2]:
            return GCNConv(source, 8)
        return SAGEConv((source, target), 8)

    def forward(self, x_dict: dict[str, Tensor], edge_index_dict: dict[tuple[str, str, str], Tensor]) -> Tensor:
        for conv in self.convs:
            x_dict = {kind: h.relu() for kind, h in conv(x_dict, edge_index_dict).items()}
        return self.head(x_dict["paper"])


class Transformer(nn.Module):
    """As PyG's example for HGT; `forward(data)`."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.ModuleDict({kind: Linear(size, 8) for kind, size in SIZES.items()})
        self.convs = nn.ModuleList(HGTConv(8, 8, META, heads=2) for _ in range(2))
        self.head = Linear(8, CLASSES)

    def forward(self, data: HeteroData) -> Tensor:
        h = {kind: self.into[kind](x).relu() for kind, x in data.x_dict.items()}
        for conv in self.convs:
            h = conv(h, data.edge_index_dict)
        return self.head(h["paper"])


class Attention(nn.Module):
    """As PyG's example for HAN, with other names of the dictionaries; both types get an output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = HANConv(SIZES, 8, META, heads=2), Linear(8, CLASSES)

    def forward(self, features: dict[str, Tensor], edges: dict[tuple[str, str, str], Tensor]) -> dict[str, Tensor]:
        return {kind: self.head(h) for kind, h in self.conv(features, edges).items()}


class Plain(nn.Module):
    """What `to_hetero` copies for each relation: its copies take dictionaries named x and edge_index."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SAGEConv((-1, -1), 8), SAGEConv((-1, -1), CLASSES)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


def copied() -> nn.Module:
    """`to_hetero` of a plain model."""
    model, graph = to_hetero(Plain(), META), library()
    with torch.no_grad():
        model(graph.x_dict, graph.edge_index_dict)
    return model


class Learnt(nn.Module):
    """Authors have no features: the model has learnt a row for each."""

    def __init__(self) -> None:
        super().__init__()
        self.authors, self.inner = nn.Embedding(AUTHORS, SIZES["author"]), Library()

    def forward(self, x_dict: dict[str, Tensor], edge_index_dict: dict[tuple[str, str, str], Tensor]) -> Tensor:
        return self.inner({**x_dict, "author": self.authors.weight}, edge_index_dict)


RINGS = [("atom", "bond", "atom"), ("atom", "in", "ring"), ("ring", "has", "atom")]


def molecules(count: int = 24) -> list[HeteroData]:
    """Atoms, bonds with attributes, and rings; every fourth molecule has no ring."""
    generator, graphs = torch.Generator().manual_seed(0), []
    for i in range(count):
        graph, atoms, rings = HeteroData(), 5 + i % 4, 1 + i % 3
        graph["atom"].x = torch.randn(atoms, 6, generator=generator)
        graph[RINGS[0]].edge_index = torch.randint(atoms, (2, 3 * atoms), generator=generator)
        graph[RINGS[0]].edge_attr = torch.randn(3 * atoms, 2, generator=generator)
        if i % 4 != 3:
            graph["ring"].x = torch.randn(rings, 4, generator=generator)
            ends = [torch.randint(size, (2 * rings,), generator=generator) for size in (atoms, rings)]
            graph[RINGS[1]].edge_index = torch.stack(ends)
            graph[RINGS[2]].edge_index = torch.stack(ends[::-1])
        graph.y = torch.tensor([i % CLASSES])
        graphs.append(graph)
    return graphs


class Rings(nn.Module):
    """One answer for each graph, from the atoms; bonds have attributes."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = GATConv(6, 8, edge_dim=2, add_self_loops=False), SAGEConv((6, 4), 8), SAGEConv((4, 6), 8)
        self.conv = HeteroConv(dict(zip(RINGS, (first, second, third), strict=True)))
        self.head = nn.Linear(8, CLASSES)

    def forward(
        self,
        x_dict: dict[str, Tensor],
        edge_index_dict: dict[tuple[str, str, str], Tensor],
        batch_dict: dict[str, Tensor],
        edge_attr_dict: dict[tuple[str, str, str], Tensor] | None = None,
    ) -> Tensor:
        h = self.conv(x_dict, edge_index_dict, edge_attr_dict=edge_attr_dict)
        return self.head(global_add_pool(h["atom"].relu(), batch_dict["atom"]))


@pytest.mark.slow
def test_graphs_of_which_some_lack_a_relation(tmp_path: Path) -> None:
    def eager(model: nn.Module, graph: HeteroData) -> Tensor:
        batch = {"atom": torch.zeros(len(graph["atom"].x), dtype=torch.int64)}
        out: Tensor = model(graph.x_dict, graph.edge_index_dict, batch, graph.edge_attr_dict)
        return out

    torch.manual_seed(0)
    (manifest,) = run_gauntlet(Rings(), molecules(), tmp_path, eager, recipes=FLOAT).values()
    assert {"edge_attr.atom__bond__atom", "batch.atom"} <= {spec.name for spec in manifest.inputs}
    without = molecules()[3]
    inputs = {
        "x_dict": {"atom": without["atom"].x.numpy(), "ring": np.zeros((0, 4), np.float32)},
        "edge_index_dict": {r: np.zeros((2, 0), np.int64) for r in RINGS}
        | {RINGS[0]: without[RINGS[0]].edge_index.numpy()},
        "edge_attr_dict": {RINGS[0]: without[RINGS[0]].edge_attr.numpy()},
        "batch_dict": {"atom": np.zeros(len(without["atom"].x), np.int64), "ring": np.zeros(0, np.int64)},
    }
    got = predict(tmp_path / "none", inputs)
    torch.manual_seed(0)
    model = Rings().eval()
    whole = {"atom": without["atom"].x, "ring": torch.zeros(0, 4)}
    relations = {r: torch.from_numpy(edges) for r, edges in inputs["edge_index_dict"].items()}
    batch = {"atom": torch.zeros(len(without["atom"].x), dtype=torch.int64)}
    with torch.no_grad():
        want = model(whole, relations, batch, without.edge_attr_dict).numpy()
    assert np.abs(got - want).max() < 1e-5


def test_degree_quant_protects_both_ends_of_a_relation() -> None:
    (graph,) = typed_graphs([library()], "library")
    add_protection([graph], 0.0, 1.0)
    model = Library()
    quantized = QuantModel(model, recipe("dq-int8"), {"points": {}, "layers": {}}).train()
    quantized.set_protection(graph.dq_prob)
    seen = {}

    def note(path: str, kind: int) -> None:
        layer = model.convs[0].convs[RELATIONS[kind]].lin_l
        layer.register_forward_pre_hook(lambda *_: seen.update({path: quantized.step.ends}))

    note("writes", 0)
    note("written_by", 1)
    roles = typed_roles([graph])
    names = [name for name, role in roles.items() if not role.is_a(BATCH)]
    inputs = {name: graph[name] for name in names}
    model.forward = nested(model, inputs, roles, graph.schema, told={}, several=False, of="paper", where="library")
    quantized(**inputs)
    assert [len(mask) for mask in seen["writes"]] == [AUTHORS, PAPERS]
    assert [len(mask) for mask in seen["written_by"]] == [PAPERS, AUTHORS]
    most = torch.bincount(graph["edge_index.paper__written_by__author"][1], minlength=AUTHORS).argmax()
    assert seen["written_by"][1][most]
    assert quantized.step.ends is None


def by_dictionaries(model: nn.Module, graph: HeteroData) -> Tensor:
    out: Tensor | dict[str, Tensor] = model(graph.x_dict, graph.edge_index_dict)
    return out["paper"] if isinstance(out, dict) else out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "native"),
    [
        (Library, 5),
        (lambda: Library("gat"), 5),
        (lambda: Library("gcn"), 5),
        (Attention, 3),
        (copied, 5),
    ],
    ids=["sage", "gat", "gcn", "HANConv", "to_hetero"],
)
def test_nodes_of_one_type(build: type[nn.Module], native: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = run_gauntlet(build(), library(), tmp_path, by_dictionaries, recipes=("none", "static-int8"))
    for manifest in made.values():
        assert [spec.name for spec in manifest.inputs][:2] == ["x.paper", "x.author"]
        assert manifest.outputs[0].shape == ("num_nodes.paper", CLASSES)
        assert sum(found["rule"] is not None for found in manifest.raw["aggregations"]) >= native


@pytest.mark.slow
def test_heterogeneous_transformer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (manifest,) = run_gauntlet(
        Transformer(), library(), tmp_path, lambda model, graph: model(graph), recipes=FLOAT
    ).values()
    assert {"x.paper", "x.author", "edge_index.paper__cites__paper"} <= {spec.name for spec in manifest.inputs}
    assert manifest.outputs[0].shape == ("num_nodes.paper", CLASSES)


@pytest.mark.slow
def test_types_without_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = library()
    del graph["author"].x
    graph["author"].num_nodes = AUTHORS
    (manifest,) = run_gauntlet(Learnt(), graph, tmp_path, by_dictionaries, recipes=FLOAT).values()
    assert "x.author" not in [spec.name for spec in manifest.inputs]
    inputs = {
        "x_dict": {"paper": graph["paper"].x.numpy()},
        "edge_index_dict": {key: edges.numpy() for key, edges in graph.edge_index_dict.items()},
    }
    inputs["edge_index_dict"]["author", "writes", "paper"] = np.array([[AUTHORS], [0]])
    with pytest.raises(DataError, match=r"is 30, but the graph has 30 nodes of type author \(0 to 29\)"):
        predict(tmp_path / "none", inputs)
    del inputs["edge_index_dict"]["author", "writes", "paper"]
    with pytest.raises(DataError, match=r"writes__paper missing.*is an int64 array of shape \[2, 0\]"):
        predict(tmp_path / "none", inputs)


class LearntBeside(nn.Module):
    """A learnt row for each author, times what is known of the author."""

    def __init__(self) -> None:
        super().__init__()
        self.paper, self.author = Linear(SIZES["paper"], 8), nn.Embedding(AUTHORS, SIZES["author"])
        self.conv, self.head = SAGEConv((SIZES["author"], 8), 8), Linear(8, CLASSES)

    def forward(self, x_dict: dict, edge_index_dict: dict) -> Tensor:
        authors = x_dict["author"] * self.author.weight
        paper = self.paper(x_dict["paper"]).relu()
        return self.head(self.conv((authors, paper), edge_index_dict["author", "writes", "paper"]).relu())


@pytest.mark.slow
def test_learnt_rows_beside_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (manifest,) = run_gauntlet(LearntBeside(), library(), tmp_path, by_dictionaries, recipes=FLOAT).values()
    assert {spec.name: spec.shape[0] for spec in manifest.inputs}["x.author"] == AUTHORS


class Ratings(nn.Module):
    """Encoder and decoder of edges, as PyG's examples for recommenders: a value for each edge of one relation."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = HeteroConv({r: SAGEConv((SIZES[r[0]], SIZES[r[2]]), 8) for r in RELATIONS})
        self.head = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x_dict: dict[str, Tensor], edge_index_dict: dict[tuple[str, str, str], Tensor]) -> Tensor:
        z = self.encode(x_dict, edge_index_dict)
        author, paper = edge_index_dict[RELATIONS[0]]
        return self.head(torch.cat([z["author"][author], z["paper"][paper]], dim=1)).squeeze(-1)


@pytest.mark.slow
def test_values_of_the_edges_of_a_relation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = library()
    del graph["paper"].y
    graph[RELATIONS[0]].edge_label = torch.rand(graph[RELATIONS[0]].edge_index.shape[1])
    made = run_gauntlet(Ratings(), graph, tmp_path, _scaled, recipes=("none", "dq-int8"), task="edge-regression:writes")
    for manifest in made.values():
        assert manifest.outputs[0].shape[0] == "num_edges.author__writes__paper"
    with pytest.raises(UsageError, match=r"edge:quotes: .* choose one of author__writes__paper"):
        load_task(str(tmp_path / "data.pt"), task="edge:quotes")


def _scaled(model: nn.Module, graph: HeteroData) -> Tensor:
    out: Tensor = type(model).forward(model, graph.x_dict, graph.edge_index_dict)
    return out


class Encoder(nn.Module):
    """A row for each node of every type."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = HeteroConv({r: SAGEConv((SIZES[r[0]], SIZES[r[2]]), 8) for r in RELATIONS})

    def forward(
        self, x_dict: dict[str, Tensor], edge_index_dict: dict[tuple[str, str, str], Tensor]
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.conv(x_dict, edge_index_dict)
        return found


@pytest.mark.slow
def test_embeddings_of_every_type(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, graph = Encoder(), library()
    del graph["paper"].y
    torch.save(graph, tmp_path / "data.pt")
    result = edgegnn.export(
        Checkpoint(encoder.eval(), {"factory": "gauntlet:build", "args": {}}),
        data=str(tmp_path / "data.pt"),
        task="none",
        quant="static-int8",
        output=tmp_path / "encoder",
    )
    assert edgegnn.verify(result.path).ok
    artifact = open_artifact(result.path)
    assert {(spec.name, spec.shape[0]) for spec in artifact.manifest.outputs} == {
        ("paper", "num_nodes.paper"),
        ("author", "num_nodes.author"),
    }
    inputs = {"x_dict": {kind: x.numpy() for kind, x in graph.x_dict.items()}}
    inputs["edge_index_dict"] = {key: edges.numpy() for key, edges in graph.edge_index_dict.items()}
    with torch.no_grad():
        got, want = predict(artifact, inputs), encoder(graph.x_dict, graph.edge_index_dict)
    for kind, value in want.items():
        assert np.abs(got[kind] - value.numpy()).max() < 0.1 * float(value.abs().max())


def test_what_is_refused(tmp_path: Path) -> None:
    graph = library()
    graph["author"].y = torch.zeros(AUTHORS, dtype=torch.int64)
    graph["author"].train_mask = torch.ones(AUTHORS, dtype=torch.bool)
    with pytest.raises(EdgeGNNError, match=r"paper and author have labels: say which with --task node:paper"):
        run_gauntlet(Library(), graph, tmp_path, by_dictionaries)
    graph = library()
    with pytest.raises(UsageError, match="pairs are drawn of one type only"):
        load_task(str(tmp_path / "data.pt"), task="link-prediction")
    with pytest.raises(PruneError, match="edges is for graphs with one type of nodes"):
        learn_edges(Library(), load_task(str(tmp_path / "data.pt"), task="node:paper"), 3, fit_defaults("node"))
    graph["paper", "cites", "paper"].edge_index[0, 0] = PAPERS
    with pytest.raises(DataError, match=r"paper__cites__paper names node 60 of type paper, which has nodes 0 to 59"):
        run_gauntlet(Library(), graph, tmp_path, by_dictionaries)
