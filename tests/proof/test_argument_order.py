"""A forward's parameters may come in any order, and some may be for inputs that the data lack."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn
from torch_geometric.data import Data

from edgegnn.prune.weights import find_weights
from edgegnn.quantize import finetune, recipe
from edgegnn.tasks import example_graph, named_args, task_from_graphs
from edgegnn.training import fit_defaults


class Gaps(nn.Module):
    """As in PyG's examples: weights of edges are optional, and stand in front of `batch`."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = gnn.GraphConv(8, 8), nn.Linear(8, 2)

    def forward(self, x, edge_index, edge_weight=None, batch=None):
        assert edge_weight is None or edge_weight.is_floating_point()
        return self.out(gnn.global_mean_pool(self.conv(x, edge_index, edge_weight).relu(), batch))


class Turned(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = gnn.GINEConv(nn.Linear(8, 8), edge_dim=3), nn.Linear(8, 2)

    def forward(self, batch, edge_attr, x, edge_index):
        assert batch.dim() == 1
        return self.out(gnn.global_add_pool(self.conv(x, edge_index, edge_attr), batch))


def task(model):
    random = torch.Generator().manual_seed(0)
    graphs = [
        Data(x=torch.randn(6, 8, generator=random), edge_index=torch.randint(6, (2, 14)), y=torch.tensor([i % 2]))
        for i in range(40)
    ]
    for graph in graphs if isinstance(model, Turned) else []:
        graph.edge_attr = torch.randn(14, 3, generator=random)
    return task_from_graphs(graphs, data="graphs")


@pytest.mark.parametrize("quant", ["qat-int8", "dq-int8", "a2q-groups"])
@pytest.mark.parametrize("model", [Gaps, Turned])
def test_what_trains_gives_each_parameter_its_own_input(model, quant):
    made = model()
    work = task(made)
    quantized, _ = finetune(made, work, recipe(quant), fit_defaults("graph", epochs=1))
    assert "out.weight" in quantized.structure()["points"]
    layer = quantized.structure()["layers"]["conv"]
    assert bool(layer) is (model is Gaps)  # a message of GINE is no multiple of its row


@pytest.mark.parametrize("model", [Gaps, Turned])
def test_pruning_finds_the_weights(model):
    made = model()
    work = task(made)
    names, excluded = find_weights(made, named_args(made, work, example_graph(work, 8)))
    assert "out.weight" in names
    assert not excluded
