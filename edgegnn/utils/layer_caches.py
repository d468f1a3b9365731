"""Layers that keep what they made of the first graph they saw, such as PyG's `GCNConv(cached=True)`."""

from __future__ import annotations

from torch import nn

__all__ = ["drop_graph_caches"]


def drop_graph_caches(model: nn.Module) -> None:
    """Turn such caches off, in place: on any other graph the layer would be wrong, or fail. Outputs stay the same."""
    for module in model.modules():
        if getattr(module, "cached", False) is True:
            vars(module).update({k: None for k in vars(module) if k.startswith("_cached_")}, cached=False)
