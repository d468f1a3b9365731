"""Helpers of the tests that use the emulated board: start one, or say why that can't be done here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgegnn.devices.emulated import Board, emulated_board, open_root
from edgegnn.errors import TargetError

__all__ = ["board", "need_board", "on_board"]


def need_board() -> None:
    """Skip the test where no board can be made: no qemu, no user namespaces, or nothing fetched yet and no network."""
    try:
        with open_root():
            pass
    except TargetError as error:
        pytest.skip(str(error))
    probe = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "t", "/mnt"]
    done = subprocess.run(probe, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")


@contextmanager
def board(cpu: str = "cortex-a72") -> Iterator[Board]:
    """A board with an empty home folder of its own."""
    need_board()
    with emulated_board(cpu, home_bytes=256 * 2**20) as running:
        yield running


def on_board(running: Board, command: str) -> str:
    """Output of a shell command on a board; an assertion that it succeeds."""
    done = subprocess.run(["ssh", "-F", str(running.config), "emulated-pi", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
