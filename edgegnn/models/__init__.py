"""The model zoo: GCN, GAT, GIN, GraphSAGE, SplineCNN and a graph transformer, built from PyG layers."""

from __future__ import annotations

from edgegnn.models.zoo import GraphModel, NodeModel, build, defaults, names

__all__ = ["GraphModel", "NodeModel", "build", "defaults", "names"]
