"""What runs on the device: open an artifact, prove it, run it, measure it.

Needs numpy and onnxruntime only, and Python 3.9 or newer: the whole package travels inside every artifact as `run.pyz`.
An artifact whose model is TorchScript needs torch in the place of onnxruntime; nothing else imports it.

    open_artifact ──▶ Artifact ──read_samples──▶ [Sample]
                         │                          │
                    make_session                    │
                         └────── verify / bench / predict

    open ──▶ Model, which is called like a function: what a program needs

Everything that is read here may come from a stranger: every field is checked before it is used, and what is wrong ends
in an `ArtifactError` or a `DataError` of one line.
"""

from __future__ import annotations

from edgegnn.runtime.artifact import Artifact, open_artifact, read_manifest
from edgegnn.runtime.benchmark import bench
from edgegnn.runtime.bundle import build_runner
from edgegnn.runtime.entries import EntrySession, run_entry
from edgegnn.runtime.inference import GuardedModel, guarded, over_range_here, predict
from edgegnn.runtime.inputs import check_inputs
from edgegnn.runtime.manifest import Manifest
from edgegnn.runtime.metrics import compare, score
from edgegnn.runtime.model import Model, open
from edgegnn.runtime.native import find_library, library_name
from edgegnn.runtime.proof import VerifyReport, verify
from edgegnn.runtime.ranges import RangeWarning
from edgegnn.runtime.samples import Sample, read_samples
from edgegnn.runtime.session import make_session, native_kernels

__all__ = [
    "Artifact",
    "EntrySession",
    "GuardedModel",
    "Manifest",
    "Model",
    "RangeWarning",
    "Sample",
    "VerifyReport",
    "bench",
    "build_runner",
    "check_inputs",
    "compare",
    "find_library",
    "guarded",
    "library_name",
    "make_session",
    "native_kernels",
    "open",
    "open_artifact",
    "over_range_here",
    "predict",
    "read_manifest",
    "read_samples",
    "run_entry",
    "score",
    "verify",
]
