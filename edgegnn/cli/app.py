"""The command line: commands in the order of the flow. Heavy imports stay inside them, so that `--help` is quick."""

from __future__ import annotations

import inspect as python_inspect
import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgegnn import __version__
from edgegnn.cli.bench import bench
from edgegnn.cli.check import inspect, predict, verify
from edgegnn.cli.compress import compress
from edgegnn.cli.devices import ship
from edgegnn.cli.devices import targets as targets_app
from edgegnn.cli.doctor import doctor
from edgegnn.cli.export import export
from edgegnn.cli.import_ import import_
from edgegnn.cli.profile import profile
from edgegnn.cli.quickstart import quickstart
from edgegnn.cli.recipes import recipes
from edgegnn.cli.report import report
from edgegnn.cli.study import study as study_app
from edgegnn.cli.train import train
from edgegnn.cli.tune import tune

__all__ = ["app"]

# Panel of the help screen -> its commands, in this order.
COMMANDS: dict[str, tuple[Any, ...]] = {
    "From a model to a measured artifact": (
        train,
        import_,
        compress,
        export,
        verify,
        inspect,
        predict,
        ship,
        profile,
        report,
    ),
    "Many models": (tune, study_app, bench),
    "Help and devices": (quickstart, recipes, targets_app, doctor),
}


class _InOrder(TyperGroup):
    """Lists commands as `COMMANDS` does; Typer would put groups of commands behind all others."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [_name(command) for commands in COMMANDS.values() for command in commands]


def _name(command: Any) -> str:
    return str(command.info.name if isinstance(command, typer.Typer) else command.__name__.rstrip("_"))


app = typer.Typer(
    name="edgegnn",
    cls=_InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _paragraphs(text: str) -> str:
    """A docstring for terminals of any width: paragraphs are joined to one line each, examples keep their lines."""
    found = python_inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(part if part.startswith("Example") else " ".join(part.split()) for part in found)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"edgegnn {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Put a trained graph neural network on an edge device: compress, export, verify, measure.

    Examples:
        edgegnn quickstart
        edgegnn train gcn cora -o model.pt
        edgegnn export model.pt --quant dq-int8
        edgegnn profile model-dq-int8
    """
    if debug:
        os.environ["EDGEGNN_DEBUG"] = "1"


for panel, commands in COMMANDS.items():
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=panel)
        else:
            app.command(_name(command), rich_help_panel=panel)(command)
for group in (app, targets_app, study_app):
    for info in group.registered_commands:
        info.help = _paragraphs(info.callback.__doc__ or "")
