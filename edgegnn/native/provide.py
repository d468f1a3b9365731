"""The native library for a machine of any kind: from the package, from the cache, or compiled here and now."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from edgegnn import native
from edgegnn.native import build as recipe
from edgegnn.native import library_name

__all__ = ["Compiler", "Provided", "built_here", "built_there", "find_compiler", "provide"]

_LOG = logging.getLogger(__name__)
_GLIBC = "2.28"  # the oldest C library that a device may have: Debian 10, and what onnxruntime's wheels need


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
    installed = native.installed(machine)
    if installed is not None:
        return Provided(machine, installed.resolve(), "built when edgegnn was installed")
    compiler = find_compiler(machine)
    if compiler is None and target and built_there(machine, target).is_file():
        return Provided(machine, built_there(machine, target), f"compiled on {target}")
    if compiler is None:
        packages = "g++" if machine == platform.machine() else f"g++-{machine.replace('_', '-')}-linux-gnu"
        return Provided(
            machine, None, f"no compiler for {machine} here: apt-get install {packages}, or pip install ziglang"
        )
    folder = Path(native.__file__).parent
    if not (folder / "src").is_dir():
        return Provided(machine, None, "this edgegnn was installed without the sources of its kernels")
    path = _cache(_key(folder, machine, compiler.version)) / library_name(machine)
    return _built(folder, path, machine, compiler)


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler for a machine.

    Attributes:
        name: what people call it: "g++", "zig".
        command: the words that start it.
        version: as it says itself.
    """

    name: str
    command: tuple[str, ...]
    version: str


def find_compiler(machine: str) -> Compiler | None:
    """A C++ compiler for a machine: a g++ or clang++ for it, else zig from the Python package `ziglang`."""
    names = ("g++", "c++", "clang++") if machine == platform.machine() else recipe.COMPILERS.get(machine, ())
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is not None:
        return Compiler(Path(program).name, (program,), _version((program,), "-dumpfullversion", "-dumpversion"))
    if importlib.util.find_spec("ziglang") is None:
        return None
    zig = (sys.executable, "-m", "ziglang")
    return Compiler("zig", (*zig, "c++", "-target", f"{machine}-linux-gnu.{_GLIBC}"), _version(zig, "version"))


def _built(folder: Path, path: Path, machine: str, compiler: Compiler) -> Provided:
    """The library at `path`, compiled now if no process has done so; one that waits for another takes its result."""
    origin = f"compiled by {compiler.name} {compiler.version}"
    if path.is_file():
        return Provided(machine, path, origin)
    failed = path.with_suffix(".failed")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file() and not failed.is_file():
                _LOG.warning(
                    "edgegnn: compiling its kernels for %s with %s: once, a minute or two", machine, compiler.name
                )
                recipe.build(folder, path, machine=machine, compiler=compiler.command)
    except RuntimeError as error:
        failed.write_text(str(error), encoding="utf-8")
    except OSError as error:
        return Provided(machine, None, f"the kernels for {machine} can't be built: {error}")
    if not path.is_file():
        reason = failed.read_text(encoding="utf-8")
        return Provided(
            machine, None, f"the kernels for {machine} can't be built: {reason} (delete {failed} to try again)"
        )
    return Provided(machine, path, origin)


def built_here() -> Path | None:
    """The library for this machine that was compiled earlier from these sources; None where there is none yet."""
    machine, folder = platform.machine(), Path(native.__file__).parent
    compiler = find_compiler(machine)
    if compiler is None or machine not in recipe.LEVELS or not (folder / "src").is_dir():
        return None
    path = _cache(_key(folder, machine, compiler.version)) / library_name(machine)
    return path if path.is_file() else None


def built_there(machine: str, target: str) -> Path:
    """Where the library is kept that a device has compiled of these sources: for that device only."""
    key = _key(Path(native.__file__).parent, machine, f"on {target}")
    return _cache(f"{target}-{key}") / library_name(machine)


def _cache(name: str) -> Path:
    return platformdirs.user_cache_path("edgegnn") / "native" / name


def _version(command: tuple[str, ...], *question: str) -> str:
    try:
        done = subprocess.run([*command, *question], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _key(folder: Path, machine: str, version: str) -> str:
    """A digest of all that decides what the library is."""
    digest = hashlib.sha256(f"{machine}\0{version}\0".encode())
    for path in [Path(recipe.__file__), *recipe.sources(folder)]:
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
