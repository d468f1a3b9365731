"""A copy of a traced module keeps the forward that it was given."""

from __future__ import annotations

import types

import torch
from torch import nn

from edgegnn.utils.model_copies import copied


def test_a_traced_module_keeps_its_forward() -> None:
    model = nn.Sequential(torch.fx.symbolic_trace(nn.Linear(2, 3)))

    def twice(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return 2 * type(self).forward(self, x)

    model[0].forward = types.MethodType(twice, model[0])
    new, x = copied(model), torch.ones(1, 2)
    with torch.no_grad():
        new[0].weight.fill_(1.0)
        new[0].bias.zero_()
    assert torch.equal(new(x), torch.full((1, 3), 4.0))
    assert not torch.equal(model(x), new(x))  # its own weights
