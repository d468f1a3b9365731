"""Compile the C form to WebAssembly, with clang and wasm-ld or with the Python package ziglang."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgegnn.plain_c.cross import compile_program, zig
from edgegnn.plain_c.generate import PlainC

__all__ = ["MISSING", "WasmCompiler", "compile_wasm", "find_wasm_compiler"]

MISSING = "no compiler for WebAssembly here: pip install 'edgegnn[cross]' (it brings zig), or apt-get install clang lld"
# Vectors of 128 bits are in every browser since March 2023, and in Node.js since 16.4.
_FLAGS = ("-std=c99", "-O3", "-msimd128", "-mbulk-memory", "-ffreestanding", "-nostdlib")
_PATIENCE = 60  # seconds for a compiler to name its version


@dataclass(frozen=True)
class WasmCompiler:
    """A compiler for WebAssembly.

    Attributes:
        command: its command, with the target.
        name: with its version.
    """

    command: tuple[str, ...]
    name: str


def find_wasm_compiler() -> WasmCompiler | None:
    """The system's clang where it has a linker for WebAssembly, else zig, else None."""
    clang = shutil.which("clang")
    if clang is not None and any(shutil.which(name) for name in _linkers(clang)):
        return WasmCompiler((clang, "--target=wasm32"), f"clang {_version([clang, '--version'])}")
    here, version = zig(), zig("version")
    if here is None or version is None:
        return None
    return WasmCompiler((*here, "-target", "wasm32-freestanding"), f"zig {_version(version)}")


def compile_wasm(code: PlainC, compiler: WasmCompiler) -> bytes:
    """Compile a C form to a WebAssembly module that asks for nothing: no imports, its memory is its own.

    It exports the C function, `memory`, and `__heap_base`, from where on the memory is the caller's.

    Args:
        code: the C form.
        compiler: as `find_wasm_compiler` gives it.

    Raises:
        TargetError: the compiler fails.
    """
    exports = [f"-Wl,--export={name}" for name in (f"edgegnn_{code.name}_run", "__heap_base")]
    with tempfile.TemporaryDirectory(prefix="edgegnn-wasm-") as place:
        folder = Path(place)
        for name in ("model.h", "model.c"):
            (folder / name).write_text(code.files[name], encoding="utf-8")
        command = [*compiler.command, *_FLAGS, "-Wl,--no-entry", "-Wl,--strip-all", *exports, str(folder / "model.c")]
        compile_program(command, folder / "model.wasm", "the C form for WebAssembly")
        return (folder / "model.wasm").read_bytes()


def _linkers(clang: str) -> list[str]:
    """Names under which clang looks for its linker, or a distribution installs it."""
    version = re.search(r"-(\d+)$", Path(clang).resolve().name)
    return ["wasm-ld", *([f"wasm-ld-{version.group(1)}"] if version else [])]


def _version(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return found.group(0) if found else ""
