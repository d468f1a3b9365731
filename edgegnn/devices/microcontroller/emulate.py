"""Run a program on an emulated board, and read what it says."""

from __future__ import annotations

import math
import re
import shutil
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegnn.devices.microcontroller.boards import Board
from edgegnn.devices.microcontroller.build import Firmware
from edgegnn.errors import TargetError, first_line
from edgegnn.plain_c.compiler import graph_size
from edgegnn.plain_c.generate import PlainC
from edgegnn.runtime.samples import Sample
from edgegnn.utils.limited import run_limited

__all__ = ["Emulated", "check_emulator", "emulate"]

_SECONDS, _MEMORY = 900, 2**33
_TYPES = {"float": np.float32, "int32_t": np.int32, "uint8_t": np.uint8, "int8_t": np.int8}
_PACKAGES = {"qemu-system-arm": "qemu-system-arm", "qemu-system-riscv32": "qemu-system-misc"}


@dataclass(frozen=True)
class Emulated:
    """What a board did.

    Attributes:
        outputs: of each graph, float32.
        instructions: executed in one inference of each.
        stack_bytes: the deepest use of the stack.
        source: the emulator, with version and board.
    """

    outputs: tuple[npt.NDArray[np.float32], ...]
    instructions: tuple[int, ...]
    stack_bytes: int
    source: str

    @property
    def median(self) -> int:
        """Instructions of an inference, the median over the graphs."""
        return round(statistics.median(self.instructions))


def check_emulator(board: Board) -> str:
    """The emulator's program.

    Raises:
        TargetError: it is not installed.
    """
    path = shutil.which(board.qemu)
    if path is None:
        raise TargetError(f"{board.name} is emulated by {board.qemu}: apt-get install {_PACKAGES[board.qemu]}")
    return path


def emulate(board: Board, firmware: Firmware, code: PlainC, samples: Sequence[Sample]) -> Emulated:
    """Run the model on graphs.

    Args:
        board: where.
        firmware: the program for it.
        code: the model that is in it.
        samples: graphs within its limits.

    Raises:
        TargetError: the emulator is missing, fails, or the program doesn't end as it should.
    """
    qemu = check_emulator(board)
    with tempfile.TemporaryDirectory(prefix="edgegnn-board-") as place:
        folder = Path(place)
        (folder / "firmware.elf").write_bytes(firmware.elf)
        (folder / "samples.bin").write_bytes(_packed(code, samples))
        command = [qemu, *_alone(qemu), *board.machine, "-nographic", "-monitor", "none", "-serial", "none"]
        command += ["-icount", "shift=0", "-semihosting-config", "enable=on,target=native", "-kernel", "firmware.elf"]
        length = 8 + sum(16 + 4 * sample.expected.size for sample in samples)
        try:
            done = run_limited(command, seconds=_SECONDS, memory=_MEMORY, cwd=folder, file_bytes=length)
        except OSError as error:
            raise TargetError(f"the emulated {board.name} can't be used: {first_line(error)}") from error
        results = folder / "results.bin"
        found = results.read_bytes() if results.is_file() else b""
    if done.status or not found:
        why = done.why or (done.said[-1][:200] if done.said else f"exit status {done.status}")
        if found == b"" and not done.said and not done.why:
            why = f"the graphs and the arena don't fit into the {board.ram_size:,} bytes of memory that it has"
        raise TargetError(f"the program failed on the emulated {board.name}: {why}")
    version = re.search(r"version (\S+)", subprocess.run([qemu, "--version"], capture_output=True, text=True).stdout)
    source = f"qemu {version[1] if version else ''}, {board.machine[1]}, -icount"
    return _read(board, found, samples, source)


def _alone(qemu: str) -> list[str]:
    """Options by which the emulator, whose boards may ask for files of this machine, can start no program on it."""
    options = ["-sandbox", "on,spawn=deny,elevateprivileges=deny,resourcecontrol=deny"]
    known = subprocess.run([qemu, *options, "--version"], capture_output=True, check=False).returncode == 0
    return options if known else []


def _packed(code: PlainC, samples: Sequence[Sample]) -> bytes:
    parts = [struct.pack("<I", len(samples))]
    for sample in samples:
        sizes = graph_size(code, sample.inputs)
        parts.append(struct.pack("<ii", sizes["n"], sizes["e"]))
        parts += [np.ascontiguousarray(sample.inputs[a.name], _TYPES[a.ctype]).tobytes() for a in code.inputs]
    return b"".join(parts)


def _read(board: Board, found: bytes, samples: Sequence[Sample], source: str) -> Emulated:
    """What the program has written.

    Raises:
        TargetError: the board counts nothing, refuses a graph, or writes what makes no sense.
    """
    try:
        return _results(board, found, samples, source)
    except (struct.error, ValueError, ZeroDivisionError) as error:
        raise TargetError(f"the emulated {board.name} gives results that make no sense: {first_line(error)}") from error


def _results(board: Board, found: bytes, samples: Sequence[Sample], source: str) -> Emulated:
    ticks, instructions = struct.unpack_from("<II", found)
    if ticks in (0, 2**32 - 1):
        raise TargetError(f"the emulated {board.name} counts no instructions: is this {board.qemu} older than 7?")
    # Boards' clocks divide evenly: what is left is the reading's own few instructions.
    rate = round(4 * instructions / ticks) / 4
    at, outputs, counts, deepest = 8, [], [], 0
    for sample in samples:
        code, stack, used, repeats = struct.unpack_from("<IIII", found, at)
        at += 16
        if code:
            raise TargetError(f"the emulated {board.name} refuses the graph {sample.name} with the code {code}")
        if used == 2**32 - 1:
            raise TargetError(f"the emulated {board.name}: one inference of {sample.name} has too many instructions")
        size = math.prod(sample.expected.shape)
        outputs.append(np.frombuffer(found, "<f4", size, at).reshape(sample.expected.shape))
        at += 4 * size
        counts.append(round(used * rate / repeats))
        deepest = max(deepest, stack)
    return Emulated(tuple(outputs), tuple(counts), deepest, source)
