"""The model zoo: GCN, GAT, GIN, GraphSAGE, SplineCNN, a graph transformer, HGP-SL and NESS, built from PyG layers."""

from __future__ import annotations

import edgegnn.utils.pyg_sources  # noqa: F401
from edgegnn.models.zoo import COUNTS, GraphModel, NodeModel, build, defaults, names, takes_attributes

__all__ = ["COUNTS", "GraphModel", "NodeModel", "build", "defaults", "names", "takes_attributes"]
