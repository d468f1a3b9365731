"""The command `edgegnn tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.options import (
    AllowImport,
    Data,
    DataRoot,
    Factory,
    FactoryArgs,
    Json,
    Seed,
    Split,
    SplitFile,
    SplitSeed,
    Target,
    Task,
    UnsafePickle,
    data_source,
    model_source,
)

__all__ = ["tune"]


def tune(
    model: Annotated[Path, typer.Argument(help="model.pt, or a state_dict (with --factory).")],
    target: Target = "local",
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-accuracy-drop",
            help="How much worse than the float model on validation, in points; in units of mae or rmse (default: 1).",
        ),
    ] = None,
    minimize: Annotated[str, typer.Option("--minimize", help="size, latency or energy.")] = "size",
    budget: Annotated[float, typer.Option("--budget", metavar="MINUTES", help="How long to search.")] = 15.0,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Stop after so many candidates, if the budget lasts.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of everything it makes.")] = Path("tuned"),
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
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Start anew where a search is already.")] = False,
    as_json: Json = False,
) -> None:
    """Search recipe, bits of each layer, pruner and sparsity for the best model within an accuracy drop.

    Stopped in the middle (Ctrl-C ends with the best so far), the same command goes on.

    Examples:
        edgegnn tune model.pt --target x86 --max-accuracy-drop 1.0 --minimize size

        edgegnn tune weights.pt --factory mymodels:build --data data.pt --minimize latency --budget 30
    """
    from edgegnn.cli.render import tune
    from edgegnn.devices.target import load_target
    from edgegnn.tuning.request import check_request

    check_request(minimize, max_drop, budget, trials)
    load_target(target)
    source = model_source(model, factory, factory_args, allow_import, unsafe_pickle)
    place = data_source(data, task, split, split_file, split_seed, data_root)

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
    shown += ["--allow-import"] * allow_import + ["--unsafe-pickle"] * unsafe_pickle

    from edgegnn.tuning import tune as run  # only now: importing torch takes seconds

    with tune.searching() as watch:
        found = run(
            model,
            target=target,
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
