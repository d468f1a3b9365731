"""Compile the native library from its sources, with a C++ compiler and nothing else.

    python build.py OUTPUT.so [COMPILER]       # on a device, with the folder src/ beside this file

CMakeLists.txt builds the same for wheels; this is for the processor of another machine, or on that machine itself.
Standard library only, Python 3.9.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["COMPILERS", "LEVELS", "build", "commands", "sources"]

SECONDS = 900  # for one source: a board is slow, and an emulated one slower
COMPILERS = {"x86_64": ("x86_64-linux-gnu-g++",), "aarch64": ("aarch64-linux-gnu-g++",)}
_AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
# Level of src/isa.h -> its flags; sources in DOT are compiled for all levels, other kernels not for the last one.
LEVELS: dict[str, dict[str, list[str]]] = {
    "x86_64": {"base": [], "avx2": ["-mavx2", "-mfma"], "avx512": _AVX512, "vnni": [*_AVX512, "-mavx512vnni"]},
    "aarch64": {"neon": [], "dotprod": ["-march=armv8.2-a+dotprod"]},
}
_DOT = ("edge_mlp_kernels.cpp", "qgemm_kernels.cpp")
_UNSCHEDULED = "qgemm_kernels.cpp"  # as in CMakeLists.txt, which says why
# Flags that zig spells in another way (the Python package `ziglang`, a clang).
_ZIG = {"-march=armv8.2-a+dotprod": "-mcpu=generic+v8_2a+dotprod"}
# As in CMakeLists.txt, which says why.
_FLAGS = "-std=gnu++17 -O3 -DNDEBUG -fPIC -fvisibility=hidden -Wall -Wextra -Wno-psabi -ffp-contract=off"
_FLAGS += " -fno-math-errno -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-asynchronous-unwind-tables"
_LINK = "-shared -s -Wl,--as-needed -Wl,-z,relro,-z,now -Wl,-z,defs"


def sources(folder: Path) -> list[Path]:
    """Every file that a build reads, in a fixed order.

    Args:
        folder: the one with src/ in it.
    """
    return sorted(path for path in (folder / "src").iterdir() if path.suffix in (".cpp", ".h", ".inl"))


def commands(
    folder: Path, machine: str, compiler: str | Sequence[str], objects: Path
) -> Iterator[tuple[list[str], Path]]:
    """The compiler calls, each with the object file it makes."""
    levels = LEVELS[machine]
    program = [compiler] if isinstance(compiler, str) else list(compiler)
    for path in sources(folder):
        if path.suffix != ".cpp":
            continue
        kernels = path.stem.endswith("_kernels")
        flags = [*_FLAGS.split(), f"-I{folder / 'src'}"]
        if machine == "aarch64" and path.name == _UNSCHEDULED and "ziglang" not in program:
            flags.append("-fno-schedule-insns")
        last = list(levels)[-1]
        for level in levels if kernels else [""]:
            if level == last and path.name not in _DOT:
                continue
            own = [f"-DEDGEGNN_LEVEL={level}", f"-DEDGEGNN_LEVEL_{level}=1", *levels[level]] if level else []
            made = objects / f"{path.stem}-{level or 'all'}.o"
            if "ziglang" in program:
                own = [_ZIG.get(flag, flag) for flag in own]
            yield [*program, *flags, *own, "-c", str(path), "-o", str(made)], made


def build(folder: Path, output: Path, *, machine: str = "", compiler: str | Sequence[str] = "") -> None:
    """Compile and link.

    Args:
        folder: the one with src/ in it.
        output: the library; it appears whole or not at all.
        machine: "x86_64" or "aarch64", what the library is for; "": this one.
        compiler: a g++ or clang++ for that machine, or the words that start one; "": this machine's.

    Raises:
        RuntimeError: no compiler, no kernels for the machine, or a compiler that can't build them.
    """
    machine = machine or platform.machine()
    if machine not in LEVELS:
        raise RuntimeError(f"there are kernels for {' and '.join(LEVELS)}, not for {machine}")
    found = compiler or shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if not found:
        raise RuntimeError("there is no C++ compiler")
    with tempfile.TemporaryDirectory(prefix="edgegnn-build-") as temporary:
        todo = list(commands(folder, machine, found, Path(temporary)))
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(lambda entry: _call(entry[0]), todo))
        output.parent.mkdir(parents=True, exist_ok=True)
        linked = output.with_name(f".{output.name}.{os.getpid()}.tmp")
        try:
            _call([*_linker(found), *_LINK.split(), *(str(made) for _, made in todo), "-o", str(linked)])
            linked.replace(output)
        finally:
            if linked.exists():
                linked.unlink()


def _linker(compiler: str | Sequence[str]) -> list[str]:
    """The words that start the linker: no C++ library is needed, and zig would have to build its own first."""
    words = [compiler] if isinstance(compiler, str) else list(compiler)
    return ["cc" if word == "c++" and "ziglang" in words else word for word in words]


def _call(command: list[str]) -> None:
    name = "zig" if "ziglang" in command else Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{name} was stopped after {SECONDS} s") from error
    except OSError as error:
        raise RuntimeError(f"{name} can't be used: {error}") from error
    if done.returncode:
        wrong = ("error: ", "undefined reference")
        errors = [line for line in done.stderr.splitlines() if any(word in line for word in wrong)] or [
            done.stderr.strip()[-200:]
        ]
        raise RuntimeError(f"{name} failed: {errors[0][:300]}")


if __name__ == "__main__":
    try:
        build(Path(__file__).resolve().parent, Path(sys.argv[1]), compiler="".join(sys.argv[2:3]))
    except RuntimeError as error:
        sys.exit(str(error))
