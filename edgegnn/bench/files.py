"""The benchmark's files: `task.json` of a prepared task, and the bundle of a run's results.

Both are JSON with a checksum of all other fields. Field names are those of the classes below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from edgegnn.errors import DataError, ReportError
from edgegnn.profiling.bounds import Count, FileName, Positive, Sentence, Share, Word
from edgegnn.profiling.record import ProfileRecord
from edgegnn.runtime.checksum import intact, sealed
from edgegnn.runtime.metrics import LOWER_IS_BETTER
from edgegnn.utils.files import check_plain, replacing

__all__ = ["Bundle", "DataFacts", "Row", "Score", "TaskFile", "Tensor", "read_bundle", "read_task", "write_json"]

_CHECKSUM = "sha256"
_MOST = 64 * 2**20  # bytes of a file


class DataFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a task.

    Attributes:
        name: of the public data set, or of the function that made them.
        public: a public data set; otherwise generated.
        seed: of generated data, and of a split that is drawn.
        reason: why data were generated where there is a public set for the task.
        sha256: checksum of the arrays of the test split and their labels.
        split: of the public data set; "": its usual one.
    """

    name: Word
    public: bool
    seed: Count
    split: Word = ""
    reason: Sentence = ""
    sha256: Word


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A metric over the test split.

    Attributes:
        name: one of those in `edgegnn.runtime.metrics`.
        value: the metric.
        n: rows counted.
    """

    name: Word
    value: Positive
    n: Count

    def share_of(self, reference: Score) -> float:
        """This quality as a share of a reference's: 1 is as good, of an error as of an accuracy."""
        if self.value == reference.value:
            return 1.0
        better, worse = (reference, self) if self.name in LOWER_IS_BETTER else (self, reference)
        return better.value / worse.value if worse.value else float("inf")


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output: its name, its type in numpy's words, its shape with names for what varies, and its role."""

    name: Word
    dtype: Word
    shape: list[int | str]
    role: Word = ""


class TaskFile(msgspec.Struct, frozen=True, kw_only=True):
    """`task.json`: what a prepared task is.

    Attributes:
        format: of this file.
        name: of the task.
        title: a few words.
        what: one inference, in a sentence.
        open: not part of the score.
        data: see `DataFacts`.
        model: name of the zoo's model, or of the function that builds it.
        task: what the labels are for, one of `edgegnn.tasks.TASKS`; "" where the data tell it.
        target: what a row of the output holds: "classes", "labels" or "values".
        fp32: quality of the fp32 model on the test split, which all others are compared with.
        quality: least share of it that counts.
        inputs: of the model.
        outputs: of the model.
        graphs: in inputs.npz, in the order in which they are measured.
        recipe: how edgegnn quantizes the model.
        agreement: share of edgegnn's quantized predictions that are the fp32 model's, over the test split.
        versions: of what made the checkpoint.
        files: name -> checksum of each file for other runtimes.
        created: when, ISO 8601 in UTC.
    """

    name: FileName
    title: Word
    what: Sentence
    open: bool
    data: DataFacts
    model: Word
    task: Word = ""
    target: Word
    fp32: Score
    quality: Share
    inputs: Annotated[list[Tensor], msgspec.Meta(max_length=100)]
    outputs: Annotated[list[Tensor], msgspec.Meta(max_length=100)]
    graphs: Count
    recipe: Word
    agreement: Share
    versions: dict[Word, Word]
    files: dict[Word, Word]
    created: Word
    format: Literal["edgegnn-bench-task/0"] = "edgegnn-bench-task/0"

    @property
    def model_sha256(self) -> str:
        """Checksum of the fp32 model."""
        return self.files.get("model.onnx", "")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A task on a runner.

    Attributes:
        task: its name.
        runner: its name.
        precision: what the runner computes with, "fp32" or the recipe.
        record: the measurement; None with the reason in `reason`.
        reason: why there is none.
        agreement: share of predictions that are the fp32 model's, over the test split.
        quality: on the test split, computed from the runner's outputs.
        share: that quality as a share of the fp32 model's.
        valid: the share reaches the task's limit.
    """

    task: Word
    runner: Word
    precision: Word
    record: ProfileRecord | None = None
    reason: Sentence = ""
    agreement: Share | None = None
    quality: Score | None = None
    share: Positive | None = None
    valid: bool = False


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The results of a run.

    Attributes:
        format: of this file.
        target: name of the device's target.
        command: what was asked for.
        created: when, ISO 8601 in UTC.
        edgegnn: version.
        versions: of the host's software.
        quick: measured with short windows: not a result to submit.
        sustained_s: seconds of the long run; 0: none.
        tasks: that were asked for, as they were prepared.
        rows: a row for each task and runner.
    """

    target: Word
    command: Sentence
    created: Word
    edgegnn: Word
    versions: dict[Word, Word]
    quick: bool
    sustained_s: Positive = 0.0
    tasks: Annotated[list[TaskFile], msgspec.Meta(max_length=100)]
    rows: Annotated[list[Row], msgspec.Meta(max_length=1000)]
    format: Literal["edgegnn-bench-results/0"] = "edgegnn-bench-results/0"

    def task(self, name: str) -> TaskFile | None:
        """A task that was prepared; None where it could not be."""
        return next((task for task in self.tasks if task.name == name), None)

    @property
    def measured(self) -> list[Row]:
        """The rows that have a measurement."""
        return [row for row in self.rows if row.record is not None]

    @property
    def runners(self) -> list[str]:
        """Names of the runners, in order."""
        return list(dict.fromkeys(row.runner for row in self.rows))


def write_json(value: TaskFile | Bundle, path: Path) -> dict[str, Any]:
    """Write a file, whole or not at all; one in its place is replaced.

    Returns:
        The values with their checksum, as they are in the file.

    Raises:
        ReportError: it can't be written.
    """
    values = sealed(msgspec.to_builtins(value), _CHECKSUM)
    with replacing(path, force=True, error=ReportError) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(values), indent=1) + b"\n")
    return values


def read_task(folder: Path) -> TaskFile:
    """The `task.json` of a prepared task.

    Raises:
        DataError: there is none, or it is damaged.
    """
    return _read(folder / "task.json", TaskFile, "a prepared task: `edgegnn bench --prepare` makes them")


def read_bundle(path: Path) -> Bundle:
    """The results of a run.

    Raises:
        DataError: there is no such file, or it is damaged, changed, or something else.
    """
    return _read(path, Bundle, "the results of `edgegnn bench`")


T = TypeVar("T", TaskFile, Bundle)


def _read(path: Path, kind: type[T], what: str) -> T:
    check_plain(path, DataError)
    try:
        if path.stat().st_size > _MOST:
            raise DataError(f"{path} is too large to be {what}")
        values = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not {what}: {error}") from error
    if not intact(values, _CHECKSUM):
        raise DataError(f"{path} was changed after it was written: its checksum is another")
    values.pop(_CHECKSUM, None)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise DataError(f"{path} is not {what}: {error}") from error
