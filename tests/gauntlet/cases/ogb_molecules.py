"""Atoms and bonds as sums of embeddings, GINE layers and a virtual node, as OGB's molecule baselines
(snap-stanford/ogb, examples/graphproppred/mol)."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs
from torch import nn
from torch_geometric.nn import MessagePassing, global_add_pool, global_mean_pool

ATOMS, BONDS, WIDTH = (12, 5, 4), (5, 3), 24


class Encoder(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(size, WIDTH) for size in sizes])

    def forward(self, x):
        total = 0
        for i in range(x.shape[1]):
            total += self.tables[i](x[:, i])
        return total


class Conv(MessagePassing):
    def __init__(self):
        super().__init__(aggr="add")
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.BatchNorm1d(2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.eps = nn.Parameter(torch.tensor([0.1]))
        self.bonds = Encoder(BONDS)

    def forward(self, x, edge_index, edge_attr):
        return self.mlp((1 + self.eps) * x + self.propagate(edge_index, x=x, edge_attr=self.bonds(edge_attr)))

    def message(self, x_j, edge_attr):
        return nn.functional.relu(x_j + edge_attr)


class Net(nn.Module):
    def __init__(self, layers=3):
        super().__init__()
        self.atoms = Encoder(ATOMS)
        self.virtual = nn.Embedding(1, WIDTH)
        nn.init.constant_(self.virtual.weight, 0)
        self.convs = nn.ModuleList([Conv() for _ in range(layers)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(WIDTH) for _ in range(layers)])
        self.update = nn.ModuleList(
            [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()) for _ in range(layers - 1)]
        )
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, batched_data):
        x, edge_index, edge_attr, batch = (
            batched_data.x,
            batched_data.edge_index,
            batched_data.edge_attr,
            batched_data.batch,
        )
        virtual = self.virtual(torch.zeros(batch[-1].item() + 1).to(edge_index.dtype).to(edge_index.device))
        h = self.atoms(x)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = h + virtual[batch]
            out = norm(conv(h, edge_index, edge_attr))
            if i < len(self.convs) - 1:
                out = nn.functional.dropout(out.relu(), 0.5, training=self.training)
                virtual = virtual + self.update[i](global_add_pool(h, batch) + virtual)
            h = out + h
        return self.head(global_mean_pool(h, batch))


def data():
    graphs = many_graphs()
    generator = torch.Generator().manual_seed(1)
    for graph in graphs:
        graph.x = torch.stack([torch.randint(size, (graph.num_nodes,), generator=generator) for size in ATOMS], dim=1)
        graph.x[:, 1] = graph.y
        graph.edge_attr = torch.stack(
            [torch.randint(size, (graph.num_edges,), generator=generator) for size in BONDS], dim=1
        )
        for name in ("pos", "z", "edge_type", "edge_weight"):
            del graph[name]
    return graphs


CASE = Case(Net, data)
