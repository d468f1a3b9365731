"""Run a program that must not do without end what a stranger's file leads it to: limits of time and memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "run_limited"]

# A shell sets what the program inherits: Python can't, between fork and exec, while it has threads.
_LIMITS = '{ ulimit -c 0; ulimit -t "$1"; ulimit -v "$2"; ulimit -f "$3"; } 2>/dev/null; shift 3; exec "$@"'
_MOST_SAID = 2**20  # bytes of stderr that are kept
_SLOWER = 10  # times its processor time may pass on a busy machine


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        status: its exit status; below 0 for the signal that ended it.
        said: the lines of its stderr that are not empty.
        why: of a program that failed, in words: "crashed (SIGSEGV)"; "" where its status says it.
    """

    status: int
    said: tuple[str, ...]
    why: str


def run_limited(
    command: Sequence[str],
    *,
    seconds: int,
    memory: int,
    cwd: Path,
    file_bytes: int = 2**32,
    given: Path | None = None,
    taken: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program to its end, and see that nothing of it runs any more.

    Args:
        command: its words.
        seconds: of processor time that each of its processes may take.
        memory: bytes of address space of each.
        cwd: where it runs.
        file_bytes: the most that it may write to one file.
        given: a file that is its stdin.
        taken: a file that its stdout goes to.
        env: its environment; None: ours.

    Raises:
        OSError: it can't be started.
    """
    limits = ["/bin/sh", "-c", _LIMITS, "sh", str(seconds), str(memory // 1024), str(-(-file_bytes // 512))]
    late = False
    with contextlib.ExitStack() as stack:
        said = stack.enter_context((cwd / ".said").open("w+b"))
        stdin = stack.enter_context(given.open("rb")) if given is not None else subprocess.DEVNULL
        stdout = stack.enter_context(taken.open("wb")) if taken is not None else subprocess.DEVNULL
        child = subprocess.Popen(
            [*limits, *command], cwd=cwd, stdin=stdin, stdout=stdout, stderr=said, env=env, start_new_session=True
        )
        try:
            child.wait(seconds * _SLOWER)
        except subprocess.TimeoutExpired:
            late = True
        finally:  # what it started, too: a compiler runs others
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        said.seek(0)
        lines = said.read(_MOST_SAID).decode("utf-8", "replace").splitlines()
    return Ended(child.returncode, tuple(line.strip() for line in lines if line.strip()), _why(child.returncode, late))


def _why(status: int, late: bool) -> str:
    if late or status in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
        return "took too long"
    if status == -signal.SIGKILL:
        return "was ended (SIGKILL): it took too long, too much memory, or tried what it may not do"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"crashed ({signal.Signals(-status).name})"
        return f"crashed (signal {-status})"
    return ""
