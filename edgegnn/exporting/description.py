"""What is only shown, of a manifest and of a checkpoint's history: checked as a whole, before any of it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgegnn.errors import ArtifactError, CheckpointError, EdgeGNNError, first_line

__all__ = ["check_description", "check_history"]


class _Compared(msgspec.Struct):
    pytorch: float | None
    artifact: float | None


class _Metric(_Compared):
    name: str
    n: int
    reason: str | None = None
    caveat: str | None = None


class _TestMetric(_Compared):
    name: str
    n: int
    split: str
    reason: str | None = None
    caveat: str | None = None


class _Counts(msgspec.Struct):
    train: int
    val: int
    test: int


class _Negatives(msgspec.Struct):
    train_pool: int


class _Links(msgspec.Struct):
    links: _Counts
    negatives: _Negatives
    directed: bool
    protocol: str


class _Task(msgspec.Struct):
    data: str
    kind: str
    split: str
    target: str = "classes"
    link_split: _Links | None = None


class _Parity(msgspec.Struct):
    graphs: int
    agreement: float
    max_abs_error: float
    sensitive: list[str]


class _Sizes(msgspec.Struct):
    model_file: int
    fp32_model_file: int | None = None


class _Drop(msgspec.Struct):
    name: str
    drop: float
    n: int
    limit: float | None
    before: float = msgspec.field(name="float")
    after: float = msgspec.field(name="quantized")


class _LayerNoise(msgspec.Struct):
    layer: str
    decibels: float | None


class _Noise(msgspec.Struct):
    outputs: float | None
    layers: list[_LayerNoise]


class _Input(msgspec.Struct):
    input: str
    told: str


class _AgainstFloat(msgspec.Struct):
    reference: str
    metric: _Drop | None
    signal_to_noise: _Noise
    inputs: list[_Input]


class _Stayed(msgspec.Struct):
    tensor: str
    bytes: int
    why: str


class _Aggregation(msgspec.Struct):
    layer: str
    aggregation: str
    rule: str | None
    reason: str


class _Average(msgspec.Struct):
    rows: float
    values: float


class _Point(msgspec.Struct):
    average: float
    kind: str
    columns: int
    histogram: dict[str, int]


class _Frozen(msgspec.Struct):
    tensor: str
    step: int
    epoch: int
    value: float


class _Grades(msgspec.Struct):
    statistic: str
    planned_steps: int
    matrices: int
    frozen: list[_Frozen]


class _Step(msgspec.Struct):
    step: str
    recipe: str | None = None
    method: str = ""
    sparsity: float = 0.0
    epochs_run: int | None = None
    best_epoch: int | None = None
    link_split: _Links | None = None
    caveat: str | None = None
    grades: _Grades | None = None


class _Description(msgspec.Struct):
    task: _Task
    parity: _Parity
    metric: _TestMetric
    sizes: _Sizes
    versions: dict[str, str]
    stayed_float: list[_Stayed]
    validation: _Metric | None = None
    against_float: _AgainstFloat | None = None
    command: str | None = None
    alone: str = ""
    quantized_points: int = 0
    integer_operators: dict[str, int] | None = None
    average_bits: _Average | None = None
    learnt_bits: dict[str, _Point] | None = None
    history: list[_Step] = []
    aggregations: list[_Aggregation] = []


def check_description(manifest: dict[str, Any]) -> None:
    """Check the fields of a manifest that `inspect` shows.

    Raises:
        ArtifactError: one is missing, or of another type.
    """
    further = [value for value in _items(manifest.get("metric")) if isinstance(value, dict)]
    against = manifest.get("against_float") or None  # {} of a float artifact
    where = "manifest.json can't be shown, it is damaged or of another edgegnn"
    _check({**manifest, "against_float": against}, _Description, where, ArtifactError)
    _check(further, list[_Compared], where, ArtifactError)


def check_history(history: Any, path: Path) -> None:
    """Check the steps of a checkpoint's history.

    Raises:
        CheckpointError: they are not what edgegnn writes.
    """
    _check(history, list[_Step], f"{path} can't be shown, its history is damaged", CheckpointError)


def _items(values: Any) -> list[Any]:
    return list(values.values()) if isinstance(values, dict) else []


def _check(values: Any, kind: Any, where: str, error: type[EdgeGNNError]) -> None:
    try:
        msgspec.convert(values, kind)
    except (msgspec.ValidationError, ValueError, RecursionError) as failed:
        raise error(f"{where}: {first_line(failed)}") from failed
