"""The command `edgegnn tune`."""

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
    Inputs,
    Json,
    MaxEdges,
    MaxNodes,
    Seed,
    Split,
    SplitFile,
    SplitSeed,
    Target,
    Task,
    Transforms,
    UnsafePickle,
)
from edgegnn.cli.values import data_source, model_source

__all__ = ["tune"]

SEARCH = "Search"


def tune(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="model.pt, or a state_dict (with --factory).")],
    target: Target = "local",
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-accuracy-drop",
            metavar="POINTS",
            rich_help_panel=SEARCH,
            help="How much worse than the float model on validation, in points; in units of mae or rmse (default: 1).",
        ),
    ] = None,
    max_nodes: MaxNodes = None,
    max_edges: MaxEdges = None,
    minimize: Annotated[
        str,
        typer.Option(
            "--minimize",
            metavar="WHAT",
            help="size, latency or energy; on a microcontroller size (flash), ram or instructions.",
            rich_help_panel=SEARCH,
        ),
    ] = "size",
    budget: Annotated[
        float, typer.Option("--budget", metavar="MINUTES", help="How long to search.", rich_help_panel=SEARCH)
    ] = 15.0,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            metavar="N",
            help="Stop after this many candidates, if the budget lasts (default: no limit).",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of everything it makes.", rich_help_panel=OUTPUT),
    ] = Path("tuned"),
    data: Data = None,
    task: Task = None,
    split: Split = None,
    split_file: SplitFile = None,
    split_seed: SplitSeed = 0,
    data_root: DataRoot = None,
    inputs: Inputs = None,
    transforms: Transforms = None,
    factory: Factory = None,
    factory_args: FactoryArgs = None,
    allow_import: AllowImport = False,
    unsafe_pickle: UnsafePickle = False,
    seed: Seed = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew where a search is already.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: Json = False,
) -> None:
    """Search recipe, bits of each layer, pruner and sparsity for the best model within an accuracy drop.

    Stopped in the middle (Ctrl-C ends with the best so far), the same command goes on.

    Examples:
        edgegnn tune model.pt
        edgegnn tune model.pt --target x86 --max-accuracy-drop 1 --minimize size
        edgegnn tune model.pt --minimize latency --budget 30
        edgegnn tune model.pt --target cortex-m4 --max-nodes 64 --max-edges 256
    """
    from edgegnn.cli.render import tune
    from edgegnn.devices.target import load_target
    from edgegnn.tuning.request import c_form_limits, check_request

    check_request(minimize, max_drop, budget, trials)
    c_form_limits(load_target(target), minimize, max_nodes, max_edges)
    source = model_source(model, factory, factory_args, allow_import, unsafe_pickle)
    place = data_source(data, task, split, split_file, split_seed, data_root, inputs, transforms)

    options: dict[str, str | Path | int | None] = {
        "--data": data,
        "--task": task,
        "--split": split,
        "--split-file": split_file,
        "--split-seed": split_seed or None,
        "--data-root": data_root,
        "--factory": factory,
        "--factory-args": factory_args,
    }
    shown = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    shown += [word for pair in inputs or [] for word in ("--input", pair)]
    shown += [word for text in transforms or [] for word in ("--transform", text)]
    shown += ["--allow-import"] * allow_import + ["--unsafe-pickle"] * unsafe_pickle

    from edgegnn.tuning import tune as run  # only now: importing torch takes seconds

    with tune.searching() as watch:
        found = run(
            model,
            target=target,
            max_nodes=max_nodes,
            max_edges=max_edges,
            minimize=minimize,
            max_drop=max_drop,
            budget=budget,
            trials=trials,
            output=output,
            seed=seed,
            force=force,
            watch=watch,
            shown_source=shown,
            **place.options(),
            factory=source.factory,
            factory_args=source.factory_args,
            allow_import=allow_import,
            unsafe_pickle=unsafe_pickle,
        )
    tune.tuned(found, as_json)
