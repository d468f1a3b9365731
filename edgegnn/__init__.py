"""edgegnn: a trained graph neural network, made small, verified, and measured on an edge device.

The public API has the names of the commands. Importing the package is cheap: torch, PyG and onnxruntime load
with the first call that needs them. Importing it switches off onnxruntime's telemetry for this process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgegnn import runtime as runtime
    from edgegnn.api import compress as compress
    from edgegnn.api import export as export
    from edgegnn.api import inspect as inspect
    from edgegnn.api import load as load
    from edgegnn.api import train as train
    from edgegnn.api import verify as verify
    from edgegnn.compression.importing import import_model as import_model
    from edgegnn.devices.ship import ship as ship
    from edgegnn.errors import EdgeGNNError as EdgeGNNError
    from edgegnn.errors import EdgeGNNWarning as EdgeGNNWarning
    from edgegnn.profiling import profile as profile
    from edgegnn.profiling.footprint import footprint as footprint
    from edgegnn.reporting import write as report
    from edgegnn.studies import study as study
    from edgegnn.tuning import tune as tune

__version__ = "0.1.0"

# onnxruntime's wheels report to their maker unless this is set before their first import. Child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_PUBLIC = {
    "EdgeGNNError": "edgegnn.errors:EdgeGNNError",
    "EdgeGNNWarning": "edgegnn.errors:EdgeGNNWarning",
    "compress": "edgegnn.api:compress",
    "export": "edgegnn.api:export",
    "import_model": "edgegnn.compression.importing:import_model",
    "footprint": "edgegnn.profiling.footprint:footprint",
    "inspect": "edgegnn.api:inspect",
    "load": "edgegnn.api:load",
    "profile": "edgegnn.profiling:profile",
    "report": "edgegnn.reporting:write",
    "ship": "edgegnn.devices.ship:ship",
    "study": "edgegnn.studies:study",
    "train": "edgegnn.api:train",
    "tune": "edgegnn.tuning:tune",
    "verify": "edgegnn.api:verify",
}

__all__ = [
    "EdgeGNNError",
    "EdgeGNNWarning",
    "__version__",
    "compress",
    "export",
    "footprint",
    "import_model",
    "inspect",
    "load",
    "profile",
    "report",
    "runtime",
    "ship",
    "study",
    "train",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    from importlib import import_module

    if name == "runtime":
        return import_module("edgegnn.runtime")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgegnn' has no attribute {name!r}")
    if not _is_here(name):
        raise ImportError(
            f"edgegnn.{name} is not part of edgegnn-runtime, which only runs artifacts: pip install edgegnn"
        )
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute)


def _is_here(name: str) -> bool:
    """Whether a public name's package is installed: the device's wheel and run.pyz hold `errors` and `runtime` only."""
    from importlib.util import find_spec

    package = ".".join(_PUBLIC[name].partition(":")[0].split(".")[:2])
    return find_spec(package) is not None


def __dir__() -> list[str]:
    return [name for name in __all__ if name not in _PUBLIC or _is_here(name)]
