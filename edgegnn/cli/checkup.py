"""What `edgegnn doctor` looks at on this machine. Nothing is built, downloaded, or asked over the network."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from edgegnn import __version__
from edgegnn.devices.target import read_target, target_files
from edgegnn.errors import EdgeGNNError, first_line
from edgegnn.native import build, installed
from edgegnn.native.provide import built_here, find_compiler
from edgegnn.runtime.native import ORT_NEEDED, check_isa
from edgegnn.utils.extras import EXTRAS, missing

__all__ = ["Finding", "checkup"]

State = Literal["ok", "optional", "warning", "broken"]
_SLOW = "models run on onnxruntime's own operators, 50 to 100 times slower where they sum over neighbours"
_FOR = {
    "cluster": "edgegnn study run --ray",
    "molecules": "molecules (molnet:NAME, .csv files)",
    "report": "edgegnn report",
    "tune": "edgegnn tune",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: "ok"; "optional": not there, and only some commands need it; "warning": works, but worse than it could;
            "broken": the main job (train, export, verify, profile) can't work.
        detail: what was found.
        cure: what to do about it; "" where nothing needs doing.
    """

    name: str
    state: State
    detail: str
    cure: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain JSON-able values."""
        return asdict(self)


def checkup() -> list[Finding]:
    """Look at everything; what can't be looked at is a finding, too."""
    return [finding for look in _LOOKS for finding in _guarded(look)]


def _guarded(look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except EdgeGNNError as error:
        return [Finding(look.__name__.strip("_").replace("_", " "), "broken", str(error))]


def _python() -> list[Finding]:
    detail = f"edgegnn {__version__}, Python {platform.python_version()}, {platform.machine()}, {sys.platform}"
    return [Finding("edgegnn", "ok", detail)]


def _packages() -> list[Finding]:
    found = []
    for name in ("torch", "torch-geometric", "onnx", "torch-pruning"):
        try:
            found.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, "broken", "not installed", f"pip install {name}"))
    return found


def _onnxruntime() -> list[Finding]:
    try:
        import onnxruntime
    except Exception as error:  # a wheel for another processor fails in many ways
        return [Finding("onnxruntime", "broken", f"import fails: {first_line(error)}", "pip install onnxruntime")]
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    telemetry = "telemetry off" if off else "telemetry ON"
    version = onnxruntime.__version__
    if tuple(int(n) for n in version.split(".")[:2]) < ORT_NEEDED:
        least = ".".join(map(str, ORT_NEEDED))
        return [Finding("onnxruntime", "warning", f"{version}: {_SLOW}", f'pip install "onnxruntime>={least}"')]
    cure = "" if off else "import edgegnn before onnxruntime"
    return [Finding("onnxruntime", "ok" if off else "warning", f"{version}, {telemetry}", cure)]


def _kernels() -> list[Finding]:
    check_isa()
    machine = platform.machine()
    asked = os.environ.get("EDGEGNN_LIBRARY")
    if asked is not None and asked.lower() in ("", "0", "none"):
        return [Finding("kernels", "warning", f"switched off by EDGEGNN_LIBRARY={asked}: {_SLOW}", "unset it")]
    library = Path(asked) if asked else installed() or built_here()
    if library is not None:
        return [_loaded(library)]
    compiler = find_compiler(machine)
    if compiler is not None and machine in build.LEVELS:
        detail = f"none yet: compiled with {compiler.name} when they are first needed, once"
        return [Finding("kernels", "ok", detail)]
    cure = f"apt-get install g++, or pip install ziglang: {machine} kernels are compiled when they are first needed"
    return [Finding("kernels", "warning", f"none, and no compiler: {_SLOW}", cure if machine in build.LEVELS else "")]


def _loaded(library: Path) -> Finding:
    """What a library says of itself."""
    try:
        handle = ctypes.CDLL(str(library))
        handle.edgegnn_isa.restype = ctypes.c_char_p
        isa = handle.edgegnn_isa().decode()
    except (OSError, AttributeError) as error:
        cure = "install edgegnn again, or unset EDGEGNN_LIBRARY"
        return Finding("kernels", "warning", f"{library} doesn't load: {first_line(error)}; {_SLOW}", cure)
    forced = f", by EDGEGNN_ISA={os.environ['EDGEGNN_ISA']}" if "EDGEGNN_ISA" in os.environ else ""
    return Finding("kernels", "ok", f"instruction set {isa}{forced}, {library}")


def _compilers() -> list[Finding]:
    found = []
    for machine in build.LEVELS:
        here = machine == platform.machine()
        compiler = find_compiler(machine)
        name = "compiler" if here else f"compiler for {machine}"
        if compiler is not None:
            found.append(Finding(name, "ok", f"{compiler.name} {compiler.version}"))
            continue
        package = "g++" if here else f"g++-{machine.replace('_', '-')}-linux-gnu"
        why = "kernels that an installation lacks" if here else f"edgegnn export --target NAME of an {machine} device"
        found.append(
            Finding(name, "optional", f"none: for {why}", f"apt-get install {package}, or pip install ziglang")
        )
    return found


def _devices() -> list[Finding]:
    ssh = shutil.which("ssh")
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    return [
        Finding("ssh", "ok", ssh)
        if ssh
        else Finding("ssh", "optional", "none: for devices over SSH", "apt-get install openssh-client"),
        Finding("qemu", "ok", qemu)
        if qemu
        else Finding("qemu", "optional", "none: for the emulated board", "apt-get install qemu-user"),
        *_targets(),
    ]


def _targets() -> list[Finding]:
    names, damaged = [], []
    for name, path in target_files().items():
        try:
            read_target(path)
            names.append(name)
        except EdgeGNNError as error:
            damaged.append(Finding(f"target {name}", "warning", str(error), f"correct {path}"))
    listed = Finding("targets", "ok", f"{', '.join(names)} (edgegnn targets asks each what it can do)")
    return [listed, *damaged]


def _data() -> list[Finding]:
    cache = Path(platformdirs.user_cache_dir("edgegnn"))
    writable = _writable(cache)
    state: State = "ok" if writable else "warning"
    cure = "" if writable else "make it writable, or set XDG_CACHE_HOME: data are processed again in every run"
    found = [Finding("cache folder", state, f"{cache}{'' if writable else ' can not be written'}", cure)]
    named = os.environ.get("EDGEGNN_DATA")
    if named is None:
        detail = f"EDGEGNN_DATA is not set: data sets are downloaded into {cache / 'data'}"
        return [*found, Finding("data folder", "ok", detail)]
    if not Path(named).is_dir():
        return [*found, Finding("data folder", "broken", f"EDGEGNN_DATA is {named}, which is no folder", "create it")]
    return [*found, Finding("data folder", "ok", f"EDGEGNN_DATA is {named}")]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _extras() -> list[Finding]:
    found = []
    for extra in EXTRAS:
        lacking = missing(extra)
        if lacking:
            detail = f"{', '.join(lacking)} not installed: for {_FOR[extra]}"
            found.append(Finding(f"extra {extra}", "optional", detail, f"pip install 'edgegnn[{extra}]'"))
        else:
            found.append(Finding(f"extra {extra}", "ok", f"for {_FOR[extra]}"))
    return found


_LOOKS: tuple[Callable[[], list[Finding]], ...] = (
    _python,
    _packages,
    _onnxruntime,
    _kernels,
    _compilers,
    _devices,
    _data,
    _extras,
)
