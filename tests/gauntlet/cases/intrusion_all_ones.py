"""E-GraphSAGE for network flows: rows of nodes are all 1, everything is in the edges, and edges are classified
(waimorris/E-GraphSAGE)."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing


class SageLayer(MessagePassing):
    def __init__(self, node, edge, out):
        super().__init__(aggr="mean")
        self.W_msg, self.W_apply = nn.Linear(node + edge, out), nn.Linear(node + out, out)

    def forward(self, x, edge_index, edge_attr):
        return torch.relu(self.W_apply(torch.cat([x, self.propagate(edge_index, x=x, edge_attr=edge_attr)], 1)))

    def message(self, x_j, edge_attr):
        return self.W_msg(torch.cat([x_j, edge_attr], 1))


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.layers = nn.ModuleList([SageLayer(3, 3, width), SageLayer(width, 3, width)])
        self.predict = nn.Linear(2 * width, 2)

    def forward(self, x, edge_index, edge_attr):
        for layer in self.layers:
            x = nn.functional.dropout(layer(x, edge_index, edge_attr), 0.2, self.training)
        return self.predict(torch.cat([x[edge_index[0]], x[edge_index[1]]], 1))


def data():
    graph = one_graph(120)
    return Data(
        x=torch.ones(120, 3),
        edge_index=graph.edge_index,
        edge_attr=graph.edge_attr,
        y=(graph.edge_attr[:, 0] > 0).long(),
    )


CASE = Case(Net, data)
