"""Studies for tests: a small file, and steps that stand for training and measuring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgegnn.studies import Cell, Outcome, open_store, read_study, running, steps

HEAD = """prune = ["global", "regularized"]
sparsities = [0.0, 0.5]
seeds = [0, 1]
timing = "off"
"""
CASE = """
[[case]]
models = ["gcn"]
data = ["cora"]
"""


def study_of(folder: Path, text: str):
    path = folder / "study.toml"
    path.write_text(text)
    return read_study(path)


def store_rows(study):
    with open_store(study.store_path, create=False) as store:
        return store.rows()


class Steps:
    """Stands for training and measuring: notes what is done, and fails where it is told to."""

    def __init__(self, monkeypatch):
        self.done: list[str] = []
        self.errors: dict[str, BaseException] = {}
        for kind in running.KINDS:
            monkeypatch.setattr(steps, kind, lambda study, cell, *_, kind=kind: self.do(kind, study, cell))

    def do(self, kind: str, study: Any, cell: Cell) -> dict[str, Any]:
        name = f"{kind} {cell.label}"
        self.done.append(name)
        if name in self.errors:
            raise self.errors[name]
        if kind == "dense":
            steps.dense_path(study, cell).touch()
            return {"metric": "accuracy", "split": "public", "data": "cora", "test": 0.8, "train_seconds": 3.0}
        if kind == "compress":
            steps.artifact_path(study, cell).mkdir(exist_ok=True)
            test = 0.8 + 0.02 * cell.dense["seed"] - 0.1 * cell.sparsity
            sizes = {"model_file": 4000, "checkpoint": 5000, "train_seconds": 1.5, "n": 1000, "more": {}}
            return {"metric": "accuracy", "test": test, **sizes}
        energy = {"energy_gross": 0.002, "energy_kind": "estimated", "energy_source": "a model; machine"}
        facts = {"quick": True, "threads": 2, "device": "A CPU", "emulated": "", "energy_net": None}
        return {"p50": 1.5, "p99": 2.5, "cpu_percent": 50.0, "peak_delta": 2_000_000, **energy, **facts}


class Quiet:
    def __init__(self):
        self.lines: list[tuple[Outcome, float | None]] = []

    def begin(self, total, done, trained):
        self.counts = (total, done, trained)

    def step(self, step, beside):
        pass

    def epoch(self, log):
        pass

    def status(self, text):
        pass

    def measuring(self, left):
        pass

    def ended(self, outcome, kind, seconds, left):
        self.lines.append((outcome, left))
