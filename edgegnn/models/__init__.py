"""The model zoo: GCN, GAT, GIN, GraphSAGE, SplineCNN, a graph transformer, HGP-SL and NESS, built from PyG layers.

Names and defaults are known without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.models.catalog import COUNTS, check_model, defaults, kinds_of, names, only_task, takes_attributes
from edgegnn.utils.lazy import on_first_use

if TYPE_CHECKING:
    from edgegnn.models.zoo import GraphModel, NodeModel, build
else:
    __getattr__ = on_first_use(__name__, {"zoo": ("GraphModel", "NodeModel", "build")})

__all__ = [
    "COUNTS",
    "GraphModel",
    "NodeModel",
    "build",
    "check_model",
    "defaults",
    "kinds_of",
    "names",
    "only_task",
    "takes_attributes",
]
