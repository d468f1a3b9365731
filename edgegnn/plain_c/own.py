"""The C form of an artifact, generated anew: the C code that came with it may be a stranger's, and is not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgegnn.errors import ArtifactError, ExportError, UsageError
from edgegnn.manifest import typed_manifest
from edgegnn.plain_c.apart import generate_apart
from edgegnn.plain_c.compiler import graph_size
from edgegnn.plain_c.generate import PlainC
from edgegnn.plain_c.values import Limits
from edgegnn.runtime import Artifact
from edgegnn.runtime.samples import Sample, read_samples

__all__ = ["fitting_samples", "own_code", "stale_files", "with_samples"]

_HOW = "edgegnn export --format c --max-nodes N --max-edges N"


def own_code(artifact: Artifact) -> PlainC:
    """Generate the C form that an artifact has from its model.onnx, within the same limits.

    Raises:
        ArtifactError: it has none, or this edgegnn finds none for its model.
    """
    facts = typed_manifest(artifact.manifest.raw).c
    if facts is None:
        raise ArtifactError(f"{artifact.manifest.name} has no C form: export it with {_HOW}")
    try:
        limits = Limits.checked(facts.max_nodes, facts.max_edges)
    except UsageError as error:
        raise ArtifactError(f"{artifact.manifest.name}: {error}") from error
    return generate_apart((artifact.folder / "model.onnx").read_bytes(), artifact.manifest.name, limits)


def stale_files(artifact: Artifact, code: PlainC) -> list[str]:
    """The files of c/ that are not what this edgegnn makes of the artifact's model.onnx."""
    found = []
    for name, text in code.files.items():
        path = artifact.folder / "c" / name
        if not path.is_file() or path.read_bytes() != text.encode():
            found.append(f"c/{name}")
    return found


def with_samples(artifact: Artifact, used: Sequence[Sample], beyond: int) -> Artifact:
    """The artifact as if it had these samples only; a metric over some of them is not the manifest's."""
    manifest = artifact.manifest
    if not beyond:
        return artifact
    names = {sample.name for sample in used}
    why = f"{beyond} of {len(manifest.samples)} graphs are beyond the limits of the C form"
    only = tuple(entry for entry in manifest.samples if entry.name in names)
    return replace(artifact, manifest=replace(manifest, samples=only, samples_metric=None, metric_reason=why))


def fitting_samples(artifact: Artifact, code: PlainC) -> tuple[tuple[Sample, ...], int]:
    """The samples within the limits of the C form, and how many are beyond.

    Raises:
        ArtifactError: none is within, or one has other arrays than the model takes.
    """
    samples, entries = read_samples(artifact), artifact.manifest.samples
    pairs = list(zip(samples, entries, strict=True))
    fitting = [s for s, e in pairs if e.num_nodes <= code.limits.nodes and e.num_edges <= code.limits.edges]
    used = tuple(sorted(fitting, key=lambda sample: sample.origin != "data"))
    for sample in used:
        try:
            graph_size(code, sample.inputs)
        except ExportError as error:
            raise ArtifactError(f"{artifact.manifest.name}: {sample.name}: {error}") from error
    if not used:
        raise ArtifactError(
            f"none of the graphs in {artifact.manifest.name} is within the limits of its C form "
            f"({code.limits.nodes:,} nodes, {code.limits.edges:,} edges): export it with larger ones"
        )
    return used, len(samples) - len(used)
