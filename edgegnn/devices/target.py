"""Targets: one TOML file per kind of device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import platformdirs

import edgegnn
from edgegnn.errors import TargetError, UsageError
from edgegnn.runtime.facts import arch
from edgegnn.utils.files import read_toml

__all__ = ["HERE", "NAME", "Meter", "Target", "load_target", "local_target", "read_target", "target_files"]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
HERE = Path("targets")  # of the current folder, which may be a stranger's: used only when the user names a target


class Meter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A power meter that this machine reads: the table `[meter]` of a target file.

    Attributes:
        scope: what it measures, in words: "the board's 5 V supply", "wall socket".
        command: prints one number and ends; it is run without a shell.
        csv: a file that a logger goes on writing: rows of time (seconds since 1970, or ISO 8601) and power.
        unit: of the number: W or mW, it is asked again and again; J, mJ, Wh or kWh, a counter. Of a file, W or mW.
        interval: seconds between two runs of the command.
    """

    scope: Annotated[str, msgspec.Meta(min_length=1)]
    command: str = ""
    csv: str = ""
    unit: Literal["W", "mW", "J", "mJ", "Wh", "kWh"] = "W"
    interval: Annotated[float, msgspec.Meta(ge=0.01, le=10)] = 0.1


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target file.

    Attributes:
        name: the file's name without .toml.
        description: one line.
        arch: "x86_64", "aarch64", of microcontrollers "thumb", "riscv32"; "any" of a device over SSH with the native
            runner: as the device says.
        transport: how it is reached; "local": it is this machine; "ssh"; "emulated": SSH to the emulated board that is
            started for it; "microcontroller": one that is emulated here, for bytes and instructions.
        host: name, IP address or alias in the SSH configuration; "": not known yet, `edgegnn targets setup` asks.
        port: of its SSH server; 0: as the SSH configuration says.
        user: to log in as; "": as the SSH configuration says.
        identity: file of the private key (beside the target's file, unless it begins with / or ~); "": as the SSH
            configuration says.
        known_hosts: file with its host key; "": as the SSH configuration says.
        python: the device's Python; "": python3, or what `edgegnn targets setup` made there.
        runner: "auto": run.pyz with the device's Python, and without one the native runner, which is compiled here from
            the artifact's C form; "native": always that.
        cpu: the processor of an emulated board or microcontroller.
        flash_bytes: read-only memory of a microcontroller that a model may take; 0: any.
        ram_bytes: memory of a microcontroller that a model may take for arena, stack and variables; 0: any.
        processor: "cpu", or "cuda": models run on the NVIDIA GPU.
        energy: energy readers in the order of preference: the first that is really there is used.
        meter: an external power meter; see `Meter`.
        threads: threads of one inference; 0: one per core.
        spinning: worker threads wait busily between inferences.
    """

    description: Annotated[str, msgspec.Meta(min_length=1)]
    arch: Literal["x86_64", "aarch64", "thumb", "riscv32", "any"]
    transport: Literal["local", "ssh", "emulated", "microcontroller"]
    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    user: str = ""
    identity: str = ""
    known_hosts: str = ""
    python: str = ""
    runner: Literal["auto", "native"] = "auto"
    cpu: Literal[
        "cortex-a53",
        "cortex-a72",
        "cortex-a76",
        "cortex-m0plus",
        "cortex-m4",
        "cortex-m7",
        "cortex-m55",
        "riscv32",
    ] = "cortex-a72"
    flash_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**32)] = 0
    ram_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**32)] = 0
    processor: Literal["cpu", "cuda"] = "cpu"
    energy: tuple[Literal["meter", "hwmon", "pmic", "rapl", "nvml", "board", "codecarbon"], ...] = (
        "meter",
        "hwmon",
        "pmic",
        "rapl",
        "board",
        "codecarbon",
    )
    meter: Meter | None = None
    threads: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    spinning: bool = True
    name: str = ""


def target_files() -> dict[str, Path]:
    """Name -> file of all targets; a user's own (./targets, then the user config folder) win over the built-in ones."""
    return _toml_files(HERE, *_trusted())


def _toml_files(*folders: Path) -> dict[str, Path]:
    """Name -> file of the targets in these folders; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for path in sorted(folder.glob("*.toml")):
                if NAME.fullmatch(path.stem) and path.stem != "local":
                    found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def _trusted() -> tuple[Path, Path]:
    """Folders whose targets may be used unnamed: the user's configuration and what edgegnn brings."""
    return platformdirs.user_config_path("edgegnn") / "targets", _builtin()


def load_target(name: str = "local") -> Target:
    """Read a target.

    Args:
        name: of a target file; "local" is this machine.

    Raises:
        UsageError: there is no such target.
        TargetError: its file is damaged, or has an unknown key or a wrong type (file, line and key are named).
    """
    files = target_files()
    if name == "local":
        return local_target()
    if name not in files:
        known = ", ".join(["local", *files])
        raise UsageError(f"unknown target {name[:60]!r}: choose one of {known}, or write targets/NAME.toml")
    return read_target(files[name])


def local_target() -> Target:
    """The target that this machine is.

    A file in ./targets never stands in for it: the current folder may be a stranger's, and its meter command would run.

    Raises:
        TargetError: there is none for its architecture, or a target file is damaged.
    """
    for path in _toml_files(*_trusted()).values():
        target = read_target(path)
        if target.transport == "local" and target.arch == arch() and target.processor == "cpu":
            return target
    folder = _trusted()[0]
    raise TargetError(
        f"there is no target for this machine ({arch()}): write {folder}/NAME.toml, or name one (--target)"
    )


def _builtin() -> Path:
    package = Path(edgegnn.__file__).parent
    installed = package / "_targets"
    return installed if installed.is_dir() else package.parent / "targets"


def read_target(path: Path) -> Target:
    """The target that a file describes.

    Raises:
        TargetError: the file is damaged, or has an unknown key or a wrong type (file, line and key are named).
    """
    text, values = read_toml(path, TargetError)
    if "name" in values:
        raise TargetError(f"{path}, line {_line(text, 'name')}: unknown key 'name': the name is the file's")
    try:
        target = msgspec.convert({**values, "name": path.stem}, Target)
    except msgspec.ValidationError as error:
        raise TargetError(f"{path}{_explain(str(error), text)}") from error
    wrong = _wrong_meter(target, "meter" in values.get("energy", ()))
    if wrong:
        raise TargetError(f"{path}, line {_line(text, wrong[0])}: {wrong[1]}")
    if target.meter is not None and target.meter.csv:
        csv = str(path.parent.absolute() / Path(target.meter.csv).expanduser())
        target = msgspec.structs.replace(target, meter=msgspec.structs.replace(target.meter, csv=csv))
    files = {key: getattr(target, key) for key in ("identity", "known_hosts") if getattr(target, key)}
    beside = {key: str(path.parent.absolute() / Path(name).expanduser()) for key, name in files.items()}
    return msgspec.structs.replace(target, **beside)


def _explain(message: str, text: str) -> str:
    """Line and key of a validation error: ", line 3: threads: expected `int`, got `str`"."""
    unknown = re.search(r"unknown field `([^`]*)`", message)
    if unknown:
        table = Meter if message.endswith("`$.meter`") else Target
        known = ", ".join(field for field in table.__struct_fields__ if field != "name")
        return f", line {_line(text, unknown[1])}: unknown key {unknown[1]!r}; known are {known}"
    missing = re.search(r"missing required field `([^`]*)`", message)
    if missing:
        if message.endswith("`$.meter`"):
            return f", line {_line(text, 'meter')}: meter: the key {missing[1]!r} is missing"
        return f": the key {missing[1]!r} is missing"
    place = re.search(r" - at `\$\.((?:meter\.)?([A-Za-z0-9_-]+))", message)
    if place:
        what = message[: place.start()]
        return f", line {_line(text, place[2])}: {place[1]}: {what[:1].lower()}{what[1:]}"
    return f": {message}"


def _wrong_meter(target: Target, listed: bool) -> tuple[str, str] | None:
    """Key and what is wrong about it, of what the types of the meter can't say."""
    meter = target.meter
    if meter is None:
        return ("energy", "energy: there is no table [meter] that says how it is read") if listed else None
    if bool(meter.command.strip()) == bool(meter.csv):
        return "meter", "meter: needs one of command and csv"
    if meter.csv and meter.unit not in ("W", "mW"):
        return "unit", f"meter.unit: a csv file holds power, W or mW, not {meter.unit}"
    if "meter" not in target.energy:
        return "energy", "energy: 'meter' is not in it, and there is a table [meter]"
    return None


def _line(text: str, key: str) -> int:
    """The line where a key of the file stands (1 when it can't be found)."""
    pattern = re.compile(rf"""\s*(\[+\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return 1
