"""One library, several instruction sets: the same bits from each."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from native_ops import needs_library

pytestmark = needs_library

LEVELS = {"x86_64": ["base", "avx2", "avx512", "vnni"], "aarch64": ["neon", "dotprod"]}


def _digest(level: str | None, of: str = "native_digest.py") -> tuple[str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "EDGEGNN_ISA"}
    if level is not None:
        environment["EDGEGNN_ISA"] = level
    script = Path(__file__).parents[2] / "support" / of
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=True)
    used, digest = result.stdout.split()
    return used, digest


@pytest.mark.slow
@pytest.mark.parametrize("of", ["native_digest.py", "native_integer_digest.py"])
def test_every_instruction_set_gives_the_same_bits(of: str):
    levels = LEVELS[platform.machine()]
    widest, digest = _digest(None, of)
    for level in levels[: levels.index(widest)]:
        assert _digest(level, of) == (level, digest)


def test_an_instruction_set_can_only_be_lowered():
    levels = LEVELS[platform.machine()]
    used, _ = _digest(None)
    assert _digest(levels[-1])[0] == used
