"""Make a task: its data, its checkpoint, the files for other runtimes, and edgegnn's artifacts.

    <task>/
      task.json      what it is, with the checksums of the files below
      README.md      the same and the rules, for people
      inputs.npz     the graphs of the test split: "0000.x", "0000.edge_index", ...
      expected.npz   for each graph the fp32 model's outputs, the labels, and the mask of the rows that count
      model.onnx     the fp32 model in standard operators
      model.pt       the fp32 model as edgegnn's checkpoint
      fp32/ int8/ plain/   artifacts: edgegnn's fp32 and quantized ones; model.onnx above

The same seed gives the same data everywhere. Trained weights are the same on one machine with one version of PyTorch;
to compare devices, copy the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import platformdirs
import torch

from edgegnn import api
from edgegnn.bench.files import DataFacts, Score, TaskFile, Tensor, read_task, write_json
from edgegnn.bench.plain import plain_model, with_model
from edgegnn.bench.readme import task_readme
from edgegnn.bench.tasks import QUALITY, VERSION, BenchTask
from edgegnn.checkpoint import Checkpoint
from edgegnn.compression.model_source import DataSource, ModelSource, open_model
from edgegnn.errors import DataError, ReportError, UsageError, first_line
from edgegnn.exporting.artifact import versions
from edgegnn.quantize import recipe
from edgegnn.runtime import Artifact, open_artifact
from edgegnn.runtime.metrics import compare
from edgegnn.runtime.samples import Sample, read_samples
from edgegnn.tasks import load_task

__all__ = ["Prepared", "data_source", "default_folder", "export_c", "open_prepared", "prepare"]

Status = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A task that is ready to be measured.

    Attributes:
        folder: with its files.
        facts: its task.json.
        task: the record that it was made from.
    """

    folder: Path
    facts: TaskFile
    task: BenchTask

    @property
    def data(self) -> DataSource:
        """What its data are loaded by."""
        return data_source(self.folder, self.facts)

    @property
    def checkpoint(self) -> Path:
        """The model that edgegnn exports: fp32, or fine-tuned by a recipe that trains."""
        trained = self.folder / "int8.pt"
        return trained if trained.is_file() else self.folder / "model.pt"


def data_source(folder: Path, facts: TaskFile) -> DataSource:
    """The data of a prepared task: a public set, or a file in its folder."""
    place = facts.data.name if facts.data.public else str(folder / f"{facts.name}.pt")
    return DataSource(place, facts.task or None, facts.data.split or None, facts.data.seed)


def default_folder() -> Path:
    """Where tasks are prepared: in the user's cache."""
    return platformdirs.user_cache_path("edgegnn") / "bench" / f"v{VERSION}"


def open_prepared(task: BenchTask, folder: Path) -> Prepared | None:
    """A task that was prepared in `folder`/<name> before; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    place = folder / task.name
    return Prepared(place, read_task(place), task) if (place / "task.json").is_file() else None


def prepare(task: BenchTask, folder: Path, *, status: Status = lambda _: None) -> Prepared:
    """Make a task in `folder`/<name>; one that is there is replaced.

    Raises:
        EdgeGNNError: its data can't be made, or its model can't be trained or exported. Nothing is left then.
    """
    place = folder / task.name
    with _whole(place):
        data, facts = _data(task, place)
        status(f"{task.name}: training")
        settings = {"seed": task.seed, **task.training}
        split = facts.split or None
        asked: dict[str, Any] = {"task": task.task, "split": split, "split_seed": task.seed}
        checkpoint = api.train(task.model, data, output=place / "model.pt", settings=settings, **asked)
        status(f"{task.name}: exporting fp32")
        given = DataSource(data, task.task, split, task.seed)
        fp32 = _export(checkpoint, place / "fp32", given)
        status(f"{task.name}: exporting {task.recipe}")
        int8 = _quantized(task, checkpoint, place, given)
        status(f"{task.name}: writing files for other runtimes")
        _, work, _ = open_model(checkpoint, ModelSource(), given)
        plain = plain_model(checkpoint, work)
        with_model(place / "fp32", plain, place / "plain")
        made = _write(task, place, fp32, int8, plain, facts)
    return Prepared(place, made, task)


@contextlib.contextmanager
def _whole(place: Path) -> Iterator[None]:
    """An empty folder, which is removed again if the block fails."""
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    except OSError as error:
        raise ReportError(f"can't prepare tasks in {place.parent}: {first_line(error)}; choose --prepared") from error
    try:
        yield
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _data(task: BenchTask, place: Path) -> tuple[str, DataFacts]:
    """What the data are loaded by, and what they are: the public set where it can be had, else generated ones."""
    reason = ""
    if task.public:
        try:
            load_task(task.public, seed=task.seed)
            facts = DataFacts(name=task.public, public=True, seed=task.seed, sha256="", split=task.split)
            return task.public, facts
        except (DataError, UsageError) as error:
            reason = str(error)
    module, _, function = task.generate.partition(":")
    graphs = getattr(importlib.import_module(module), function)(task.seed)
    path = place / f"{task.name}.pt"
    torch.save(graphs, path)
    return str(path), DataFacts(name=function, public=False, seed=task.seed, reason=reason, sha256="")


def _export(model: Checkpoint | Path, output: Path, data: DataSource, **options: Any) -> Artifact:
    api.export(
        model,
        output=output,
        data=data.data,
        task=data.task,
        split=data.split,
        split_seed=data.split_seed,
        max_accuracy_drop=100.0,
        allow_import=True,
        force=True,
        **options,
    )
    return open_artifact(output)


def _quantized(task: BenchTask, checkpoint: Checkpoint, place: Path, data: DataSource) -> Artifact:
    """The quantized artifact, from a checkpoint of its own where the recipe trains."""
    if not recipe(task.recipe).trains:
        return _export(checkpoint, place / "int8", data, quant=task.recipe)
    settings = {"seed": task.seed, **task.finetuning}
    tuned = api.compress(
        checkpoint,
        quant=task.recipe,
        output=place / "int8.pt",
        data=data.data,
        task=data.task,
        split=data.split,
        split_seed=data.split_seed,
        settings=settings,
    )
    return _export(tuned.checkpoint, place / "int8", data)


def export_c(prepared: Prepared) -> Path:
    """The quantized artifact with the C form for graphs as large as those of the test split; made once.

    Raises:
        EdgeGNNError: the model has no C form, or it can't be compiled here.
    """
    place = prepared.folder / "c"
    if not (place / "manifest.json").is_file():
        entries = open_artifact(prepared.folder / "int8").manifest.samples
        limits = {"max_nodes": max(e.num_nodes for e in entries), "max_edges": max(1, *(e.num_edges for e in entries))}
        quant = None if prepared.checkpoint.name == "int8.pt" else prepared.task.recipe
        _export(prepared.checkpoint, place, prepared.data, quant=quant, format="c", **limits)
    return place


# -- files for other runtimes -----------------------------------------------------------------------------------------


def _write(
    task: BenchTask, place: Path, fp32: Artifact, int8: Artifact, plain: onnx.ModelProto, data: DataFacts
) -> TaskFile:
    manifest, samples = fp32.manifest, _of_data(read_samples(fp32))
    quality = manifest.samples_metric
    if quality is None:
        raise DataError(f"{task.name}: the test split has no labels to tell the quality by")
    inputs, expected = _arrays(samples)
    np.savez_compressed(place / "inputs.npz", **inputs)
    np.savez_compressed(place / "expected.npz", **expected)
    (place / "model.onnx").write_bytes(plain.SerializeToString(deterministic=True))
    names = ("inputs.npz", "expected.npz", "model.onnx", "model.pt")
    labels = {name: value for name, value in expected.items() if not name.endswith(".expected")}
    facts = TaskFile(
        name=task.name,
        title=task.title,
        what=task.what,
        open=task.open,
        data=DataFacts(
            name=data.name,
            public=data.public,
            seed=data.seed,
            reason=data.reason,
            sha256=_arrays_sha256({**inputs, **labels}),
        ),
        model=task.model,
        task=task.task or "",
        target=manifest.target,
        fp32=Score(name=quality.name, value=quality.value, n=quality.n),
        quality=QUALITY,
        inputs=[_tensor(spec, manifest.roles[spec.name].name) for spec in manifest.inputs],
        outputs=[_tensor(spec, spec.role) for spec in manifest.outputs],
        graphs=len(samples),
        recipe=task.recipe,
        agreement=_agreement(samples, _of_data(read_samples(int8)), manifest.target, manifest.within),
        versions={name: str(version) for name, version in versions().items()},
        files={name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in names},
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    (place / "README.md").write_text(task_readme(facts), encoding="utf-8")
    write_json(facts, place / "task.json")
    return facts


def _of_data(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.origin == "data"]


def _tensor(spec: Any, role: str) -> Tensor:
    return Tensor(name=spec.name, dtype=str(spec.dtype), shape=list(spec.shape), role=role)


def _arrays(samples: Sequence[Sample]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What goes into inputs.npz and expected.npz."""
    inputs: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    for i, sample in enumerate(samples):
        inputs |= {f"{i:04d}.{name}": value for name, value in sample.inputs.items()}
        known = {"expected": sample.expected, "label": sample.label, "mask": sample.mask}
        expected |= {f"{i:04d}.{name}": value for name, value in known.items() if value is not None}
    return inputs, expected


def _arrays_sha256(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Checksum of arrays by their names, types, shapes and values; how they are packed does not matter."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _agreement(fp32: Sequence[Sample], other: Sequence[Sample], target: str, within: tuple[float, ...] | None) -> float:
    """Share of rows of the test split that two models answer alike."""
    answers = {sample.name: sample.expected for sample in other}
    rows = same = 0
    for sample in fp32:
        counted = slice(None) if sample.mask is None else sample.mask
        count, equal, _ = compare(sample.expected[counted], answers[sample.name][counted], target=target, within=within)
        rows, same = rows + count, same + equal
    return same / rows if rows else 1.0
