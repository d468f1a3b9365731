"""Printing of `edgegnn report`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from edgegnn.cli.render.summaries import _json, measuring
from edgegnn.cli.render.terminal import say
from edgegnn.utils.files import size

if TYPE_CHECKING:
    from edgegnn.reporting import Written

__all__ = ["reported", "reporting"]


def reporting() -> AbstractContextManager[Callable[[str], None]]:
    """A spinner on stderr; a function of what is being done."""
    return measuring("report")


def reported(written: Written, as_json: bool) -> None:
    """Result of `report`."""
    contents = written.contents
    if as_json:
        files = {"report": str(written.page), "bytes": written.bytes, "files": [str(f) for f in written.files]}
        _json({**files, "card": None if written.card is None else str(written.card), **contents.to_dict()})
        return
    count = len(contents.figures)
    say(f"wrote {written.page}: {count} figure{'s' * (count != 1)}, {size(written.bytes)}")
    if written.files:
        say(f"wrote {len(written.files)} files to {written.files[0].parent}")
    if written.card is not None:
        many = len(contents.headlines)
        say(f"wrote {written.card}: {contents.headlines[0].subject}{f', the first of {many} headlines' * (many > 1)}")
    for text in contents.left_out:
        say(f"left out: {text}")
