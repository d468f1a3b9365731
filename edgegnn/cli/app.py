"""The command line: parse, call, print. Heavy imports stay inside the commands, so that `--help` is instant."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgegnn import __version__
from edgegnn.cli.devices import Compare, FailAbove, Host, Identity, Port, baseline, compared, ship
from edgegnn.cli.devices import targets as targets_app
from edgegnn.cli.options import (
    RECIPES,
    AllowImport,
    BatchSize,
    ConstantGraph,
    Data,
    DataRoot,
    Distill,
    EarlyStop,
    Epochs,
    Factory,
    FactoryArgs,
    Force,
    Format,
    Json,
    KernelTargets,
    Lr,
    MaxAccuracyDrop,
    MaxNodes,
    Metric,
    MinAgreement,
    NodeAttributes,
    NoFinetune,
    OneHot,
    Patience,
    PoolRatio,
    Prune,
    Samples,
    Schedule,
    Seed,
    Sparsity,
    Split,
    SplitFile,
    SplitSeed,
    TargetBits,
    Task,
    Thorough,
    TrainedQuant,
    UnsafePickle,
    Variant,
    WeightDecay,
    data_source,
    json_object,
    model_source,
    quant_of,
    settings_of,
    split_of,
)
from edgegnn.cli.quickstart import quickstart
from edgegnn.cli.report import report
from edgegnn.cli.study import study as study_app
from edgegnn.cli.tune import tune
from edgegnn.errors import EdgeGNNError, UsageError

__all__ = ["app"]

app = typer.Typer(
    name="edgegnn",
    help="Put a trained graph neural network on an edge device: compress, export, verify, measure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    model: Annotated[str, typer.Argument(help="gcn, gat, gin, sage, spline, transformer, hgpsl or ness.")],
    data: Annotated[
        str, typer.Argument(help="cora, tu:ENZYMES, molnet:ESOL, zinc, ... or a .pt or .csv file.", metavar="DATA")
    ] = "",
    data_file: Annotated[str | None, typer.Option("--data", help="The same, as an option.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to save the model.")] = Path("model.pt"),
    quant: Annotated[
        str | None, typer.Option("--quant", help="Train with this quantization from scratch: qat-int8, dq-int8, ...")
    ] = None,
    target_bits: TargetBits = None,
    hidden: Annotated[int | None, typer.Option("--hidden", help="Width of a hidden layer (of one head).")] = None,
    layers: Annotated[int | None, typer.Option("--layers", help="Number of convolutions.")] = None,
    heads: Annotated[int | None, typer.Option("--heads", help="Attention heads.")] = None,
    dropout: Annotated[float | None, typer.Option("--dropout", help="Dropout probability.")] = None,
    pool_ratio: PoolRatio = None,
    node_attributes: NodeAttributes = None,
    task: Task = None,
    metric: Metric = None,
    one_hot: OneHot = False,
    split: Split = None,
    split_file: SplitFile = None,
    split_seed: SplitSeed = 0,
    data_root: DataRoot = None,
    epochs: Epochs = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    patience: Patience = None,
    early_stop: EarlyStop = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train a model of the zoo and save the epoch with the lowest validation loss.

    Example: edgegnn train gcn cora -o model.pt
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
            split=split_of(split, split_file),
            split_seed=split_seed,
            data_root=data_root,
            node_attributes=node_attributes,
            quant=quant_of(quant, target_bits),
            architecture=architecture,
            settings=settings,
            force=force,
            progress=progress,
        )
    summaries.trained(checkpoint, output, as_json)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="model.pt, a state_dict (with --factory), or a .pt2 program.")],
    quant: Annotated[str | None, typer.Option("--quant", help=f"How to quantize: {RECIPES}.")] = None,
    target_bits: TargetBits = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The artifact (default: ./<model>-<recipe>/; .zip for an archive)."),
    ] = None,
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
    epochs: Epochs = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    patience: Patience = None,
    early_stop: EarlyStop = None,
    seed: Seed = 0,
    min_agreement: MinAgreement = None,
    max_accuracy_drop: MaxAccuracyDrop = None,
    constant_graph: ConstantGraph = False,
    max_nodes: MaxNodes = None,
    samples: Samples = None,
    thorough: Thorough = False,
    target: KernelTargets = None,
    format: Format = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Quantize a trained model and write a verified artifact.

    QAT and Degree-Quant recipes fine-tune first (--epochs, --lr). The artifact is compared with the PyTorch model
    before the command succeeds.

    Examples:
        edgegnn export --quant dq-int8 model.pt

        edgegnn export --quant dq-int8 --target rpi model.pt

        edgegnn export weights.pt --factory mymodels:build --data data.pt --quant dq-int8
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
            samples=samples,
            thorough=thorough,
            targets=target or (),
            format=format,
            force=force,
            command=shlex.join(["edgegnn", *sys.argv[1:]]),
            progress=progress,
            status=progress.status,
        )
    summaries.exported(result, as_json)


@app.command()
def compress(
    model: Annotated[Path, typer.Argument(help="model.pt, or a state_dict (with --factory).")],
    prune: Prune = None,
    sparsity: Sparsity = None,
    quant: TrainedQuant = None,
    target_bits: TargetBits = None,
    schedule: Schedule = "one-shot",
    variant: Variant = None,
    no_finetune: NoFinetune = False,
    distill: Distill = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to save it (default: small.pt); of a range: 'small-{sparsity}.pt'."),
    ] = None,
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
    epochs: Epochs = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    patience: Patience = None,
    early_stop: EarlyStop = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Prune a trained model and fine-tune it; with --quant, train it for integers as well.

    A range of sparsities prints a table; it saves models only with -o, and chooses none.

    Examples:
        edgegnn compress model.pt --prune global --sparsity 0.5 --quant dq-int8 -o small.pt

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
    chosen = data_source(data, task, split, split_file, split_seed, data_root)

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


@app.command()
def verify(
    artifact: Annotated[Path, typer.Argument(help="The artifact: a folder or a .zip.")],
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", help="onnxruntime or torchscript, for an artifact with both (default: its own)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove an artifact against its own samples; exit 1 when it does not hold.

    Example: edgegnn verify model-dq-int8
    """
    from edgegnn import api
    from edgegnn.cli.render import summaries

    report = api.verify(artifact, runtime=runtime)
    summaries.verified(report, artifact, as_json)
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
    from edgegnn import api
    from edgegnn.cli.render import summaries

    description = api.inspect(
        path,
        factory=factory,
        factory_args=json_object("--factory-args", factory_args),
        allow_import=allow_import,
        unsafe_pickle=unsafe_pickle,
    )
    summaries.described(description, as_json, explain=explain)


@app.command()
def profile(
    artifacts: Annotated[
        list[Path] | None, typer.Argument(metavar="[ARTIFACT]...", help="The artifacts (default: the newest one here).")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="Device (default: this machine); also several times; see edgegnn targets."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=0, help="Intra-op threads; 0: one per core (default: the target's).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short windows: for a first look, not for a report.")] = False,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", help="onnxruntime or torchscript, for an artifact with both (default: its own)."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the records.")] = Path("profiles"),
    compare: Compare = None,
    fail_above: FailAbove = None,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    as_json: Json = False,
) -> None:
    """Measure latency, memory, CPU, energy and accuracy of an artifact in a fresh process.

    The record goes to profiles/<target>/<artifact>.json.

    Several devices are measured side by side; a pair of artifact and device that fails stops no other.

    Examples:
        edgegnn profile --quick model-dq-int8

        edgegnn profile --target rpi --target x86 model-*

        edgegnn profile --compare profiles/x86/model.json --fail-above 5% model
    """
    from edgegnn.cli.render import devices, summaries
    from edgegnn.devices import load_target
    from edgegnn.devices.connection import at
    from edgegnn.profiling import newest_artifact
    from edgegnn.profiling import profile as run
    from edgegnn.profiling.parallel import profile_all

    chosen = artifacts or [newest_artifact(Path.cwd())]
    found = {t.name: t for t in map(load_target, target or ["local"])}
    if (host or port or identity) and len(found) > 1:
        raise UsageError("--host, --port and --identity are for one --target: put them into the files of the targets")
    where = [at(t, host=host, port=port, identity=identity) for t in found.values()]
    old, limit = baseline(compare, fail_above, len(chosen) * len(where))
    options: dict[str, Any] = {"quick": quick, "threads": threads, "runtime": runtime, "out": output}
    if len(chosen) == len(where) == 1:
        with summaries.measuring(f"profiling {chosen[0].name}") as status:
            record = run(chosen[0], target=where[0], progress=status, keep=compare, **options)
        if old is not None:
            compared(old, record, limit, as_json)
            return
        summaries.profiled(record, as_json)
        return
    with devices.measuring_all([t.name for t in where]) as tell:
        pairs = profile_all(chosen, where, progress=tell, **options)
    devices.profiled_all(pairs, as_json)
    if any(pair.error is not None for pair in pairs):
        raise typer.Exit(1)


app.add_typer(targets_app)
app.add_typer(study_app)
app.command()(ship)
app.command()(report)
app.command()(tune)
app.command()(quickstart)
