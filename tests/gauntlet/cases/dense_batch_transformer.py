"""Message passing, then attention between all nodes of a graph through `to_dense_batch` (as GPS and GraphTrans)."""

from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import GINEConv, global_add_pool
from torch_geometric.utils import to_dense_batch


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.conv = GINEConv(nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)), edge_dim=3)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norms = nn.ModuleList([nn.BatchNorm1d(width) for _ in range(2)])
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, 3)

    def forward(self, data):
        x, edge_index, edge_attr, batch = data.x, data.edge_index, data.edge_attr, data.batch
        h = self.first(x)
        local = self.norms[0](self.conv(h, edge_index, edge_attr) + h)
        dense, mask = to_dense_batch(h, batch)
        whole, _ = self.attention(dense, dense, dense, key_padding_mask=~mask, need_weights=False)
        h = local + self.norms[1](whole[mask] + h)
        return self.head(global_add_pool(h + self.mlp(h), batch))


CASE = Case(Net, lambda: only(many_graphs(), "x", "edge_attr"))
