"""The way to the terminal: everything printed passes here, and no text of a file or a device can steer it.

    Terminal          a rich console for tables and progress bars
    say, complain     a line on stdout, a line on stderr

Escape sequences, control characters and characters that reorder text are shown as U+FFFD. Text is never markup: a name
such as `[link=...]` is printed as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.progress import TextColumn
from rich.segment import Segment

from edgegnn.errors import printable

__all__ = ["Terminal", "complain", "say", "text_column"]


class Terminal(Console):
    """A rich console that prints text as text. Its own styles and cursor movements stay.

    Args:
        stderr: print on stderr instead of stdout.
        width: columns; None: those of the terminal.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)

    def render(self, renderable: RenderableType, options: Any = None) -> Iterable[Segment]:
        """Render to segments, the text of each made printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def text_column(field: str) -> TextColumn:
    """A column of a progress bar: "{task.description}", or a field of the task, as plain text."""
    return TextColumn(field, markup=False)


def say(text: str) -> None:
    """Print a line on stdout."""
    typer.echo(printable(text))


def complain(text: str) -> None:
    """Print one line on stderr, with the program's name."""
    typer.echo(f"edgegnn: {printable(' '.join(text.split()))}", err=True)
