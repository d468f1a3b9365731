"""Graphs of the gauntlet's cases: small, drawn from a seed, with labels that the features tell."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

FEATURES, EDGE_FEATURES, CLASSES = 8, 3, 3


def edges_of(nodes: int, degree: int, generator: torch.Generator) -> Tensor:
    """Both directions of a random graph without loops and doubles, `[2, E]`."""
    drawn = torch.randint(nodes, (2, nodes * degree // 2), generator=generator)
    drawn = drawn[:, drawn[0] != drawn[1]]
    both = torch.cat([drawn, drawn.flip(0)], dim=1)
    return torch.unique(both, dim=1)


def one_graph(nodes: int = 80, degree: int = 4, seed: int = 0, *, features: int = FEATURES) -> Data:
    """A graph with a class for each node, features and weights of edges, and the usual masks."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(nodes) % CLASSES
    x = torch.randn(nodes, features, generator=generator)
    x[torch.arange(nodes), y] += 2
    edges = edges_of(nodes, degree, generator)
    part = torch.randperm(nodes, generator=generator) % 5
    return Data(
        x=x,
        edge_index=edges,
        edge_attr=torch.randn(edges.shape[1], EDGE_FEATURES, generator=generator),
        edge_weight=torch.rand(edges.shape[1], generator=generator) + 0.1,
        y=y,
        train_mask=part < 3,
        val_mask=part == 3,
        test_mask=part == 4,
    )


def many_graphs(count: int = 40, seed: int = 0, *, features: int = FEATURES, smallest: int = 6) -> list[Data]:
    """Graphs with a class each, features of nodes and edges, a type for each node and edge, and positions."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        nodes, label = smallest + i % 7, i % CLASSES
        edges = edges_of(nodes, 4, generator)
        x = torch.randn(nodes, features, generator=generator)
        x[:, label] += 1
        made.append(
            Data(
                x=x,
                edge_index=edges,
                edge_attr=torch.randn(edges.shape[1], EDGE_FEATURES, generator=generator),
                edge_weight=torch.rand(edges.shape[1], generator=generator) + 0.1,
                z=torch.randint(1, 9, (nodes,), generator=generator),
                edge_type=torch.randint(4, (edges.shape[1],), generator=generator),
                pos=torch.randn(nodes, 3, generator=generator),
                y=torch.tensor([label]),
            )
        )
    return made


def only(graphs: list[Data] | Data, *names: str) -> list[Data] | Data:
    """The same graphs with these attributes, `edge_index`, `y` and the masks alone."""
    kept = {*names, "edge_index", "y", "train_mask", "val_mask", "test_mask"}
    if isinstance(graphs, Data):
        return Data(**{name: value for name, value in graphs if name in kept})
    return [Data(**{name: value for name, value in graph if name in kept}) for graph in graphs]
