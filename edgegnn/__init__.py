"""edgegnn: a trained graph neural network, made small, verified, and measured on an edge device.

The public API has the names of the commands. Importing the package is cheap: torch, PyG and onnxruntime load
with the first call that needs them. Importing it switches off onnxruntime's telemetry for this process.
"""

from __future__ import annotations

import os
from typing import Any

__version__ = "0.1.0"

# onnxruntime's wheels report to their maker unless this is set before their first import. Child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_PUBLIC = {
    "load": "edgegnn.api",
    "verify": "edgegnn.api",
    "ship": "edgegnn.profile.ship",
    "EdgeGNNError": "edgegnn.errors",
}
_CALLABLE = {"export", "profile", "report", "train", "tune"}  # subpackages that are functions too (edgegnn.callable)

__all__ = ["EdgeGNNError", "__version__", "export", "load", "profile", "report", "ship", "train", "tune", "verify"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    from importlib import import_module

    if name in _CALLABLE:
        return import_module(f"edgegnn.{name}")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'edgegnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
