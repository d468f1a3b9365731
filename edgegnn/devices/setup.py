"""Make a device ready: a virtual environment there with what models need, and its address remembered here."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shlex
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from edgegnn.devices.connection import connect
from edgegnn.devices.readiness import SETUP_DISK, TORCH_DISK, import_problem, pins, wrong_machine
from edgegnn.devices.target import Target, target_files
from edgegnn.devices.transport.answers import Facts
from edgegnn.devices.transport.content import Content, content
from edgegnn.devices.transport.device import Device
from edgegnn.errors import TargetError, UsageError
from edgegnn.utils.files import replacing, size

__all__ = ["Ready", "remember", "setup"]

Progress = Callable[[str], None]
INSTALL_SECONDS = 1800.0
_ADDRESS = ("host", "port", "user", "identity", "known_hosts")
# The newest that the device's Python can have. From this index come the wheels for CPUs: the ones of the package index
# bring gigabytes of CUDA along, for arm64 too (2.13).
TORCH = "torch>=2.4,<2.14"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
_VERSION = re.compile(r"[0-9][0-9A-Za-z.]{0,30}")


@dataclass(frozen=True)
class Ready:
    """What `setup` has done.

    Attributes:
        target: its name.
        model: the board or CPU.
        python: the device's Python that has what is needed.
        versions: of numpy, onnxruntime and, where TorchScript models can run, torch, in words.
        changed: something was installed (False: all was there).
        file: the target's file that remembers the address; None where there was nothing to remember.
    """

    target: str
    model: str
    python: str
    versions: str
    changed: bool
    file: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return {**asdict(self), "file": None if self.file is None else str(self.file)}


def setup(
    target: Target,
    *,
    wheelhouse: Path | None = None,
    onnxruntime: str | None = None,
    torch: bool = False,
    tell: Progress = lambda text: None,
) -> Ready:
    """Make a device ready to be measured on; doing it again changes nothing.

    A Python there that has the packages already, and can import them, is left as it is.

    Args:
        target: with the address to use and to remember.
        wheelhouse: folder of wheels that travel there, for a device without network.
        onnxruntime: the version to install; None: one that is known to work with its Python.
        torch: also torch (for CPUs), which TorchScript artifacts need. Where setup has installed it, it stays.
        tell: told in a few words what is being done.

    Raises:
        TargetError: it can't be reached, is another kind of machine, or the packages can't be installed or imported.
        UsageError: no such folder, or no wheels in it; no version.
    """
    if onnxruntime is not None and not _VERSION.fullmatch(onnxruntime):
        raise UsageError(f"{onnxruntime[:40]!r} is no version: such as --onnxruntime 1.20.1")
    with connect(target, tell=tell) as device:
        facts = device.facts(venv=not target.python)
        problem = wrong_machine(facts, target, device.bits)
        if problem:
            raise TargetError(f"{target.name}: {problem}")
        wheels = _wheels(wheelhouse, facts)
        device.lock()
        has = facts.packages
        torch = torch or bool(facts.venv_python and "torch" in has)
        needed = ("numpy", "onnxruntime", *(["torch"] if torch else []))
        versions, problem = "", f"{' and '.join(name for name in needed if name not in has)} not installed"
        if set(needed) <= set(has) and has["onnxruntime"] == (onnxruntime or has["onnxruntime"]):
            versions, problem = _imported(device, target, facts, torch, tell)
        changed = bool(problem)
        if changed:
            if target.python:
                raise TargetError(
                    f"{target.name}: {problem}; its file names a Python of your own ({target.python}): install "
                    f"{', '.join(needed)} there, or take `python` out of the file"
                )
            if torch and facts.disk_free_bytes < TORCH_DISK:
                found = f"{size(facts.disk_free_bytes)} are free"
                raise TargetError(f"{target.name}: torch needs {size(TORCH_DISK)} of its disk, {found}: free some")
            _install(device, target, facts, wheels, onnxruntime, torch, tell)
            facts = device.facts(venv=True)
            versions, problem = _imported(device, target, facts, torch, tell)
            if problem:
                raise TargetError(f"{target.name}: {problem}")
    python = facts.venv_python or facts.agent_python
    return Ready(target.name, facts.model, python, versions, changed, remember(target))


def remember(target: Target) -> Path | None:
    """Write a target's address into its file: into the user's own, or a copy of the built-in one in the user's folder.

    Returns:
        The file; None when the target needs no address.

    Raises:
        TargetError: the file can't be written.
    """
    if target.transport != "ssh":
        return None
    found = target_files()[target.name]
    text = found.read_text(encoding="utf-8")
    new = _with_address(text, {key: value for key in _ADDRESS if (value := getattr(target, key))})
    own = platformdirs.user_config_path("edgegnn") / "targets" / found.name
    builtin = found.parent not in (Path("targets"), own.parent)
    place = own if builtin else found
    if not place.exists() or place.read_text(encoding="utf-8") != new:
        with replacing(place, force=True, error=TargetError) as temporary:
            temporary.write_text(new, encoding="utf-8")
    return place


def _with_address(text: str, values: dict[str, Any]) -> str:
    """The text of a target's file with these keys, and without the address it had."""
    lines = text.splitlines()
    tables = [i for i, line in enumerate(lines) if line.lstrip().startswith("[")]
    end = tables[0] if tables else len(lines)
    address = re.compile(rf"\s*({'|'.join(_ADDRESS)})\s*=")
    head = [line for line in lines[:end] if not address.match(line)]
    while head and not head[-1].strip():
        head.pop()
    # A JSON string of these is a TOML string, too.
    head += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join([*head, *([""] if tables else []), *lines[end:]]) + "\n"


# ---------------------------------------------------------------------------------------------------------------------


def _imported(device: Device, target: Target, facts: Facts, torch: bool, tell: Progress) -> tuple[str, str]:
    """Versions in words and "", or "" and what is wrong."""
    tell("importing onnxruntime there")
    versions, problem = import_problem(device, target, facts)
    if torch and not problem:
        tell("importing torch there")
        found, problem = import_problem(device, target, facts, "torchscript")
        versions += found[found.index(" torch ") :] if found else ""
    return versions, problem


def _install(
    device: Device,
    target: Target,
    facts: Facts,
    wheels: dict[str, Content],
    onnxruntime: str | None,
    torch: bool,
    tell: Progress,
) -> None:
    """Make the virtual environment and install into it."""
    runtime, numpy = pins(facts.python)
    runtime = onnxruntime or runtime
    own = next((name for name in wheels if name.startswith("pip-")), None)
    files = {f"wheels/{name}": file for name, file in wheels.items()}
    if own is None and not facts.pip_wheel:
        files["pip.whl"] = content(_pip())
    folder = device.place(files, "wheels" if wheels else "pip")
    pip = facts.pip_wheel or f"{folder}/pip.whl"
    pip = f"{folder}/wheels/{own}" if own is not None else pip
    venv = f"{facts.root}/venv"
    tell("making a virtual environment there")
    # Without pip: that saves seconds on a slow card, and Debian's Python without python3-venv can do it too.
    made = device.run([facts.agent_python, "-m", "venv", "--without-pip", "--clear", venv], limit=300.0)
    if made.code != 0:
        raise TargetError(f"{target.name}: its Python makes no virtual environment: {_last(made.stderr, made.out)}")
    command = [f"{venv}/bin/python", f"{pip}/pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--no-cache-dir", "--only-binary=:all:", "--progress-bar=off"]
    # From what travelled, and from nothing else that the account's pip may know.
    alone = {"PIP_CONFIG_FILE": "/dev/null"} if wheels else {}
    command += ["--isolated"] * bool(wheels)
    # What the first step has installed stays as it is in the second.
    steps = [[f"onnxruntime=={runtime}", f"numpy=={numpy}"], *([[TORCH, f"numpy=={numpy}"]] if torch else [])]
    for asked in steps:
        tell(f"installing {' and '.join(asked)} there")
        index = [f"--index-url={TORCH_INDEX}"] if asked[0] == TORCH else []
        source = ["--no-index", f"--find-links={folder}/wheels"] if wheels else index
        done = device.run(
            [*command, *source, *asked],
            limit=INSTALL_SECONDS,
            env=alone,
            on_line=lambda line: tell(line.strip()[:60]),
        )
        if done.code != 0:
            # Half an environment would be taken for a whole one.
            device.run([facts.agent_python, "-c", _REMOVE, venv], limit=120.0)
            raise TargetError(f"{target.name}: {_pip_problem(done.stderr, done.out, facts, bool(wheels), asked)}")


_REMOVE = "import shutil, sys; shutil.rmtree(sys.argv[1])"


def _pip_problem(stderr: str, out: list[str], facts: Facts, offline: bool, asked: list[str]) -> str:
    last = _last(stderr, out)
    text = f"{stderr} {' '.join(out[-20:])}".lower()
    if "no space left" in text:
        needed = size(TORCH_DISK if TORCH in asked else SETUP_DISK)
        return f"its disk is full: about {needed} are needed; free some (df -h; sudo apt clean)"
    version = ".".join(facts.python.split(".")[:2])
    platforms = " ".join(f"--platform {p}_{facts.machine}" for p in ("manylinux_2_28", "manylinux_2_17"))
    index = f"--index-url {TORCH_INDEX} " if TORCH in asked else ""
    fetch = (
        f"pip download --only-binary=:all: --python-version {version} {platforms} {index}--dest wheels "
        f"{' '.join(map(shlex.quote, asked))}; then --wheelhouse wheels"
    )
    if offline:
        return f"the wheels are not all that is needed: {last}; here, fetch them with: {fetch}"
    if "certificate" in text or "ssl" in text:
        return f"pip can't make a safe connection, is the device's clock right? (sudo timedatectl set-ntp true): {last}"
    if re.search(r"connection|resolve|network|timed out|no matching distribution.*from versions: none", text):
        return f"pip can't reach the package index from the device; here, fetch the wheels with: {fetch}"
    return f"pip failed: {last}"


def _last(stderr: str, out: list[str]) -> str:
    lines = [line.strip() for line in [*out, *stderr.splitlines()] if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no reason given"])[-1][:300]


def _wheels(folder: Path | None, facts: Facts) -> dict[str, Content]:
    """The wheels of a folder that this kind of machine can use."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: --wheelhouse is a folder of .whl files")
    machine = facts.machine
    found = [p for p in sorted(folder.glob("*.whl")) if p.stem.endswith(("-any", machine))]
    if not found:
        raise UsageError(f"there is no wheel for {machine} in {folder}")
    return {path.name: content(path) for path in found}


def _pip() -> bytes:
    """Our own pip as a wheel, for a device whose Python came without one."""
    spec = importlib.util.find_spec("pip")
    bundled = importlib.util.find_spec("ensurepip")
    if bundled is not None and bundled.submodule_search_locations:
        for path in sorted(Path(bundled.submodule_search_locations[0]).glob("_bundled/pip-*.whl")):
            return path.read_bytes()
    if spec is None or not spec.submodule_search_locations:
        raise TargetError("neither the device nor this Python has pip: sudo apt install python3-pip there")
    folder = Path(spec.submodule_search_locations[0])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                archive.write(path, f"pip/{path.relative_to(folder).as_posix()}")
    return buffer.getvalue()
