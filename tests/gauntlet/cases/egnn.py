"""Layers that move coordinates and are equivariant (vgsatorras/egnn), sums by `scatter_add_` as written there."""

import torch
from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn


def unsorted_segment_sum(data, segment_ids, num_segments):
    result = data.new_full((num_segments, data.size(1)), 0)
    segment_ids = segment_ids.unsqueeze(-1).expand(-1, data.size(1))
    result.scatter_add_(0, segment_ids, data)
    return result


def unsorted_segment_mean(data, segment_ids, num_segments):
    result = data.new_full((num_segments, data.size(1)), 0)
    count = data.new_full((num_segments, data.size(1)), 0)
    segment_ids = segment_ids.unsqueeze(-1).expand(-1, data.size(1))
    result.scatter_add_(0, segment_ids, data)
    count.scatter_add_(0, segment_ids, torch.ones_like(data))
    return result / count.clamp(min=1)


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        act = nn.SiLU()
        self.edge = nn.Sequential(nn.Linear(2 * width + 1, width), act, nn.Linear(width, width), act)
        self.node = nn.Sequential(nn.Linear(2 * width, width), act, nn.Linear(width, width))
        last = nn.Linear(width, 1, bias=False)
        nn.init.xavier_uniform_(last.weight, gain=0.001)
        self.coord = nn.Sequential(nn.Linear(width, width), act, last)

    def forward(self, h, edge_index, coord):
        row, col = edge_index
        diff = coord[row] - coord[col]
        radial = torch.sum(diff**2, 1).unsqueeze(1)
        edge = self.edge(torch.cat([h[row], h[col], radial], dim=1))
        coord = coord + unsorted_segment_mean(diff * self.coord(edge), row, coord.size(0))
        agg = unsorted_segment_sum(edge, row, h.size(0))
        return h + self.node(torch.cat([h, agg], dim=1)), coord


class EGNN(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.layers = nn.ModuleList([Layer(width) for _ in range(3)])
        self.out = nn.Linear(width, 1)

    def forward(self, x, pos, edge_index, batch):
        h = self.embed(x)
        for layer in self.layers:
            h, pos = layer(h, edge_index, pos)
        size = int(batch.max()) + 1
        return self.out(unsorted_segment_sum(h, batch, size))


def data():
    graphs = only(many_graphs(), "x", "pos")
    for graph in graphs:
        graph.y = graph.pos.norm(dim=1).sum().view(1, 1)
    return graphs


CASE = Case(EGNN, data, task="graph-regression")
