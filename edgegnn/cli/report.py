"""The command `edgegnn report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.options import (
    OUTPUT,
    AllowImport,
    Data,
    DataRoot,
    Factory,
    FactoryArgs,
    Force,
    Json,
    Split,
    SplitFile,
    SplitSeed,
    Task,
    UnsafePickle,
)
from edgegnn.cli.values import data_source, model_source
from edgegnn.errors import UsageError

__all__ = ["report"]


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...",
            help="study.toml, profile records (files or folders), model.pt for its sensitive layers.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.", rich_help_panel=OUTPUT)
    ] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="DIR",
            help="Also write each figure there, as SVG, PNG and PDF.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            metavar="FILE",
            help="Also write a picture of the first headline, 1200 x 630 pixels (.png or .svg).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Of a study: measure how sensitive the layers of its dense models are."),
    ] = False,
    title: Annotated[
        str,
        typer.Option(
            "--title", metavar="TEXT", help="Of the page (default: what it is about).", rich_help_panel=OUTPUT
        ),
    ] = "",
    data: Data = None,
    task: Task = None,
    split: Split = None,
    split_file: SplitFile = None,
    split_seed: SplitSeed = 0,
    data_root: DataRoot = None,
    factory: Factory = None,
    factory_args: FactoryArgs = None,
    allow_import: AllowImport = False,
    unsafe_pickle: UnsafePickle = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write one HTML page of studies, profile records and checkpoints: figures, tables and how they were made.

    The page needs no network. Of a checkpoint it shows how sensitive each layer is to quantization and pruning.

    Examples:
        edgegnn report study.toml
        edgegnn report profiles -o devices.html --figures figures
        edgegnn report study.toml model.pt
        edgegnn report study.toml --card card.png
    """
    from edgegnn.cli.render import report
    from edgegnn.utils.extras import need
    from edgegnn.utils.files import check_free

    need("report", "a report needs")
    for path in sources:
        if not path.exists():
            raise UsageError(f"there is no {path}: name a study.toml, profile records, or a model.pt")
    check_free(output, force=force)
    if card is not None:
        check_free(card, force=force, option="--card")
    opened = model_source(None, factory, factory_args, allow_import, unsafe_pickle)
    place = data_source(data, task, split, split_file, split_seed, data_root)

    from edgegnn.reporting import write  # only now: importing torch takes seconds

    with report.reporting() as status:
        written = write(
            sources,
            output,
            figures=figures,
            card=card,
            sensitivity=sensitivity,
            title=title,
            force=force,
            status=status,
            source=opened,
            data=place,
        )
    report.reported(written, as_json)
