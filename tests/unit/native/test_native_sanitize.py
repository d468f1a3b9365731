"""The operators' tests again, on a library built with AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]  # on two cores the library takes minutes to build

SOURCE = Path(__file__).parents[3] / "edgegnn" / "native"
TESTS = Path(__file__).parent


def _beside_compiler(compiler: str, name: str) -> Path:
    done = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The sanitized library, and what has to be loaded before everything else, for LD_PRELOAD."""
    compiler = next((found for name in ("g++", "c++") if (found := shutil.which(name))), None)
    if compiler is None or shutil.which("cmake") is None:
        pytest.skip("needs g++ and cmake")
    # The C++ library, too: the sanitizer wants to have seen it before onnxruntime throws its first exception.
    preload = [_beside_compiler(compiler, name) for name in ("libasan.so", "libstdc++.so.6")]
    if not all(path.is_absolute() for path in preload):
        pytest.skip("the compiler has no AddressSanitizer")
    build = tmp_path_factory.mktemp("sanitized")
    configure = ["cmake", "-S", str(SOURCE), "-B", str(build)]
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    if flags:  # what is not run below takes a third to a half of the time to build
        wide = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags
        configure.append(f"-DEDGEGNN_WITHOUT={'avx2' if wide else 'avx512'}")
    for command in (
        [*configure, "-DEDGEGNN_SANITIZE=ON", f"-DCMAKE_CXX_COMPILER={compiler}"],
        ["cmake", "--build", str(build), "--parallel", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (library,) = build.glob("libedgegnn_ops-*.so")
    return library, " ".join(map(str, preload))


@pytest.mark.parametrize("level", ["", "base"])
def test_operators_under_sanitizers(sanitized: tuple[Path, str], level: str):
    library, preload = sanitized
    files = sorted(
        str(path)
        for path in TESTS.glob("test_native_*.py")
        if path.stem.removeprefix("test_native_") not in ("abi", "isa", "sanitize", "driver")
    )
    environment = {
        **os.environ,
        "EDGEGNN_TEST_LIBRARY": str(library),
        "EDGEGNN_ISA": level,
        "LD_PRELOAD": preload,
        # Python and onnxruntime keep memory until the end; numpy's and onnxruntime's own memory is what is watched.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
    }
    if level:  # rows of every width again; what is large, and what is compiled once for all levels, ran on the widest
        files = [path for path in files if Path(path).stem not in ("test_native_build", "test_native_graph")]
    options = ["-q", "-x", "-n", "0", "--noconftest", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    assert len(files) >= 5
    options += ["-m", "not slow and not every"]
    options += ["-k", "not hub and not large and not every_zero_point"] if level else []
    command = [sys.executable, "-m", "pytest", *options, *files]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=TESTS)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
