"""The commands of a study: `edgegnn study init`, `run` and `table`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.errors import StudyError, UsageError

__all__ = ["study"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
File = Annotated[Path, typer.Argument(metavar="[STUDY]", help="The study's file.")]
PRESETS = ("example", "paper")
FORMATS = ("text", "markdown", "csv", "latex")

study = typer.Typer(
    name="study",
    help="Compare models, pruning and quantization over data and seeds: a grid, run cell by cell.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@study.command()
def init(
    output: Annotated[Path, typer.Argument(metavar="[STUDY]", help="The file to write.")] = Path("study.toml"),
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="example, or paper: the grid of arXiv 2510.22058.")
    ] = "example",
    quick: Annotated[
        bool, typer.Option("--quick", help="Of paper: a cut for half an hour on two cores, not for a report.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write a commented study.toml to start from.

    Examples:
        edgegnn study init
        edgegnn study init --preset paper --quick
    """
    from edgegnn.cli.render.terminal import say
    from edgegnn.utils.files import replacing

    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}: choose {' or '.join(PRESETS)}")
    if quick and preset != "paper":
        raise UsageError("--quick is a cut of --preset paper")
    name = f"{preset}-quick" if quick else preset
    text = (Path(__file__).parents[1] / "studies" / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    with replacing(output, force=force, error=StudyError) as temporary:
        temporary.write_text(text, encoding="utf-8")
    argument = "" if output == Path("study.toml") else f" {output}"
    say(f"wrote {output}\nnext: edgegnn study run{argument}{' --jobs 2' * quick}")


@study.command()
def run(
    path: File = Path("study.toml"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", help="Train this many cells side by side.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Train on this Ray cluster: HOST:PORT, ray://HOST:PORT, or auto (default: here).",
        ),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run cells that failed again.")] = False,
    allow_import: Annotated[
        bool, typer.Option("--allow-import", help="Import the factories of the models that the study names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the cells of a study that are missing; stopped in the middle, it goes on from there.

    Everything is trained and compressed first, then everything is measured, one cell after the other, here. A cell
    that fails is kept with its reason and stops no other; exit 1 when there are such.

    Examples:
        edgegnn study run
        edgegnn study run study.toml --jobs 2
        edgegnn study run study.toml --retry-failed
    """
    from edgegnn.cli.render import study
    from edgegnn.studies import read_study
    from edgegnn.studies import run as run_study
    from edgegnn.utils.extras import need

    if ray is not None:
        need("cluster", "--ray needs")

    chosen = read_study(path)
    with study.running(chosen) as watch:
        summary = run_study(chosen, watch, retry_failed=retry_failed, jobs=jobs, ray=ray, allow_import=allow_import)
    study.ran(summary, chosen, as_json)
    if summary.failed:
        raise typer.Exit(1)


@study.command()
def table(
    path: File = Path("study.toml"),
    format: Annotated[str, typer.Option("--format", metavar="FORMAT", help="text, markdown, csv or latex.")] = "text",
    as_json: Json = False,
) -> None:
    """Print a study's tables: accuracy against sparsity per method; every metric per quantizer and per pruned model.

    Published or logged values stand beside the study's own where there are any.

    Examples:
        edgegnn study table
        edgegnn study table study.toml --format markdown
    """
    from edgegnn.cli.render import study
    from edgegnn.studies import cells, check_outcomes, open_store, outcome, read_study

    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if as_json and format != "text":
        raise UsageError("--json and --format exclude each other")
    chosen = read_study(path)
    grid = cells(chosen)
    with open_store(chosen.store_path, create=False) as store:
        rows = store.rows()
    outcomes = [outcome(cell, rows) for cell in grid]
    check_outcomes(outcomes, chosen.store_path)
    study.tabled(outcomes, format, as_json)
