"""What a run leaves: the bundle of results, and its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegnn.bench.card import draw_card
from edgegnn.bench.files import Bundle, write_json
from edgegnn.bench.long_run import draw_long_run
from edgegnn.errors import ReportError
from edgegnn.utils.files import replacing

__all__ = ["Written", "write_results"]


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        bundle: the results.
        values: they as they are in the file, with the checksum.
        path: of results.json.
        pictures: files of the card, and of the long run.
    """

    bundle: Bundle
    values: dict[str, Any]
    path: Path
    pictures: tuple[Path, ...]


def write_results(bundle: Bundle, folder: Path) -> Written:
    """Write results.json, card.svg and card.png, and sustained.svg and sustained.png where there was a long run.

    Raises:
        ReportError: the folder can't be written.
    """
    values = write_json(bundle, folder / "results.json")
    drawn = {}
    if bundle.measured:
        drawn["card"] = draw_card(bundle, values["sha256"])
    if any(row.record is not None and row.record.sustained for row in bundle.rows):
        drawn["sustained"] = draw_long_run(bundle)
    pictures = []
    for name, picture in drawn.items():
        for ending, content in (("svg", picture.svg), ("png", picture.png)):
            path = folder / f"{name}.{ending}"
            with replacing(path, force=True, error=ReportError) as temporary:
                temporary.write_bytes(content)
            pictures.append(path)
    return Written(bundle, values, folder / "results.json", tuple(pictures))
