"""Where an inference spends its time: each operator's, by onnxruntime's own profiler."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError
from edgegnn.runtime.artifact import Artifact
from edgegnn.runtime.entries import EntrySession
from edgegnn.runtime.session import make_session, run

__all__ = ["operator_times"]

Array = npt.NDArray[Any]
_SUFFIX = "_kernel_time"
_WARM_ROUNDS = 3
_SECONDS = 1.0
_LEAST_ROUNDS, _MOST_RUNS = 5, 300
_COPIED = 32 << 20  # bytes, more than caches hold


def operator_times(
    artifact: Artifact, graphs: Sequence[Mapping[str, Array]], *, threads: int, spinning: bool = True
) -> dict[str, Any]:
    """Run the graphs in turn under onnxruntime's profiler, in a session of its own.

    Args:
        artifact: an artifact that onnxruntime runs on the CPU.
        graphs: checked inputs, one mapping a graph.
        threads: of one inference.
        spinning: see `make_session`.

    Returns:
        `inferences` that were timed; `between_ms`, the time of an inference that no operator took; `copy_bytes_per_s`,
        bytes that a plain copy reads and writes here in a second; `nodes`, in the order of the graph: `name`, `op`,
        `ms` in an inference, and `bytes` that one reads and writes (weights included).

    Raises:
        ArtifactError: the model fails to run, or onnxruntime wrote no profile.
    """
    with tempfile.TemporaryDirectory(prefix="edgegnn-") as folder:
        session: Any = make_session(artifact, threads=threads, spinning=spinning, profile=Path(folder) / "times")
        parts = list(session.sessions.values()) if isinstance(session, EntrySession) else [session]
        count, end = 0, time.perf_counter() + _SECONDS
        rounds = 0
        while rounds < _WARM_ROUNDS + _LEAST_ROUNDS or (time.perf_counter() < end and count < _MOST_RUNS):
            for graph in graphs:
                run(session, artifact.manifest, dict(graph))
                count += 1
            rounds += 1
        warm = _WARM_ROUNDS * len(graphs)
        found = [_read(Path(part.end_profiling()), warm) for part in parts]
    return {
        "inferences": count - warm,
        "between_ms": sum(between for between, _ in found) / (count - warm),
        "copy_bytes_per_s": _copy_rate(),
        "nodes": [
            {**node, "ms": node["ms"] / (count - warm), "bytes": round(node["bytes"] / (count - warm))}
            for _, nodes in found
            for node in nodes
        ],
    }


def _read(path: Path, warm: int) -> tuple[float, list[dict[str, Any]]]:
    """Milliseconds between operators, and the operators with their sums, of all runs after the first ones."""
    try:
        events = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"onnxruntime wrote no profile: {error}") from error
    runs = sorted((e["ts"], e["dur"]) for e in events if e.get("name") == "model_run")
    if len(runs) <= warm:
        raise ArtifactError(f"onnxruntime's profile holds {len(runs)} runs: it needs more than {warm}")
    start = sum(runs[warm - 1])
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        name, more = str(event.get("name", "")), event.get("args", {})
        if event.get("cat") != "Node" or not name.endswith(_SUFFIX) or event["ts"] < start:
            continue
        node = name[: -len(_SUFFIX)][:300]
        own = found.setdefault(
            (node, more["op_name"]), {"name": node, "op": str(more["op_name"]), "ms": 0.0, "bytes": 0}
        )
        own["ms"] += event["dur"] / 1000
        own["bytes"] += sum(int(more.get(key, 0)) for key in ("activation_size", "parameter_size", "output_size"))
    total = sum(duration for _, duration in runs[warm:]) / 1000
    return max(0.0, total - sum(node["ms"] for node in found.values())), list(found.values())


def _copy_rate() -> float:
    """Bytes that numpy's copy of a large array reads and writes in a second, the best of five."""
    source, target = np.ones(_COPIED // 8), np.empty(_COPIED // 8)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - begin)
    return 2 * _COPIED / min(times)
