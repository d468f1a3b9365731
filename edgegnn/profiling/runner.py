"""Follow the events of a runner, here or on a device, and read the host's energy round its windows."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from edgegnn.devices.transport.stopping import take
from edgegnn.errors import TargetError
from edgegnn.profiling.bounds import Word
from edgegnn.profiling.result import Followed
from edgegnn.runtime import find_library
from edgegnn.runtime.energy import EnergyReader, Reading, ReadingError

__all__ = ["Event", "LocalRunner", "Runner", "follow", "follow_runner"]

# Signals that say more than their name.
_HINTS = {
    "SIGKILL": "out of memory?",
    "SIGILL": "this onnxruntime uses instructions that the CPU doesn't have: install another version of it",
    "SIGSEGV": "onnxruntime or a library of it crashed",
}
_POLL = 0.5


class Event(msgspec.Struct, frozen=True):
    """What a runner says in one line; which fields are set depends on `event`."""

    event: Word = ""
    phase: Word = ""
    kind: Word = ""
    index: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    result: msgspec.Raw = msgspec.Raw(b"")


class Runner(Protocol):
    """A `run.pyz bench --events` that runs somewhere."""

    def next_line(self, deadline: float) -> str | None:
        """The next line of its stdout, None at its end; `queue.Empty` when there is none by then (monotonic)."""

    def open_gate(self) -> None:
        """Let it go on to the window it has announced."""

    def finish(self, deadline: float) -> tuple[int, str]:
        """After its last line: exit status (negative: a signal) and the end of stderr; TimeoutError."""

    def end(self) -> None:
        """See that nothing of it runs any more."""


def follow(
    command: Sequence[str],
    *,
    timeout: float,
    reader: EnergyReader | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    stop: threading.Event | None = None,
) -> Followed:
    """Run `run.pyz bench --events` on this machine to its end.

    However this function ends, the runner has ended too; one that had to be stopped takes what it started with it.

    Args:
        command: the command line; its stdout speaks the runner's events, its stdin opens the gates.
        timeout: see `follow_runner`.
        reader: see `follow_runner`.
        on_event: see `follow_runner`.
        stop: see `follow_runner`.

    Raises:
        TargetError: the runner can't be started, fails, dies, says nothing sensible, or takes too long.
    """
    runner = LocalRunner(command, stop=stop)
    return follow_runner(runner, timeout=timeout, reader=reader, on_event=on_event)


def follow_runner(
    runner: Runner,
    *,
    timeout: float,
    reader: EnergyReader | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Followed:
    """Follow a runner to its end.

    Args:
        runner: it has just been started; it has ended when this function ends.
        timeout: seconds for all of it.
        reader: started before and stopped after every window that the runner announces.
        on_event: told about every event.

    Raises:
        TargetError: the runner fails, dies, says nothing sensible, or takes too long.
    """
    readings: list[Reading | None] = []
    problem, result = "", b""
    begin = time.monotonic()
    deadline = begin + timeout
    try:
        while (line := runner.next_line(deadline)) is not None:
            event = _event(line)
            if event.event == "result":
                result = bytes(event.result)
            elif event.event == "window_ready":
                if reader is not None:
                    problem = problem or _call(reader.start)[1]
                runner.open_gate()
            elif event.event == "window_end" and reader is not None:
                reading, why = (None, problem) if problem else _call(reader.stop)
                readings.append(reading)
                problem = problem or why
            on_event(event)
        code, errors = runner.finish(max(deadline, time.monotonic() + 1.0))
    except (queue.Empty, TimeoutError) as error:
        raise TargetError(f"the runner took longer than {timeout:.0f} s and was stopped: try --quick") from error
    finally:
        runner.end()
    if code != 0:
        raise TargetError(_why(code, errors))
    if not result:
        raise TargetError("the runner ended without a result")
    return Followed(result, tuple(readings), problem, time.monotonic() - begin)


class LocalRunner:
    """A runner in a process of its own on this machine."""

    def __init__(self, command: Sequence[str], *, stop: threading.Event | None = None) -> None:
        self._stop = stop
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        try:
            self._process = _start(command, self._stderr.fileno())
        except BaseException:
            self._stderr.close()
            raise
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def next_line(self, deadline: float) -> str | None:
        """See `Runner`."""
        return take(self._lines, deadline, self._stop)

    def open_gate(self) -> None:
        """See `Runner`."""
        assert self._process.stdin is not None
        # A runner that has just died is reported with its exit status, not with the broken pipe.
        with contextlib.suppress(OSError):
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def finish(self, deadline: float) -> tuple[int, str]:
        """See `Runner`."""
        try:
            code = self._process.wait(max(0.01, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        self._stderr.seek(0)
        return code, self._stderr.read().decode("utf-8", errors="replace")

    def end(self) -> None:
        """See `Runner`."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._listener.join(5)
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # the pipe was closed
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)


def _start(command: Sequence[str], stderr: int) -> subprocess.Popen[str]:
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


def _event(line: str) -> Event:
    """An event; without a name for a line that some library printed."""
    try:
        return msgspec.json.decode(line, type=Event)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Event()


def _call(function: Callable[[], Any]) -> tuple[Any, str]:
    try:
        return function(), ""
    except ReadingError as error:
        return None, str(error)
    except Exception as error:  # a reader that breaks costs the energy figure, not the rest of the measurement
        return None, f"the energy reader failed: {type(error).__name__}: {error}"


def _why(code: int, stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
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
