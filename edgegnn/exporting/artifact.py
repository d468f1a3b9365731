"""Write the artifact: a folder that the embedded engineer receives, and that proves itself on the device."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from edgegnn.errors import ExportError
from edgegnn.exporting.early_checks import check_output
from edgegnn.exporting.samples import Sample
from edgegnn.manifest import ArtifactManifest, File
from edgegnn.runtime import build_runner, find_library, library_name
from edgegnn.runtime.manifest import MODEL_FILES, seal_manifest
from edgegnn.runtime.session import has_native_ops
from edgegnn.utils.files import saved

__all__ = ["graph_io", "versions", "write_artifact"]


def write_artifact(
    path: Path,
    model: onnx.ModelProto | None,
    manifest: ArtifactManifest,
    samples: list[Sample],
    expected: Iterable[Mapping[str, npt.NDArray[Any]]],
    main: str,
    *,
    force: bool = False,
    libraries: Mapping[str, Path] | None = None,
    others: Mapping[str, bytes] | None = None,
    check: Callable[[Path], None] | None = None,
) -> ArtifactManifest:
    """Write the folder (or a `.zip` of it), complete or not at all.

    Args:
        path: where; a name ending in .zip makes an archive.
        model: what becomes model.onnx; None for an artifact without one.
        manifest: everything but `name`, `created`, `files` and `sizes.model_file`, which are added.
        samples: the graphs to ship.
        expected: PyTorch's outputs on each of them, by name.
        main: name of the main output.
        force: replace an artifact that is there.
        libraries: file name -> native library to put into native/; None: this machine's, if the model has a use for it.
        others: name -> content of further files; model.ts.pt, say.
        check: called with the finished folder before it takes its name; an error leaves nothing behind.

    Returns:
        The complete manifest.

    Raises:
        UsageError, ExportError: the place can't be used or written.
    """
    check_output(path, force=force)
    archive = path.suffix == ".zip"
    target = path.with_suffix("") if archive else path
    expected = list(expected)

    def write(temporary: Path) -> ArtifactManifest:
        folder = temporary.with_name(temporary.name + ".d") if archive else temporary
        try:
            folder.mkdir(exist_ok=True)
            if model is not None:
                (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
            for name, content in (others or {}).items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(content)
            _write_samples(folder / "samples.npz", samples, expected, main)
            build_runner(folder / "run.pyz")
            _add_libraries(folder, libraries)
            files = {p.relative_to(folder).as_posix(): _describe(p) for p in _files(folder)}
            run = [entry.file for entry in manifest.entries] or [MODEL_FILES[manifest.runtime]]
            complete = msgspec.structs.replace(
                manifest,
                name=target.name,
                created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                files=files,
                sizes=msgspec.structs.replace(manifest.sizes, model_file=sum(files[name].bytes for name in run)),
            )
            text = json.dumps(seal_manifest(complete.to_dict()), indent=1, allow_nan=False)
            (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
            if check is not None:
                check(folder)
            if archive:
                with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as out:
                    for file in _files(folder):
                        out.write(file, file.relative_to(folder).as_posix())
        finally:
            if archive:
                shutil.rmtree(folder, ignore_errors=True)
        return complete

    return saved(path, write, force=force, error=ExportError, folder=not archive)


def _add_libraries(folder: Path, libraries: Mapping[str, Path] | None) -> None:
    if libraries is None:
        own = find_library() if any(map(has_native_ops, folder.glob("*.onnx"))) else None
        libraries = {} if own is None else {library_name(): own}
    for name, library in libraries.items():
        (folder / "native").mkdir(exist_ok=True)
        shutil.copyfile(library, folder / "native" / name)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def graph_io(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs of a model as the manifest lists them: name, dtype, shape with symbolic sizes as text."""
    return {"inputs": [_value(v) for v in model.graph.input], "outputs": [_value(v) for v in model.graph.output]}


def versions() -> dict[str, str]:
    """Versions of everything that shaped the artifact."""
    import onnxruntime
    import torch
    import torch_geometric

    import edgegnn

    return {
        "edgegnn": edgegnn.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [d.dim_param if d.HasField("dim_param") else d.dim_value for d in tensor.shape.dim]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return {"name": value.name, "dtype": dtype, "shape": shape}


def _write_samples(
    path: Path, samples: list[Sample], expected: Iterable[Mapping[str, npt.NDArray[Any]]], main: str
) -> None:
    arrays: dict[str, Any] = {}
    for i, (sample, want) in enumerate(zip(samples, expected, strict=True)):
        for name, value in sample.inputs.items():
            arrays[f"{i:04d}.{name}"] = value
        for name, value in want.items():
            arrays[f"{i:04d}.expected" if name == main else f"{i:04d}.expected.{name}"] = value
        if sample.label is not None:
            arrays[f"{i:04d}.label"] = sample.label
        if sample.mask is not None:
            arrays[f"{i:04d}.mask"] = sample.mask
    np.savez_compressed(path, **arrays)


def _describe(path: Path) -> File:
    return File(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=path.stat().st_size)
