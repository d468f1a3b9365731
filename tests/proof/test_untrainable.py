"""A model that PyTorch runs and can't differentiate (ASAPooling with weights of edges is one)."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn
from torch_geometric.data import Data

from edgegnn.errors import TrainError
from edgegnn.quantize import finetune, recipe
from edgegnn.tasks import task_from_graphs
from edgegnn.training import fit_defaults


class Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise NotImplementedError("no kernel for this\nand a list of kernels")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = gnn.GCNConv(4, 2)

    def forward(self, x, edge_index):
        return Forward.apply(self.conv(x, edge_index))


def test_it_is_one_line_that_names_what_works():
    at = torch.arange(30)
    graph = Data(x=torch.randn(30, 4), edge_index=torch.randint(30, (2, 90)), y=at % 2)
    graph.train_mask, graph.val_mask, graph.test_mask = (at % 3 == i for i in range(3))
    task = task_from_graphs(graph, data="graph")
    with pytest.raises(TrainError, match=r"can't compute the gradients .*: no kernel for this; export it") as caught:
        finetune(Model(), task, recipe("qat-int8"), fit_defaults("node", epochs=1))
    assert "\n" not in str(caught.value)
