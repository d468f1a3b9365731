"""`nn.TransformerEncoder` over the nodes of each graph, padded by `to_dense_batch`, a class token by mean
(ucbrise/graphtrans)."""

from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import GCNConv
from torch_geometric.utils import to_dense_batch


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.conv = GCNConv(8, width)
        layer = nn.TransformerEncoderLayer(width, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3)

    def forward(self, x, edge_index, batch):
        h, mask = to_dense_batch(self.conv(x, edge_index).relu(), batch)
        h = self.encoder(h, src_key_padding_mask=~mask)
        h = h.masked_fill(~mask.unsqueeze(-1), 0)
        return self.head(h.sum(1) / mask.sum(1, keepdim=True))


CASE = Case(Net, lambda: only(many_graphs(), "x"))
