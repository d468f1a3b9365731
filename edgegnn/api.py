"""The public functions: what the commands of the same names do.

train ──▶ model.pt ──compress──▶ small.pt ──export──▶ artifact/ ──profile──▶ profiles/<target>/<artifact>.json
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegnn.errors import EdgeGNNError, UsageError
from edgegnn.utils.model_copies import copied

if TYPE_CHECKING:
    from edgegnn.checkpoint import Checkpoint
    from edgegnn.compression.compress import Compressed
    from edgegnn.exporting.pipeline import ExportResult
    from edgegnn.runtime import VerifyReport
    from edgegnn.tasks import Task
    from edgegnn.training import EpochLog

__all__ = ["compress", "export", "inspect", "load", "train", "verify"]

Progress = Callable[["EpochLog"], None]


def load(
    path: str | Path,
    *,
    factory: str | None = None,
    factory_args: dict[str, Any] | None = None,
    allow_import: bool = False,
    unsafe_pickle: bool = False,
) -> Checkpoint:
    """Open a model file.

    Args:
        path: a checkpoint, a bare state_dict (with `factory`), or a `.pt2` program.
        factory: "package.module:function" that builds the module.
        factory_args: its arguments.
        allow_import: allow the import of a factory that the file names.
        unsafe_pickle: open pickled modules too, which can run any code.

    Raises:
        CheckpointError: not a model file, damaged, newer, unsafe, or it does not fit its module.

    Examples:
        >>> checkpoint = edgegnn.load("model.pt")
        >>> checkpoint.metrics["test"]
        0.815
    """
    from edgegnn.compression.model_source import ModelSource

    source = ModelSource(factory, factory_args, allow_import, unsafe_pickle)
    source.check(path)
    return source.load(path)


def inspect(
    path: str | Path,
    *,
    factory: str | None = None,
    factory_args: dict[str, Any] | None = None,
    allow_import: bool = False,
    unsafe_pickle: bool = False,
) -> dict[str, Any]:
    """Describe a model file or an artifact: sizes, recipe, accuracy, what stayed float and why.

    Args:
        path: a model file, or the folder or zip of an artifact; nothing in it is run.
        factory: "package.module:function" that builds the module, for a bare state_dict.
        factory_args: its arguments.
        allow_import: allow the import of a factory that the file names.
        unsafe_pickle: open pickled modules too, which can run any code.

    Returns:
        What `edgegnn inspect --json` prints: values that JSON can hold.

    Raises:
        CheckpointError, ArtifactError: neither of these, damaged, newer or unsafe.
    """
    from edgegnn.compression.model_source import ModelSource

    ModelSource(factory, factory_args, allow_import, unsafe_pickle).check(path)

    from edgegnn.exporting.inspection import describe  # only now: importing torch takes seconds

    return describe(
        Path(path),
        factory=factory,
        factory_args=factory_args,
        allow_import=allow_import,
        unsafe_pickle=unsafe_pickle,
    )


def train(
    model: str,
    data: str,
    *,
    output: str | Path | None = None,
    split: str | None = None,
    split_seed: int = 0,
    data_root: Path | None = None,
    node_attributes: bool | None = None,
    quant: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    one_hot: bool = False,
    transforms: Sequence[str] = (),
    architecture: dict[str, Any] | None = None,
    factory_args: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a model of the zoo, or your own, and, with `output`, save it.

    Args:
        model: a name of `edgegnn.models.names()`, or "package.module:function" that builds your own.
        data: a data set's name, or the path of a data file.
        output: where to save the checkpoint.
        split: which split; "file:PATH" for one in a file (`edgegnn.tasks.split_file`); None for the data set's own.
        split_seed: seed of splits that are drawn.
        data_root: folder of the data sets.
        node_attributes: use the attributes of a TU data set's nodes as features too; None: as the model usually does.
        quant: a recipe that trains ("dq-int8"), to train with it from scratch.
        task: one of `edgegnn.tasks.TASKS`, "link-prediction" say; None for what the labels of the data are for.
        metric: what the model is judged by; None for the data set's own.
        one_hot: the features are categories, each of which becomes a column.
        transforms: what prepares each graph first (`edgegnn.tasks.user_transforms`).
        architecture: hidden, layers, heads, dropout, pool_ratio; None values for the model's defaults.
        factory_args: arguments of the function that builds your own model.
        settings: fields of `FitConfig` (epochs, lr, weight_decay, batch_size, seed, ...); None values for the defaults.
        force: replace `output`.
        progress: called after each epoch.

    Raises:
        UsageError, DataError, TrainError, CheckpointError
    """
    from edgegnn.compression.model_source import DataSource, training_recipe
    from edgegnn.compression.new_model import check_new
    from edgegnn.tasks.catalog import check_labels, check_metric
    from edgegnn.training.config import check_settings, fit_defaults
    from edgegnn.utils.files import check_free, check_room

    if output is not None:
        check_free(Path(output), force=force)
    chosen = training_recipe(quant)
    task = check_new(model, task, architecture, factory_args)
    DataSource(data, task, split, split_seed, data_root, transforms=tuple(transforms)).check()
    check_labels(task, "a model is trained by its labels", "name a task whose labels the data have")
    check_metric(metric)
    check_settings(settings)

    import torch  # only now: what is wrong with the request was said at once

    from edgegnn.checkpoint import Checkpoint, history_step, least_bytes, save_checkpoint
    from edgegnn.compression.model_source import split_facts
    from edgegnn.compression.new_model import new_model
    from edgegnn.quantize import finetune
    from edgegnn.tasks import all_metrics
    from edgegnn.training import fit

    asked: dict[str, Any] = {"split": split, "seed": split_seed, "root": data_root, "task": task, "metric": metric}
    asked |= {"one_hot": one_hot, "transforms": tuple(transforms)}
    work = _load_features(model, data, node_attributes, asked)
    config = fit_defaults(work.spec.kind, model=model, data=work.spec.data, **(settings or {}))
    torch.manual_seed(config.seed)
    new = new_model(model, work, architecture, factory_args)
    module, work = new.module, new.task
    if output is not None:
        check_room(Path(output), least_bytes(module))
    if chosen is None:
        result = fit(module, work, config, progress=progress)
    else:
        module, result = finetune(module, work, chosen, config, progress=progress)
    checkpoint = Checkpoint(
        module,
        new.source,
        work.spec,
        dataclasses.asdict(config),
        [
            history_step(
                "train",
                config,
                result,
                recipe=chosen.name if chosen else "none",
                trained_on=split_facts(work),
                **work.facts,
            )
        ],
        all_metrics(module, work, result.val_metric),
    )
    if output is not None:
        save_checkpoint(checkpoint, Path(output), force=force)
    return checkpoint


def export(
    model: str | Path | Checkpoint,
    *,
    quant: str | None = None,
    output: str | Path | None = None,
    data: str | None = None,
    task: str | None = None,
    inputs: dict[str, str] | None = None,
    transforms: Sequence[str] = (),
    state: dict[str, str] | None = None,
    split: str | None = None,
    split_seed: int = 0,
    data_root: Path | None = None,
    factory: str | None = None,
    factory_args: dict[str, Any] | None = None,
    allow_import: bool = False,
    unsafe_pickle: bool = False,
    settings: dict[str, Any] | None = None,
    min_agreement: float | None = None,
    max_accuracy_drop: float | None = None,
    constant_graph: bool = False,
    max_nodes: int | None = None,
    max_edges: int | None = None,
    samples: int | None = None,
    thorough: bool = False,
    targets: Sequence[str] = (),
    format: str | None = None,
    force: bool = False,
    command: str = "",
    progress: Progress | None = None,
    status: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Quantize a trained model, export it, and prove that it computes what PyTorch computes.

    Args:
        model: a checkpoint, a bare state_dict (with `factory`), a `.pt2` program, or a loaded `Checkpoint`.
        quant: name of a recipe, or path of a recipe's JSON file; None for what the model was trained with, else "none".
        output: the artifact's folder (a name ending in .zip makes an archive); None for ./<model>-<recipe>.
        data: data set or data file; None for the checkpoint's own.
        task: one of `edgegnn.tasks.TASKS`; None for the checkpoint's own, or what the labels of `data` are for.
        inputs: of the model's forward, name -> role ("node", "edge", "graph", "edges", "pairs", "batch") or the
            attribute of `data` that it is read from; None: told from the data.
        transforms: what prepares each graph first (`edgegnn.tasks.user_transforms`).
        state: of a recurrent model, name of an input -> name of the output that feeds it at the next call.
        split: which split of `data`; "file:PATH" for one in a file (`edgegnn.tasks.split_file`).
        split_seed: seed of a drawn split of `data`.
        data_root: folder of the data sets.
        factory: "package.module:function" that builds the module.
        factory_args: its arguments.
        allow_import: allow the import of a factory that the file names.
        unsafe_pickle: open pickled modules too, which can run any code.
        settings: fields of `FitConfig` for fine-tuning (epochs, lr, seed, ...).
        min_agreement: smallest share of equal predictions that is accepted.
        max_accuracy_drop: largest drop of the metric on the validation split, from the float model to the artifact, in
            points (hundredths; of an error, hundredths of the labels' standard deviation); None: 2.
        max_nodes: refuse larger graphs; None: as the model's modules say. Of format "c" or "web": the most nodes in C.
        max_edges: of format "c" or "web": the most edges of a graph in C.
        samples: how many graphs, nodes or pairs of the test split samples.npz has; None: as many as fit in 8 MB.
        thorough: hold the artifact to properties of the model, too: nodes in another order have the same answers, say.
        constant_graph: bake the edges of the data's one graph into the model (node tasks), which then takes `x` alone.
        targets: names of devices whose native kernels go into it; or OUTPUT=ATTRIBUTE: which labels score which output.
        format: "onnx", "torchscript", "both", "c" or "web"; None: ONNX, or TorchScript where there is no ONNX form.
        force: replace an artifact that is there.
        command: how the user asked for it, for the manifest; an artifact travels, so no secrets.
        progress: called after each epoch of fine-tuning.
        status: told in a few words what is being done.

    Raises:
        UsageError, CheckpointError, DataError, QuantizeError, ExportError: as their names say.
        ParityError: the artifact computes something else.
        TargetError: a target's file is damaged.
    """
    from edgegnn.compression.model_source import DataSource, ModelSource
    from edgegnn.exporting.destinations import destinations
    from edgegnn.exporting.early_checks import c_limits, check_format_name, check_output
    from edgegnn.quantize import recipe
    from edgegnn.tasks.catalog import UNLABELLED, WITHOUT_LABELS, check_labels, labels_of
    from edgegnn.training.config import check_settings

    wanted = recipe(quant) if quant is not None else None
    where = destinations([name for name in targets if "=" not in name], format)
    path = None if output is None else Path(output)
    if path is not None:
        check_output(path, force=force)
    check_format_name(format)
    limits = c_limits(where.format, max_nodes, max_edges)
    if limits is not None:
        max_nodes = None
    check_settings(settings)
    source = ModelSource(factory, factory_args, allow_import, unsafe_pickle)
    place = DataSource(
        data, task, split, split_seed, data_root, inputs or {}, state or {}, labels_of(targets), tuple(transforms)
    )
    source.check(model)
    place.check(model)
    if wanted is not None and wanted.trains and isinstance(model, (str, Path)):
        check_labels(task, f"{wanted.name} trains", WITHOUT_LABELS)

    from edgegnn.checkpoint import history_step  # only now: importing torch takes seconds
    from edgegnn.compression.compress import hold
    from edgegnn.compression.model_source import check_fits, finetune_config, open_model, recipe_for
    from edgegnn.exporting.building import check_traces
    from edgegnn.exporting.pipeline import export_checkpoint
    from edgegnn.exporting.randomness import check_repeats
    from edgegnn.exporting.request import input_names
    from edgegnn.exporting.samples import tensors_of
    from edgegnn.exporting.subgraphs import probe
    from edgegnn.quantize import finetune
    from edgegnn.tasks import all_metrics
    from edgegnn.tasks.heads import head_metrics

    checkpoint, work, stem = open_model(model, source, place)
    chosen = recipe_for(checkpoint, wanted)
    reference = None
    if path is None:
        path = Path(f"{stem}-{chosen.name}" if chosen.name != "none" else f"{stem}-fp32")
        check_output(path, force=force)
    check_fits(checkpoint, work)
    if chosen.trains and checkpoint.recipe is None:
        if not work.spec.labelled:
            check_labels(UNLABELLED, f"{chosen.name} trains", WITHOUT_LABELS)
        names = input_names(checkpoint.model, work)
        check_repeats(checkpoint.model, tensors_of(probe(work, names)))  # before minutes of training
        check_traces(checkpoint.model, work, max_nodes)
        status(f"fine-tuning with {chosen.name}")
        config = finetune_config(checkpoint, work, settings or {})
        reference = checkpoint.model
        # A copy: the caller may have loaded the checkpoint, and go on with it.
        checkpoint = dataclasses.replace(checkpoint, model=copied(checkpoint.model))
        module, result = finetune(
            checkpoint.model,  # type: ignore[arg-type]
            work,
            chosen,
            config,
            progress=progress,
            after_step=hold(checkpoint),
        )
        checkpoint = dataclasses.replace(
            checkpoint,
            model=module,
            task=work.spec,
            history=[
                *checkpoint.history,
                history_step("quantize", config, result, recipe=chosen.name, caveat=work.caveat),
            ],
            metrics=all_metrics(module, work, result.val_metric) | head_metrics(module, work),
        )
    return export_checkpoint(
        checkpoint,
        work,
        chosen,
        path,
        force=force,
        min_agreement=min_agreement,
        max_accuracy_drop=max_accuracy_drop,
        reference=reference,
        constant_graph=constant_graph,
        max_nodes=max_nodes,
        c_limits=limits,
        samples=samples,
        thorough=thorough,
        machines=where.machines,
        small=where.small,
        format=where.format,
        command=command,
        status=status,
    )


def compress(
    model: str | Path | Checkpoint,
    *,
    prune: str | None = None,
    sparsity: float | None = None,
    quant: str | None = None,
    output: str | Path | None = None,
    schedule: str = "one-shot",
    variant: str | None = None,
    finetune: bool = True,
    data: str | None = None,
    task: str | None = None,
    inputs: dict[str, str] | None = None,
    transforms: Sequence[str] = (),
    split: str | None = None,
    split_seed: int = 0,
    data_root: Path | None = None,
    factory: str | None = None,
    factory_args: dict[str, Any] | None = None,
    allow_import: bool = False,
    unsafe_pickle: bool = False,
    settings: dict[str, Any] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    status: Callable[[str], None] = lambda _: None,
) -> Compressed:
    """Prune a trained model, quantize it by training, or both in this order; with `output`, save it.

    Args:
        model: a checkpoint, a bare state_dict (with `factory`), or a loaded `Checkpoint`, which is not changed.
        prune: "fine-grained", "global", "regularized", "structured" or "edges"; None to quantize only.
        sparsity: share that goes, in [0, 1).
        quant: a recipe that trains ("dq-int8"); None to prune only.
        output: where to save the checkpoint.
        schedule: "one-shot" or "gradual" (fine-grained and global).
        variant: of "regularized": "l1", "group-norm" or "growing".
        finetune: train after pruning.
        data: data set or data file; None for the checkpoint's own.
        task: one of `edgegnn.tasks.TASKS`; None for the checkpoint's own, or what the labels of `data` are for.
        inputs: of the model's forward, name -> role ("node", "edge", "graph", "edges", "pairs", "batch") or the
            attribute of `data` that it is read from; None: told from the data.
        transforms: what prepares each graph first (`edgegnn.tasks.user_transforms`).
        split: which split of `data`; "file:PATH" for one in a file (`edgegnn.tasks.split_file`).
        split_seed: seed of a drawn split of `data`.
        data_root: folder of the data sets.
        factory: "package.module:function" that builds the module.
        factory_args: its arguments.
        allow_import: allow the import of a factory that the file names.
        unsafe_pickle: open pickled modules too, which can run any code.
        settings: fields of `FitConfig` for fine-tuning (epochs, lr, seed, ...).
        force: replace `output`.
        progress: called after each epoch.
        status: told in a few words what is being done.

    Raises:
        UsageError, CheckpointError, DataError, PruneError, QuantizeError, TrainError: as their names say.
    """
    from edgegnn.compression.model_source import DataSource, ModelSource
    from edgegnn.compression.request import check_compression
    from edgegnn.tasks.catalog import check_labels
    from edgegnn.utils.files import check_free

    sparsities = [sparsity] if sparsity is not None else []
    check_compression(sparsities, prune, quant, schedule, variant, finetune, settings)
    if output is not None:
        check_free(Path(output), force=force)
    source = ModelSource(factory, factory_args, allow_import, unsafe_pickle)
    place = DataSource(data, task, split, split_seed, data_root, inputs or {}, transforms=tuple(transforms))
    source.check(model)
    place.check()
    check_labels(task, "what compression costs is told by labels", "name a task whose labels the data have")

    from edgegnn.compression.sweep import sweep as run  # only now: importing torch takes seconds

    outcomes = run(
        model,
        sparsities,
        prune=prune,
        quant=quant,
        output=output,
        schedule=schedule,
        variant=variant,
        finetune=finetune,
        settings=settings,
        force=force,
        progress=progress,
        status=status,
        dense=False,
        source=source,
        data=place,
    )
    outcome = next(outcomes)
    if isinstance(outcome, EdgeGNNError):
        raise outcome
    return outcome


def verify(artifact: str | Path, *, runtime: str | None = None) -> VerifyReport:
    """Prove an artifact against its own samples; the report's `ok` says whether it holds.

    Args:
        artifact: its folder or zip.
        runtime: "onnxruntime" or "torchscript", for an artifact with a model for both; None: as its manifest says.

    Raises:
        ArtifactError: it can't be opened at all (not an artifact, damaged, newer).
    """
    from edgegnn.plain_c.proof import verify as run

    return run(Path(artifact), runtime=runtime)


# ---------------------------------------------------------------------------------------------------------------------


def _load_features(model: str, data: str, wanted: bool | None, asked: dict[str, Any]) -> Task:
    """The task, with node attributes where they are wanted, or usual for the model and there."""
    from edgegnn.compression.new_model import is_factory
    from edgegnn.models import check_model
    from edgegnn.tasks import load_task
    from edgegnn.tasks.datasets import NoAttributesError
    from edgegnn.tasks.loading import with_attributes

    if wanted or (wanted is None and not is_factory(model) and check_model(model).with_attributes):
        try:
            return load_task(with_attributes(data), **asked)
        except (NoAttributesError, UsageError):  # the usage error: not a data set that could have any
            if wanted:
                raise
    return load_task(data, **asked)
