"""The C form of an artifact, generated anew: the C code that came with it may be a stranger's, and is not run."""

from __future__ import annotations

from edgegnn.errors import ArtifactError, EdgeGNNError
from edgegnn.manifest import typed_manifest
from edgegnn.plain_c.generate import PlainC, generate
from edgegnn.plain_c.values import Limits
from edgegnn.runtime import Artifact

__all__ = ["own_code", "stale_files"]

_HOW = "edgegnn export --format c --max-nodes N --max-edges N"


def own_code(artifact: Artifact) -> PlainC:
    """Generate the C form that an artifact has from its model.onnx, within the same limits.

    Raises:
        ArtifactError: it has none, or this edgegnn finds none for its model.
    """
    import onnx

    facts = typed_manifest(artifact.manifest.raw).c
    if facts is None:
        raise ArtifactError(f"{artifact.manifest.name} has no C form: export it with {_HOW}")
    try:
        limits = Limits.checked(facts.max_nodes, facts.max_edges)
        return generate(onnx.load(str(artifact.folder / "model.onnx")), artifact.manifest.name, limits)
    except ArtifactError:
        raise
    except EdgeGNNError as error:
        raise ArtifactError(f"{artifact.manifest.name}: {error}") from error
    except Exception as error:  # a stranger's ONNX file may break the generator in any way
        raise ArtifactError(f"{artifact.manifest.name}: no C form can be made of its model.onnx: {error}") from error


def stale_files(artifact: Artifact, code: PlainC) -> list[str]:
    """The files of c/ that are not what this edgegnn makes of the artifact's model.onnx."""
    found = []
    for name, text in code.files.items():
        path = artifact.folder / "c" / name
        if not path.is_file() or path.read_bytes() != text.encode():
            found.append(f"c/{name}")
    return found
