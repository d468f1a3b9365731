"""PointTransformerConv on radius graphs with positions alone, fps between stages, largest at the end."""

from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import MLP, PointTransformerConv, fps, global_max_pool, knn_graph


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.first = nn.Linear(3, width)
        self.conv1 = PointTransformerConv(width, width, MLP([3, 16, width], norm=None), MLP([width, width], norm=None))
        self.conv2 = PointTransformerConv(width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, pos, batch):
        h = self.first(pos)
        h = self.conv1(h, pos, knn_graph(pos, 4, batch)).relu()
        kept = fps(pos, batch, ratio=0.5, random_start=False)
        h, pos, batch = h[kept], pos[kept], batch[kept]
        h = self.conv2(h, pos, knn_graph(pos, 3, batch)).relu()
        return self.head(global_max_pool(h, batch))


def data():
    graphs = only(many_graphs(smallest=12), "pos")
    for graph in graphs:
        del graph.edge_index
        graph.pos = graph.pos * (1 + graph.y)
    return graphs


CASE = Case(Net, data)
