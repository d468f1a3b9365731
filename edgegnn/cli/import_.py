"""The command `edgegnn import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.options import (
    DATA,
    MODEL,
    OUTPUT,
    DataRoot,
    FactoryArgs,
    Force,
    Inputs,
    Json,
    Split,
    SplitFile,
    SplitSeed,
    Task,
    Transforms,
    UnsafePickle,
)
from edgegnn.cli.values import json_object, pairs_of, split_of

__all__ = ["import_"]


def import_(
    weights: Annotated[
        Path,
        typer.Argument(metavar="WEIGHTS", help="A state_dict, a Lightning .ckpt, .safetensors, or a pickled module."),
    ],
    factory: Annotated[
        str,
        typer.Option("--factory", metavar="MODULE:FUNCTION", help="Builds the module.", rich_help_panel=MODEL),
    ],
    data: Annotated[
        str,
        typer.Option("--data", metavar="DATA", help="Data set, or a data file.", rich_help_panel=DATA),
    ],
    factory_args: FactoryArgs = None,
    unsafe_pickle: UnsafePickle = False,
    task: Task = None,
    inputs: Inputs = None,
    transforms: Transforms = None,
    split: Split = None,
    split_file: SplitFile = None,
    split_seed: SplitSeed = 0,
    data_root: DataRoot = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The model file.", rich_help_panel=OUTPUT),
    ] = Path("model.pt"),
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a model file of weights from elsewhere, once.

    The file names its factory, the factory's arguments and the data. Later commands need --allow-import alone, which
    imports the factory that the file names.

    Examples:
        edgegnn import weights.ckpt --factory mymodels:build --data data.pt -o model.pt
        edgegnn export model.pt --allow-import --quant dq-int8
    """
    from edgegnn.cli.render import summaries
    from edgegnn.compression.importing import import_model

    checkpoint = import_model(
        weights,
        output,
        factory=factory,
        factory_args=json_object("--factory-args", factory_args),
        data=data,
        task=task,
        inputs=pairs_of("--input", inputs),
        transforms=transforms or (),
        split=split_of(split, split_file),
        split_seed=split_seed,
        data_root=data_root,
        unsafe_pickle=unsafe_pickle,
        force=force,
    )
    summaries.imported(checkpoint, output, as_json)
