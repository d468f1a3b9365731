"""The native library for a machine of any kind: from the package, from the cache, or compiled here and now."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import platformdirs

import edgegnn.native
from edgegnn.native import build as recipe
from edgegnn.native import library, library_name

__all__ = ["Provided", "built_there", "provide"]


@dataclass(frozen=True)
class Provided:
    """What there is for a machine.

    Attributes:
        machine: "x86_64", "aarch64".
        path: the library; None where it can't be had here.
        origin: where it comes from, or why there is none and what would help.
    """

    machine: str
    path: Path | None
    origin: str


def provide(machine: str, *, target: str = "") -> Provided:
    """Find or build the library for a machine; building takes half a minute, once.

    Args:
        machine: as `platform.machine()` calls it.
        target: the device it is for, which may have compiled one itself earlier.

    Returns:
        The library, or why there is none: models run without it too, on onnxruntime's own operators.
    """
    if machine not in recipe.LEVELS:
        return Provided(machine, None, f"edgegnn has no kernels for {machine}, only for {', '.join(recipe.LEVELS)}")
    installed = library(machine)
    if installed is not None:
        return Provided(machine, installed.resolve(), "built when edgegnn was installed")
    names = ("g++", "c++", "clang++") if machine == platform.machine() else recipe.COMPILERS[machine]
    compiler = next((found for name in names if (found := shutil.which(name))), None)
    if compiler is None and target and built_there(machine, target).is_file():
        return Provided(machine, built_there(machine, target), f"compiled on {target}")
    if compiler is None:
        packages = "g++" if machine == platform.machine() else f"g++-{machine.replace('_', '-')}-linux-gnu"
        return Provided(machine, None, f"no compiler for {machine} here: apt-get install {packages}")
    folder = Path(edgegnn.native.__file__).parent
    if not (folder / "src").is_dir():
        return Provided(machine, None, "this edgegnn was installed without the sources of its kernels")
    version = _version(compiler)
    path = _cache(_key(folder, machine, version)) / library_name(machine)
    origin = f"compiled by {Path(compiler).name} {version}"
    if path.is_file():
        return Provided(machine, path, origin)
    try:
        recipe.build(folder, path, machine=machine, compiler=compiler)
    except (RuntimeError, OSError) as error:
        return Provided(machine, None, f"the kernels for {machine} can't be built: {error}")
    return Provided(machine, path, origin)


def built_there(machine: str, target: str) -> Path:
    """Where the library is kept that a device has compiled of these sources: for that device only."""
    key = _key(Path(edgegnn.native.__file__).parent, machine, f"on {target}")
    return _cache(f"{target}-{key}") / library_name(machine)


def _cache(name: str) -> Path:
    return platformdirs.user_cache_path("edgegnn") / "native" / name


def _version(compiler: str) -> str:
    try:
        command = [compiler, "-dumpfullversion", "-dumpversion"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _key(folder: Path, machine: str, version: str) -> str:
    """A digest of all that decides what the library is."""
    digest = hashlib.sha256(f"{machine}\0{version}\0".encode())
    for path in [Path(recipe.__file__), *recipe.sources(folder)]:
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
