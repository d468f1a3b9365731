"""Compile the runner with a model, and pack the samples for it."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgegnn.plain_c.cross import compile_program, linux_compiler
from edgegnn.plain_c.driver import Accepted, driver_source
from edgegnn.plain_c.own import fitting_samples, own_code, with_samples
from edgegnn.runtime import Artifact
from edgegnn.runtime.samples import Sample

__all__ = ["NativeProgram", "build_runner", "pack_samples"]

SOURCES = Path(__file__).parent / "src"
_FLAGS = ("-std=c99", "-O3", "-D_GNU_SOURCE", "-s")


@dataclass(frozen=True)
class NativeProgram:
    """A program for a device, with the graphs that it is measured and proven on.

    Attributes:
        content: the bytes of the ELF file, followed by an .npz of the samples.
        artifact: the artifact, with only those samples in its manifest that the program has.
        samples: they: those within the limits of the C form, graphs from data first.
        timed: how many of them are measured, from the first on.
        own_bytes: the ELF file alone.
    """

    content: bytes
    artifact: Artifact
    samples: tuple[Sample, ...]
    timed: int
    own_bytes: int


def build_runner(artifact: Artifact, machine: str) -> NativeProgram:
    """Compile the runner of an artifact.

    Args:
        artifact: one with a C form.
        machine: the device's, as `uname -m` calls it.

    Raises:
        ArtifactError: it has no C form, or no sample within its limits.
        TargetError: no compiler for this machine is here, or it fails.
    """
    code = own_code(artifact)
    used, beyond = fitting_samples(artifact, code)
    manifest = artifact.manifest
    compiler = linux_compiler(machine)
    accepted = Accepted(manifest.target, manifest.max_abs_error, manifest.min_agreement, manifest.main.name)
    with tempfile.TemporaryDirectory(prefix="edgegnn-native-") as place:
        folder = Path(place)
        for name, text in code.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "model_driver.c").write_text(driver_source(code, manifest.name, accepted), encoding="utf-8")
        sources = [folder / "model.c", folder / "model_driver.c", *sorted(SOURCES.glob("*.c"))]
        command = [*compiler, *_FLAGS, f"-I{SOURCES}", f"-I{folder}", *map(str, sources), "-lm"]
        compile_program(command, folder / "runner", f"the runner for {machine}")
        program = (folder / "runner").read_bytes()
    real = sum(sample.origin == "data" for sample in used)
    return NativeProgram(
        program + pack_samples(used), with_samples(artifact, used, beyond), used, real or len(used), len(program)
    )


def pack_samples(samples: Sequence[Sample]) -> bytes:
    """An uncompressed .npz of graphs and their expected outputs, as the runner reads it."""
    arrays: dict[str, Any] = {}
    for i, sample in enumerate(samples):
        arrays |= {f"{i:04d}.{name}": value for name, value in sample.inputs.items()}
        arrays[f"{i:04d}.expected"] = sample.expected
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
