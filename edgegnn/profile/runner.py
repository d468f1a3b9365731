"""Start the runner in a process of its own, follow its events, read the host's energy round its windows."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

from edgegnn.errors import TargetError
from edgegnn.runtime import find_library
from edgegnn.runtime.energy import EnergyReader, Reading, ReadingError

__all__ = ["follow"]

# Signals that say more than their name.
_HINTS = {
    "SIGKILL": "out of memory?",
    "SIGILL": "this onnxruntime uses instructions that the CPU doesn't have: install another version of it",
    "SIGSEGV": "onnxruntime or a library of it crashed",
}


def follow(
    command: Sequence[str],
    *,
    timeout: float,
    reader: EnergyReader | None = None,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
) -> tuple[dict[str, Any], list[Reading | None], str]:
    """Run `run.pyz bench --events` to its end.

    However this function ends, the runner has ended too; one that had to be stopped takes what it started with it.

    Args:
        command: the command line; its stdout speaks the runner's events, its stdin opens the gates.
        timeout: seconds for all of it.
        reader: started before and stopped after every window that the runner announces.
        on_event: told about every event.

    Returns:
        The runner's result, one reading per window (empty without a reader), and why readings are missing.

    Raises:
        TargetError: the runner can't be started, fails, dies, says nothing sensible, or takes too long.
    """
    readings: list[Reading | None] = []
    problem = ""
    result: dict[str, Any] | None = None
    deadline = time.monotonic() + timeout
    with tempfile.TemporaryFile() as stderr:
        process = _start(command, stderr)
        lines: queue.Queue[str | None] = queue.Queue()
        listener = threading.Thread(target=_listen, args=(process, lines), daemon=True)
        listener.start()
        try:
            while (line := _next(lines, deadline)) is not None:
                event = _event(line)
                if event.get("event") == "result":
                    result = event.get("result")
                elif event.get("event") == "window_ready":
                    if reader is not None:
                        problem = problem or _call(reader.start)[1]
                    _open_gate(process)
                elif event.get("event") == "window_end" and reader is not None:
                    reading, why = (None, problem) if problem else _call(reader.stop)
                    readings.append(reading)
                    problem = problem or why
                on_event(event)
            code = process.wait(max(1.0, deadline - time.monotonic()))
        except (queue.Empty, subprocess.TimeoutExpired) as error:
            raise TargetError(f"the runner took longer than {timeout:.0f} s and was stopped: try --quick") from error
        finally:
            _end(process)
            listener.join(5)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if code != 0:
            raise TargetError(_why(code, stderr))
    if not isinstance(result, dict):
        raise TargetError("the runner ended without a result")
    return result, readings, problem


def _start(command: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[str]:
    # Nothing of this process's Python settings: the runner has to do with what is installed.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    # Our own library or none: the one in an artifact is a stranger's code.
    environment["EDGEGNN_LIBRARY"] = str(find_library() or "none")
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise TargetError(f"can't start {command[0]}: {error.strerror}") from error


def _listen(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # the pipe was closed
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


def _next(lines: queue.Queue[str | None], deadline: float) -> str | None:
    return lines.get(timeout=max(0.01, deadline - time.monotonic()))


def _event(line: str) -> dict[str, Any]:
    """An event, or {} for a line that some library printed."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _call(function: Callable[[], Any]) -> tuple[Any, str]:
    try:
        return function(), ""
    except ReadingError as error:
        return None, str(error)
    except Exception as error:  # a reader that breaks costs the energy figure, not the rest of the measurement
        return None, f"the energy reader failed: {type(error).__name__}: {error}"


def _open_gate(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    # A runner that has just died is reported with its exit status, not with the broken pipe.
    with contextlib.suppress(OSError):
        process.stdin.write("go\n")
        process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _why(code: int, stderr: IO[bytes]) -> str:
    stderr.seek(0)
    text = stderr.read().decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = f" ({_HINTS[name]})" if name in _HINTS else ""
        return f"the runner was ended by {name}{hint}"
    marker = "edgegnn: error: "
    errors = [line[len(marker) :] for line in lines if line.startswith(marker)]
    if errors:
        return f"the runner failed: {errors[-1]}"
    return f"the runner failed with exit status {code}" + (f": {lines[-1][:300]}" if lines else "")
