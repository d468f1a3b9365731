"""The report: one HTML file from studies, profile records and checkpoints.

    read_sources ─▶ entries ─▶ sections (figures, tables, words) ─▶ report.html, figures/*.svg, *.png, *.pdf

How the page is made:

* **One file, no scripts, no requests.** Figures are `<svg>` elements, styles stand in the page, and its own content
  security policy forbids the rest. Everything that comes from a file is escaped, in the page and in the drawings.
* **What matters first**: the step from fp32 to one compressed model in large numbers, then the front, then what
  explains it, then all the numbers, then how they were made. Each part starts with what it is; a part without content
  is left out, and why is said at the end. Each caveat is said once, at the top; its mark stands beside every number
  that it touches.
* **Small panels in a grid** that has one column on a phone: a figure's text stays readable without zooming. A table
  scrolls in its own box, its first column stays in sight; on a phone each row is a block. The page itself never
  scrolls sideways.
* **Colours are CSS variables**, with values for light and dark; paper is always light. Series differ by marker as well
  as by colour, what is on the front is filled and numbered. Text in drawings is text.
* **Without eyes**: headings in order, a title and a description with the values in every drawing, captions on tables.
* The same sources give the same bytes.
"""

from __future__ import annotations

from edgegnn.reporting.contents import Contents, contents
from edgegnn.reporting.page import render
from edgegnn.reporting.sources import Sources, read_sources
from edgegnn.reporting.writing import Written, write

__all__ = ["Contents", "Sources", "Written", "contents", "read_sources", "render", "write"]
