"""Options that several commands of the command line share, each in its panel of the help screens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.completion import complete_data, complete_recipe, complete_target, complete_task
from edgegnn.models.catalog import MODELS
from edgegnn.quantize.recipe import RECIPES as BY_NAME
from edgegnn.quantize.recipe import shown_name

# Panels of the help screens, in the order in which most commands show them.
MODEL, DATA = "Model", "Data"
PRUNING, QUANTIZATION, TRAINING = "Pruning", "Quantization", "Training"
PROOF, DEVICE, OUTPUT = "Proof", "Device", "Output"
RECIPES = ", ".join(map(shown_name, BY_NAME))
_TRAINED = ", ".join(shown_name(name) for name, recipe in BY_NAME.items() if recipe.trains)
_WITH_HEADS = " and ".join(model.name for model in MODELS.values() if model.with_heads)
_WITH_POOLS = " and ".join(m.name for m in MODELS.values() if any(f.pool_ratio is not None for f in m.forms.values()))

# Model ---------------------------------------------------------------------------------------------------------------

Factory = Annotated[
    str | None,
    typer.Option(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="Builds the module of a bare state_dict.",
        rich_help_panel=MODEL,
    ),
]
FactoryArgs = Annotated[
    str | None,
    typer.Option(
        "--factory-args",
        metavar="JSON",
        help="The factory's arguments: '{\"hidden\": 64}'.",
        rich_help_panel=MODEL,
    ),
]
AllowImport = Annotated[
    bool,
    typer.Option("--allow-import", help="Import the factory that the model file names.", rich_help_panel=MODEL),
]
UnsafePickle = Annotated[
    bool,
    typer.Option(
        "--unsafe-pickle",
        help="Open pickled modules too. They can run any code: only files you trust.",
        rich_help_panel=MODEL,
    ),
]

# Data ----------------------------------------------------------------------------------------------------------------

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Data set, or a .pt file with PyG Data (default: the model's own).",
        autocompletion=complete_data,
        rich_help_panel=DATA,
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="node, edge or graph, alone (classes) or with -multilabel or -regression behind it, or link-prediction "
        "(default: as the labels say).",
        autocompletion=complete_task,
        rich_help_panel=DATA,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=ROLE",
        help="What an input of forward is: node, edge, graph, edges, pairs, batch, item, node_numbers or "
        "edge_numbers, or the attribute of the data that it is read from (default: told from the data).",
        rich_help_panel=DATA,
    ),
]
Transforms = Annotated[
    list[str] | None,
    typer.Option(
        "--transform",
        metavar="NAME",
        help="Prepares each graph first: a transform of PyG ('NormalizeFeatures', 'AddRandomWalkPE(walk_length=8)') or "
        "yours (module:function); it becomes part of the artifact where it traces.",
        rich_help_panel=DATA,
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="METRIC",
        help="accuracy, roc_auc or average_precision; mae or rmse for a regression (default: the data's own).",
        rich_help_panel=DATA,
    ),
]
OneHot = Annotated[
    bool,
    typer.Option("--one-hot", help="The features are categories: a column for each of them.", rich_help_panel=DATA),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="SPLIT",
        help="public, full, stratified, scaffold, random, fold:K, given (by the data); links: random:VAL,TEST "
        "(default: the data's own).",
        rich_help_panel=DATA,
    ),
]
SplitFile = Annotated[
    Path | None,
    typer.Option(
        "--split-file",
        metavar="FILE",
        help='The split of your nodes or graphs. JSON: {"train": [0, 1], "val": [2], "test": [3]}, or ["train", "val", '
        '"test", ...]. CSV: columns index and split. npz: arrays train, val and test (numbers, or a bool for each).',
        rich_help_panel=DATA,
    ),
]
SplitSeed = Annotated[
    int, typer.Option("--split-seed", metavar="N", help="Seed of a split that is drawn.", rich_help_panel=DATA)
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="Folder of the data sets (default: $EDGEGNN_DATA, else the user's cache).",
        rich_help_panel=DATA,
    ),
]

# Architecture of a model of the zoo -----------------------------------------------------------------------------------

Hidden = Annotated[
    int | None,
    typer.Option(
        "--hidden",
        metavar="N",
        help="Width of a hidden layer, of one head (default: the model's).",
        rich_help_panel=MODEL,
    ),
]
Layers = Annotated[
    int | None,
    typer.Option("--layers", metavar="N", help="Number of convolutions (default: the model's).", rich_help_panel=MODEL),
]
Heads = Annotated[
    int | None,
    typer.Option(
        "--heads",
        metavar="N",
        help=f"Attention heads of {_WITH_HEADS} (default: the model's).",
        rich_help_panel=MODEL,
    ),
]
Dropout = Annotated[
    float | None,
    typer.Option("--dropout", metavar="P", help="Dropout probability (default: the model's).", rich_help_panel=MODEL),
]
PoolRatio = Annotated[
    float | None,
    typer.Option(
        "--pool-ratio",
        metavar="R",
        help=f"Share of nodes that a pool of {_WITH_POOLS} keeps, above 0, at most 1 (default: 0.5).",
        rich_help_panel=MODEL,
    ),
]

# Pruning -------------------------------------------------------------------------------------------------------------

Prune = Annotated[
    str | None,
    typer.Option(
        "--prune",
        metavar="METHOD",
        help="fine-grained, global, regularized, structured or edges.",
        rich_help_panel=PRUNING,
    ),
]
Sparsity = Annotated[
    str | None,
    typer.Option(
        "--sparsity",
        metavar="S|FROM:TO:STEP",
        help="Share that goes; a range tries each, in a table.",
        rich_help_panel=PRUNING,
    ),
]
Schedule = Annotated[
    str,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="one-shot, or gradual: prune during the first half of fine-tuning.",
        rich_help_panel=PRUNING,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        "--variant",
        metavar="NAME",
        help="Of regularized: l1 (single weights), group-norm or growing (whole channels) (default: l1).",
        rich_help_panel=PRUNING,
    ),
]
NoFinetune = Annotated[bool, typer.Option("--no-finetune", help="Don't train after pruning.", rich_help_panel=PRUNING)]
Distill = Annotated[
    float | None,
    typer.Option(
        "--distill",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="Share of the loss after pruning that is the distance from the dense model's outputs (default: 0.9; "
        "0: labels alone).",
        rich_help_panel=PRUNING,
    ),
]

# Quantization --------------------------------------------------------------------------------------------------------

Quant = Annotated[
    str | None,
    typer.Option(
        "--quant",
        metavar="RECIPE",
        help=f"{RECIPES}, or a recipe's .json file; edgegnn recipes says what each does (default: what the model was "
        "trained with, else fp32).",
        autocompletion=complete_recipe,
        rich_help_panel=QUANTIZATION,
    ),
]
TrainedQuant = Annotated[
    str | None,
    typer.Option(
        "--quant",
        metavar="RECIPE",
        help=f"A recipe that trains: {_TRAINED} or a .json file (default: fp32).",
        autocompletion=complete_recipe,
        rich_help_panel=QUANTIZATION,
    ),
]
TargetBits = Annotated[
    float | None,
    typer.Option(
        "--target-bits",
        metavar="BITS",
        help="Of a2q: bits of a node's features on average, 1 to 8 (default: 2).",
        rich_help_panel=QUANTIZATION,
    ),
]

# Training ------------------------------------------------------------------------------------------------------------

Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="N",
        min=1,
        help="Passes over the training data (default: what suits model and data; a quarter to fine-tune).",
        rich_help_panel=TRAINING,
    ),
]
Lr = Annotated[
    float | None,
    typer.Option(
        "--lr",
        metavar="RATE",
        min=0.0,
        help="Learning rate (default: what suits model and data).",
        rich_help_panel=TRAINING,
    ),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        "--weight-decay",
        metavar="W",
        min=0.0,
        help="L2 penalty (default: what suits model and data).",
        rich_help_panel=TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        min=1,
        help="Graphs in a batch (default: what suits the model).",
        rich_help_panel=TRAINING,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        metavar="N",
        min=1,
        help="Stop after this many epochs without a better validation loss (default: train all epochs).",
        rich_help_panel=TRAINING,
    ),
]
EarlyStop = Annotated[
    str | None,
    typer.Option(
        "--early-stop",
        metavar="HOW",
        help="grades: freeze each weight matrix when its gradient has come to rest (grades:tau=0.1,alpha=0.5); "
        "patience: as --patience, 20 epochs where that is not given (default: none).",
        rich_help_panel=TRAINING,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of training.", rich_help_panel=TRAINING)]

# Proof ---------------------------------------------------------------------------------------------------------------

MinAgreement = Annotated[
    float | None,
    typer.Option(
        "--min-agreement",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="Accept this share of predictions equal to PyTorch's (default: the recipe's).",
        rich_help_panel=PROOF,
    ),
]
MaxAccuracyDrop = Annotated[
    float | None,
    typer.Option(
        "--max-accuracy-drop",
        metavar="POINTS",
        min=0.0,
        help="Accept that quantization costs so much of the validation metric (default: 2).",
        rich_help_panel=PROOF,
    ),
]
Thorough = Annotated[
    bool,
    typer.Option(
        "--thorough",
        help="Prove more: nodes and edges in another order, an isolated node, a second graph, half the edge weights.",
        rich_help_panel=PROOF,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        metavar="N",
        min=1,
        help="Test graphs, nodes or pairs that samples.npz proves the artifact with (default: as many as fit in 8 MB).",
        rich_help_panel=PROOF,
    ),
]

# Device --------------------------------------------------------------------------------------------------------------

KernelTargets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Bring the native kernels of this device, or fit this microcontroller (default: this machine). "
        "OUTPUT=ATTRIBUTE: an output that is scored, and its labels in the data; the first is the main one.",
        autocompletion=complete_target,
        rich_help_panel=DEVICE,
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Device (default: this machine); also several times; see edgegnn targets.",
        autocompletion=complete_target,
        rich_help_panel=DEVICE,
    ),
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Device; local is this machine; see edgegnn targets.",
        autocompletion=complete_target,
        rich_help_panel=DEVICE,
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="[USER@]HOST",
        help="Name, address or SSH alias of the device (default: the target's).",
        rich_help_panel=DEVICE,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="N",
        help="Port of its SSH server (default: as the SSH configuration says).",
        rich_help_panel=DEVICE,
    ),
]
Identity = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        metavar="KEY",
        help="File of the private key to use (default: as the SSH configuration says).",
        rich_help_panel=DEVICE,
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="NAME",
        help="onnxruntime or torchscript, for an artifact with both (default: its own).",
        rich_help_panel=DEVICE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=0,
        help="Intra-op threads; 0: one per core (default: the target's).",
        rich_help_panel=DEVICE,
    ),
]

# Output --------------------------------------------------------------------------------------------------------------

Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="onnx, torchscript, both, c: C without a runtime, too, or web: that, and a page that runs it in a browser "
        "(default: onnx; torchscript if ONNX can't express the model).",
        rich_help_panel=OUTPUT,
    ),
]
ConstantGraph = Annotated[
    bool,
    typer.Option(
        "--constant-graph",
        help="Bake the graph's edges into the model, which then takes x alone.",
        rich_help_panel=OUTPUT,
    ),
]
MaxNodes = Annotated[
    int | None,
    typer.Option(
        "--max-nodes",
        metavar="N",
        min=1,
        help="Refuse larger graphs, and take one at a time (default: the model's).",
        rich_help_panel=OUTPUT,
    ),
]
MaxEdges = Annotated[
    int | None,
    typer.Option(
        "--max-edges",
        metavar="N",
        min=1,
        help="With --format c or web: the most edges of a graph; --max-nodes is the most nodes then.",
        rich_help_panel=OUTPUT,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.", rich_help_panel=OUTPUT)]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.", rich_help_panel=OUTPUT)]
