"""Read `manifest.json`: every field that is used is checked, so that the rest of the runtime can trust its types."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgegnn.errors import ArtifactError
from edgegnn.runtime.checksum import intact, sealed
from edgegnn.runtime.manifest_parts import Entry, FileEntry, Metric, SampleEntry, TensorSpec
from edgegnn.runtime.metrics import LOWER_IS_BETTER, NO_ACCURACY, NUMBERS, TARGETS
from edgegnn.runtime.roles import BATCH, FIXED, LEVELS, OUTPUT_ROLES, ROLES, ROWS, Role

__all__ = [
    "FORMAT",
    "MAX_MANIFEST_BYTES",
    "MODEL_FILES",
    "Entry",
    "FileEntry",
    "Manifest",
    "Metric",
    "SampleEntry",
    "TensorSpec",
    "is_file_name",
    "parse_manifest",
    "seal_manifest",
]

FORMAT = "edgegnn-artifact/1"
MAX_MANIFEST_BYTES = 16 * 2**20
# Runtime -> the file that it runs. An artifact can have both; its manifest names the one that is meant.
MODEL_FILES = {"onnxruntime": "model.onnx", "torchscript": "model.ts.pt"}
KINDS = tuple(ROWS)
DTYPES = ("float32", "int64", "float64", "int32", "bool")

# A path inside the artifact: plain components, so that no platform reads a way out of the folder into it.
_PATH = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*(/[A-Za-z0-9_+][A-Za-z0-9_.+-]*)*", re.ASCII)
_CHECKSUM = "manifest_sha256"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Manifest:
    """The checked part of `manifest.json`.

    Attributes:
        name: the artifact's name, usable as a file name.
        recipe: how the model was quantized, "dq-int8".
        runtime: what runs it, "onnxruntime" or "torchscript".
        kind: "node", "edge", "graph" or "link" (a pair of nodes): what a row of the logits is.
        target: "classes", "labels", "values" or "none": what a row holds (`edgegnn.runtime.metrics`).
        created: ISO 8601 time in UTC.
        inputs: in the order of the model.
        outputs: in the order of the model.
        files: path inside the artifact -> checksum and size.
        samples: in the order of samples.npz.
        min_agreement: smallest share of equal predictions over the samples from data.
        within: how far numbers may lie apart to count as equal, for each column; None of classes and labels.
        max_abs_error: largest difference of a logit from PyTorch's; None: not limited.
        agreement: sample name -> share of equal predictions that the export saw.
        samples_metric: the task metric over the shipped samples, None when it has none (no labels, or one class only).
        metric_reason: why it has none; "" where it isn't known, or has one.
        metric_caveat: what has to be said beside it; "" for nothing.
        raw: the whole file, unchecked.
        limits: name of a size in the inputs' shapes ("num_nodes") -> its largest value, for sizes that have a limit;
            and what PyTorch needs in each graph, "least_nodes", "least_edges", "least_in_degree", "least_out_degree" or
            "least_degree" -> smallest value; "least_value_x" -> the smallest whole number that x may hold.
        main_name: of the main output; "" for the first one.
        entries: the entry points that make up the onnxruntime model, () where it is one file.
    """

    name: str
    recipe: str
    runtime: str
    kind: str
    target: str
    created: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: dict[str, FileEntry]
    samples: tuple[SampleEntry, ...]
    min_agreement: float
    within: tuple[float, ...] | None
    max_abs_error: float | None
    agreement: dict[str, float]
    samples_metric: Metric | None
    metric_reason: str
    raw: dict[str, Any]
    limits: dict[str, int] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    metric_caveat: str = ""
    main_name: str = ""

    @property
    def main(self) -> TensorSpec:
        """The output that `kind` and `target` are about."""
        return next((spec for spec in self.outputs if spec.name == self.main_name), self.outputs[0])

    def level(self, output: TensorSpec) -> Role:
        """What an output has a row for."""
        role, rows = OUTPUT_ROLES.get(output.role) or LEVELS[self.kind], output.shape[0]
        return role.sized(rows) if isinstance(rows, str) and rows.startswith(f"{role.size}.") else role

    @property
    def roles(self) -> dict[str, Role]:
        """Name of each input of the whole -> what it belongs to."""
        return {spec.name: spec.belongs for spec in self.inputs}

    @property
    def model_file(self) -> str:
        """Name of the file that the runtime runs; of the first one where there are several."""
        return MODEL_FILES[self.runtime]

    @property
    def model_bytes(self) -> int:
        """Size of all files that the runtime runs."""
        several = [entry.file for entry in self.entries] if self.runtime == "onnxruntime" else []
        return sum(self.files[name].bytes for name in several or [self.model_file])


def parse_manifest(content: bytes) -> Manifest:
    """Check the bytes of a `manifest.json`.

    Args:
        content: UTF-8 JSON, at most 16 MiB.

    Raises:
        ArtifactError: not JSON, another or a newer format, a field that is missing or of the wrong type.
    """
    raw = _decode(content)
    _check_format(raw)
    if not intact(raw, _CHECKSUM):
        raise ArtifactError("manifest.json has been changed (its checksum differs): copy or export the artifact again")
    kind = _text(raw, "kind", "manifest")
    if kind not in KINDS:
        raise ArtifactError(f"manifest.json: kind must be one of {', '.join(KINDS)}, not {_short(kind)}")
    target = _text(raw, "target", "manifest") if "target" in raw else "classes"
    if target not in TARGETS:
        raise ArtifactError(f"manifest.json: the target {_short(target)} is none of {', '.join(TARGETS)}")
    inputs, outputs = _tensors(raw, "inputs"), _tensors(raw, "outputs")
    limits = _limits(raw)
    _check_graph_inputs(inputs, limits)
    main = _main(raw, outputs)
    files = _files(raw)
    parity = _take(raw, "parity", dict, "manifest")
    tolerance = _take(parity, "tolerance", dict, "parity")
    limit = tolerance.get("max_abs_error")
    return Manifest(
        name=_name(raw),
        recipe=_text(raw, "recipe", "manifest"),
        runtime=_runtime(raw),
        kind=kind,
        target=target,
        created=_text(raw, "created", "manifest"),
        inputs=inputs,
        outputs=outputs,
        files=files,
        samples=_samples(raw),
        min_agreement=_number(tolerance, "agreement", "parity.tolerance", 0.0, 1.0),
        within=_within(tolerance, target, main),
        max_abs_error=None if limit is None else _number(tolerance, "max_abs_error", "parity.tolerance", 0.0),
        agreement=_agreement(parity),
        samples_metric=_metric(raw, target),
        metric_reason=_metric_reason(raw) if TARGETS[target] else NO_ACCURACY,
        raw=raw,
        limits=limits,
        entries=_entries(raw, inputs, outputs, files),
        metric_caveat=_metric_caveat(raw),
        main_name=main.name,
    )


def is_file_name(name: str) -> bool:
    """Whether an artifact may have this name: one that every platform takes for a file, with room for an ending."""
    short = 0 < len(name.encode("utf-8", "replace")) <= 200
    return short and name.isprintable() and not name.startswith(".") and not set(name) & set('/\\:*?"<>|')


def seal_manifest(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a checksum of all its other fields, `manifest_sha256`."""
    return sealed(raw, _CHECKSUM)


def _decode(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_MANIFEST_BYTES:
        raise ArtifactError(f"manifest.json is larger than {MAX_MANIFEST_BYTES // 2**20} MiB: not an edgegnn artifact")
    try:
        # NaN is no JSON; json.dumps writes it for a metric that isn't defined, which is what null says.
        raw = json.loads(content.decode("utf-8"), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"manifest.json is damaged ({_short(error)}): copy or export the artifact again") from error
    if not isinstance(raw, dict):
        raise ArtifactError("manifest.json holds no object: not an edgegnn artifact")
    return raw


def _check_format(raw: dict[str, Any]) -> None:
    found = raw.get("format")
    if found == FORMAT:
        return
    match = re.fullmatch(r"edgegnn-artifact/(\d{1,6})", found, re.ASCII) if isinstance(found, str) else None
    if match and int(match[1]) > 1:
        raise ArtifactError(
            f'the artifact has the format "{found}", this edgegnn reads up to "{FORMAT}": use the edgegnn (or the '
            "run.pyz) that wrote it, or a newer one"
        )
    raise ArtifactError(f'not an edgegnn artifact: the format in manifest.json is {_short(found)}, not "{FORMAT}"')


def _take(data: dict[str, Any], key: str, kind: Any, where: str) -> Any:
    if key not in data:
        raise ArtifactError(f"manifest.json: {where} has no {key!r}: the artifact is incomplete, export it again")
    value = data[key]
    # bool is an int to Python, not to a manifest.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ArtifactError(
            f"manifest.json: {where}.{key} has the wrong type ({type(value).__name__}): {_short(value)}"
        )
    return value


def _text(data: dict[str, Any], key: str, where: str) -> str:
    value: str = _take(data, key, str, where)
    if not value or len(value) > 300 or not value.isprintable():
        raise ArtifactError(f"manifest.json: {where}.{key} is not a short printable text: {_short(value)}")
    return value


def _count(data: dict[str, Any], key: str, where: str) -> int:
    value: int = _take(data, key, int, where)
    if not 0 <= value < 2**53:
        raise ArtifactError(f"manifest.json: {where}.{key} is out of range: {_short(value)}")
    return value


def _number(data: dict[str, Any], key: str, where: str, low: float, high: float = math.inf) -> float:
    try:
        value = float(_take(data, key, (int, float), where))
    except OverflowError:
        value = math.inf
    if not (math.isfinite(value) and low <= value <= high):
        raise ArtifactError(f"manifest.json: {where}.{key} is out of range: {_short(data[key])}")
    return value


def _name(raw: dict[str, Any]) -> str:
    name = _text(raw, "name", "manifest")
    if not is_file_name(name):
        raise ArtifactError(f"manifest.json: the name {_short(name)} can't be used as a file name")
    return name


def _runtime(raw: dict[str, Any]) -> str:
    """Artifacts say what runs them since there are two runtimes; before, it was onnxruntime."""
    runtime = _text(raw, "runtime", "manifest") if "runtime" in raw else "onnxruntime"
    if runtime not in MODEL_FILES:
        raise ArtifactError(f"manifest.json: the runtime {_short(runtime)} is none of {', '.join(MODEL_FILES)}")
    return runtime


def _tensors(raw: dict[str, Any], key: str, place: str = "manifest") -> tuple[TensorSpec, ...]:
    found = []
    for i, entry in enumerate(_take(raw, key, list, place)):
        where = f"{key}[{i}]"
        if not isinstance(entry, dict):
            raise ArtifactError(f"manifest.json: {where} is no object: {_short(entry)}")
        name, dtype = _text(entry, "name", where), _text(entry, "dtype", where)
        if dtype not in DTYPES:
            raise ArtifactError(f"manifest.json: {where}.dtype {_short(dtype)} is none of {', '.join(DTYPES)}")
        shape = _take(entry, "shape", list, where)
        for size in shape:
            if isinstance(size, bool) or not isinstance(size, (int, str)) or size == "":
                raise ArtifactError(f"manifest.json: {where}.shape holds {_short(size)}: sizes are numbers or names")
            if isinstance(size, int) and not 0 <= size < 2**40:
                raise ArtifactError(f"manifest.json: {where}.shape holds the size {_short(size)}")
        if not 1 <= len(shape) <= 8:
            raise ArtifactError(f"manifest.json: {where}.shape has {len(shape)} dimensions")
        role = _text(entry, "role", where) if "role" in entry else ""
        roles = OUTPUT_ROLES if key == "outputs" else {**ROLES, FIXED.name: FIXED}
        if role and role not in roles:
            raise ArtifactError(f"manifest.json: {where}.role {_short(role)} is none of {', '.join(roles)}")
        ends = _take(entry, "ends", list, where) if "ends" in entry else []
        if ends and (len(ends) != 2 or not all(isinstance(end, str) for end in ends)):
            raise ArtifactError(f"manifest.json: {where}.ends are no two sizes: {_short(ends)}")
        found.append(TensorSpec(name, dtype, tuple(shape), role, tuple(ends)))
    if not found:
        raise ArtifactError(f"manifest.json: {key} is empty")
    if len({t.name for t in found}) != len(found):
        raise ArtifactError(f"manifest.json: two {key} have the same name")
    return tuple(found)


def _main(raw: dict[str, Any], outputs: tuple[TensorSpec, ...]) -> TensorSpec:
    name = _text(raw, "main", "manifest") if raw.get("main") else outputs[0].name
    found = [spec for spec in outputs if spec.name == name]
    if not found:
        raise ArtifactError(f"manifest.json: main is {_short(name)}, which is no output")
    return found[0]


def _check_graph_inputs(inputs: tuple[TensorSpec, ...], limits: Mapping[str, int]) -> None:
    sizes = {tensor.belongs.size for tensor in inputs}
    if not any(size.partition(".")[0] == "num_nodes" for size in (*sizes, *limits)):
        raise ArtifactError("manifest.json: no input belongs to nodes: the artifact takes no graph")
    for tensor in inputs:
        role = tensor.belongs
        unknown = [end for end in role.ends if end not in sizes and end not in limits]
        if unknown:
            raise ArtifactError(f"manifest.json: {tensor.name} counts in {_short(unknown[0])}, which no input has")
        pairs = len(tensor.shape) == 2 and tensor.shape[0] == 2
        good = pairs if role.numbers_nodes else not role.is_a(BATCH) or len(tensor.shape) == 1
        good = good and (not role.of_items or not role.ends or len(tensor.shape) <= 2)
        if not good or ((role.ends or role.is_a(BATCH)) and tensor.dtype not in ("int64", "int32")):
            shape = ", ".join(str(size) for size in tensor.shape)
            raise ArtifactError(f"manifest.json: the input {tensor.name} can't be {tensor.dtype} [{_short(shape)}]")


def _entries(
    raw: dict[str, Any],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    files: dict[str, FileEntry],
) -> tuple[Entry, ...]:
    found: list[Entry] = []
    known = {tensor.name: tensor for tensor in inputs}
    for i, entry in enumerate(_take(raw, "entries", list, "manifest") if "entries" in raw else []):
        where = f"entries[{i}]"
        if not isinstance(entry, dict):
            raise ArtifactError(f"manifest.json: {where} is no object: {_short(entry)}")
        name, file = _text(entry, "name", where), _text(entry, "file", where)
        takes, gives = _tensors(entry, "inputs", where), _tensors(entry, "outputs", where)
        if file not in files or not file.endswith(".onnx"):
            raise ArtifactError(f"manifest.json: {where}.file {_short(file)} is no ONNX file of the artifact")
        for tensor in takes:
            if known.get(tensor.name) != tensor:
                raise ArtifactError(
                    f"manifest.json: {where} takes {_short(tensor.name)}, which nothing before it gives"
                )
        if name in [e.name for e in found] or any(tensor.name in known for tensor in gives):
            raise ArtifactError(f"manifest.json: {where} has the name, or an output, of another entry or input")
        known.update({tensor.name: tensor for tensor in gives})
        found.append(Entry(name, file, takes, gives))
    if found and known.get(outputs[0].name) != outputs[0]:
        raise ArtifactError(f"manifest.json: no entry gives the output {_short(outputs[0].name)}")
    return tuple(found)


def _files(raw: dict[str, Any]) -> dict[str, FileEntry]:
    found: dict[str, FileEntry] = {}
    folded: set[str] = set()
    for path, entry in _take(raw, "files", dict, "manifest").items():
        if len(path) > 300 or not _PATH.fullmatch(path):
            raise ArtifactError(f"manifest.json: {_short(path)} is no path inside the artifact")
        if path.lower() in folded or path.lower() == "manifest.json":
            raise ArtifactError(f"manifest.json: the file {_short(path)} is listed twice")
        folded.add(path.lower())
        if not isinstance(entry, dict):
            raise ArtifactError(f"manifest.json: files[{path!r}] is no object: {_short(entry)}")
        where = f"files[{path!r}]"
        sha256 = _text(entry, "sha256", where)
        if not _SHA256.fullmatch(sha256):
            raise ArtifactError(f"manifest.json: {where}.sha256 is no sha256 checksum: {_short(sha256)}")
        found[path] = FileEntry(sha256, _count(entry, "bytes", where))
    for path in (MODEL_FILES[_runtime(raw)], "samples.npz"):
        if path not in found:
            raise ArtifactError(f"manifest.json doesn't list {path}: the artifact is incomplete, export it again")
    return found


def _samples(raw: dict[str, Any]) -> tuple[SampleEntry, ...]:
    found = []
    for i, entry in enumerate(_take(raw, "samples", list, "manifest")):
        where = f"samples[{i}]"
        if not isinstance(entry, dict):
            raise ArtifactError(f"manifest.json: {where} is no object: {_short(entry)}")
        origin = _text(entry, "origin", where)
        if origin not in ("data", "synthetic"):
            raise ArtifactError(f'manifest.json: {where}.origin must be "data" or "synthetic", not {_short(origin)}')
        nodes, edges = _count(entry, "num_nodes", where), _count(entry, "num_edges", where)
        found.append(SampleEntry(_text(entry, "name", where), origin, nodes, edges))
    if not found:
        raise ArtifactError("manifest.json: the artifact has no samples to prove itself with, export it again")
    return tuple(found)


def _limits(raw: dict[str, Any]) -> dict[str, int]:
    """Artifacts have limits since some models have; before, every size was free."""
    limits = _take(raw, "limits", dict, "manifest") if "limits" in raw else {}
    return {name: _count(limits, name, "limits") for name in limits}


def _agreement(parity: dict[str, Any]) -> dict[str, float]:
    found = {}
    entries = parity.get("per_graph", [])
    if not isinstance(entries, list):
        raise ArtifactError(f"manifest.json: parity.per_graph is no list: {_short(entries)}")
    for i, entry in enumerate(entries):
        where = f"parity.per_graph[{i}]"
        if not isinstance(entry, dict):
            raise ArtifactError(f"manifest.json: {where} is no object: {_short(entry)}")
        found[_text(entry, "name", where)] = _number(entry, "agreement", where, 0.0, 1.0)
    return found


def _within(tolerance: dict[str, Any], target: str, outputs: TensorSpec) -> tuple[float, ...] | None:
    if target not in NUMBERS:
        return None
    where = "parity.tolerance.within"
    given = _take(tolerance, "within", list, "parity.tolerance")
    columns = math.prod(size if isinstance(size, int) else 0 for size in outputs.shape[1:])
    if len(given) != (columns or 1):
        raise ArtifactError(f"manifest.json: {where} has {len(given)} entries for {columns} columns")
    return tuple(_number({str(i): value}, str(i), where, 0.0) for i, value in enumerate(given))


def _metric(raw: dict[str, Any], target: str) -> Metric | None:
    if raw.get("samples_metric") is None:
        return None
    entry = _take(raw, "samples_metric", dict, "manifest")
    name = _text(entry, "name", "samples_metric")
    if name not in TARGETS[target]:
        known = ", ".join(TARGETS[target])
        raise ArtifactError(f"manifest.json: samples_metric.name {_short(name)} is none of {known}")
    rows = _count(entry, "n", "samples_metric")
    if "value" in entry and entry["value"] is None:
        return None
    most = math.inf if name in LOWER_IS_BETTER else 1.0
    return Metric(name, _number(entry, "value", "samples_metric", 0.0, most), rows)


def _metric_reason(raw: dict[str, Any]) -> str:
    entry = raw.get("samples_metric") or {}
    return _text(entry, "reason", "samples_metric") if entry.get("value") is None and entry.get("reason") else ""


def _metric_caveat(raw: dict[str, Any]) -> str:
    entry = raw.get("samples_metric") or {}
    return _text(entry, "caveat", "samples_metric") if entry.get("caveat") else ""


def _short(value: Any) -> str:
    """A foreign value in an error message: one printable line, never long."""
    try:
        text = str(value) if isinstance(value, Exception) else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list nested too deep
        text = type(value).__name__
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 80 else text[:77] + "..."
