"""The emulated boards: processor, memory, compiler, emulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BOARDS", "Board"]


@dataclass(frozen=True)
class Board:
    """A microcontroller that qemu emulates.

    Attributes:
        name: of the processor.
        qemu: the emulator's program.
        machine: its arguments for the board.
        note: what has to be said of the emulation; "" mostly.
        gcc: names of the cross compiler.
        package: the Debian package of that.
        gcc_flags: for the processor.
        zig_flags: the same for zig.
        source: the file that starts the board.
        entry: the first function there.
        flash_at: where the program lies.
        ram_at: where its memory begins.
        ram_size: bytes of it. Boards have more than the microcontrollers that they stand for.
    """

    name: str
    qemu: str
    machine: tuple[str, ...]
    note: str
    gcc: tuple[str, ...]
    package: str
    gcc_flags: tuple[str, ...]
    zig_flags: tuple[str, ...]
    source: str
    entry: str
    flash_at: int
    ram_at: int
    ram_size: int


def _arm(name: str, machine: str, gcc: str, zig: str, note: str = "", ram: int = 2**22) -> Board:
    return Board(
        name=name,
        qemu="qemu-system-arm",
        machine=("-M", machine),
        note=note,
        gcc=("arm-none-eabi-gcc",),
        package="gcc-arm-none-eabi",
        gcc_flags=("-mthumb", *gcc.split()),
        zig_flags=tuple(zig.split()),
        source="arm.c",
        entry="vectors",
        flash_at=0,
        ram_at=0x20000000,
        ram_size=ram,
    )


_HARD = "-fno-sanitize=all -target thumb-freestanding-eabihf"
BOARDS: Mapping[str, Board] = {
    board.name: board
    for board in (
        _arm(
            "cortex-m0plus",
            "mps2-an385",
            "-mcpu=cortex-m0plus -mfloat-abi=soft",
            "-target thumb-freestanding-eabi -mcpu=cortex_m0plus",
            "code for Cortex-M0+, executed by a Cortex-M3, which has all of its instructions",
        ),
        _arm(
            "cortex-m4",
            "mps2-an386",
            "-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16",
            f"{_HARD} -mcpu=cortex_m4+vfp4d16sp",
        ),
        _arm(
            "cortex-m7",
            "mps2-an500",
            "-mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-d16",
            f"{_HARD} -mcpu=cortex_m7+fp_armv8d16",
        ),
        _arm(
            "cortex-m55",
            "mps3-an547",
            "-mcpu=cortex-m55 -mfloat-abi=hard -mfpu=auto",
            f"{_HARD} -mcpu=cortex_m55",
            ram=2**19,
        ),
        Board(
            name="riscv32",
            qemu="qemu-system-riscv32",
            machine=("-M", "virt", "-m", "64", "-bios", "none"),
            note="RV32IMC, floats in software",
            gcc=("riscv64-unknown-elf-gcc", "riscv32-unknown-elf-gcc"),
            package="gcc-riscv64-unknown-elf",
            gcc_flags=("-march=rv32imc_zicsr", "-mabi=ilp32", "-mcmodel=medany"),
            zig_flags=("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+c+zicsr", "-mcmodel=medany"),
            source="riscv.c",
            entry="_start",
            flash_at=0x80000000,
            ram_at=0x82000000,
            ram_size=2**24,
        ),
    )
}
