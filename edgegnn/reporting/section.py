"""A part of the page."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgegnn.reporting.figures import Figure
from edgegnn.studies.tables import StudyTable

__all__ = ["Section"]


@dataclass
class Section:
    """A part of the page, with a heading.

    Attributes:
        name: anchor.
        heading: its heading.
        about: sentences above its figures.
        figures: see `Figure`.
        tables: see `StudyTable`.
        words: headings ("": none), and sentences below each.
        left_out: sentences: what isn't there, and why.
    """

    name: str
    heading: str
    about: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[StudyTable] = field(default_factory=list)
    words: list[tuple[str, list[str]]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
