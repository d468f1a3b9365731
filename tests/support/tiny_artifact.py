"""A tiny artifact written by hand: a linear layer and a sum over neighbours, with numpy's own logits as reference."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgegnn.runtime import build_runner, score
from edgegnn.runtime.manifest import seal_manifest

FEATURES, CLASSES = 3, 4
WEIGHT = np.random.default_rng(7).normal(size=(FEATURES, CLASSES)).astype(np.float32)


def model(kind: str = "node") -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["h"]),
        helper.make_node("Gather", ["edge_index", "zero"], ["src"], axis=0),
        helper.make_node("Gather", ["edge_index", "one"], ["dst"], axis=0),
        helper.make_node("Gather", ["h", "src"], ["messages"], axis=0),
        helper.make_node("Unsqueeze", ["dst", "axis1"], ["dst_column"]),
        helper.make_node("Shape", ["messages"], ["messages_shape"]),
        helper.make_node("Expand", ["dst_column", "messages_shape"], ["index"]),
        helper.make_node("ScatterElements", ["h", "index", "messages"], ["node_logits"], axis=0, reduction="add"),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["num_nodes", FEATURES]),
        helper.make_tensor_value_info("edge_index", TensorProto.INT64, [2, "num_edges"]),
    ]
    rows = "num_nodes"
    if kind == "graph":
        nodes += [
            helper.make_node("ReduceMax", ["batch"], ["last"], keepdims=1),
            helper.make_node("Add", ["last", "axis1"], ["num_graphs"]),
            helper.make_node("Concat", ["num_graphs", "classes"], ["pooled_shape"], axis=0),
            helper.make_node("ConstantOfShape", ["pooled_shape"], ["zeros"]),
            helper.make_node("Unsqueeze", ["batch", "axis1"], ["batch_column"]),
            helper.make_node("Shape", ["node_logits"], ["node_shape"]),
            helper.make_node("Expand", ["batch_column", "node_shape"], ["pool_index"]),
            helper.make_node(
                "ScatterElements", ["zeros", "pool_index", "node_logits"], ["logits"], axis=0, reduction="add"
            ),
        ]
        inputs.append(helper.make_tensor_value_info("batch", TensorProto.INT64, ["num_nodes"]))
        rows = "num_graphs"
    else:
        nodes.append(helper.make_node("Identity", ["node_logits"], ["logits"]))
    constants = {
        "weight": WEIGHT,
        "zero": np.array(0, dtype=np.int64),
        "one": np.array(1, dtype=np.int64),
        "axis1": np.array([1], dtype=np.int64),
        "classes": np.array([CLASSES], dtype=np.int64),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [rows, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def reference(inputs: dict[str, np.ndarray]) -> np.ndarray:
    h = inputs["x"] @ WEIGHT
    logits = h.copy()
    source, target = inputs["edge_index"]
    np.add.at(logits, target, h[source])
    if "batch" in inputs:
        pooled = np.zeros((int(inputs["batch"][-1]) + 1, CLASSES), dtype=np.float32)
        np.add.at(pooled, inputs["batch"], logits)
        return pooled
    return logits


def graph(nodes: int, edges: int, kind: str = "node", seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = {
        "x": random.normal(size=(nodes, FEATURES)).astype(np.float32),
        "edge_index": random.integers(0, nodes, size=(2, edges)),
    }
    if kind == "graph":
        inputs["batch"] = np.zeros(nodes, dtype=np.int64)
    return inputs


def sample_arrays(kind: str = "node") -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Two graphs from "data" with labels that the model gets right three times in four, and two awkward ones."""
    entries: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    real = [("first", "data", 20, 60), ("second", "data", 12, 30)]
    shapes = [*real, ("no-edges", "synthetic", 5, 0), ("one", "synthetic", 1, 0)]
    for i, (name, origin, nodes, edges) in enumerate(shapes):
        inputs = graph(nodes, edges, kind, seed=i)
        expected = reference(inputs).astype(np.float32)
        entries.append({"name": name, "origin": origin, "num_nodes": nodes, "num_edges": edges})
        arrays.update({f"{i:04d}.{key}": value for key, value in inputs.items()})
        arrays[f"{i:04d}.expected"] = expected
        if origin == "data":
            label = expected.argmax(axis=1)
            label[::4] = (label[::4] + 1) % CLASSES
            arrays[f"{i:04d}.label"] = label
            if kind == "node":
                arrays[f"{i:04d}.mask"] = np.arange(nodes) % 3 > 0
    return entries, arrays


def make_artifact(folder: Path, kind: str = "node", **changes: Any) -> Path:
    """Write an artifact; `changes` replace fields of its manifest."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model(kind).SerializeToString())
    entries, arrays = sample_arrays(kind)
    np.savez_compressed(folder / "samples.npz", **arrays)
    build_runner(folder / "run.pyz")
    logits, labels = [], []
    for i in range(2):
        rows = arrays.get(f"{i:04d}.mask", slice(None))
        logits.append(arrays[f"{i:04d}.expected"][rows])
        labels.append(arrays[f"{i:04d}.label"][rows])
    value = score("accuracy", np.concatenate(logits), np.concatenate(labels))
    metric = {"name": "accuracy", "value": value, "n": sum(len(v) for v in labels)}
    inputs = [
        {"name": "x", "dtype": "float32", "shape": ["num_nodes", FEATURES]},
        {"name": "edge_index", "dtype": "int64", "shape": [2, "num_edges"]},
    ]
    if kind == "graph":
        inputs.append({"name": "batch", "dtype": "int64", "shape": ["num_nodes"]})
    rows_name = "num_graphs" if kind == "graph" else "num_nodes"
    manifest = {
        "format": "edgegnn-artifact/1",
        "name": folder.name,
        "recipe": "none",
        "recipe_config": {},
        "created": "2026-01-02T03:04:05Z",
        "task": {"data": "tiny", "kind": kind, "split": "given", "metric": "accuracy"},
        "kind": kind,
        "inputs": inputs,
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [rows_name, CLASSES]}],
        "samples": entries,
        "parity": {
            "graphs": 4,
            "agreement": 1.0,
            "max_abs_error": 0.0,
            "tolerance": {"agreement": 0.999, "max_abs_error": 1e-4},
            "per_graph": [{"name": e["name"], "agreement": 1.0, "max_abs_error": 0.0} for e in entries],
        },
        "metric": {"name": "accuracy", "pytorch": value, "artifact": value, "split": "test", "n": metric["n"]},
        "samples_metric": metric,
        "stayed_float": [],
        "sizes": {"model_file": 1, "fp32_model_file": 1},
        "versions": {"edgegnn": "0"},
        "command": "edgegnn export",
        **changes,
    }
    seal(folder, manifest)
    return folder


def seal(folder: Path, manifest: dict[str, Any] | None = None, **changes: Any) -> None:
    """Write the manifest with the checksums of the files as they are now."""
    if manifest is None:
        manifest = json.loads((folder / "manifest.json").read_text())
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            content = path.read_bytes()
            entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            files[path.relative_to(folder).as_posix()] = entry
    (folder / "manifest.json").write_text(json.dumps(seal_manifest({**manifest, "files": files, **changes}), indent=1))


def change_samples(folder: Path, change: Any) -> None:
    """Let `change(arrays)` edit samples.npz, and make the checksums right again."""
    with np.load(folder / "samples.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez_compressed(folder / "samples.npz", **arrays)
    seal(folder)
