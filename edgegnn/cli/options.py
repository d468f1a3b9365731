"""Options that several commands of the command line share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgegnn.errors import UsageError

if TYPE_CHECKING:
    from edgegnn.compression.model_source import DataSource, ModelSource

RECIPES = "none, dynamic-int8, static-int8, qat-int8, qat-int4, dq-int8, dq-int4, a2q, or a recipe's .json file"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Data = Annotated[
    str | None, typer.Option("--data", help="Data set, or a .pt file with PyG Data (default: the model's own).")
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="node, graph, graph-multilabel, graph-regression or link-prediction (default: as the labels say).",
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder of the data sets (default: $EDGEGNN_DATA, else the user's cache)."),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="accuracy, roc_auc or average_precision; mae or rmse for a regression (default: the data's own).",
    ),
]
OneHot = Annotated[bool, typer.Option("--one-hot", help="The features are categories: a column for each of them.")]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="public, full, stratified, scaffold, random, fold:K, given (by the data); links: random:VAL,TEST.",
    ),
]
SplitFile = Annotated[
    Path | None,
    typer.Option(
        "--split-file",
        help='The split of your nodes or graphs. JSON: {"train": [0, 1], "val": [2], "test": [3]}, or ["train", "val", '
        '"test", ...]. CSV: columns index and split. npz: arrays train, val and test (numbers, or a bool for each).',
    ),
]
SplitSeed = Annotated[int, typer.Option("--split-seed", help="Seed of a split that is drawn.")]
Factory = Annotated[
    str | None, typer.Option("--factory", metavar="MODULE:FUNCTION", help="Builds the module of a bare state_dict.")
]
FactoryArgs = Annotated[
    str | None, typer.Option("--factory-args", metavar="JSON", help="The factory's arguments: '{\"hidden\": 64}'.")
]
NodeAttributes = Annotated[
    bool | None,
    typer.Option(
        "--node-attributes/--no-node-attributes",
        help="Features of tu:NAME: the nodes' attributes beside their labels (default: hgpsl only).",
    ),
]
PoolRatio = Annotated[
    float | None, typer.Option("--pool-ratio", help="Share of nodes that a pool keeps, above 0, at most 1 (hgpsl).")
]
MinAgreement = Annotated[
    float | None,
    typer.Option("--min-agreement", min=0.0, max=1.0, help="Accept this share of predictions equal to PyTorch's."),
]
MaxAccuracyDrop = Annotated[
    float | None,
    typer.Option(
        "--max-accuracy-drop",
        metavar="POINTS",
        min=0.0,
        help="Accept that quantization costs so much of the validation metric (default: 2).",
    ),
]
Thorough = Annotated[
    bool,
    typer.Option(
        "--thorough",
        help="Prove more: nodes and edges in another order, an isolated node, a second graph, half the edge weights.",
    ),
]
ConstantGraph = Annotated[
    bool, typer.Option("--constant-graph", help="Bake the graph's edges into the model, which then takes x alone.")
]
KernelTargets = Annotated[
    list[str] | None,
    typer.Option("--target", help="Put the native kernels of this device into it (default: this machine's)."),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="onnx, torchscript or both (default: onnx; torchscript if ONNX can't express the model)."
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        min=1,
        help="Test graphs, nodes or pairs that samples.npz proves the artifact with (default: as many as fit in 8 MB).",
    ),
]
MaxNodes = Annotated[
    int | None,
    typer.Option("--max-nodes", min=1, help="Refuse larger graphs, and take one at a time (default: the model's)."),
]
AllowImport = Annotated[bool, typer.Option("--allow-import", help="Import the factory that the model file names.")]
UnsafePickle = Annotated[
    bool, typer.Option("--unsafe-pickle", help="Open pickled modules too. They can run any code: only files you trust.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the training data.")]
Lr = Annotated[float | None, typer.Option("--lr", min=0.0, help="Learning rate.")]
WeightDecay = Annotated[float | None, typer.Option("--weight-decay", min=0.0, help="L2 penalty.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Graphs in a batch.")]
Patience = Annotated[
    int | None, typer.Option("--patience", min=1, help="Stop after so many epochs without a better validation loss.")
]
EarlyStop = Annotated[
    str | None,
    typer.Option(
        "--early-stop",
        metavar="grades|patience",
        help="grades: freeze each weight matrix when its gradient has come to rest (grades:tau=0.1,alpha=0.5); "
        "patience: as --patience, 20 epochs where that is not given.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of training.")]
Prune = Annotated[
    str | None,
    typer.Option("--prune", metavar="METHOD", help="fine-grained, global, regularized, structured or edges."),
]
Sparsity = Annotated[
    str | None,
    typer.Option("--sparsity", metavar="S|FROM:TO:STEP", help="Share that goes; a range tries each, in a table."),
]
TrainedQuant = Annotated[
    str | None,
    typer.Option("--quant", help="Quantize too, by training: qat-int8, qat-int4, dq-int8, dq-int4, a2q or a .json."),
]
TargetBits = Annotated[
    float | None,
    typer.Option(
        "--target-bits", metavar="B", help="Of a2q: bits of a node's features on average, 1 to 8 (default: 2)."
    ),
]
Schedule = Annotated[
    str, typer.Option("--schedule", help="one-shot, or gradual: prune during the first half of fine-tuning.")
]
Variant = Annotated[
    str | None,
    typer.Option("--variant", help="Of regularized: l1 (single weights), group-norm or growing (whole channels)."),
]
NoFinetune = Annotated[bool, typer.Option("--no-finetune", help="Don't train after pruning.")]
Distill = Annotated[
    float | None,
    typer.Option(
        "--distill",
        min=0.0,
        max=1.0,
        help="Share of the loss after pruning that is the distance from the dense model's outputs (default: 0.9; "
        "0: labels alone).",
    ),
]
Target = Annotated[str, typer.Option("--target", help="Device (default: this machine); see edgegnn targets.")]


def settings_of(
    epochs: int | None,
    lr: float | None,
    weight_decay: float | None,
    batch_size: int | None,
    patience: int | None,
    early_stop: str | None,
    seed: int,
) -> dict[str, Any]:
    """Fields of `FitConfig`; None where the default shall hold."""
    stop: dict[str, Any] = {}
    if early_stop is not None:
        from edgegnn.training.config import parse_early_stop

        stop = parse_early_stop(early_stop)
    return {
        "epochs": epochs,
        "lr": lr,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
        **stop,
    }


def split_of(split: str | None, file: Path | None) -> str | None:
    """The split as the functions of the same names take it: "file:PATH" for one in a file.

    Raises:
        UsageError: both are given.
    """
    if split is not None and file is not None:
        raise UsageError("--split and --split-file both name a split: give one of them")
    return split if file is None else f"file:{file}"


def model_source(
    path: Path | None, factory: str | None, factory_args: str | None, allow_import: bool, unsafe_pickle: bool
) -> ModelSource:
    """How the model file at `path` is opened (None: which file, is said elsewhere).

    Raises:
        UsageError, CheckpointError: there is no such file, or an option that can't be read.
    """
    from edgegnn.compression.model_source import ModelSource

    source = ModelSource(factory, json_object("--factory-args", factory_args), allow_import, unsafe_pickle)
    source.check(path)
    return source


def data_source(
    data: str | None,
    task: str | None,
    split: str | None,
    split_file: Path | None,
    split_seed: int,
    data_root: Path | None,
) -> DataSource:
    """Which data are named.

    Raises:
        UsageError, DataError: an unknown name, or a file that is not there.
    """
    from edgegnn.compression.model_source import DataSource

    source = DataSource(data, task, split_of(split, split_file), split_seed, data_root)
    source.check()
    return source


def quant_of(quant: str | None, target_bits: float | None) -> str | None:
    """The recipe with an average number of bits as its target.

    Raises:
        UsageError: the number is out of range, or the recipe learns no widths.
    """
    if target_bits is None:
        return quant
    if quant is None or not (quant.startswith("a2q") or quant.endswith(".json")):
        raise UsageError(f"--target-bits is for --quant a2q, not for {quant or 'a model that is not quantized'}")
    if not 1 <= target_bits <= 8:
        raise UsageError(f"--target-bits {target_bits:g} is out of range: an average of 1 to 8 bits can be asked for")
    return f"{quant}:target_bits={target_bits}"


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """Read the JSON object given to `option`.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{option} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f'{option} must be a JSON object, such as {{"hidden": 64}}')
    return value
