"""Training without dropout: every way a module may call it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv

from edgegnn.training.dropout import NoDropout


@pytest.mark.parametrize(
    "drop",
    [
        nn.Dropout(0.9),
        nn.AlphaDropout(0.9),
        nn.Dropout1d(0.9),
        lambda x: F.dropout(x, 0.9),
        lambda x: F.dropout(input=x, p=0.9),
        lambda x: torch.dropout(x, 0.9, True),
        lambda x: F.feature_alpha_dropout(x, 0.9, training=True),
    ],
)
def test_no_dropout_gives_the_input_back(drop):
    x = torch.rand(50, 20)
    with NoDropout():
        assert torch.equal(drop(x), x)
    assert not torch.equal(drop(x), x)


def test_dropout_inside_a_layer():
    torch.manual_seed(0)
    conv = GATConv(4, 4, dropout=0.9).train()
    x, edge_index = torch.rand(30, 4), torch.randint(30, (2, 200))
    with NoDropout():
        assert torch.equal(conv(x, edge_index), conv(x, edge_index))
    assert not torch.equal(conv(x, edge_index), conv(x, edge_index))
