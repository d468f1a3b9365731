"""Graph WaveNet's adaptive adjacency: two learnt tables make a dense softmax matrix beside the given edges, gated
dilated convolutions over time (nnzhan/Graph-WaveNet)."""

import torch
from gauntlet_case import Case
from gauntlet_data import one_graph
from torch import nn
from torch_geometric.data import Data


class Net(nn.Module):
    def __init__(self, nodes=30, width=8):
        super().__init__()
        self.start = nn.Conv1d(2, width, 1)
        self.filters = nn.ModuleList([nn.Conv1d(width, width, 2, dilation=d) for d in (1, 2)])
        self.gates = nn.ModuleList([nn.Conv1d(width, width, 2, dilation=d) for d in (1, 2)])
        self.nodevec1, self.nodevec2 = nn.Parameter(torch.randn(nodes, 4)), nn.Parameter(torch.randn(4, nodes))
        self.mix = nn.ModuleList([nn.Linear(3 * width, width) for _ in range(2)])
        self.head = nn.Linear(width, 2)

    def forward(self, x, edge_index, edge_weight):
        adp = torch.softmax(torch.relu(torch.mm(self.nodevec1, self.nodevec2)), dim=1)
        h = self.start(x.transpose(1, 2))
        for f, g, mix in zip(self.filters, self.gates, self.mix, strict=True):
            residual = h
            h = torch.tanh(f(h)) * torch.sigmoid(g(h))
            flat = h.permute(2, 0, 1)
            given = torch.zeros_like(flat).index_add(
                1, edge_index[1], flat[:, edge_index[0]] * edge_weight.view(1, -1, 1)
            )
            learnt = torch.einsum("vw,twc->tvc", adp, flat)
            h = mix(torch.cat([flat, given, learnt], -1)).permute(1, 2, 0)
            h = h + residual[:, :, -h.size(2) :]
        return self.head(h[:, :, -1].relu())


def data():
    graph = one_graph(nodes=30)
    x = torch.randn(30, 6, 2, generator=torch.Generator().manual_seed(0))
    return Data(x=x, edge_index=graph.edge_index, edge_weight=graph.edge_weight / 4, y=x[:, -1])


CASE = Case(Net, data, task="node-regression")
