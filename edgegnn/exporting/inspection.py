"""`edgegnn inspect`: what a model file or an artifact is, without changing or running it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from edgegnn.errors import ArtifactError, CheckpointError, first_line
from edgegnn.exporting.proof_in_words import against_float, drift_in_words, slower_than_float, taken_graphs
from edgegnn.manifest import ArtifactManifest, Compared, LinkSplit, Metric, Task, TensorValue, typed_manifest
from edgegnn.manifest.history import check_history
from edgegnn.runtime.archive import ZIP_ERRORS
from edgegnn.utils.files import check_plain

if TYPE_CHECKING:
    from torch import nn

    from edgegnn.checkpoint import Checkpoint

__all__ = ["describe"]


def describe(path: Path, **options: Any) -> dict[str, Any]:
    """Facts about a model file (options as in `load_checkpoint`) or an artifact, as plain JSON-able values.

    Raises:
        CheckpointError, ArtifactError: neither of these, damaged, newer or unsafe.
    """
    check_plain(path, CheckpointError)
    if path.is_dir() or path.suffix == ".zip" or _has_manifest(path):
        return _artifact(path)
    return _model(path, options)


def _artifact(path: Path) -> dict[str, Any]:
    from edgegnn.runtime import open_artifact

    if path.is_dir() and not (path / "manifest.json").is_file():
        raise ArtifactError(f"{path} is no artifact: it has no manifest.json")
    artifact = open_artifact(path)
    m = typed_manifest(artifact.manifest.raw)
    check_history(m.history, path / "manifest.json")
    parity, task = m.parity, m.task
    return {
        "kind": "artifact",
        "format": m.format,
        "name": m.name,
        "recipe": m.recipe,
        "runtime": artifact.manifest.runtime,
        "task": f"{task.data}, {task.kind}, {task.split} split{_target(task)}",
        "inputs": _io(m.inputs),
        **_features(m),
        "outputs": _io(m.outputs, of=True),
        **_entries(m),
        "model_file": f"{m.sizes.model_file} bytes (fp32: {m.sizes.fp32_model_file} bytes)",
        "files": ", ".join(f"{name} {file.bytes} bytes" for name, file in m.files.items()),
        "quantized_points": m.quantized_points,
        **_bits(m),
        "parity": f"{parity.agreement:.4f} equal predictions, largest difference {parity.max_abs_error:.3g}, "
        f"{parity.graphs} graphs"
        + ("; turn on rounding in PyTorch, too: " + ", ".join(parity.sensitive) if parity.sensitive else ""),
        **({"state": _state(m)} if m.state else {}),
        "metric": m.accuracy if m.metric is None else _both(m.metric, m.metric.split),
        **({"validation": _both(m.validation, "val")} if m.validation is not None else {}),
        **against_float(m),
        **({"slower than float": slower} if (slower := slower_than_float(m)) else {}),
        **({"takes": takes} if (takes := taken_graphs(m)) else {}),
        "created": m.created,
        "made_by": m.command or "the Python API",
        "versions": ", ".join(f"{k} {v}" for k, v in m.versions.items()),
        "history": m.history,
        "stayed_float": msgspec.to_builtins(m.stayed_float),
        "aggregations": msgspec.to_builtins(m.aggregations),
        "refusals": msgspec.to_builtins(m.refusals),
    }


_BEFORE = {
    "degree": "x may be left out: edgegnn's runtime makes it of the edges (in-degree less {mean:.6g}, by {std:.6g}); "
    "other programs have to",
    "row-normalise": "expects x with each row divided by its sum; edgegnn's runtime does it for raw_x",
    "one-hot": "expects x as a column for each category; edgegnn's runtime does it for raw_x",
    "random-walk": "{input} may be left out: edgegnn's runtime makes it of the edges (random walks, {size} steps)",
    "laplacian": "{input} may be left out: edgegnn's runtime makes it of the edges ({size} eigenvectors)",
}


def _features(manifest: ArtifactManifest) -> dict[str, str]:
    """What lies between the data and the model; nothing for older artifacts, which don't say it."""
    found = manifest.preprocessing
    if found is None:
        return {}
    words = [_BEFORE.get(step.kind, step.kind).format(**msgspec.structs.asdict(step)) for step in found.before]
    words += [f"expects graphs that {text} has prepared" for text in found.outside]
    if found.inside:
        words = [f"expects raw features: in the model, {'; '.join(found.inside)}", *words]
    return {"features": "; ".join(words) or "expects raw features, as they are in the data"}


def _state(m: ArtifactManifest) -> str:
    """Which outputs are inputs again, and what that does to parity."""
    fed = ", ".join(f"{name} is {output} of the call before" for name, output in m.state.items())
    drift = m.parity.drift
    return fed if drift is None else f"{fed}; over {drift.steps} steps {drift_in_words(drift)}"


def _bits(manifest: ArtifactManifest) -> dict[str, Any]:
    """What runs in integer arithmetic, and how wide learnt codes are."""
    facts: dict[str, Any] = {}
    if manifest.integer_operators:
        facts["integer_operators"] = ", ".join(f"{n} {kind}" for kind, n in manifest.integer_operators.items())
    if manifest.average_bits and manifest.learnt_bits:
        facts["average_bits"] = manifest.average_bits
        facts["learnt_bits"] = msgspec.to_builtins(manifest.learnt_bits)
    return facts


def _model(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    from edgegnn.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path, **options)
    check_history(checkpoint.history, path)
    try:
        return _of_checkpoint(checkpoint, path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # values that a stranger's file gives
        raise CheckpointError(f"{path} can't be shown, it is damaged: {first_line(error)}") from error


def _of_checkpoint(checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    from torch import nn

    from edgegnn.quantize import QuantModel

    model, task = checkpoint.model, checkpoint.task
    facts: dict[str, Any] = {"kind": "model", "file": f"{path}, {path.stat().st_size} bytes"}
    facts["source"] = ", ".join(f"{k} {v}" for k, v in checkpoint.source.items())
    if task is not None:
        links = next((step["link_split"] for step in checkpoint.history if "link_split" in step), None)
        facts |= _links(None if links is None else msgspec.convert(links, LinkSplit))
        facts["task"] = f"{task.data}, {task.name}, {task.split} split (seed {task.seed}), {task.metric}"
    facts["recipe"] = checkpoint.recipe.name if checkpoint.recipe else "none"
    if isinstance(model, nn.Module):
        facts["parameters"] = sum(p.numel() for p in model.parameters())
        facts["parameter_bytes"] = sum(p.numel() * p.element_size() for p in model.parameters())
    if checkpoint.metrics:
        caveat = next((f"; {step['caveat']}" for step in checkpoint.history if step.get("caveat")), "")
        facts["metrics"] = ", ".join(f"{k} {_number(v)}" for k, v in checkpoint.metrics.items()) + caveat
    facts["history"] = checkpoint.history
    if checkpoint.pruning is not None and isinstance(model, nn.Module):
        facts |= _pruning(checkpoint.pruning, model.model if isinstance(model, QuantModel) else model)
    if isinstance(model, QuantModel):
        facts["quantized_points"] = len(model.structure()["points"])
        if bits := model.average_bits():
            facts |= {"average_bits": bits, "learnt_bits": model.learnt_bits()}
        sizes = {name: p.numel() * p.element_size() for name, p in model.model.named_parameters()}
        facts["stayed_float"] = [
            {"tensor": name, "bytes": sizes.get(name, 0), "why": why} for name, why in model.stayed_float.items()
        ]
    return facts


def _pruning(pruning: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    from edgegnn.prune import sparsity_of

    tensors = sparsity_of(model, pruning["tensors"])
    return {
        "pruning": f"{pruning['method']}, sparsity {pruning['sparsity']:g} asked, {pruning['achieved']:.4f} reached",
        "not_pruned": "; ".join(f"{e['tensor']}: {e['why']}" for e in pruning["excluded"]) or "none",
        "sparsity": [
            {
                "tensor": name,
                "shape": list(model.get_parameter(name).shape),
                "zeros": found.zeros,
                "sparsity": round(found.share, 6),
            }
            for name, found in tensors.items()
        ],
    }


def _both(metric: Metric, split: str) -> str:
    """A metric of the artifact, beside the same metric of the model in PyTorch."""
    reason = f": {metric.reason}" if metric.reason else ""
    caveat = f"; {metric.caveat}" if metric.caveat else ""
    return f"{_values(metric.name, metric)}, {split}, n = {metric.n}{reason}{caveat}"


def _values(name: str, metric: Compared) -> str:
    return f"{name} {_number(metric.artifact)} (PyTorch {_number(metric.pytorch)})"


def _entries(m: ArtifactManifest) -> dict[str, Any]:
    """Further facts of an artifact with several entry points."""
    entries = [f"{e.name} ({e.file}): {_io(e.inputs)} → {_io(e.outputs)}" for e in m.entries]
    more = [_values(name, value) for name, value in (m.metric.further if m.metric is not None else {}).items()]
    heads = [f"{head.output} ({head.attribute}): {_values(head.name, head)}" for head in m.heads]
    found = {"entry_points": "; ".join(entries), "further_metrics": ", ".join(more), "heads": "; ".join(heads)}
    split = m.task.link_split
    return {k: v for k, v in found.items() if v} | _links(None if split is UNSET else split)


def _links(split: LinkSplit | None) -> dict[str, str]:
    """How the links of a link task were split."""
    if split is None:
        return {}
    count = split.links
    words = (
        f"{count.train} to train, {count.val} to validate, {count.test} to test, as many negatives "
        f"({split.negatives.train_pool} to draw from in training); {'directed; ' * split.directed}{split.protocol}"
    )
    return {"links": words}


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _target(task: Task) -> str:
    return {"classes": "", "none": ", without labels"}.get(task.target, f", predicts {task.target}")


def _io(values: list[TensorValue], *, of: bool = False) -> str:
    """Names, types and shapes; and what they belong to."""
    roles = [f" ({value.role})" if of and value.role is not UNSET else "" for value in values]
    return ", ".join(f"{v.name} {v.dtype}{v.shape}{role}" for v, role in zip(values, roles, strict=True))


def _has_manifest(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "manifest.json" in archive.namelist()
    except ZIP_ERRORS:  # no zip, or damaged: whoever reads the file says so
        return False
