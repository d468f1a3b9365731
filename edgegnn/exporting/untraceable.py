"""Layers of PyTorch Geometric that can't be traced by their nature: why, and what to take in their place."""

from __future__ import annotations

from torch import nn
from torch.export import ExportedProgram
from torch_geometric.nn import EdgePooling
from torch_geometric.nn.aggr import EquilibriumAggregation, LCMAggregation, PatchTransformerAggregation
from torch_geometric.nn.pool import ClusterPooling

from edgegnn.exporting.diagnostics import sentence

__all__ = ["known_reason"]

_POOLS = "take TopKPooling, SAGPooling or ASAPooling"
_SETS = "take Set2Set, SetTransformerAggregation or SoftmaxAggregation"
_REASONS: dict[type[nn.Module], str] = {
    EdgePooling: f"it joins nodes edge by edge, in an order that only the scores know; {_POOLS}",
    ClusterPooling: f"it looks for connected components outside of PyTorch; {_POOLS}",
    EquilibriumAggregation: f"its forward computes gradients; {_SETS}",
    LCMAggregation: f"it takes as many rounds as the largest group asks for; {_SETS}",
    PatchTransformerAggregation: f"it makes as many patches as the largest group fills; {_SETS}",
}


def known_reason(model: nn.Module | ExportedProgram) -> str | None:
    """Say why a model that can't be traced can't be, where one of these layers is the cause; else None."""
    if isinstance(model, ExportedProgram):
        return None
    for path, module in model.named_modules():
        for layer, reason in _REASONS.items():
            if isinstance(module, layer):
                return sentence(model, (path, type(module).__name__), reason)
    return None
