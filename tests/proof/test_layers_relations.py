"""RGCNConv with all relations at once, while tracing: equal to the layer's own forward."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as gnn
from capture_example import FEATURES, HIDDEN, assert_same, graph, other_graphs
from torch import nn

from edgegnn.exporting.capture import capture
from edgegnn.exporting.traceable import traceable_layers

RELATIONS = 5
KINDS = {
    "plain": {},
    "bases": {"num_bases": 3},
    "blocks": {"num_blocks": 2},
    "sum": {"aggr": "sum"},
    "max": {"aggr": "max"},
    "no root": {"root_weight": False, "bias": False},
    "reversed": {"flow": "target_to_source"},
}


def edges(nodes, count, seed):
    gen = torch.Generator().manual_seed(seed)
    return torch.randint(nodes, (2, count), generator=gen), torch.randint(RELATIONS, (count,), generator=gen)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_layers_own_forward(kind):
    torch.manual_seed(0)
    conv = gnn.RGCNConv(FEATURES, HIDDEN, RELATIONS, **KINDS[kind])
    for parameter in conv.parameters():
        nn.init.normal_(parameter)
    for seed, (nodes, count) in enumerate([(9, 40), (1, 0), (7, 0), (4, 3), (30, 200)]):
        edge_index, relation = edges(nodes, count, seed)
        pair = torch.randn(nodes, FEATURES), torch.randn(nodes, FEATURES)
        for x in (pair[0], pair):
            own = conv(x, edge_index, relation)
            with traceable_layers():
                at_once = conv(x, edge_index, relation)
            torch.testing.assert_close(at_once, own, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bases", [None, 2])
def test_numbers_of_nodes_as_features(bases):
    torch.manual_seed(0)
    conv = gnn.RGCNConv(9, HIDDEN, RELATIONS, num_bases=bases)
    edge_index, relation = edges(9, 40, 0)
    for x in (None, torch.arange(9).flip(0)):
        own = conv(x, edge_index, relation)
        with traceable_layers():
            torch.testing.assert_close(conv(x, edge_index, relation), own, rtol=1e-4, atol=1e-4)


class Louder(gnn.RGCNConv):
    def message(self, x_j, edge_type_ptr):
        return 2 * x_j


def test_a_layer_with_its_own_message_keeps_it():
    torch.manual_seed(0)
    conv, x = Louder(FEATURES, HIDDEN, RELATIONS), torch.randn(9, FEATURES)
    edge_index, relation = edges(9, 40, 0)
    own = conv(x, edge_index, relation)
    with traceable_layers():
        torch.testing.assert_close(conv(x, edge_index, relation), own)


class Many(nn.Module):
    def __init__(self, relations=24):
        super().__init__()
        self.relations = relations
        self.convs = nn.ModuleList([gnn.RGCNConv(FEATURES, HIDDEN, relations), gnn.RGCNConv(HIDDEN, 3, relations)])

    def forward(self, x, edge_index, edge_attr):
        relation = (edge_attr[:, 0] * (self.relations - 0.01)).long()
        for conv in self.convs:
            x = conv(x, edge_index, relation)
        return x


@pytest.mark.slow
def test_many_relations_are_one_product():
    torch.manual_seed(0)
    model = Many().eval()
    captured = capture(model, graph(21, 50, edge_attr=4), kind="node")
    assert_same(model, captured, other_graphs(edge_attr=4))
    assert sum(node.op_type in {"MatMul", "Gemm"} for node in captured.graph.node) == 4  # two a layer: relations, root
