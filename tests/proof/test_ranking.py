"""Order behind functions that saturate: no score stands behind a smaller one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from capture_example import session
from torch import nn

from edgegnn.exporting.capture import capture


class Order(nn.Module):
    """The order itself, of what each node's x gives."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x, edge_index):
        return torch.sort(self.act(x).view(-1), descending=True, stable=True).indices.float().view(-1, 1)


def run(form, inputs):
    running = session(form)
    return running.run(None, {i.name: inputs[i.name].numpy() for i in running.get_inputs()})[0]


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_scores_are_sorted_as_their_arguments_are(name):
    """No score stands behind one of a smaller argument."""
    model = Order(getattr(torch, name))
    edges = torch.zeros(2, 3, dtype=torch.int64)
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([-1e-20, 1e-20, -1e-9, 1e-9, -60.0, 60.0])])[:, None]
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    form = capture(model, {"x": x, "edge_index": edges}, kind="node")
    order = run(form, {"x": x, "edge_index": edges})[:, 0].astype(np.int64)
    sorted_scores = model.act(x[:, 0].double()).float()[order]
    assert (sorted_scores.diff() <= 0).all()
