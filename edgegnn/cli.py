"""The command line: parse, call, print. Heavy imports stay inside the commands, so that `--help` is instant."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from edgegnn import __version__
from edgegnn.errors import EdgeGNNError, UsageError, first_line

app = typer.Typer(
    name="edgegnn",
    help="Put a trained graph neural network on an edge device: compress, export, verify, measure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RECIPES = "none, dynamic-int8, static-int8, qat-int8, qat-int4, dq-int8, dq-int4, or a recipe's .json file"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Data = Annotated[
    str | None, typer.Option("--data", help="Data set, or a .pt file with PyG Data (default: the model's own).")
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder of the data sets (default: $EDGEGNN_DATA, else the user's cache)."),
]
Split = Annotated[
    str | None, typer.Option("--split", help="public, full, stratified, scaffold, random, fold:K or given.")
]
SplitSeed = Annotated[int, typer.Option("--split-seed", help="Seed of a split that is drawn.")]
Factory = Annotated[
    str | None, typer.Option("--factory", metavar="MODULE:FUNCTION", help="Builds the module of a bare state_dict.")
]
FactoryArgs = Annotated[
    str | None, typer.Option("--factory-args", metavar="JSON", help="The factory's arguments: '{\"hidden\": 64}'.")
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
Seed = Annotated[int, typer.Option("--seed", help="Seed of training.")]
Target = Annotated[str, typer.Option("--target", help="Device (default: this machine); see edgegnn targets.")]


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
    """Put a trained graph neural network on an edge device: compress, export, verify, measure."""
    if debug:
        os.environ["EDGEGNN_DEBUG"] = "1"


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="gcn, gat, gin or sage.")],
    data: Annotated[
        str, typer.Argument(help="cora, digits, tu:ENZYMES, molnet:BBBP, ... or a .pt file.", metavar="DATA")
    ] = "",
    data_file: Annotated[str | None, typer.Option("--data", help="The same, as an option.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to save the model.")] = Path("model.pt"),
    quant: Annotated[
        str | None, typer.Option("--quant", help="Train with this quantization from scratch: qat-int8, dq-int8, ...")
    ] = None,
    hidden: Annotated[int | None, typer.Option("--hidden", help="Width of a hidden layer (of one head).")] = None,
    layers: Annotated[int | None, typer.Option("--layers", help="Number of convolutions.")] = None,
    heads: Annotated[int | None, typer.Option("--heads", help="Attention heads.")] = None,
    dropout: Annotated[float | None, typer.Option("--dropout", help="Dropout probability.")] = None,
    split: Split = None,
    split_seed: SplitSeed = 0,
    data_root: DataRoot = None,
    epochs: Epochs = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    patience: Patience = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a model of the zoo and save the epoch with the lowest validation loss.

    Example: edgegnn train gcn cora -o model.pt
    """
    from edgegnn import api, show

    name = data_file or data
    if not name or (data_file and data):
        raise UsageError("name one data set: edgegnn train gcn cora")
    settings = _settings(epochs, lr, weight_decay, batch_size, patience, seed)
    architecture = {"hidden": hidden, "layers": layers, "heads": heads, "dropout": dropout}
    with show.training(f"training {model} on {name}") as progress:
        checkpoint = api.train(
            model,
            name,
            output=output,
            split=split,
            split_seed=split_seed,
            data_root=data_root,
            quant=quant,
            architecture=architecture,
            settings=settings,
            force=force,
            progress=progress,
        )
    show.trained(checkpoint, output, as_json)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="model.pt, a state_dict (with --factory), or a .pt2 program.")],
    quant: Annotated[str | None, typer.Option("--quant", help=f"How to quantize: {RECIPES}.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The artifact (default: ./<model>-<recipe>/; .zip for an archive)."),
    ] = None,
    data: Data = None,
    split: Split = None,
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
    seed: Seed = 0,
    min_agreement: Annotated[
        float | None,
        typer.Option("--min-agreement", min=0.0, max=1.0, help="Accept this share of predictions equal to PyTorch's."),
    ] = None,
    constant_graph: Annotated[
        bool, typer.Option("--constant-graph", help="Bake the graph's edges into the model, which then takes x alone.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Quantize a trained model and write a verified artifact.

    QAT and Degree-Quant recipes fine-tune first (--epochs, --lr). The artifact is compared with the PyTorch model
    before the command succeeds.

    Examples:
        edgegnn export --quant dq-int8 model.pt

        edgegnn export weights.pt --factory mymodels:build --data data.pt --quant dq-int8
    """
    from edgegnn import api, show

    with show.training(f"fine-tuning {model.name}") as progress:
        result = api.export(
            model,
            quant=quant,
            output=output,
            data=data,
            split=split,
            split_seed=split_seed,
            data_root=data_root,
            factory=factory,
            factory_args=_object("--factory-args", factory_args),
            allow_import=allow_import,
            unsafe_pickle=unsafe_pickle,
            settings=_settings(epochs, lr, weight_decay, batch_size, patience, seed),
            min_agreement=min_agreement,
            constant_graph=constant_graph,
            force=force,
            progress=progress,
            status=progress.status,
        )
    show.exported(result, as_json)


@app.command()
def verify(
    artifact: Annotated[Path, typer.Argument(help="The artifact: a folder or a .zip.")],
    as_json: Json = False,
) -> None:
    """Prove an artifact against its own samples; exit 1 when it does not hold.

    Example: edgegnn verify model-dq-int8
    """
    from edgegnn import api, show

    report = api.verify(artifact)
    show.verified(report, artifact, as_json)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="model.pt, a .pt2 program, or an artifact.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Which rewrite rule applied to each aggregation, or why none did.")
    ] = False,
    factory: Factory = None,
    factory_args: FactoryArgs = None,
    allow_import: AllowImport = False,
    unsafe_pickle: UnsafePickle = False,
    as_json: Json = False,
) -> None:
    """Say what a model file or an artifact is: sizes, recipe, accuracy, what stayed float and why.

    Example: edgegnn inspect --explain model-dq-int8
    """
    from edgegnn import show
    from edgegnn.inspection import describe

    description = describe(
        path,
        factory=factory,
        factory_args=_object("--factory-args", factory_args),
        allow_import=allow_import,
        unsafe_pickle=unsafe_pickle,
    )
    show.described(description, as_json, explain=explain)


@app.command()
def profile(
    artifact: Annotated[Path | None, typer.Argument(help="The artifact (default: the newest one here).")] = None,
    target: Target = "local",
    threads: Annotated[
        int | None, typer.Option("--threads", min=0, help="Intra-op threads; 0: one per core (default: the target's).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short windows: for a first look, not for a report.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the records.")] = Path("profiles"),
    as_json: Json = False,
) -> None:
    """Measure latency, memory, CPU, energy and accuracy of an artifact in a fresh process.

    The record goes to profiles/<target>/<artifact>.json.

    Example: edgegnn profile --quick model-dq-int8
    """
    from edgegnn import show
    from edgegnn.profile import newest_artifact
    from edgegnn.profile import profile as run

    chosen = artifact if artifact is not None else newest_artifact(Path.cwd())
    with show.measuring(f"profiling {chosen.name}") as status:
        record = run(chosen, target=target, quick=quick, threads=threads, out=output, progress=status)
    show.profiled(record, as_json)


@app.command()
def targets(as_json: Json = False) -> None:
    """List the known devices: reachable, runtime found, native kernels, how energy would be read.

    Example: edgegnn targets
    """
    from edgegnn import show
    from edgegnn.profile import targets as known

    show.targets(known(), as_json)


@app.command()
def quickstart(
    data: Annotated[str, typer.Option("--data", help="digits (graphs) or digits-knn (nodes).")] = "digits",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything it makes.")] = Path(
        "edgegnn-quickstart"
    ),
    as_json: Json = False,
) -> None:
    """Train, export as fp32 and INT8, verify and profile both, on data that comes with the install.

    Example: edgegnn quickstart
    """
    from edgegnn import show
    from edgegnn.quickstart import run

    with show.training("quickstart") as progress:
        result = run(data, output, progress=progress, status=progress.status)
    show.quickstart(result, as_json)


def main() -> NoReturn:
    """Run the command line; an error on purpose becomes one line and its exit code."""
    try:
        code = app(standalone_mode=False)
    except EdgeGNNError as error:
        _fail(error, str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        exit_code = getattr(error, "exit_code", None)
        if exit_code is not None and hasattr(error, "format_message"):  # a usage error found by Typer
            _fail(error, error.format_message(), exit_code)
        if os.environ.get("EDGEGNN_DEBUG"):
            raise
        _fail(error, f"unexpected {type(error).__name__}: {first_line(error)} (a bug; --debug shows where)", 1)
    if code == 130:  # Typer turns Ctrl-C into this exit code
        typer.echo("edgegnn: interrupted: nothing half-written is left", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: BaseException, message: str, exit_code: int) -> NoReturn:
    if os.environ.get("EDGEGNN_DEBUG"):
        import traceback

        traceback.print_exception(error)
    line = " ".join(message.split())
    typer.echo(f"edgegnn: {line}", err=True)
    sys.exit(exit_code)


def _settings(
    epochs: int | None,
    lr: float | None,
    weight_decay: float | None,
    batch_size: int | None,
    patience: int | None,
    seed: int,
) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "lr": lr,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
    }


def _object(option: str, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{option} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f'{option} must be a JSON object, such as {{"hidden": 64}}')
    return value
