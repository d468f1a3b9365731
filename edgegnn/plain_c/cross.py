"""C compilers for other processors than this machine's: from the system's packages, or the Python package ziglang."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgegnn.errors import TargetError
from edgegnn.utils.limited import run_limited

__all__ = ["ERRORS", "MACHINES", "MEMORY", "SECONDS", "Machine", "compile_program", "linux_compiler", "zig"]

# Warnings of C that would hide a wrong type.
ERRORS = ("-Werror=incompatible-pointer-types", "-Werror=int-conversion", "-Werror=implicit-function-declaration")
SECONDS, MEMORY = 600, 8 * 2**30  # of processor time and of address space, for a compiler


@dataclass(frozen=True)
class Machine:
    """A kind of Linux machine.

    Attributes:
        zig: zig's name of it.
        gcc: what the names of its cross compiler begin with.
        package: the Debian package of that.
        flags: further ones, for zig.
    """

    zig: str
    gcc: str
    package: str
    flags: tuple[str, ...] = ()


_ARM = Machine("arm-linux-musleabihf", "arm-linux-gnueabihf", "gcc-arm-linux-gnueabihf")
# By `uname -m`. Programs are static: a 64-bit kernel runs them beside 32-bit software, too.
MACHINES: Mapping[str, Machine] = {
    "x86_64": Machine("x86_64-linux-musl", "x86_64-linux-gnu", "gcc-x86-64-linux-gnu"),
    "aarch64": Machine("aarch64-linux-musl", "aarch64-linux-gnu", "gcc-aarch64-linux-gnu"),
    "armv7l": _ARM,
    "armv8l": _ARM,
    "armv6l": Machine("arm-linux-musleabihf", "", "", ("-mcpu=arm1176jzf_s",)),
    "riscv64": Machine("riscv64-linux-musl", "riscv64-linux-gnu", "gcc-riscv64-linux-gnu"),
    "i686": Machine("x86-linux-musl", "i686-linux-gnu", "gcc-i686-linux-gnu"),
}


def zig(tool: str = "cc") -> tuple[str, ...] | None:
    """The command of one of zig's tools, its C compiler; None where the package ziglang is not installed."""
    return (sys.executable, "-m", "ziglang", tool) if importlib.util.find_spec("ziglang") else None


def linux_compiler(machine: str) -> tuple[str, ...]:
    """The command that makes static programs for a kind of machine.

    Args:
        machine: as `uname -m` calls it.

    Raises:
        TargetError: no such machine is known, or no compiler for it is here.
    """
    known = MACHINES.get(machine)
    if known is None:
        raise TargetError(f"no native runner can be made for {machine[:40]}, only for {', '.join(MACHINES)}")
    names = [f"{known.gcc}-gcc"] if known.gcc else []
    names += ["gcc", "cc"] if machine == platform.machine() else []
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return (path, "-static")
    here = zig()
    if here is not None:
        return (*here, "-target", known.zig, *known.flags, "-static")
    package = f", or apt-get install {known.package}" if known.package else ""
    raise TargetError(f"no C compiler for {machine} here: pip install 'edgegnn[cross]' (it brings zig){package}")


def compile_program(command: Sequence[str], output: Path, what: str) -> None:
    """Run a compiler.

    Args:
        command: all its words but the output.
        output: the file that it makes.
        what: is compiled, for the message.

    Raises:
        TargetError: it fails.
    """
    try:
        done = run_limited([*command, *ERRORS, "-o", str(output)], seconds=SECONDS, memory=MEMORY, cwd=output.parent)
    except OSError as error:
        raise TargetError(f"the C compiler {command[0]} can't be run: {error}") from error
    if done.why:
        raise TargetError(f"the C compiler {done.why} on {what}")
    if done.status:
        said = next((line for line in done.said if "error" in line.lower()), (done.said or ("no reason given",))[-1])
        raise TargetError(f"the C compiler refuses {what}: {said[:300]}")
