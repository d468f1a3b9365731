"""The fp32 model as a plain ONNX file: standard operators only, nothing rewritten. Any runtime may start from it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import onnx
from onnx.inliner import inline_local_functions

from edgegnn.checkpoint import Checkpoint
from edgegnn.exporting.capture import capture
from edgegnn.exporting.entry_points import entry_points
from edgegnn.exporting.preprocessing import raw_features
from edgegnn.exporting.request import ExportRequest, what_it_takes
from edgegnn.exporting.samples import example_inputs
from edgegnn.quantize import recipe
from edgegnn.runtime.manifest import seal_manifest
from edgegnn.tasks import Task, example_graph
from edgegnn.tasks.points import point_graphs

__all__ = ["plain_model", "with_model"]


@point_graphs()
def plain_model(checkpoint: Checkpoint, task: Task) -> onnx.ModelProto:
    """Capture a model as it is, with the same inputs as its artifact."""
    model = checkpoint.model
    with raw_features([model], task) as raw:
        takes = what_it_takes(ExportRequest(checkpoint, raw, recipe("none")))
        names = takes.ways[0][0]
        (point,) = entry_points(model, raw, names, example_inputs(names, example_graph(raw, 2)))
        captured = capture(model, point.tensors, kind=point.kind, roles=point.roles, outputs=point.gives)
    return inline_local_functions(captured)


def with_model(artifact: Path, model: onnx.ModelProto, path: Path) -> None:
    """A copy of an artifact that runs another ONNX model with the same inputs and outputs.

    Args:
        artifact: its folder.
        model: the other model.
        path: of the copy, which must not be there.
    """
    shutil.copytree(artifact, path, ignore=shutil.ignore_patterns("native"))
    content = model.SerializeToString(deterministic=True)
    (path / "model.onnx").write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    kept = {name: facts for name, facts in manifest["files"].items() if not name.startswith("native/")}
    kept["model.onnx"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    sizes = {**manifest["sizes"], "model_file": len(content)}
    changed = {**manifest, "name": path.name, "files": kept, "sizes": sizes, "aggregations": [], "refusals": []}
    text = json.dumps(seal_manifest(changed), indent=1, allow_nan=False)
    (path / "manifest.json").write_text(text + "\n", encoding="utf-8")
