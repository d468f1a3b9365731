"""A part of the page."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgegnn.reporting.figures import Figure
from edgegnn.reporting.headline import Headline
from edgegnn.studies.tables import StudyTable

__all__ = ["Section"]


@dataclass
class Section:
    """A part of the page, with a heading.

    Attributes:
        name: anchor.
        heading: its heading.
        headlines: see `Headline`, above everything else.
        about: sentences above its figures.
        figures: see `Figure`.
        tables: see `StudyTable`.
        words: headings ("": none), and sentences below each.
        below: sentences below its tables.
        left_out: sentences: what isn't there, and why.
    """

    name: str
    heading: str
    headlines: list[Headline] = field(default_factory=list)
    about: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[StudyTable] = field(default_factory=list)
    words: list[tuple[str, list[str]]] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """There is nothing to look at."""
        return not (self.headlines or self.figures or self.tables or self.words)
