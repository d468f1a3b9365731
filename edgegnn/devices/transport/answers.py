"""What the program on a device may answer: its shape, and the size of every part.

The device says these things about itself, and nobody here can check them. A value is only shown, compared, or given
back to the same device.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from edgegnn.errors import printable

__all__ = ["Damaged", "Ended", "Facts", "Message", "Missing", "Name", "Staged", "Versions", "decode", "one_line"]

T = TypeVar("T")
_Word = Annotated[str, msgspec.Meta(max_length=300)]
_Place = Annotated[str, msgspec.Meta(max_length=4096)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**60)]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_Version = Annotated[str, msgspec.Meta(max_length=40, pattern=r"^[0-9]+-[0-9a-f]{12}$")]
Name = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[A-Za-z0-9_+][A-Za-z0-9_.+-]*$")]


class Message(msgspec.Struct, frozen=True):
    """A line of the device: an answer, why there is none, or a line of the program that runs there."""

    ok: msgspec.Raw = msgspec.Raw(b"")
    error: str | None = None
    out: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says about itself.

    Attributes:
        agent_python: the Python that runs the agent.
        machine: as `uname -m` has it.
        bits: of that Python, 32 or 64.
        python: its version.
        venv_python: the Python that `edgegnn targets setup` made; "" when there is none.
        packages: versions of numpy, onnxruntime and torch, where they are installed.
        root: edgegnn's folder.
        model: CPU or board.
        os: its name.
        memory_bytes: all memory.
        available_bytes: memory that programs can have now.
        disk_free_bytes: of the disk with `root`.
        writable: `root` can be written.
        governor: of the CPU frequency; "" when there is none to see.
        governors: those that there are.
        throttled: the Raspberry Pi's throttling word in hex; "" elsewhere.
        energy: what could tell the energy; "" when nothing could.
        time: its clock, seconds since 1970.
        pip_wheel: a wheel of pip that came with its Python or system; "" when there is none.
        dotprod: its processor has dot-product instructions.
        skew: its clock minus ours, seconds; never its word.
    """

    agent_python: _Place
    machine: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,40}$")]
    bits: Annotated[int, msgspec.Meta(ge=0, le=1024)]
    python: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}[A-Za-z0-9.+]{0,30}$")]
    venv_python: _Place
    packages: Annotated[dict[_Word, _Word], msgspec.Meta(max_length=20)]
    root: _Place
    model: _Word
    os: _Word
    memory_bytes: _Bytes
    available_bytes: _Bytes
    disk_free_bytes: _Bytes
    writable: bool
    governor: _Word
    governors: Annotated[list[_Word], msgspec.Meta(max_length=50)]
    throttled: _Word
    energy: _Word
    time: Annotated[float, msgspec.Meta(ge=-1e11, le=1e11)]
    pip_wheel: _Place
    dotprod: bool
    skew: float = 0.0


class Missing(msgspec.Struct, frozen=True):
    """Checksums of the files that have to travel, and the free bytes of the disk."""

    missing: Annotated[list[_Sha256], msgspec.Meta(max_length=100_000)]
    free: _Bytes


class Staged(msgspec.Struct, frozen=True):
    """A folder with the files that were sent, and checksums of those that the disk gives back damaged."""

    folder: _Place
    damaged: Annotated[list[_Sha256], msgspec.Meta(max_length=100_000)]


class Ended(msgspec.Struct, frozen=True):
    """How a program ended: exit status (negative: a signal), the end of its stderr; `late`: it took too long."""

    code: Annotated[int, msgspec.Meta(ge=-255, le=255)]
    stderr: Annotated[str, msgspec.Meta(max_length=10_000)]
    late: bool


class Versions(msgspec.Struct, frozen=True):
    """Versions of an artifact, oldest first, the one in use ("" when there is none), and the folder that holds them."""

    versions: Annotated[list[_Version], msgspec.Meta(max_length=10_000)]
    current: _Word
    folder: _Place


class Damaged(ValueError):
    """What a device said isn't what was asked for."""


def decode(text: bytes | msgspec.Raw, kind: type[T]) -> T:
    """JSON of a device as one of the kinds above.

    Raises:
        Damaged: it isn't; the text says where.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Damaged(one_line(str(error))) from error


def one_line(text: str, limit: int = 500) -> str:
    """What a device said, as part of a message: one line of bounded length that can't steer a terminal."""
    return printable(" ".join(text.split()))[:limit]
