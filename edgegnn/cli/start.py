"""Start and end of the command line: streams, signals, errors. Nothing slow is imported before they have an answer.

Ctrl-C, SIGTERM, SIGHUP   what is half-written is removed, one line; the second one ends the process at once
stdout closed or full     one line
an error                  one line, and the exit code of its type
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

from edgegnn.errors import EdgeGNNError, drop_output, first_line, printable, refused_write

__all__ = ["main"]

# Why there can be no such file.
_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS)


class _Stop:
    """Handle a signal to stop: raise KeyboardInterrupt, again where code has swallowed it.

    Attributes:
        number: the signal that came; 0: none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._others = sys.unraisablehook

    def arrived(self, number: int, frame: FrameType | None = None) -> None:
        """Stop; at once, if that was asked for before."""
        if self.number:
            os._exit(128 + number)
        self.number = number
        raise KeyboardInterrupt

    def not_raised(self, what: Any) -> None:
        """Python drops what a destructor or a weak reference's callback raises: send the signal again."""
        if self.number and issubclass(what.exc_type, KeyboardInterrupt):
            number, self.number = self.number, 0
            again = threading.Timer(0.05, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            self._others(what)

    @property
    def words(self) -> str:
        """What the user is told."""
        by = "interrupted" if self.number in (0, signal.SIGINT) else f"stopped by {signal.Signals(self.number).name}"
        return f"{by}: nothing half-written is left"


def main() -> NoReturn:
    """Run the command line; an error on purpose becomes one line and its exit code."""
    _open_streams()
    with _listening() as stop:
        code, said = _run(stop)
    if said:
        with contextlib.suppress(OSError):
            print(f"edgegnn: {printable(' '.join(said.split()))}", file=sys.stderr, flush=True)
    sys.exit(code)


def _run(stop: _Stop) -> tuple[int, str]:
    """The exit code, and the line for stderr."""
    try:
        from edgegnn.cli.app import app

        code = app(standalone_mode=False)
        sys.stdout.flush()
        if stop.number or code == 130:  # Typer turns Ctrl-C into this exit code
            return 128 + (stop.number or signal.SIGINT), stop.words
        return code if isinstance(code, int) else 0, ""
    except BaseException as error:
        if os.environ.get("EDGEGNN_DEBUG"):
            import traceback

            traceback.print_exception(error)
        drop_output()
        if stop.number or isinstance(error, KeyboardInterrupt):  # a library may have made another error of it
            return 128 + (stop.number or signal.SIGINT), stop.words
        return _explained(error)


def _explained(error: BaseException) -> tuple[int, str]:
    if isinstance(error, EdgeGNNError):
        return error.exit_code, str(error)
    code = getattr(error, "exit_code", None)
    if code is not None and hasattr(error, "format_message"):  # a usage error found by Typer
        return code, error.format_message()
    if type(error).__name__ == "Abort":  # at a prompt
        return 130, _Stop().words
    if isinstance(error, BrokenPipeError):  # who read our output has seen enough
        return 1, ""
    if isinstance(error, OSError) and error.errno in _NO_PATH and error.filename is not None:
        return 1, f"can't use {str(error.filename)[:80]}: {first_line(error)}"
    if refused := refused_write(error):
        return 1, refused
    if not isinstance(error, Exception):
        raise error
    return 1, f"unexpected {type(error).__name__}: {first_line(error)} (a bug; --debug shows where)"


def _open_streams() -> None:
    """Give a closed stream a place: the next file that is opened would become it, and be printed into."""
    for number, how in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):  # printing to a closed stdout has to fail
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, how)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


@contextlib.contextmanager
def _listening() -> Iterator[_Stop]:
    """Answer signals, except those that somebody ignores on purpose (nohup)."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    plain = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) in plain]
    before = {number: signal.signal(number, stop.arrived) for number in numbers}
    hook, sys.unraisablehook = sys.unraisablehook, stop.not_raised
    try:
        yield stop
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
