"""A study as cells, and cells as steps.

    dense ──▶ compress ──▶ timing

A step's key is the checksum of all that determines its result, so that a changed study.toml runs what is new in it, and
cells that start from the same dense model share it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import msgspec

from edgegnn.errors import StudyError
from edgegnn.runtime.artifact import file_sha256
from edgegnn.studies.config import Case, Study, beside

__all__ = ["Cell", "Step", "cells"]

_UNTRAINED = ("none", "dynamic-int8", "static-int8")  # recipes that fine-tune nothing


@dataclass(frozen=True)
class Cell:
    """One combination of the grid.

    Attributes:
        dense: what determines the dense model: model, data, task, metric, split, split_seed, architecture, settings,
            seed; of one's own model "own", which has its factory and arguments.
        prune: method, or None for the dense model.
        sparsity: share that goes.
        quant: recipe.
        finetune: settings of training after pruning and with fake quantization.
        more: schedule and variant of the pruning; checksum of a recipe's file.
        timing: what determines the measurement; None: none.
    """

    dense: dict[str, Any]
    prune: str | None
    sparsity: float
    quant: str
    finetune: dict[str, Any]
    more: dict[str, Any]
    timing: dict[str, Any] | None

    @property
    def compress(self) -> dict[str, Any]:
        """What determines the compressed model."""
        pruned = {"prune": self.prune, "sparsity": self.sparsity, "quant": self.quant, **self.more}
        return {"dense": self.dense, **pruned, "finetune": self.finetune}

    @cached_property
    def dense_key(self) -> str:
        """Key of the dense training."""
        return _key("dense", self.dense)

    @cached_property
    def compress_key(self) -> str:
        """Key of compressing and exporting."""
        return _key("compress", self.compress)

    @cached_property
    def timing_key(self) -> str | None:
        """Key of the measurement; None: it is not measured."""
        return None if self.timing is None else _key("timing", {"compress": self.compress_key, **self.timing})

    @property
    def label(self) -> str:
        """The cell in words."""
        pruned = f" {self.prune} {self.sparsity:g}" if self.prune else ""
        quant = "" if self.quant == "none" else f" {self.quant}"
        return f"{self.dense['model']} {self.dense['data']}{pruned}{quant or ' dense' * (not pruned)} " + (
            f"seed {self.dense['seed']}"
        )


@dataclass(frozen=True)
class Step:
    """What is done for a cell at a time.

    Attributes:
        kind: "dense", "compress" or "timing".
        cell: the cell, or of a dense training the first of those that share it.
    """

    kind: str
    cell: Cell

    @property
    def key(self) -> str:
        """Checksum of what determines the result."""
        keys = {"dense": self.cell.dense_key, "compress": self.cell.compress_key, "timing": self.cell.timing_key}
        key = keys[self.kind]
        assert key is not None
        return key

    @property
    def spec(self) -> dict[str, Any]:
        """What determines the result."""
        if self.kind == "timing":
            return {"compress": self.cell.compress_key, **(self.cell.timing or {})}
        return self.cell.dense if self.kind == "dense" else self.cell.compress


def cells(study: Study) -> list[Cell]:
    """All cells of a study, each once; cells of one dense model are neighbours.

    Raises:
        StudyError: the grid is empty, or a file that it names can't be read.
    """
    found: dict[str, Cell] = {}
    for number, case in enumerate(study.case, 1):
        before = len(found)
        for model in case.models:
            for data in case.data:
                for seed in study.of(case, "seeds"):
                    for cell in _of_model(study, case, _dense(study, case, model, data, seed)):
                        found.setdefault(cell.compress_key, cell)
        if len(found) == before and not (study.of(case, "seeds") and study.of(case, "quant") and _ways(study, case)):
            raise StudyError(f"{study.path}: case {number} is empty: it has {_what_lacks(study, case)}")
    return list(found.values())


def _of_model(study: Study, case: Case, dense: dict[str, Any]) -> list[Cell]:
    timing = None
    if study.timing != "off":
        timing = {"target": study.target, "quick": study.timing == "quick", "threads": study.threads}
    made = []
    for method, sparsity in _ways(study, case):
        more: dict[str, Any] = {}
        if method in ("fine-grained", "global") and case.schedule != "one-shot":
            more["schedule"] = case.schedule
        if method == "regularized" and case.variant is not None:
            more["variant"] = case.variant
        for quant in study.of(case, "quant"):
            with_file = more | _checksum(study, "quant_sha256", quant)
            trains = method is not None or quant not in _UNTRAINED
            made.append(Cell(dense, method, sparsity, quant, _set(case.finetune) if trains else {}, with_file, timing))
    return made


def _ways(study: Study, case: Case) -> list[tuple[str | None, float]]:
    """Pairs of method and sparsity; the dense model is one of no method."""
    sparsities = list(dict.fromkeys(study.of(case, "sparsities")))
    dense: list[tuple[str | None, float]] = [(None, 0.0)] if 0.0 in sparsities else []
    return dense + [(method, s) for method in dict.fromkeys(study.of(case, "prune")) for s in sparsities if s > 0]


def _what_lacks(study: Study, case: Case) -> str:
    for key in ("seeds", "quant", "sparsities"):
        if not study.of(case, key):
            return f"no {key}: name at least one"
    return "sparsities above 0, and no method in prune: name one, or add the sparsity 0 for the dense model"


def _dense(study: Study, case: Case, model: str, data: str, seed: int) -> dict[str, Any]:
    return {
        "model": model,
        "data": data,
        "task": case.task,
        "metric": case.metric,
        "split": case.split,
        "split_seed": case.split_seed,
        "architecture": _set(case.architecture),
        "settings": _set(case.settings),
        "seed": seed,
        **_checksum(study, "data_sha256", data),
        **_own(study, model),
    }


def _own(study: Study, model: str) -> dict[str, Any]:
    """What builds a model of one's own, and the checksum of its module where that lies in the working folder."""
    own = study.models.get(model)
    if own is None:
        return {}
    module = Path(f"{own.factory.partition(':')[0].replace('.', '/')}.py")
    code = {"module_sha256": _sha256(module)} if module.is_file() else {}
    return {"own": {"factory": own.factory, "args": own.args, **code}}


def _set(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields that were given."""
    return {key: value for key, value in msgspec.structs.asdict(struct).items() if value is not None}


def _checksum(study: Study, key: str, name: str) -> dict[str, str]:
    path = beside(study, name)
    return {} if path == name else {key: _sha256(Path(path))}


@cache
def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise StudyError(f"can't read {path}: {error.strerror}") from error


def _key(kind: str, spec: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([kind, spec], sort_keys=True).encode()).hexdigest()[:20]
