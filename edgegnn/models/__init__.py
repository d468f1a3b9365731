"""The model zoo: GCN, GAT, GIN, GraphSAGE, SplineCNN, a graph transformer, HGP-SL and NESS, built from PyG layers.

Names and defaults are known without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.models.catalog import COUNTS, MODELS, check_model, defaults, names, only_task
from edgegnn.utils.lazy import on_first_use

if TYPE_CHECKING:
    from edgegnn.models.stacks import GraphModel, NodeModel
    from edgegnn.models.zoo import build
else:
    __getattr__ = on_first_use(__name__, {"stacks": ("GraphModel", "NodeModel"), "zoo": ("build",)})

__all__ = [
    "COUNTS",
    "MODELS",
    "GraphModel",
    "NodeModel",
    "build",
    "check_model",
    "defaults",
    "names",
    "only_task",
]
