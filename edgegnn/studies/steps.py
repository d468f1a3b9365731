"""What a step does: it calls the public function of its name, and keeps what a table needs of the result."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgegnn import api
from edgegnn.studies.config import Study, beside
from edgegnn.studies.plan import Cell

__all__ = ["artifact_path", "checkpoint_path", "compress", "dense", "dense_path", "timing"]

Status = Callable[[str], None]


def dense_path(study: Study, cell: Cell) -> Path:
    """The checkpoint of the dense model."""
    return study.files / f"{_slug(cell.dense['model'], cell.dense['data'])}-dense-{cell.dense_key}.pt"


def artifact_path(study: Study, cell: Cell) -> Path:
    """The artifact."""
    pruned = (cell.prune, f"{cell.sparsity:g}") if cell.prune else ()
    return study.files / f"{_slug(cell.dense['model'], cell.dense['data'], *pruned, cell.quant)}-{cell.compress_key}"


def checkpoint_path(study: Study, cell: Cell) -> Path:
    """The checkpoint of the compressed model, where compressing trained."""
    artifact = artifact_path(study, cell)
    return artifact.with_name(f"{artifact.name}.pt")


def dense(study: Study, cell: Cell, progress: api.Progress, status: Status) -> dict[str, Any]:
    """Train the dense model: `edgegnn train`.

    Returns:
        "metric" (its name), "val", "test", "kind", "data" and "split" (as the task says), "train_seconds".

    Raises:
        EdgeGNNError: as of `edgegnn.api.train`.
    """
    asked = cell.dense
    status("training")
    own = asked.get("own", {})
    checkpoint = api.train(
        own.get("factory", asked["model"]),
        beside(study, asked["data"]),
        output=dense_path(study, cell),
        task=asked["task"],
        metric=asked["metric"],
        split=asked["split"],
        split_seed=asked["split_seed"],
        architecture=asked["architecture"],
        factory_args=own.get("args"),
        settings={**asked["settings"], "seed": asked["seed"]},
        force=True,
        progress=progress,
    )
    task = checkpoint.task
    assert task is not None
    return {
        "metric": task.metric,
        "val": checkpoint.metrics["val"],
        "test": checkpoint.metrics["test"],
        "kind": task.kind,
        "data": task.data,
        "split": task.split,
        "train_seconds": _seconds(checkpoint.history),
    }


def compress(study: Study, cell: Cell, progress: api.Progress, status: Status) -> dict[str, Any]:
    """Compress the dense model and export it: `edgegnn compress`, `edgegnn export`.

    Returns:
        "metric", "split", "n" and "test" (over the test split, of the artifact), "more" (further metrics), "val" (of
        the artifact, over the validation split), "achieved" sparsity, "agreement", "model_file" and
        "checkpoint" (bytes), "runtime", "train_seconds" (of what came after the dense training; of the dense model its
        own).

    Raises:
        EdgeGNNError: as of `edgegnn.api.compress` and `edgegnn.api.export`.
    """
    from edgegnn.quantize import recipe

    model, quant = dense_path(study, cell), beside(study, cell.quant)
    history_before, factory = 0, cell.dense.get("own", {}).get("factory")
    trained = quant if recipe(quant).trains else None
    if cell.prune is not None or trained is not None:
        small = checkpoint_path(study, cell)
        history_before = len(api.load(model, factory=factory).history)
        status("compressing")
        api.compress(
            model,
            prune=cell.prune,
            sparsity=cell.sparsity if cell.prune is not None else None,
            quant=trained,
            factory=factory,
            output=small,
            schedule=cell.more.get("schedule", "one-shot"),
            variant=cell.more.get("variant"),
            settings=cell.finetune,
            force=True,
            progress=progress,
            status=status,
        )
        model = small
    exported = api.export(
        model,
        quant=None if trained is not None else quant,
        factory=factory,
        output=artifact_path(study, cell),
        targets=[study.target] if study.timing != "off" and study.target != "local" else (),
        force=True,
        command="edgegnn study run",
        progress=progress,
        status=status,
    )
    checkpoint, manifest = api.load(model, factory=factory), exported.manifest
    metric, validation = manifest.metric, manifest.validation
    assert metric is not None  # a study has labels
    return {
        "metric": metric.name,
        "split": metric.split,
        "n": metric.n,
        "test": metric.artifact,
        "more": {name: value.artifact for name, value in metric.further.items()},
        "val": None if validation is None else validation.artifact,
        "achieved": (checkpoint.pruning or {}).get("achieved", 0.0),
        "agreement": manifest.parity.agreement,
        "model_file": manifest.sizes.model_file,
        "checkpoint": model.stat().st_size,
        "runtime": manifest.runtime,
        "train_seconds": _seconds(checkpoint.history[history_before:]),
    }


def timing(study: Study, cell: Cell, status: Status) -> dict[str, Any]:
    """Measure the artifact: `edgegnn profile`. Nothing else of a study runs meanwhile.

    Returns:
        "p50", "p90", "p99" (ms), "cpu_percent", "peak_delta" (bytes), "energy_gross", "energy_net" (J, or None),
        "energy_kind", "energy_source", "energy_reason", "quick", "threads", "device", "cores", "load_average",
        "emulated", "without_kernels", "target" and "artifact" (which name the record under profiles/).

    Raises:
        EdgeGNNError: as of `edgegnn.profile`.
    """
    from edgegnn.profiling import profile

    artifact = artifact_path(study, cell)
    record = profile(
        artifact,
        target=study.target,
        quick=study.timing == "quick",
        threads=study.threads,
        out=study.files / "profiles",
        progress=status,
    )
    energy, latency = record.energy_j, record.latency_ms
    result = {
        "p50": latency.p50,
        "p90": latency.p90,
        "p99": latency.p99,
        "threads": latency.threads,
        "cpu_percent": record.cpu_percent,
        "peak_delta": record.memory_bytes.peak_delta,
        "energy_gross": None if energy is None else energy.gross,
        "energy_net": None if energy is None else energy.net,
        "energy_kind": "" if energy is None else energy.kind,
        "energy_source": "" if energy is None else f"{energy.source}; {energy.scope}",
        "energy_reason": record.energy_reason,
        "quick": record.quick,
        "device": record.device.model,
        "cores": record.device.cores,
        "load_average": record.device.load_average,
        "emulated": record.emulated,
        "without_kernels": record.without_kernels,
        "target": record.target,
        "artifact": record.artifact,
    }
    if not study.keep_artifacts:
        shutil.rmtree(artifact, ignore_errors=True)
    return result


def _seconds(history: list[dict[str, Any]]) -> float:
    return float(sum(step.get("seconds", 0.0) for step in history))


def _slug(*parts: str) -> str:
    words = (re.sub(r"[^A-Za-z0-9.]+", "-", Path(part).stem if "/" in part else part).strip("-") for part in parts)
    return "-".join(words).lower()
