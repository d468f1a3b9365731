"""Every error that edgegnn raises on purpose.

    EdgeGNNError                 exit 1: something failed; the message says what and what to do
    ├── UsageError               exit 2: the request itself is wrong (unknown name, options that exclude each other)
    ├── CheckpointError          a model file that can't be read, trusted or rebuilt
    ├── DataError                data that can't be loaded, or that no model can use
    ├── TrainError               training that can't go on (a loss that is not finite, say)
    ├── QuantizeError            a recipe that can't be applied to this model
    ├── PruneError               a pruning that can't be applied to this model
    ├── ExportError              a model that can't be captured or written
    │   └── ParityError          the artifact doesn't compute what the PyTorch model computes
    ├── ArtifactError            an artifact that is damaged, foreign or newer than this edgegnn
    ├── ReportError              a report that can't be written
    ├── StudyError               a study that can't be read, stored or gone on with
    ├── TuneError                a search that can't be gone on with, or that found nothing
    └── TargetError              a device that can't be reached, or can't do what is asked

Warnings are `EdgeGNNWarning` or a class below it.

This file travels inside `run.pyz` to the device: standard library only, Python 3.9.
"""

from __future__ import annotations

import errno
import os
import sys

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "DataError",
    "EdgeGNNError",
    "EdgeGNNWarning",
    "ExportError",
    "ParityError",
    "PruneError",
    "QuantizeError",
    "ReportError",
    "StudyError",
    "TargetError",
    "TooLargeError",
    "TrainError",
    "TuneError",
    "UsageError",
    "drop_output",
    "first_line",
    "printable",
    "refused_write",
]

# Why a file that is open takes nothing more: stdout, mostly.
_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


_LONGEST = 2000


class EdgeGNNError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line ends with.

    A message that repeats what a file said may be of any length: its middle is left out beyond 2,000 characters.
    """

    exit_code = 1

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"


class EdgeGNNWarning(UserWarning):
    """Something works, but not as well as it could; the text says why and what to do."""


class UsageError(EdgeGNNError):
    """The request itself is wrong."""

    exit_code = 2


class CheckpointError(EdgeGNNError):
    """A model file that can't be read, trusted or rebuilt."""


class DataError(EdgeGNNError):
    """Data that can't be loaded, or that no model can use."""


class TrainError(EdgeGNNError):
    """Training that can't go on."""


class QuantizeError(EdgeGNNError):
    """A recipe that can't be applied to this model."""


class PruneError(EdgeGNNError):
    """A pruning that can't be applied to this model."""


class ExportError(EdgeGNNError):
    """A model that can't be captured or written."""


class TooLargeError(ExportError):
    """A model takes more flash or RAM than a device has.

    Attributes:
        short: what it takes and what there is, without the cure.
        over: the largest part that is too much, as a share of what the device has.
    """

    def __init__(self, message: str, short: str, over: float) -> None:
        super().__init__(message)
        self.short, self.over = short, over


class ParityError(ExportError):
    """The artifact doesn't compute what the PyTorch model computes."""


class ArtifactError(EdgeGNNError):
    """An artifact that is damaged, foreign or newer than this edgegnn."""


class ReportError(EdgeGNNError):
    """A report that can't be written."""


class StudyError(EdgeGNNError):
    """A study that can't be read, stored or gone on with."""


class TuneError(EdgeGNNError):
    """A search that can't be gone on with, or that found nothing."""


class TargetError(EdgeGNNError):
    """A device that can't be reached, or can't do what is asked."""


def printable(text: str) -> str:
    """Text that can't steer a terminal: control and reordering characters become U+FFFD; line ends stay.

    Whatever a file, a device or a library said passes through this on its way to a terminal.
    """
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_line(error: BaseException, limit: int = 200) -> str:
    """What a library's error says, in one line: its reason, the first line of its text, or its type."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0][:limit]


def refused_write(error: BaseException) -> str:
    """Say what could not be written, for an error of a file or stream that takes nothing more; "" for any other."""
    if not isinstance(error, OSError) or error.errno not in _REFUSED:
        return ""
    return f"can't write {error.filename or 'to stdout'}: {first_line(error)}"


def drop_output() -> None:
    """Where stdout takes nothing, drop what was printed: Python would complain at its end."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
