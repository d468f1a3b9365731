"""From sources to files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import edgegnn
from edgegnn.compression.model_source import DataSource, ModelSource
from edgegnn.errors import ReportError, UsageError
from edgegnn.reporting.card import draw_card
from edgegnn.reporting.contents import Contents, contents
from edgegnn.reporting.page import render
from edgegnn.reporting.sources import read_sources
from edgegnn.utils.extras import need
from edgegnn.utils.files import check_free, replacing

__all__ = ["Written", "write"]


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        page: the HTML file.
        bytes: its size.
        files: of figures.
        contents: what is in it.
        card: the picture of the first headline; None: none.
    """

    page: Path
    bytes: int
    files: list[Path]
    contents: Contents
    card: Path | None = None


def write(
    sources: Sequence[str | Path],
    output: str | Path = "report.html",
    *,
    figures: str | Path | None = None,
    card: str | Path | None = None,
    sensitivity: bool = False,
    title: str = "",
    force: bool = False,
    status: Callable[[str], None] = lambda _: None,
    source: ModelSource = ModelSource(),  # noqa: B008 - frozen
    data: DataSource = DataSource(),  # noqa: B008 - frozen
) -> Written:
    """Write a report: the page, and where it is asked for a file for each figure.

    Args:
        sources: studies, profile records or folders of them, checkpoints.
        output: the page.
        figures: folder for each figure as SVG, PNG and PDF; None: none.
        card: file for a picture of the first headline, 1200 x 630 pixels, PNG or SVG by its ending; None: none.
        sensitivity: measure the layers of the studies' dense models.
        title: of the page; "": what it is about.
        force: replace what is there.
        status: called with what is being done.
        source: how checkpoints are opened.
        data: the data of checkpoints; without a name their own.

    Raises:
        UsageError: a source is none, an output exists, or matplotlib or jinja2 is missing.
        ReportError: a file can't be written.
        EdgeGNNError: a source can't be read, as its type says.
    """
    need("report", "a report needs")
    output, paths = Path(output), [Path(source) for source in sources]
    found = read_sources(paths)
    check_free(output, force=force)
    if card is not None and Path(card).suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"a card is a .png or a .svg, not {card}")
    if output.resolve() in {path.resolve() for path in paths}:
        raise UsageError(f"{output} is a source of the report: choose another place with -o")
    if sensitivity and not found.studies:
        raise UsageError("--sensitivity needs a study; of a checkpoint that is named it is always measured")
    if not found.checkpoints and (source, replace(data, data_root=None)) != (ModelSource(), DataSource()):
        raise UsageError("--data and the other options of a model need a checkpoint among the sources")
    made = contents(found, title, sensitivity=sensitivity, source=source, data=data, status=status)
    if card is not None and not made.headlines:
        raise UsageError(
            "there is nothing for --card: it needs a float model and a smaller one, in a study, or in records of one "
            "device"
        )
    page = render(made).encode()
    pictures: dict[Path, bytes] = {}
    if figures is not None:
        for figure in made.figures:
            status(f"{figure.name}.png")
            pictures[Path(figures) / f"{figure.name}.svg"] = figure.drawn.svg
            pictures[Path(figures) / f"{figure.name}.png"] = figure.drawn.png()
            pictures[Path(figures) / f"{figure.name}.pdf"] = figure.drawn.pdf()
    if card is not None:
        picture = draw_card(made.headlines[0], f"edgegnn {edgegnn.__version__}")
        pictures[Path(card)] = picture.svg if Path(card).suffix.lower() == ".svg" else picture.png
    shown = None if card is None else Path(card)
    # All are written under other names first, and take their own together: a full disk leaves nothing.
    with ExitStack() as stack:
        for path, content in {output: page, **pictures}.items():
            temporary = stack.enter_context(replacing(path, force=force, error=ReportError))
            temporary.write_bytes(content)
    return Written(output, len(page), [path for path in pictures if path != shown], made, shown)
