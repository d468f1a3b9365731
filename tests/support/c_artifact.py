"""A small INT8 artifact with a C form: the GIN of `c_models`, with graphs of which one is beyond the limits."""

from __future__ import annotations

import json
from pathlib import Path

import c_models
import numpy as np
import onnx
import onnx_ir as ir
from tiny_artifact import make_artifact, seal

from edgegnn.exporting.rewrite.functions import add_functions
from edgegnn.plain_c.generate import generate
from edgegnn.plain_c.values import Limits

LIMITS = Limits(32, 64)
BITS = (4, 8)  # of the weights: both of the forms that weights have in C
_SIZES = (
    ("first", "data", 20, 60),
    ("large", "data", 40, 30),
    ("no-edges", "synthetic", 5, 0),
    ("one", "synthetic", 1, 0),
)


def _with_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its operators' function bodies: `verify` runs it without the native library, too."""
    changed = ir.from_proto(model)
    add_functions(changed)
    return ir.to_proto(changed)


def make_c_artifact(folder: Path) -> Path:
    """Write the artifact."""
    make_artifact(folder, "graph")
    model = _with_bodies(c_models.gin(BITS))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    arrays, entries = {}, []
    for i, (name, origin, nodes, edges) in enumerate(_SIZES):
        inputs = c_models.graph(nodes, edges, seed=i)
        expected = c_models.answers(inputs, BITS)["logits"].astype(np.float32)
        arrays |= {f"{i:04d}.{key}": value for key, value in inputs.items()}
        arrays[f"{i:04d}.expected"] = expected
        entries.append({"name": name, "origin": origin, "num_nodes": nodes, "num_edges": edges})
        if origin == "data":
            arrays[f"{i:04d}.label"] = expected.argmax(axis=1)
    np.savez_compressed(folder / "samples.npz", **arrays)
    code = generate(model, folder.name, LIMITS)
    (folder / "c").mkdir()
    for name, text in code.files.items():
        (folder / "c" / name).write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    tolerance = {"agreement": 0.999, "max_abs_error": 1e-4}
    parity = {**manifest["parity"], "tolerance": tolerance}
    parity["per_graph"] = [{"name": e["name"], "agreement": 1.0, "max_abs_error": 0.0} for e in entries]
    inputs = [{**i, "shape": [i["shape"][0], c_models.FEATURES]} if i["name"] == "x" else i for i in manifest["inputs"]]
    facts = {
        "function": f"edgegnn_{code.name}_run",
        "max_nodes": LIMITS.nodes,
        "max_edges": LIMITS.edges,
        "arena_bytes": code.arena_bytes,
    }
    seal(
        folder,
        {
            **manifest,
            "inputs": inputs,
            "outputs": [{"name": "logits", "dtype": "float32", "shape": ["num_graphs", c_models.CLASSES]}],
            "samples": entries,
            "samples_metric": {"name": "accuracy", "value": 1.0, "n": 2},
            "parity": parity,
            "c": facts,
            "stayed_float": [],
        },
    )
    return folder
