"""`edgegnn export`: from a trained model to a verified artifact, in four steps.

build       the forms of the model: captured, quantized, rewritten
compare     each form with PyTorch's model, on real and on awkward graphs
describe    what the manifest says
write       the folder, which verifies before it takes its name
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from torch import nn
from torch.export import ExportedProgram

from edgegnn.checkpoint import Checkpoint
from edgegnn.devices.target import Target
from edgegnn.errors import ExportError
from edgegnn.exporting.artifact import write_artifact
from edgegnn.exporting.building import Built, build
from edgegnn.exporting.comparing import Answers, Comparison, compare
from edgegnn.exporting.describing import describe
from edgegnn.exporting.destinations import check_memory
from edgegnn.exporting.foreign.wording import of_the_file
from edgegnn.exporting.parity import Parity
from edgegnn.exporting.preprocessing import raw_features
from edgegnn.exporting.request import ExportRequest
from edgegnn.manifest import ArtifactManifest
from edgegnn.native import library_name
from edgegnn.native.provide import Provided, provide
from edgegnn.plain_c.form import CFiles, c_form
from edgegnn.plain_c.values import Limits
from edgegnn.plain_c.web.form import web_form
from edgegnn.plain_c.web.samples import PageGraph
from edgegnn.quantize import Recipe
from edgegnn.runtime import verify
from edgegnn.runtime.manifest import MODEL_FILES
from edgegnn.runtime.metrics import as_rows
from edgegnn.runtime.session import has_native_ops
from edgegnn.tasks import Task
from edgegnn.tasks.points import point_graphs

__all__ = ["ExportResult", "export_checkpoint"]


@dataclass(frozen=True)
class ExportResult:
    """What an export made.

    Attributes:
        path: the artifact.
        manifest: its manifest.
        parity: how it compares with PyTorch.
        validation: what it answers on the validation split.
    """

    path: Path
    manifest: ArtifactManifest
    parity: Parity
    validation: Answers


@point_graphs()
def export_checkpoint(
    checkpoint: Checkpoint,
    task: Task,
    recipe: Recipe,
    path: Path,
    *,
    force: bool = False,
    min_agreement: float | None = None,
    constant_graph: bool = False,
    max_nodes: int | None = None,
    c_limits: Limits | None = None,
    max_accuracy_drop: float | None = None,
    samples: int | None = None,
    thorough: bool = False,
    reference: nn.Module | ExportedProgram | None = None,
    machines: Mapping[str, str] | None = None,
    small: Sequence[Target] = (),
    format: str | None = None,
    command: str = "",
    status: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Capture, quantize, prove and write a model.

    Args:
        checkpoint: the model; already trained with `recipe` when that is one that trains.
        task: its data.
        recipe: how it is quantized.
        path: the artifact's folder, or a name ending in .zip.
        force: replace an artifact that is there.
        min_agreement: smallest share of equal predictions; None for the recipe's default.
        constant_graph: bake the edges of the task's one graph into the model, which then takes no `edge_index`.
        max_nodes: the most nodes that a graph may have, for one graph at a time; None: as the model's modules say.
        c_limits: the largest graph of a C form; None for an artifact without one.
        max_accuracy_drop: largest drop of the validation metric from the float model, in points; None: 2.
        samples: how many graphs (nodes, pairs) of the test split to ship; None: as many as fit.
        thorough: hold the artifact to the properties of the model, too.
        reference: the float model, where `checkpoint` holds one that was fine-tuned from it.
        machines: processor ("aarch64") whose native library goes into the artifact -> its target; none: this machine's.
        small: microcontrollers whose memory the C form has to fit.
        format: "onnx", "torchscript", "both", "c" or "web"; None: ONNX, and TorchScript where ONNX can't.
        command: the command line, for the manifest.
        status: told in a few words what is being done.

    Raises:
        UsageError: what is asked for can't be had of this model.
        ExportError: the model can't be captured or written; ParityError when it computes something else.
    """
    with of_the_file(checkpoint.model), raw_features([checkpoint.model, reference], task) as raw:
        request = ExportRequest(
            checkpoint,
            raw,
            recipe,
            min_agreement=min_agreement,
            constant_graph=constant_graph,
            max_nodes=max_nodes,
            max_accuracy_drop=max_accuracy_drop,
            samples=samples,
            thorough=thorough,
            reference=reference,
            format=format,
        )
        built = build(request, status)
        c_files = _c_files(path, built, c_limits, small, status)
        comparison = compare(request, built, status)
        native = _native(built.form.onnx, machines, status)
        manifest = describe(request, built, comparison, native, command)
    plain: dict[str, bytes] = {}
    if c_files is not None:
        manifest = msgspec.structs.replace(manifest, c=c_files.facts)
        plain |= c_files.files
    if c_files is not None and format == "web":
        manifest, files = _web_files(path, built, comparison, c_files, manifest, status)
        plain |= files
    libraries = {library_name(p.machine): p.path for p in native if p.path is not None} if machines else None
    status("writing and verifying the artifact")
    complete = _write(path, built, comparison, manifest, libraries, plain, force=force)
    return ExportResult(path, complete, comparison.parity, comparison.validation)


def _c_files(
    path: Path, built: Built, limits: Limits | None, small: Sequence[Target], status: Callable[[str], None]
) -> CFiles | None:
    """The C form, where one is asked for."""
    if limits is None:
        return None
    if built.form.io.get("entries"):
        raise ExportError("--format c is for a model in one ONNX file, and this one has entry points")
    name = _name(path)
    made = c_form(built.form.onnx, name, limits, [*built.real, *built.awkward], status)
    assert built.form.onnx is not None
    check_memory(built.form.onnx, name, limits, small, status)
    return made


def _web_files(
    path: Path,
    built: Built,
    found: Comparison,
    c_files: CFiles,
    manifest: ArtifactManifest,
    status: Callable[[str], None],
) -> tuple[ArtifactManifest, dict[str, bytes]]:
    """The C form as WebAssembly: what the manifest says with it, and its files."""
    assert built.form.onnx is not None
    made = web_form(built.form.onnx, c_files.code, [*built.real, *built.awkward], status, c_files.tied)
    main = built.form.main
    graphs = [
        PageGraph(
            sample.name,
            sample.origin,
            entry.num_edges,
            sample.inputs,
            as_rows(np.asarray(expected[main])),
            sample.label,
            sample.mask,
        )
        for sample, entry, expected in zip(found.kept, manifest.samples, found.kept_expected, strict=True)
    ]
    files, shown = made.files(manifest, _name(path), graphs)
    return msgspec.structs.replace(manifest, web=msgspec.structs.replace(made.facts, page_graphs=shown)), files


def _name(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".zip" else path).name


def _native(
    model: onnx.ModelProto | None, machines: Mapping[str, str] | None, status: Callable[[str], None]
) -> Sequence[Provided]:
    """The native library of each processor, for a model that has a use for it."""
    if model is None or not machines or not has_native_ops(model.SerializeToString()):
        return []
    found = []
    for machine, target in machines.items():
        status(f"kernels for {machine}")
        found.append(provide(machine, target=target))
    return found


def _write(
    path: Path,
    built: Built,
    comparison: Comparison,
    manifest: ArtifactManifest,
    libraries: Mapping[str, Path] | None,
    c_files: Mapping[str, bytes],
    *,
    force: bool,
) -> ArtifactManifest:
    forms = {name: content for form in built.forms for name, content in form.files.items()}
    return write_artifact(
        path,
        built.form.onnx,
        manifest,
        comparison.kept,
        comparison.kept_expected,
        built.form.main,
        force=force,
        libraries=libraries,
        others={**forms, **c_files},
        check=_prove,
    )


def _prove(folder: Path) -> None:
    """Every model in the artifact holds."""
    for runtime, name in MODEL_FILES.items():
        if (folder / name).is_file():
            report = verify(folder, runtime=runtime)
            if not report.ok:
                raise ExportError(f"{name} does not verify after writing: {report.problems[0]}")
