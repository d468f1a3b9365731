"""From a target to a connection with its device."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edgegnn.devices.target import Target
from edgegnn.devices.transport import Address, Device, open_device
from edgegnn.devices.transport.answers import Facts
from edgegnn.errors import TargetError, UsageError

__all__ = ["address_of", "at", "connect", "python_of"]

Progress = Callable[[str], None]


def at(
    target: Target, *, host: str | None = None, port: int | None = None, identity: Path | str | None = None
) -> Target:
    """The target at another address.

    Args:
        target: any.
        host: name, address or alias, also as user@host; None: the target's.
        port: of the SSH server; None: the target's.
        identity: file of a private key; None: the target's.

    Raises:
        UsageError: the target is this machine, or the address is none.
    """
    if host is None and port is None and identity is None:
        return target
    if target.transport != "ssh":
        raise UsageError(f"--host, --port and --identity are for a device over SSH; {target.name} is not one")
    changes: dict[str, object] = {}
    if host is not None:
        user, at_sign, name = host.rpartition("@")
        changes |= {"host": name, **({"user": user} if at_sign else {})}
    if port is not None:
        if not 1 <= port <= 65535:
            raise UsageError(f"--port must be 1 to 65535, not {port}")
        changes["port"] = port
    if identity is not None:
        changes["identity"] = str(Path(identity).expanduser().absolute())
    new = msgspec.structs.replace(target, **changes)
    address_of(new)
    return new


def address_of(target: Target) -> Address:
    """Where the device is.

    Raises:
        TargetError: nobody has said where it is.
        UsageError: its host or user is none.
    """
    if not target.host:
        raise TargetError(
            f"{target.name}: nobody has said where it is: edgegnn targets setup {target.name} --host user@host "
            "(or --host for once)"
        )
    user, _, host = target.host.rpartition("@")
    return Address(
        target.name,
        host,
        target.port or None,
        user or target.user,
        Path(target.identity) if target.identity else None,
        Path(target.known_hosts) if target.known_hosts else None,
    )


@contextlib.contextmanager
def connect(
    target: Target,
    *,
    tell: Progress = lambda text: None,
    stop: threading.Event | None = None,
    connect_seconds: int = 10,
) -> Iterator[Device]:
    """A connection to a target's device; an emulated board is started for it, and stopped after it.

    Raises:
        TargetError: it can't be reached, or has no usable Python.
        UsageError: its private key is not there.
    """
    with contextlib.ExitStack() as stack:
        address: Address | None
        if target.transport == "microcontroller":
            raise TargetError(f"{target.name} is an emulated microcontroller: only `profile` and `export` know it")
        if target.transport == "emulated":
            from edgegnn.devices.emulated import emulated_board

            tell("starting the emulated board")
            board = stack.enter_context(emulated_board(target.cpu, progress=tell))
            address = Address(target.name, board.host, board.port, board.user, board.identity, board.known_hosts)
        else:
            address = None if target.transport == "local" else address_of(target)
        tell("connecting")
        python = target.python or (sys.executable if address is None else "")
        yield stack.enter_context(
            open_device(address, python=python, tell=tell, stop=stop, connect_seconds=connect_seconds)
        )


def python_of(target: Target, facts: Facts) -> str:
    """The device's Python that has numpy and onnxruntime: the target's, else the one that setup made, else its own."""
    return (not target.python and facts.venv_python) or facts.agent_python
