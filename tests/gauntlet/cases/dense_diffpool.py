"""Differentiable pooling over dense adjacencies made inside the model (`to_dense_adj`, `dense_diff_pool`), losses
beside the logits (examples/proteins_diff_pool.py of PyG, smaller)."""

from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import DenseSAGEConv, dense_diff_pool
from torch_geometric.utils import to_dense_adj, to_dense_batch


class Net(nn.Module):
    def __init__(self, width=16, clusters=4):
        super().__init__()
        self.pool, self.embed = DenseSAGEConv(8, clusters), DenseSAGEConv(8, width)
        self.second = DenseSAGEConv(width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x, edge_index, batch):
        adj = to_dense_adj(edge_index, batch)
        x, mask = to_dense_batch(x, batch)
        s, h = self.pool(x, adj, mask), self.embed(x, adj, mask).relu()
        h, adj, link, entropy = dense_diff_pool(h, adj, s, mask)
        h = self.second(h, adj).relu()
        return self.head(h.mean(dim=1)), link + entropy


CASE = Case(Net, lambda: only(many_graphs(), "x"), options={"targets": ["output_0=y"]})
