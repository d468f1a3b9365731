"""The command `edgegnn train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.completion import complete_data, complete_model
from edgegnn.cli.options import (
    DATA,
    MODEL,
    OUTPUT,
    BatchSize,
    DataRoot,
    Dropout,
    EarlyStop,
    Epochs,
    FactoryArgs,
    Force,
    Heads,
    Hidden,
    Json,
    Layers,
    Lr,
    Metric,
    OneHot,
    Patience,
    PoolRatio,
    Seed,
    Split,
    SplitFile,
    SplitSeed,
    TargetBits,
    Task,
    TrainedQuant,
    Transforms,
    WeightDecay,
)
from edgegnn.cli.values import json_object, quant_of, settings_of, split_of
from edgegnn.errors import UsageError
from edgegnn.models.catalog import MODELS

__all__ = ["train"]

_WITH_ATTRIBUTES = " and ".join(model.name for model in MODELS.values() if model.with_attributes)
NodeAttributes = Annotated[
    bool | None,
    typer.Option(
        "--node-attributes/--no-node-attributes",
        help=f"Features of tu:NAME: the nodes' attributes beside their labels (default: {_WITH_ATTRIBUTES} only).",
        rich_help_panel=MODEL,
    ),
]


def train(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help=f"{', '.join(MODELS)}; or your own, package.module:function.",
            autocompletion=complete_model,
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="cora, tu:ENZYMES, molnet:ESOL, zinc, ... or a .pt or .csv file.",
            autocompletion=complete_data,
        ),
    ] = "",
    data_file: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="The same, as an option.", rich_help_panel=DATA),
    ] = None,
    hidden: Hidden = None,
    layers: Layers = None,
    heads: Heads = None,
    dropout: Dropout = None,
    pool_ratio: PoolRatio = None,
    factory_args: FactoryArgs = None,
    node_attributes: NodeAttributes = None,
    task: Task = None,
    metric: Metric = None,
    one_hot: OneHot = False,
    transforms: Transforms = None,
    split: Split = None,
    split_file: SplitFile = None,
    split_seed: SplitSeed = 0,
    data_root: DataRoot = None,
    quant: TrainedQuant = None,
    target_bits: TargetBits = None,
    epochs: Epochs = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    patience: Patience = None,
    early_stop: EarlyStop = None,
    seed: Seed = 0,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where to save the model.", rich_help_panel=OUTPUT),
    ] = Path("model.pt"),
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a model of the zoo, or your own, and save the epoch with the lowest validation loss.

    With --quant it is trained for integers from scratch.

    Examples:
        edgegnn train gcn cora -o model.pt
        edgegnn train gin tu:PROTEINS --split fold:0 --early-stop grades
        edgegnn train ness cora
        edgegnn train gat data.pt --task node --quant qat-int8
        edgegnn train mymodels:build data.pt --factory-args '{"hidden": 64}'
    """
    from edgegnn import api
    from edgegnn.cli.render import summaries

    name = data_file or data
    if not name or (data_file and data):
        raise UsageError("name one data set: edgegnn train gcn cora")
    settings = settings_of(epochs, lr, weight_decay, batch_size, patience, early_stop, seed)
    architecture = {"hidden": hidden, "layers": layers, "heads": heads, "dropout": dropout, "pool_ratio": pool_ratio}
    with summaries.training(f"training {model} on {name}") as progress:
        checkpoint = api.train(
            model,
            name,
            output=output,
            task=task,
            metric=metric,
            one_hot=one_hot,
            transforms=transforms or (),
            split=split_of(split, split_file),
            split_seed=split_seed,
            data_root=data_root,
            node_attributes=node_attributes,
            quant=quant_of(quant, target_bits),
            architecture=architecture,
            factory_args=json_object("--factory-args", factory_args),
            settings=settings,
            force=force,
            progress=progress,
        )
    summaries.trained(checkpoint, output, as_json)
