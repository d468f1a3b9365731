"""Link the C form with the harness to a program for an emulated microcontroller, and weigh it."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgegnn.devices.microcontroller.boards import Board
from edgegnn.errors import TargetError, first_line
from edgegnn.plain_c.cross import compile_program, zig
from edgegnn.plain_c.driver import Accepted, driver_source
from edgegnn.plain_c.generate import PlainC

__all__ = ["Firmware", "Flash", "build_firmware", "find_compiler"]

SOURCES = Path(__file__).parent / "src"
_RUNNER = Path(__file__).parents[1] / "native_runner" / "src"
_COMMON = ("-std=gnu99", "-O3", "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fno-common")
_STACK = 2**16
_SCRIPT = """
ENTRY({entry})
SECTIONS {{
  . = {flash:#x};
  .vectors : {{ KEEP(*(.vectors)) }}
  .harness : {{ *harness.o(.text* .rodata* .srodata*) *board.o(.text* .rodata* .srodata*)
               *driver.o(.text* .rodata* .srodata*) }}
  .model_code : {{ *model.o(.text*) }}
  .model_constants : {{ *model.o(.rodata* .srodata*) }}
  .support : {{ *(.text* .rodata* .srodata*) }}
  . = {ram:#x};
  .data : {{ *(.data* .sdata*) }}
  .bss : {{ *(.bss* .sbss* COMMON) }}
  . = ALIGN(16);
  board_stack_low = .;
  . += {stack:#x};
  board_stack_top = .;
  board_heap = .;
  board_heap_end = {end:#x};
  /DISCARD/ : {{ *(.ARM.exidx* .ARM.extab* .comment .eh_frame* .note*) }}
}}
"""


@dataclass(frozen=True)
class Flash:
    """Read-only memory that the model takes, in bytes.

    Attributes:
        code: the model's instructions.
        constants: weights and other tables.
        support: what the compiler's library adds: floats in software, memset.
    """

    code: int
    constants: int
    support: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.code + self.constants + self.support


@dataclass(frozen=True)
class Firmware:
    """A program for a board.

    Attributes:
        elf: its file's bytes.
        flash: what of it is the model.
        static_ram: bytes of variables that the model has outside of the arena.
        compiler: which, with its version.
        flags: those that matter for speed and size.
    """

    elf: bytes
    flash: Flash
    static_ram: int
    compiler: str
    flags: str


def find_compiler(board: Board) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The compiler's command, the flags for the board's processor, and its name with version.

    Raises:
        TargetError: none is here.
    """
    for name in board.gcc:
        path = shutil.which(name)
        if path is not None:
            return (
                (path,),
                (*board.gcc_flags, "-Wl,--no-warn-rwx-segments"),
                f"{name} {_said(path, '-dumpfullversion')}",
            )
    cc, version = zig(), zig("version")
    if cc is not None and version is not None:
        return cc, board.zig_flags, f"zig {_said(*version)}"
    raise TargetError(
        f"no C compiler for {board.name} here: apt-get install {board.package}, or pip install 'edgegnn[cross]'"
    )


def build_firmware(board: Board, code: PlainC, name: str, main: str = "") -> Firmware:
    """Compile and link.

    Args:
        board: for which.
        code: the model as C.
        name: the artifact's.
        main: the output to give; "": the first.

    Raises:
        TargetError: no compiler is here, or it fails.
    """
    command, flags, version = find_compiler(board)
    with tempfile.TemporaryDirectory(prefix="edgegnn-board-") as place:
        folder = Path(place)
        for file, text in code.files.items():
            (folder / file).write_text(text, encoding="utf-8")
        (folder / "driver.c").write_text(driver_source(code, name, Accepted(main=main)), encoding="utf-8")
        memory = {"flash": board.flash_at, "ram": board.ram_at, "end": board.ram_at + board.ram_size, "stack": _STACK}
        (folder / "board.ld").write_text(_SCRIPT.format(entry=board.entry, **memory), encoding="utf-8")
        sources = {"model": folder / "model.c", "driver": folder / "driver.c", "harness": SOURCES / "harness.c"}
        sources |= {"board": SOURCES / board.source, "support": SOURCES / "support.c"}
        include = [f"-I{SOURCES / 'include'}", f"-I{SOURCES}", f"-I{_RUNNER}", f"-I{folder}"]
        for object_name, source in sources.items():
            own = ["-fno-builtin", "-fno-tree-loop-distribute-patterns"] if object_name == "support" else []
            if "ziglang" in command:
                own = own[:1]
            made = folder / f"{object_name}.o"
            compile_program([*command, *_COMMON, *flags, *include, *own, "-c", str(source)], made, f"{source.name}")
        objects = [str(folder / f"{object_name}.o") for object_name in sources]
        # zig brings its own library of floats in software, unless it is told to take none.
        library = [] if "ziglang" in command else ["-nostdlib", "-lgcc"]
        link = [*command, *flags, "-static", "-Wl,--gc-sections", f"-Wl,-T,{folder / 'board.ld'}"]
        compile_program([*link, *objects, *library], folder / "firmware.elf", f"the program for {board.name}")
        elf = (folder / "firmware.elf").read_bytes()
        model = _sections((folder / "model.o").read_bytes())
    sizes = _sections(elf)
    flash = Flash(*(sizes.get(f".{part}", 0) for part in ("model_code", "model_constants", "support")))
    static = sum(size for section, size in model.items() if section.startswith((".data", ".bss", ".sdata", ".sbss")))
    return Firmware(elf, flash, static, version, " ".join([_COMMON[1], *(f for f in flags if f.startswith("-m"))]))


def _sections(elf: bytes) -> dict[str, int]:
    """Section name -> bytes, of a 32-bit little-endian ELF file."""
    (offset,) = struct.unpack_from("<I", elf, 32)
    width, count, names_at = struct.unpack_from("<HHH", elf, 46)
    headers = [struct.unpack_from("<10I", elf, offset + i * width) for i in range(count)]
    names = headers[names_at][4]
    found: dict[str, int] = {}
    for header in headers:
        start = names + header[0]
        name = elf[start : elf.index(b"\0", start)].decode()
        found[name] = found.get(name, 0) + header[5]
    return found


def _said(*command: str) -> str:
    try:
        done = subprocess.run([*command], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return first_line(error)
    return done.stdout.strip()
