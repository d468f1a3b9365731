"""The command `edgegnn compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.options import (
    OUTPUT,
    AllowImport,
    BatchSize,
    Data,
    DataRoot,
    Distill,
    EarlyStop,
    Epochs,
    Factory,
    FactoryArgs,
    Force,
    Inputs,
    Json,
    Lr,
    NoFinetune,
    Patience,
    Prune,
    Schedule,
    Seed,
    Sparsity,
    Split,
    SplitFile,
    SplitSeed,
    TargetBits,
    Task,
    TrainedQuant,
    Transforms,
    UnsafePickle,
    Variant,
    WeightDecay,
)
from edgegnn.cli.values import data_source, model_source, quant_of, settings_of
from edgegnn.errors import EdgeGNNError

__all__ = ["compress"]


def compress(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="model.pt, or a state_dict (with --factory).")],
    prune: Prune = None,
    sparsity: Sparsity = None,
    quant: TrainedQuant = None,
    target_bits: TargetBits = None,
    schedule: Schedule = "one-shot",
    variant: Variant = None,
    no_finetune: NoFinetune = False,
    distill: Distill = None,
    data: Data = None,
    task: Task = None,
    inputs: Inputs = None,
    transforms: Transforms = None,
    split: Split = None,
    split_file: SplitFile = None,
    split_seed: SplitSeed = 0,
    data_root: DataRoot = None,
    factory: Factory = None,
    factory_args: FactoryArgs = None,
    allow_import: AllowImport = False,
    unsafe_pickle: UnsafePickle = False,
    epochs: Epochs = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    patience: Patience = None,
    early_stop: EarlyStop = None,
    seed: Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to save it (default: small.pt); of a range: 'small-{sparsity}.pt'.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Prune a trained model and fine-tune it; with --quant, train it for integers as well.

    A range of sparsities prints a table; it saves models only with -o, and chooses none.

    Examples:
        edgegnn compress model.pt --prune global --sparsity 0.5
        edgegnn compress model.pt --quant dq-int8 -o small.pt
        edgegnn compress model.pt --prune global --sparsity 0.1:0.9:0.1
    """
    from edgegnn.cli.render import summaries
    from edgegnn.compression.request import check_compression, parse_sparsities

    sparsities = parse_sparsities(sparsity) if sparsity is not None else []
    several = len(sparsities) > 1
    place = output if output is not None or several else Path("small.pt")
    recipe = quant_of(quant, target_bits)
    settings = settings_of(epochs, lr, weight_decay, batch_size, patience, early_stop, seed) | {"distill": distill}
    check_compression(sparsities, prune, recipe, schedule, variant, not no_finetune, settings)
    source = model_source(model, factory, factory_args, allow_import, unsafe_pickle)
    chosen = data_source(data, task, split, split_file, split_seed, data_root, inputs, transforms)

    from edgegnn.compression.sweep import sweep  # only now: importing torch takes seconds

    with summaries.training(f"compressing {model.name}") as progress:
        results = list(
            sweep(
                model,
                sparsities,
                prune=prune,
                quant=recipe,
                output=place,
                schedule=schedule,
                variant=variant,
                finetune=not no_finetune,
                source=source,
                data=chosen,
                settings=settings,
                force=force,
                progress=progress,
                status=progress.status,
            )
        )
    problems = [r for r in results if isinstance(r, EdgeGNNError)]
    if len(problems) == len(results) - 1:  # all but the dense model
        raise problems[0]
    if several:
        summaries.swept(results, sparsities, as_json)
    else:
        summaries.compressed(results, as_json)
