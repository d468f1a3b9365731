"""The command `edgegnn quickstart`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.options import Json

__all__ = ["quickstart"]


def quickstart(
    data: Annotated[str, typer.Option("--data", help="digits (graphs) or digits-knn (nodes).")] = "digits",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything it makes.")] = Path(
        "edgegnn-quickstart"
    ),
    as_json: Json = False,
) -> None:
    """Train, export as fp32 and INT8, verify and profile both, on data that comes with the install.

    Example: edgegnn quickstart
    """
    from edgegnn.cli.quickstart import run
    from edgegnn.cli.render import summaries

    with summaries.training("quickstart") as progress:
        result = run(data, output, progress=progress, status=progress.status)
    summaries.quickstart(result, as_json)
