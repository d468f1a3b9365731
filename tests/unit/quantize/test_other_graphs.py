"""Other graphs than a model's example: rows are told by their roles, whatever they are called."""

from __future__ import annotations

import torch
from torch import Tensor

from edgegnn.quantize.other_graphs import fewer_edges, first_graph, number_of_graphs, random_graphs
from edgegnn.runtime.roles import BATCH, EDGE, EDGES, GRAPH, NODE, Role, typed_size

COARSE = EDGES.sized(typed_size("num_edges", "coarse"))
ROLES: dict[str, Role] = {
    "links": EDGES, "z": NODE, "weight": EDGE, "which": BATCH, "u": GRAPH, "coarse": COARSE,
}  # fmt: skip


def batch() -> dict[str, Tensor]:
    """Two graphs of three and four nodes; the list of edges comes first, and no name says what it is."""
    return {
        "links": torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 6]]),
        "z": torch.arange(7),
        "weight": torch.arange(6.0),
        "which": torch.tensor([0, 0, 0, 1, 1, 1, 1]),
        "u": torch.arange(4.0).view(2, 2),
        "coarse": torch.tensor([[0, 3], [2, 6]]),
    }


def test_features_of_the_edges_go_with_them() -> None:
    fewer = fewer_edges(batch(), ROLES)
    assert fewer["links"].tolist() == [[1, 2, 4, 5], [2, 0, 5, 6]]
    assert fewer["weight"].tolist() == [1, 2, 4, 5]
    assert fewer["coarse"].shape == (2, 2)
    assert len(fewer["z"]) == 7


def test_the_first_graph_alone() -> None:
    alone = first_graph(batch(), ROLES)
    assert alone is not None
    assert number_of_graphs(batch(), ROLES) == 2
    assert {name: list(value.shape) for name, value in alone.items()} == {
        "links": [2, 3], "z": [3], "weight": [3], "which": [3], "u": [1, 2], "coarse": [2, 1],
    }  # fmt: skip
    assert first_graph({"x": torch.randn(3, 2), "edge_index": torch.zeros(2, 4, dtype=torch.int64)}, {}) is None


def test_random_edges_stay_inside_their_graph() -> None:
    for made in random_graphs(batch(), ROLES):
        graph = made["which"]
        for name in ("links", "coarse"):
            source, target = made[name]
            assert torch.equal(graph[source], graph[target])
        assert not torch.equal(made["weight"], batch()["weight"])
        assert torch.equal(made["z"], batch()["z"])
