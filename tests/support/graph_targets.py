"""Small graphs with something to learn: a number, or three labels of which some are missing."""

import torch
from torch_geometric.data import Data

OFFSET, SPREAD = 500.0, 40.0  # units far from those in which a network starts


def graphs(target, count=160, seed=0):
    """Rings of four to nine nodes; the answer depends on features, on neighbours and on nothing else."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        n = int(torch.randint(4, 10, (1,), generator=draw))
        x, ring = torch.randn(n, 4, generator=draw), torch.arange(n)
        edges = torch.stack([ring, (ring + 1) % n])
        pairs = (x[:, 0] + x[(ring + 1) % n, 1]).relu().mean()
        if target == "values":
            y = (OFFSET + SPREAD * (pairs + x[:, 2].mean())).view(1, 1)
        else:
            y = torch.stack([pairs > 0.55, x[:, 2].mean() > 0, x[:, 3].mean() > 0.1]).float().view(1, 3)
            y[torch.rand(1, 3, generator=draw) < 0.25] = torch.nan
        found.append(Data(x=x, edge_index=torch.cat([edges, edges.flip(0)], dim=1), y=y))
    return found
