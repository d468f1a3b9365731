"""A target file for a device of the user's own: `edgegnn targets init`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edgegnn.devices.connection import at, connect
from edgegnn.devices.readiness import board
from edgegnn.devices.target import HERE, NAME, Target
from edgegnn.errors import TargetError, UsageError, first_line
from edgegnn.utils.files import replacing

__all__ = ["Described", "check_new", "write_target"]

Arch = Literal["x86_64", "aarch64"]
_MACHINES: dict[str, Arch] = {"arm64": "aarch64", "aarch64": "aarch64", "amd64": "x86_64", "x86_64": "x86_64"}
_ENERGY = {"aarch64": ("hwmon", "pmic", "board"), "x86_64": ("hwmon", "rapl")}
_HEAD = """\
# Written by `edgegnn targets init {name}`. Next: `edgegnn targets setup {name}`, then `edgegnn targets check {name}`.
# The documentation's page "Target file" has the other keys: a power meter, threads, the Python to use.
"""


@dataclass(frozen=True)
class Described:
    """What was written.

    Attributes:
        name: of the target.
        file: its file.
        arch: the processor that the file says.
        description: the device in a line.
        reason: why the device could not be asked what it is; "" where it answered.
    """

    name: str
    file: str
    arch: str
    description: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def check_new(name: str, *, force: bool) -> None:
    """Refuse a name that no target can have, or that one has already here.

    Raises:
        UsageError: such a name, or the file is there and not `force`.
    """
    if not NAME.fullmatch(name) or name == "local":
        raise UsageError(
            f"no target can be called {name[:60]!r}: take small letters, digits, - and _ (local is this machine)"
        )
    path = HERE / f"{name}.toml"
    if path.exists() and not force:
        raise UsageError(f"{path} is there already: choose another name, or replace it with --force")


def write_target(
    name: str,
    host: str,
    *,
    port: int | None = None,
    identity: Path | None = None,
    arch: str | None = None,
    description: str | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Described:
    """Write ./targets/NAME.toml for a device that is reached over SSH.

    Args:
        name: of the target.
        host: name, address or SSH alias, also as user@host.
        port: of its SSH server; None: as the SSH configuration says.
        identity: file of the private key; None: as the SSH configuration says.
        arch: "aarch64" or "x86_64"; None: what the device says, else "aarch64".
        description: one line; None: what the device says it is.
        force: replace the file.
        tell: told in a few words what is being done.

    Raises:
        UsageError: a name, address or processor that can't be one, or the file is there and not `force`.
        TargetError: the file can't be written.
    """
    check_new(name, force=force)
    if arch is not None and arch not in get_args(Arch):
        raise UsageError(f"--arch is {' or '.join(get_args(Arch))}, not {arch[:40]!r}")
    target = at(
        Target(description="new", arch="aarch64", transport="ssh", name=name), host=host, port=port, identity=identity
    )
    found, words, reason = _ask(target, tell)
    machine = arch or found or "aarch64"
    said = description or words or f"{machine} board, over SSH"
    address = {key: value for key in ("host", "port", "user", "identity") if (value := getattr(target, key))}
    values = {"description": said, "arch": machine, "transport": "ssh", **address, "energy": list(_ENERGY[machine])}
    # A JSON string or list of these is a TOML one, too.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    path = HERE / f"{name}.toml"
    with replacing(path, force=force, error=TargetError) as temporary:
        temporary.write_text(_HEAD.format(name=name) + "\n".join(lines) + "\n", encoding="utf-8")
    return Described(name, str(path), machine, said, reason)


def _ask(target: Target, tell: Callable[[str], None]) -> tuple[Arch | None, str, str]:
    """Processor and description as the device says them, or why it can't be asked."""
    try:
        with connect(target, tell=tell) as device:
            facts = device.facts(venv=True)
    except TargetError as error:
        return None, "", first_line(error).removeprefix(f"{target.name}: ")
    words = re.sub(r"\s+", " ", board(facts)).strip()
    return _MACHINES.get(facts.machine), words, ""
