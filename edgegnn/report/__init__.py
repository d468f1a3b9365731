"""The report."""

from __future__ import annotations

from edgegnn.report.contents import Contents, contents
from edgegnn.report.load import Sources, read_sources
from edgegnn.report.page import render
from edgegnn.report.writing import Written, write

__all__ = ["Contents", "Sources", "Written", "contents", "read_sources", "render", "write"]
