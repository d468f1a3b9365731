"""The command `edgegnn export`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.options import (
    DATA,
    OUTPUT,
    AllowImport,
    BatchSize,
    ConstantGraph,
    Data,
    DataRoot,
    EarlyStop,
    Epochs,
    Factory,
    FactoryArgs,
    Force,
    Format,
    Inputs,
    Json,
    KernelTargets,
    Lr,
    MaxAccuracyDrop,
    MaxEdges,
    MaxNodes,
    MinAgreement,
    Patience,
    Quant,
    Samples,
    Seed,
    Split,
    SplitFile,
    SplitSeed,
    TargetBits,
    Task,
    Thorough,
    Transforms,
    UnsafePickle,
    WeightDecay,
)
from edgegnn.cli.values import json_object, pairs_of, quant_of, settings_of, split_of

__all__ = ["export"]


def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="model.pt, a state_dict (with --factory), a .pt2 program, or .onnx.")
    ],
    quant: Quant = None,
    target_bits: TargetBits = None,
    data: Data = None,
    task: Task = None,
    inputs: Inputs = None,
    transforms: Transforms = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="INPUT=OUTPUT",
            help="A recurrent model's state: an input of forward, and the output that feeds it at the next call.",
            rich_help_panel=DATA,
        ),
    ] = None,
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
    min_agreement: MinAgreement = None,
    max_accuracy_drop: MaxAccuracyDrop = None,
    samples: Samples = None,
    thorough: Thorough = False,
    target: KernelTargets = None,
    format: Format = None,
    constant_graph: ConstantGraph = False,
    max_nodes: MaxNodes = None,
    max_edges: MaxEdges = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The artifact (default: ./<model>-<recipe>/; .zip for an archive).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Quantize a trained model and write a verified artifact.

    QAT and Degree-Quant recipes fine-tune first (--epochs, --lr). The artifact is compared with the PyTorch model
    before the command succeeds.

    Examples:
        edgegnn export model.pt --quant dq-int8
        edgegnn export model.pt --quant dq-int8 --target rpi
        edgegnn export model.pt --quant dq-int8 --format c --max-nodes 64 --max-edges 256
        edgegnn export model.pt --quant dq-int8 --format web --max-nodes 64 --max-edges 256
        edgegnn export weights.pt --factory mymodels:build --data data.pt
    """
    from edgegnn import api
    from edgegnn.cli.render import summaries

    with summaries.training(f"fine-tuning {model.name}") as progress:
        result = api.export(
            model,
            quant=quant_of(quant, target_bits),
            output=output,
            data=data,
            task=task,
            inputs=pairs_of("--input", inputs),
            transforms=transforms or (),
            state=pairs_of("--state", state),
            split=split_of(split, split_file),
            split_seed=split_seed,
            data_root=data_root,
            factory=factory,
            factory_args=json_object("--factory-args", factory_args),
            allow_import=allow_import,
            unsafe_pickle=unsafe_pickle,
            settings=settings_of(epochs, lr, weight_decay, batch_size, patience, early_stop, seed),
            min_agreement=min_agreement,
            max_accuracy_drop=max_accuracy_drop,
            constant_graph=constant_graph,
            max_nodes=max_nodes,
            max_edges=max_edges,
            samples=samples,
            thorough=thorough,
            targets=target or (),
            format=format,
            force=force,
            command=shlex.join(["edgegnn", *sys.argv[1:]]),
            progress=progress,
            status=progress.status,
        )
    summaries.exported(result, as_json, asked=quant is not None)
