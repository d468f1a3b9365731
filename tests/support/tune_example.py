"""Searches for tests: candidates that are made up in no time, with a size and a drop that follow from what they are."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tiny_artifact import make_artifact

from edgegnn.runtime import read_manifest
from edgegnn.runtime.manifest import seal_manifest
from edgegnn.tuning import search
from edgegnn.tuning.space import Candidate, Layer, Space
from edgegnn.tuning.store import ARTIFACT, CHECKPOINT, RECIPE

SPACE = Space(
    (
        Layer("convs.0", ("convs.0.*",), ("convs.0.lin.weight",)),
        Layer("convs.1", ("convs.1.*",), ("convs.1.lin.weight",)),
    ),
    ("none", "dynamic-int8", "static-int8", "qat-int8", "qat-int4", "dq-int8", "dq-int4", "a2q"),
)
WIDTH = {"8": 8.0, "4": 4.0, "w4": 4.0}


def figures(candidate: Candidate) -> tuple[int, float]:
    """Bytes, and the drop as a share: fewer bits and weights cost accuracy, short training costs some more."""
    bits = {"none": 32.0, "dynamic-int8": 8.0, "static-int8": 8.0, "a2q": 6.0}.get(candidate.quant)
    bits = sum(WIDTH[b] for b in candidate.bits) / len(candidate.bits) if bits is None else bits
    kept = 1 - (candidate.sparsity or 0.0)
    drop = {32.0: 0.0, 8.0: 0.001}.get(bits, 0.003) + 0.002 * (1 / kept - 1) + (0.0 if candidate.full else 0.004)
    return int(1000 * bits * (0.02 + kept)), round(drop, 6)


@cache
def manifest() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return read_manifest(make_artifact(Path(folder) / "tiny")).raw


class Made:
    """Stands for training, exporting and judging: notes what is done, and fails or stops where it is told to."""

    def __init__(self, monkeypatch: Any) -> None:
        self.done: list[Candidate] = []
        self.errors: dict[int, BaseException] = {}
        self.reasons: dict[str, str] = {}
        monkeypatch.setattr(search, "attempt", self.attempt)
        monkeypatch.setattr(search, "measure", self.measure)
        monkeypatch.setattr(search._Search, "_plan_epochs", lambda _: {"full": 30, "short": 10, "default": 30})

    def attempt(self, job: Any, candidate: Candidate, folder: Path, **_: Any) -> dict[str, Any]:
        self.done.append(candidate)
        if len(self.done) in self.errors:
            raise self.errors.pop(len(self.done))
        if candidate.preset in self.reasons:
            return {"status": "failed", "reason": self.reasons[candidate.preset], "seconds": 1.0}
        size, drop = figures(candidate)
        (folder / ARTIFACT).mkdir(parents=True, exist_ok=True)
        facts = {
            "metric": {"name": "accuracy", "split": "test", "pytorch": 0.5, "artifact": 0.5, "n": 18},
            "candidate": candidate.label(SPACE),
        }
        (folder / ARTIFACT / "manifest.json").write_text(json.dumps(seal_manifest({**manifest(), **facts})))
        (folder / RECIPE).write_text("{}")
        if candidate.trains:
            (folder / CHECKPOINT).write_text(candidate.label(SPACE))
        excess = drop - job.allowed
        facts = {"val": job.judge.val - drop, "drop": drop, "drop_error": 0.0, "agreement": 1.0, "bytes": size}
        facts |= {"checkpoint_bytes": None, "within": excess <= 0, "excess": excess, "rest_seconds": 0.01}
        return {"status": "done", "reason": "", "seconds": 0.02, **facts}

    def measure(self, job: Any, folder: Path, **_: Any) -> dict[str, Any]:
        energy = {"gross": 0.002, "net": None, "kind": "estimated", "source": "a model"}
        latency = {"p50": 1.0, "p90": 1.5, "p99": 2.0, "threads": 1}
        return {"latency_ms": latency, "energy_j": energy, "energy_reason": "", "emulated": "", "device": "A CPU"}


def settings(**changes: Any) -> Candidate:
    return dataclasses.replace(Candidate("dq", ("8", "8")), **changes)
