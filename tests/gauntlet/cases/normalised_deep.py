"""Every norm that PyG has for graphs in one deep model, and jumping knowledge by LSTM."""

from gauntlet_case import Case
from gauntlet_data import many_graphs, only
from torch import nn
from torch_geometric.nn import (
    GCNConv,
    GraphNorm,
    GraphSizeNorm,
    InstanceNorm,
    JumpingKnowledge,
    LayerNorm,
    PairNorm,
    global_mean_pool,
)


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.convs = nn.ModuleList([GCNConv(8 if i == 0 else width, width) for i in range(5)])
        self.norms = nn.ModuleList(
            [GraphNorm(width), InstanceNorm(width), LayerNorm(width), PairNorm(), GraphSizeNorm()]
        )
        self.jump = JumpingKnowledge("lstm", channels=width, num_layers=2)
        self.head = nn.Linear(width, 3)

    def forward(self, x, edge_index, batch):
        states = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nn.functional.leaky_relu(norm(conv(x, edge_index), batch), 0.1)
            states.append(x)
        return self.head(global_mean_pool(self.jump(states), batch))


CASE = Case(Net, lambda: only(many_graphs(), "x"), decibels=5)
