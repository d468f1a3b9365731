"""The same library on other processors: built for aarch64 and run emulated, it gives the same bits."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

import edgegnn.native
from edgegnn.native.provide import provide
from edgegnn.native.reference import OPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SOURCE = Path(__file__).parents[3] / "edgegnn" / "native"
DRIVER = Path(__file__).parents[2] / "support" / "native_driver.cpp"


def _run(command: list[str], **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, f"{' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}"
    return done.stdout


def _driver(folder: Path, compiler: str) -> str:
    """The driver, built with a compiler."""
    driver = str(folder / "driver")
    _run([compiler, "-std=c++17", "-O1", f"-I{SOURCE / 'src'}", str(DRIVER), "-o", driver, "-ldl"])
    return driver


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests on this machine, by instruction set."""
    library = edgegnn.native.library()
    compiler = shutil.which("g++") or shutil.which("c++")
    if library is None or compiler is None or platform.machine() != "x86_64":
        pytest.skip("needs a compiler and the native library for x86-64")
    driver = _driver(tmp_path_factory.mktemp("here"), compiler)
    found = {}
    for level in ("base", "avx2", "avx512", "vnni"):
        used, digests = _run([driver, str(library)], EDGEGNN_ISA=level).split("\n", 1)
        found[used] = digests
    return found


def test_every_operator_on_every_instruction_set(here: dict[str, str]):
    assert len(set(here.values())) == 1
    (digests,) = set(here.values())
    operators = {line.split()[0] for line in digests.splitlines()}
    # The sums of these follow the width of the registers.
    assert operators == set(OPS) - {"SparseGemm", "NormalizeSparseGemm", "EdgeProductMax"}


def test_aarch64(here: dict[str, str], tmp_path: Path):
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    library = provide("aarch64").path  # as an export for a device builds it, once for all tests
    if compiler is None or emulator is None or library is None:
        pytest.skip("needs aarch64-linux-gnu-g++ and qemu-aarch64")
    driver = _driver(tmp_path, compiler)
    for processor, level in (("cortex-a72", "neon"), ("max", "dotprod")):
        used, digests = _run([emulator, "-L", "/usr/aarch64-linux-gnu", "-cpu", processor, driver, str(library)]).split(
            "\n", 1
        )
        assert used == level
        assert digests in here.values()
