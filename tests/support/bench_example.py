"""A task of the benchmark that is made in seconds, results with round numbers, and a runtime of a user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from profile_example import record
from torch_geometric.data import Data

from edgegnn.bench.files import Bundle, DataFacts, Row, Score, TaskFile, Tensor
from edgegnn.bench.tasks import BenchTask
from edgegnn.profiling.record import Latency, SustainedPoint

__all__ = ["TINY", "bundle", "open_model", "points", "rings", "row", "task_file"]


def rings(seed: int) -> list[Data]:
    """Rings, some with a chord, which is their class."""
    random = np.random.default_rng(seed)
    graphs = []
    for number in range(60):
        nodes, label = int(random.integers(5, 9)), number % 2
        one = np.arange(nodes)
        pairs = np.stack([one, (one + 1) % nodes])
        pairs = np.concatenate([pairs, [[0], [nodes // 2]]], axis=1) if label else pairs
        edges = torch.from_numpy(np.concatenate([pairs, pairs[::-1]], axis=1))
        x = torch.from_numpy(random.random((nodes, 4)).astype(np.float32))
        x[:, 0] += label
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([label])))
    return graphs


TINY = BenchTask(
    "tiny-gin",
    "Graphs: GIN, rings",
    "Does a ring have a chord?",
    "gin",
    "bench_example:rings",
    training={"epochs": 5},
    recipe="static-int8",
)


class Half:
    """Answers with model.onnx in stock onnxruntime, and rounds to half precision."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(self, names: list[str], inputs: dict[str, Any]) -> list[Any]:
        return [value.astype(np.float16).astype(np.float32) for value in self.session.run(names, inputs)]


def open_model(folder: Path) -> Callable[[int], Half]:
    return lambda threads: Half(folder / "model.onnx")


def task_file(name: str = "cora-gcn", **changes: Any) -> TaskFile:
    values: dict[str, Any] = {
        "name": name,
        "title": "Nodes: GCN, Cora",
        "what": "A topic for each paper.",
        "open": False,
        "data": DataFacts(name="cora", public=True, seed=0, sha256="d" * 64),
        "model": "gcn",
        "target": "classes",
        "fp32": Score(name="accuracy", value=0.8, n=1000),
        "quality": 0.99,
        "inputs": [Tensor(name="x", dtype="float32", shape=["num_nodes", 3], role="node")],
        "outputs": [Tensor(name="logits", dtype="float32", shape=["num_nodes", 7])],
        "graphs": 1,
        "recipe": "dq-int8",
        "agreement": 0.995,
        "versions": {"torch": "2"},
        "files": {"model.onnx": "a" * 64},
        "created": "2026-01-01T00:00:00Z",
    }
    return TaskFile(**{**values, **changes})


def row(task: str, runner: str, p50: float, **changes: Any) -> Row:
    latency = Latency(p50=p50, p90=2 * p50, p99=3 * p50, min=p50, mean=p50, n=200, threads=2)
    values: dict[str, Any] = {
        "task": task,
        "runner": runner,
        "precision": "dq-int8" if runner == "edgegnn" else "fp32",
        "record": record(latency_ms=latency, sustained=changes.pop("sustained", [])),
        "agreement": 0.995,
        "quality": Score(name="accuracy", value=0.8, n=1000),
        "share": 1.0,
        "valid": True,
    }
    return Row(**{**values, **changes})


def points(*throughputs: float, temperature: float | None = 50.0, throttled: str = "") -> list[SustainedPoint]:
    return [
        SustainedPoint(
            end_s=float(i + 1),
            inferences=round(speed),
            throughput_per_s=speed,
            p50_ms=1000.0 / speed,
            temperature=None if temperature is None else temperature + i,
            throttled=throttled,
        )
        for i, speed in enumerate(throughputs)
    ]


def bundle(*rows: Row, **changes: Any) -> Bundle:
    names = dict.fromkeys(one.task for one in rows)
    values: dict[str, Any] = {
        "target": "x86",
        "command": "edgegnn bench",
        "created": "2026-01-01T00:00:00Z",
        "edgegnn": "0",
        "versions": {"onnxruntime": "1"},
        "quick": False,
        "tasks": [task_file(name) for name in names],
        "rows": list(rows),
    }
    return Bundle(**{**values, **changes})
