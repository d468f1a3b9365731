"""Inputs about rows of a further kind: triplets of atoms as DimeNet takes them, a line graph, faces of a mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gauntlet_data import many_graphs
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import SAGEConv, global_mean_pool
from torch_geometric.utils import scatter

import edgegnn
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import DataError, UsageError
from edgegnn.runtime import open_artifact
from edgegnn.runtime.roles import EDGE_NUMBERS, EDGES, ITEM
from edgegnn.signature.attributes import roles_of
from edgegnn.signature.items import item_roles
from edgegnn.tasks import collate, load_task


class Molecule(Data):
    """A graph whose batches number edges on, as people write it for PyG's `DataLoader`."""

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key in {"idx_kj", "idx_ji", "line_graph"}:
            return self.edge_index.shape[1]
        return super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        return 1 if key == "line_graph" else super().__cat_dim__(key, value, *args, **kwargs)


def molecules(count: int = 30) -> list[Molecule]:
    """Graphs with positions, and each pair of edges of which one ends where the other begins."""
    made = []
    for graph in many_graphs(count):
        source, target = graph.edge_index
        follows = (target[:, None] == source[None, :]) & (source[:, None] != target[None, :])
        kj, ji = follows.nonzero(as_tuple=True)
        graph = Molecule(
            x=graph.x,
            edge_index=graph.edge_index,
            pos=graph.pos,
            edge_attr=graph.edge_attr,
            y=graph.y,
            idx_kj=kj,
            idx_ji=ji,
        )
        graph.line_graph, graph.angle = torch.stack([kj, ji]), torch.rand(len(kj), 2)
        made.append(graph)
    return made


def plain(graphs: list[Molecule]) -> list[Data]:
    return [Data(**graph.to_dict()) for graph in graphs]


class Directional(nn.Module):
    """Messages are of edges and go along triplets (DimeNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.triplet, self.head = nn.Linear(17, 16), nn.Linear(17, 16), nn.Linear(16, 3)

    def forward(
        self, x: Tensor, pos: Tensor, edge_index: Tensor, idx_kj: Tensor, idx_ji: Tensor, batch: Tensor
    ) -> Tensor:
        j, i = edge_index
        along = pos[j] - pos[i]
        message = self.edge(torch.cat([x[i], x[j], along.norm(dim=-1, keepdim=True)], dim=-1)).relu()
        cosine = (along[idx_kj] * along[idx_ji]).sum(-1, keepdim=True)
        sent = self.triplet(torch.cat([message[idx_kj], cosine], dim=-1)).relu()
        message = message + torch.zeros_like(message).index_add_(0, idx_ji, sent)
        return self.head(global_mean_pool(scatter(message, i, dim=0, dim_size=x.size(0)), batch))


class LineGraph(nn.Module):
    """Edges pass messages along the line graph, with a feature of each of its edges (ALIGNN)."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.angle, self.conv = nn.Linear(3, 8), nn.Linear(2, 8), SAGEConv(8, 8)
        self.node, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, line_graph: Tensor, angle: Tensor, batch: Tensor
    ) -> Tensor:
        edge = self.conv(self.edge(edge_attr).relu(), line_graph).relu()
        gate = scatter(self.angle(angle).sigmoid(), line_graph[1], dim=0, dim_size=edge.size(0), reduce="mean")
        h = self.node(x) + scatter(edge * gate, edge_index[1], dim=0, dim_size=x.size(0))
        return self.head(global_mean_pool(h.relu(), batch))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["none", "static-int8", "dq-int8"])
@pytest.mark.parametrize("build", [Directional, LineGraph])
def test_numbers_of_edges(build: type[nn.Module], recipe: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, graphs = build(), molecules()
    torch.save(plain(graphs), tmp_path / "data.pt")
    result = edgegnn.export(
        Checkpoint(model.eval(), {"factory": "gauntlet:build", "args": {}}),
        quant=recipe,
        data=str(tmp_path / "data.pt"),
        output=tmp_path / "artifact",
        settings={"epochs": 2, "seed": 0, "lr": 1e-4} if recipe == "dq-int8" else None,
        max_accuracy_drop=100.0,
        min_agreement=0.0,
    )
    assert edgegnn.verify(result.path).ok
    artifact = edgegnn.runtime.open(result.path)
    together = Batch.from_data_list(graphs[:3])
    with torch.no_grad():
        want = model(*(together[spec.name] for spec in model_inputs(result.path, model))).numpy()
    inputs = {spec.name: together[spec.name].numpy() for spec in artifact.manifest.inputs}
    assert np.abs(artifact(**inputs) - want).max() < (1e-5 if recipe == "none" else 0.2) * max(1.0, np.abs(want).max())
    number = "idx_kj" if build is Directional else "line_graph"
    inputs[number] = inputs[number].copy()
    inputs[number][..., 0] = together.edge_index.shape[1]
    with pytest.raises(DataError, match=rf"{number}\[0, 0\] is \d+, but the graph has \d+ edges \(0 to \d+\)"):
        artifact(**inputs)


def model_inputs(path: Path, model: nn.Module) -> list[Any]:
    """The manifest's inputs in the order of the forward."""
    import inspect

    specs = {spec.name: spec for spec in open_artifact(path).manifest.inputs}
    return [specs[name] for name in inspect.signature(model.forward).parameters]


def test_batches_number_edges_on(tmp_path: Path) -> None:
    graphs = molecules(12)
    torch.save(plain(graphs), tmp_path / "data.pt")
    task = load_task(str(tmp_path / "data.pt"))
    assert {name: task.roles[name].name for name in ("idx_kj", "line_graph", "angle")} == {
        "idx_kj": "edge_numbers",
        "line_graph": "edge_numbers",
        "angle": "item",
    }
    batch, want = collate(task.graphs[:4]), Batch.from_data_list(graphs[:4])
    for name in ("idx_kj", "idx_ji", "line_graph", "angle"):
        assert torch.equal(batch[name], want[name])


def test_numbers_that_could_be_either_are_asked_about(tmp_path: Path) -> None:
    torch.manual_seed(0)
    graphs = plain(molecules(12))
    for graph in graphs:  # a path: fewer edges than nodes
        nodes = graph.num_nodes
        graph.edge_index = torch.stack([torch.arange(nodes - 1), torch.arange(1, nodes)])
        graph.idx_kj, graph.idx_ji = torch.arange(nodes - 2), torch.arange(1, nodes - 1)
        graph.edge_attr, graph.line_graph, graph.angle = None, None, None
    torch.save(graphs, tmp_path / "data.pt")
    checkpoint = Checkpoint(Directional().eval(), {"factory": "gauntlet:build", "args": {}})
    with pytest.raises(UsageError, match=r"say --input idx_\w+=ROLE, with .*edge_numbers"):
        edgegnn.export(checkpoint, data=str(tmp_path / "data.pt"), output=tmp_path / "artifact")
    told = {"idx_kj": "edge_numbers", "idx_ji": "edge_numbers"}
    from edgegnn.tasks.loading import load_task as read

    assert read(str(tmp_path / "data.pt"), inputs=told).roles["idx_ji"].name == "edge_numbers"


def test_categories_of_items_are_no_numbers_of_nodes() -> None:
    """They stay small in large graphs, and are not moved on when graphs are put side by side."""
    random = torch.Generator().manual_seed(0)
    graphs = []
    for nodes in (12, 30, 50):
        edges = torch.randint(nodes, (2, 4 * nodes), generator=random)
        items = 3 * nodes + 1
        corners, kinds = (torch.randint(most, (items,), generator=random) for most in (4 * nodes, 3))
        graphs.append(Data(edge_index=edges, num_nodes=nodes, corners=corners, kinds=kinds))
    found = item_roles(graphs, ["corners", "kinds"], {})
    assert found["corners"].is_a(EDGE_NUMBERS)
    assert found["kinds"].is_a(ITEM)
    assert item_roles(graphs, ["kinds"], {}) == {}


def test_the_list_of_edges_under_another_name_is_one() -> None:
    graph = many_graphs(3)[0]
    graph.edges = graph.edge_index.clone()
    assert roles_of([graph])["edges"] == EDGES
