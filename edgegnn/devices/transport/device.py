"""A device at the other end of a connection: ask it, send it files, run programs on it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import select
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from edgegnn.devices.transport.answers import Damaged, Ended, Facts, Message, Missing, Staged, decode, one_line
from edgegnn.devices.transport.content import Content, agent, blocks
from edgegnn.devices.transport.ssh import Address, connection_error, remote_command, ssh_command
from edgegnn.devices.transport.stopping import Stopped, take
from edgegnn.errors import TargetError
from edgegnn.utils.files import size

__all__ = ["Device", "DeviceRunner", "NoPythonError", "Outcome", "open_device"]

T = TypeVar("T")
Progress = Callable[[str], None]
MIN_PYTHON = (3, 9)
_HEARTBEAT = 10.0  # seconds; the agent gives up after 60
_STUCK = 60.0
_READ = 2**17
_LINE = 16 * 2**20  # bytes of the longest line that a device may say
_SAID = 256 * 2**20  # bytes that it may say on one connection
_HELLO = re.compile(r"edgegnn-hello (\S{0,40}) ([0-9]{1,4}) ?(.*)")
_NUMBERS = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})\b")
_MARGIN = 16 * 2**20  # bytes of a disk that are left free


class NoPythonError(TargetError):
    """The device answers, but has no Python that can be used."""


@dataclass(frozen=True)
class Outcome:
    """How a program on the device ended: exit status (negative: a signal), its output, the end of its stderr."""

    code: int
    out: list[str]
    stderr: str


def open_device(
    address: Address | None,
    *,
    python: str = "",
    tell: Progress = lambda text: None,
    stop: threading.Event | None = None,
    connect_seconds: int = 10,
) -> Device:
    """Connect.

    Args:
        address: where; None: the same on this machine, without SSH.
        python: the device's Python; "": python3.
        tell: told in a few words what is being done.
        stop: ends everything that waits when it is set.
        connect_seconds: how long the device has to answer.

    Raises:
        TargetError: no connection, no Python there, or one that is too old.
        UsageError: the private key is not there.
    """
    remote = remote_command(python or "python3", agent().sha256)
    command = ["sh", "-c", remote] if address is None else ssh_command(address, remote, connect_seconds=connect_seconds)
    device = Device(address, command, tell, stop)
    try:
        device.greet(python, time.monotonic() + connect_seconds + 10)
    except BaseException:
        device.close()
        raise
    return device


class Device:
    """An open connection, as `open_device` makes it; use it in a `with` block.

    Attributes:
        name: of the target.
        machine: `uname -m` there.
        bits: of its userland's shell (32 or 64; 0: not known).
        sent: bytes that have been written to it.
    """

    def __init__(
        self, address: Address | None, command: Sequence[str], tell: Progress, stop: threading.Event | None
    ) -> None:
        self.name = address.target if address else "local"
        self.machine, self.bits, self.sent = "", 0, len(command[-1])
        self._address, self.tell, self._stop = address, tell, stop
        self._met = self._ready = False  # its shell has answered; the agent has
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._write_lock, self._frame = threading.Lock(), threading.Lock()
        self._closed, self._flooded = threading.Event(), False
        try:
            # A session of its own: Ctrl-C is for us, and we end it in order. LC_ALL: messages that we can read.
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            self._stderr.close()
            if isinstance(error, FileNotFoundError):
                raise TargetError("there is no ssh here: install OpenSSH's client (openssh-client)") from error
            raise TargetError(f"can't start ssh: {error.strerror}") from error
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._listen, self._beat)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Device:
        """Use as `with open_device(...) as device`."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the connection: nothing keeps running there."""
        self.close()

    def close(self) -> None:
        """End the connection; the device ends what runs, and clears up, when it notices."""
        self._closed.set()
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(10 if self._ready else 1)  # it clears up, then the connection ends
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(5)
        for pipe in (self._process.stdout, self._stderr):
            with contextlib.suppress(OSError, AttributeError):
                pipe.close()  # type: ignore[union-attr]

    # -- talking ------------------------------------------------------------------------------------------------------

    def greet(self, python: str, deadline: float) -> None:
        """Find the agent running there, or say why it doesn't.

        Raises:
            TargetError: no connection, no Python, or one that is too old.
        """
        spoken = sent = False  # its Python has said what it is; our program is on its way
        while (line := self._line(deadline)) is not None:
            word, _, rest = line.strip().partition(" ")
            # Whatever came before the greeting was the account's login scripts talking.
            if hello := _HELLO.fullmatch(line.strip()):
                self._met, self.machine, self.bits = True, hello[1], int(hello[2])
                if not hello[3].strip():
                    raise NoPythonError(f"{self.name}: {_no_python(python)}")
            elif word == "edgegnn-python" and self._met:
                found = _NUMBERS.match(rest)
                if found is None or (int(found[1]), int(found[2])) < MIN_PYTHON:
                    raise NoPythonError(f"{self.name}: its {python or 'python3'} is Python {rest[:40]}: {_TOO_OLD}")
                spoken = True
            elif word == "edgegnn-send" and spoken and not sent:
                sent = True
                self._write(b"%d\n" % agent().bytes + b"".join(blocks(agent())))
            elif word == '{"ok":' and spoken:
                self._ready = True
                return
        raise self._lost("its Python can't run edgegnn's program")

    def ask(self, do: str, kind: type[T], *, timeout: float = 30.0, **arguments: Any) -> T:
        """Ask the agent for something (see `agent.Agent`).

        Args:
            do: what.
            kind: of the answer (see `answers`).
            timeout: seconds that it has.
            arguments: of what is asked.

        Raises:
            TargetError: it refuses, answers something else, doesn't answer in time, or the connection is lost.
        """
        self._write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        return self.answer(self._message(time.monotonic() + timeout), kind)

    def answer(self, message: Message, kind: type[T]) -> T:
        """What a message answers.

        Raises:
            TargetError: the device refuses, or answers something else.
        """
        if message.error is not None:
            raise self._error(one_line(message.error))
        try:
            return decode(message.ok, kind)
        except Damaged as error:
            raise self._error(f"it gives an answer of another kind (is its program changed?): {error}") from error

    def lock(self) -> None:
        """Be the only one that changes and measures things there.

        Raises:
            TargetError: another edgegnn is, or as `ask`.
        """
        self.ask("lock", type(None))

    def facts(self, *, venv: bool, timeout: float = 30.0) -> Facts:
        """What it says about itself; `venv`: with the packages of the environment that setup made, where there is one.

        Raises:
            TargetError: as `ask`.
        """
        begin = time.time()
        facts = self.ask("facts", Facts, timeout=timeout, venv=venv)
        return msgspec.structs.replace(facts, skew=facts.time - (begin + time.time()) / 2)

    def send_files(self, files: Sequence[Content], what: str = "files") -> int:
        """Send those files that the device doesn't have; returns their bytes.

        Raises:
            TargetError: the disk is full, a file was damaged on the way, or the connection is lost.
        """
        wanted = {file.sha256: file for file in [*files, agent()]}
        state = self.ask("missing", Missing, files={sha: file.bytes for sha, file in wanted.items()})
        missing = [file for sha, file in wanted.items() if sha in state.missing]
        total = sum(file.bytes for file in missing)
        if total and total + _MARGIN > state.free:
            raise self._error(
                f"its disk is full: {size(total + _MARGIN)} are needed, {size(state.free)} are free; free some"
            )
        done = 0
        for file in missing:
            done = self._send(file, what, done, total)
            answer = self._message(time.monotonic() + 120.0)
            if answer.error is not None:
                raise self._error(_transfer_problem(one_line(answer.error)))
            self.answer(answer, type(None))
        return total

    def place(self, files: Mapping[str, Content], what: str, do: str = "stage", **arguments: Any) -> str:
        """Send files and put them into a folder there; returns the folder.

        Raises:
            TargetError: as `send_files`, or the device's disk returns something else than was written.
        """
        names = {path: file.sha256 for path, file in files.items()}
        for _ in range(2):
            self.send_files(list(files.values()), what)
            state = self.ask(do, Staged, files=names, timeout=300.0, **arguments)
            if not state.damaged:
                return state.folder
        raise self._error("its disk returns other bytes than were written to it: replace the card or disk")

    def start(self, argv: Sequence[str], *, limit: float, env: Mapping[str, str] | None = None) -> DeviceRunner:
        """Start a program on the device; `limit`: seconds after which the device ends it."""
        request = {"do": "start", "argv": list(argv), "limit": limit, "env": dict(env or {})}
        self._write(json.dumps(request).encode() + b"\n")
        return DeviceRunner(self)

    def run(
        self,
        argv: Sequence[str],
        *,
        limit: float,
        env: Mapping[str, str] | None = None,
        on_line: Progress | None = None,
    ) -> Outcome:
        """Run a program on the device to its end.

        Raises:
            TargetError: it can't be started or takes too long, or the connection is lost.
        """
        runner = self.start(argv, limit=limit, env=env)
        deadline = time.monotonic() + limit + 10.0
        out: list[str] = []
        try:
            while (line := runner.next_line(deadline)) is not None:
                out.append(line)
                if on_line is not None:
                    on_line(line)
            code, errors = runner.finish(deadline)
        except (queue.Empty, TimeoutError) as error:
            runner.end()
            raise self._error(f"{Path(argv[0]).name} took longer than {limit:.0f} s and was stopped") from error
        return Outcome(code, out, errors)

    # -- lower ------------------------------------------------------------------------------------------------------

    def next_message(self, deadline: float) -> Message:
        """What the agent says next; `queue.Empty` at the deadline.

        Raises:
            TargetError: the connection is lost, or what it says is no message.
        """
        while True:
            line = self._line(deadline)
            if line is None:
                raise self._lost("")
            if line.startswith("{"):  # other lines are not the agent's
                try:
                    return decode(line.encode(), Message)
                except Damaged as error:
                    raise self._error(f"it says what is no message: {error}") from error

    def tell_program(self, message: dict[str, Any]) -> None:
        """Say something to the program that runs there."""
        with contextlib.suppress(TargetError):  # the end of the connection is found when the answer is read
            self._write(json.dumps(message).encode() + b"\n")

    def _message(self, deadline: float) -> Message:
        try:
            return self.next_message(deadline)
        except queue.Empty as error:
            raise self._error("it has stopped answering") from error

    def _line(self, deadline: float) -> str | None:
        try:
            line = take(self._lines, deadline, self._stop)
            if line is not None and time.monotonic() > deadline:
                raise queue.Empty  # lines that keep coming don't move the deadline
        except queue.Empty:
            if self._ready:
                raise
            raise self._error("it doesn't answer: is it very busy, or does its login ask something?") from None
        return None if line is None else line.decode("utf-8", "replace")

    def _send(self, file: Content, what: str, done: int, total: int) -> int:
        sent = 0
        with self._frame:  # no heartbeat between these bytes
            self._write(json.dumps({"do": "put", "sha": file.sha256, "size": file.bytes}).encode() + b"\n")
            for block in blocks(file):
                self._write(block)
                sent += len(block)
                self.tell(f"sending {what} {_bar(done + sent, total)}")
                if not self._lines.empty():  # it has refused it: the rest needn't travel
                    return done + sent
        if sent != file.bytes:
            raise self._error(f"{file.source!s} changed while it was sent: run the command again")
        return done + sent

    def _write(self, block: bytes) -> None:
        view = memoryview(block)
        try:
            with self._write_lock:
                stuck = time.monotonic() + _STUCK
                while view:
                    if self._stop is not None and self._stop.is_set():
                        raise Stopped("stopped")
                    assert self._process.stdin is not None
                    pipe = self._process.stdin.fileno()
                    if select.select([], [pipe], [], 0.5)[1]:
                        written = os.write(pipe, view)
                        view = view[written:]
                        self.sent += written
                        stuck = time.monotonic() + _STUCK
                    elif time.monotonic() > stuck:
                        raise self._error(f"it has taken nothing for {_STUCK:.0f} s: is it very busy?")
        except (OSError, ValueError) as error:
            # Its last words say more than the broken pipe: they are read next.
            if not self._last_words():
                raise self._lost("") from error

    def _last_words(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._threads[0].join(5)
        return any(line is not None for line in list(self._lines.queue))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        rest, said = b"", 0
        with contextlib.suppress(ValueError, OSError):
            while block := self._process.stdout.read(_READ):
                *lines, rest = (rest + block).split(b"\n")
                if self._closed.is_set():
                    rest, lines = b"", []  # nobody reads it any more
                for line in lines:
                    self._lines.put(line)
                said += len(block) + 64 * len(lines)  # what a waiting line takes here
                if len(rest) > _LINE or said > _SAID:
                    self._flooded = True
                    self._process.kill()
                    break
        self._lines.put(None)

    def _beat(self) -> None:
        while not self._closed.wait(_HEARTBEAT):
            if self._ready and self._frame.acquire(blocking=False):
                try:
                    with contextlib.suppress(TargetError):  # found when an answer is read
                        self._write(b"\n")
                finally:
                    self._frame.release()

    def _error(self, text: str) -> TargetError:
        return TargetError(f"{self.name}: {text}")

    def _lost(self, otherwise: str) -> TargetError:
        """Why the connection has ended."""
        if self._flooded:
            return self._error("it says more than any device has to: does a login script of the account loop?")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._stderr.seek(0)
        text = self._stderr.read()[-8000:].decode("utf-8", "replace")
        if not self._met and self._address is not None:
            return connection_error(self._address, text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = f" ({lines[-1][:200]})" if lines else ""
        return self._error(f"{otherwise or 'the connection was lost'}{said}{'' if otherwise else _AGAIN}")


class DeviceRunner:
    """A program that runs on the device (a `runner.Runner`)."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._end: Message | None = None

    def next_line(self, deadline: float) -> str | None:
        """See `Runner`."""
        message = self._device.next_message(deadline)
        if message.out is not None:
            return message.out
        self._end = message
        return None

    def open_gate(self) -> None:
        """See `Runner`."""
        self._device.tell_program({"in": "go\n"})

    def finish(self, deadline: float) -> tuple[int, str]:
        """See `Runner`."""
        assert self._end is not None
        ended = self._device.answer(self._end, Ended)
        if ended.late:
            raise TimeoutError
        return ended.code, ended.stderr

    def end(self) -> None:
        """See `Runner`."""
        if self._end is None:
            self._device.tell_program({"stop": True})
            with contextlib.suppress(TargetError, queue.Empty):
                while self.next_line(time.monotonic() + 5.0) is not None:
                    pass


_AGAIN = ": nothing is left running there; check the network and the power supply, and run the command again"
_TOO_OLD = "3.9 or newer is needed; `python` in the target's file can name another one"


def _no_python(python: str) -> str:
    if python:
        return f"there is no {python} on it: check `python` in the target's file"
    return "there is no python3 on it: install Python 3.9 or newer (sudo apt install python3)"


def _transfer_problem(text: str) -> str:
    if "No space left" in text or "quota" in text.lower():
        return "its disk is full: free some space there and run the command again"
    if text.startswith("damaged"):
        return "a file was damaged on the way (its checksum differs): run the command again"
    return f"it can't keep the files: {text}"


def _bar(done: int, total: int) -> str:
    cells = 20 * done // max(total, 1)
    return f"{'━' * cells}{'╌' * (20 - cells)} {size(done)} of {size(total)}"
