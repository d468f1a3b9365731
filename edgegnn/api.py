"""The public functions: what the commands of the same names do.

train ──▶ model.pt ──export──▶ artifact/ ──profile──▶ profiles/<target>/<artifact>.json
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegnn.errors import CheckpointError, DataError, QuantizeError, UsageError

if TYPE_CHECKING:
    from edgegnn.checkpoint import Checkpoint
    from edgegnn.export.flow import ExportResult
    from edgegnn.quantize import Recipe
    from edgegnn.runtime import VerifyReport
    from edgegnn.tasks import Task
    from edgegnn.train import EpochLog, FitConfig

__all__ = ["export", "load", "train", "verify"]

Progress = Callable[["EpochLog"], None]


def load(path: str | Path, **options: Any) -> Checkpoint:
    """Open a model file; options as in `edgegnn.checkpoint.load_checkpoint`.

    Raises:
        CheckpointError: not a model file, damaged, newer, unsafe, or it does not fit its module.
    """
    from edgegnn.checkpoint import load_checkpoint

    return load_checkpoint(Path(path), **options)


def train(
    model: str,
    data: str,
    *,
    output: str | Path | None = None,
    split: str | None = None,
    split_seed: int = 0,
    data_root: Path | None = None,
    quant: str | None = None,
    architecture: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Checkpoint:
    """Train a model of the zoo and, with `output`, save it.

    Args:
        model: "gcn", "gat", "gin" or "sage".
        data: a data set's name, or the path of a data file.
        output: where to save the checkpoint.
        split: which split; None for the data set's own.
        split_seed: seed of splits that are drawn.
        data_root: folder of the data sets.
        quant: a recipe that trains ("dq-int8"), to train with it from scratch.
        architecture: hidden, layers, heads, dropout; None values for the model's defaults.
        settings: fields of `FitConfig` (epochs, lr, weight_decay, batch_size, seed, ...); None values for the defaults.
        force: replace `output`.
        progress: called after each epoch.

    Raises:
        UsageError, DataError, TrainError, CheckpointError
    """
    import torch

    from edgegnn.checkpoint import Checkpoint, save_checkpoint
    from edgegnn.files import check_free
    from edgegnn.models import build
    from edgegnn.models import defaults as architecture_defaults
    from edgegnn.quantize import finetune
    from edgegnn.tasks import evaluate, load_task
    from edgegnn.train import fit, fit_defaults

    if output is not None:
        check_free(Path(output), force=force)
    chosen = _training_recipe(quant)
    task = load_task(data, split=split, seed=split_seed, root=data_root)
    given = {k: v for k, v in (architecture or {}).items() if v is not None}
    config = fit_defaults(task.spec.kind, model=model, data=task.spec.data, **(settings or {}))
    arguments = {
        "in_channels": task.spec.num_features,
        "out_channels": task.spec.num_classes,
        "kind": task.spec.kind,
        **architecture_defaults(model, task.spec.kind),
        **given,
    }
    torch.manual_seed(config.seed)
    module = build(model, **arguments)
    if chosen is None:
        result = fit(module, task, config, progress=progress)
    else:
        module, result = finetune(module, task, chosen, config, progress=progress)
    checkpoint = Checkpoint(
        module,
        {"zoo": model, "args": arguments},
        task.spec,
        dataclasses.asdict(config),
        [_step("train", chosen, config, result)],
        {"val": result.val_metric, "test": evaluate(module, task, "test")},
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
    split: str | None = None,
    split_seed: int = 0,
    data_root: Path | None = None,
    factory: str | None = None,
    factory_args: dict[str, Any] | None = None,
    allow_import: bool = False,
    unsafe_pickle: bool = False,
    settings: dict[str, Any] | None = None,
    min_agreement: float | None = None,
    constant_graph: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    status: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Quantize a trained model, export it to ONNX, and prove that it computes what PyTorch computes.

    Args:
        model: a checkpoint, a bare state_dict (with `factory`), a `.pt2` program, or a loaded `Checkpoint`.
        quant: name of a recipe, or path of a recipe's JSON file; None for what the model was trained with, else "none".
        output: the artifact's folder (a name ending in .zip makes an archive); None for ./<model>-<recipe>.
        data: data set or data file; None for the checkpoint's own.
        split: which split of `data`.
        split_seed: seed of a drawn split of `data`.
        data_root: folder of the data sets.
        factory: "package.module:function" that builds the module.
        factory_args: its arguments.
        allow_import: allow the import of a factory that the file names.
        unsafe_pickle: open pickled modules too, which can run any code.
        settings: fields of `FitConfig` for fine-tuning (epochs, lr, seed, ...).
        min_agreement: smallest share of equal predictions that is accepted.
        constant_graph: bake the edges of the data's one graph into the model (node tasks), which then takes `x` alone.
        force: replace an artifact that is there.
        progress: called after each epoch of fine-tuning.
        status: told in a few words what is being done.

    Raises:
        UsageError, CheckpointError, DataError, QuantizeError, ExportError: as their names say.
        ParityError: the artifact computes something else.
    """
    from edgegnn.checkpoint import Checkpoint, load_checkpoint
    from edgegnn.export.artifact import check_output
    from edgegnn.export.flow import export_checkpoint
    from edgegnn.quantize import finetune, recipe
    from edgegnn.tasks import evaluate, load_task, restore_task

    wanted = recipe(quant) if quant is not None else None
    path = None if output is None else Path(output)
    if path is not None:
        check_output(path, force=force)
    task = load_task(data, split=split, seed=split_seed, root=data_root) if data is not None else None
    if isinstance(model, Checkpoint):
        checkpoint, stem = model, "model"
    else:
        stem = Path(model).stem
        checkpoint = load_checkpoint(
            Path(model),
            factory=factory,
            factory_args=factory_args,
            allow_import=allow_import,
            unsafe_pickle=unsafe_pickle,
            task=task.spec if task else None,
        )
    if task is None:
        if checkpoint.task is None:
            raise UsageError("the model file names no data set: give one with --data (a name, or a .pt file)")
        task = restore_task(checkpoint.task, root=data_root)
    chosen = _recipe_for(checkpoint, wanted)
    if path is None:
        path = Path(f"{stem}-{chosen.name}" if chosen.name != "none" else f"{stem}-fp32")
        check_output(path, force=force)
    _check_fits(checkpoint, task)
    if chosen.trains and checkpoint.recipe is None:
        status(f"fine-tuning with {chosen.name}")
        config = _finetune_config(checkpoint, task, settings or {})
        module, result = finetune(checkpoint.model, task, chosen, config, progress=progress)  # type: ignore[arg-type]
        checkpoint = dataclasses.replace(
            checkpoint,
            model=module,
            task=task.spec,
            history=[*checkpoint.history, _step("quantize", chosen, config, result)],
            metrics={"val": result.val_metric, "test": evaluate(module, task, "test")},
        )
    return export_checkpoint(
        checkpoint,
        task,
        chosen,
        path,
        force=force,
        min_agreement=min_agreement,
        constant_graph=constant_graph,
        command=shlex.join(["edgegnn", *sys.argv[1:]]),
        status=status,
    )


def verify(artifact: str | Path) -> VerifyReport:
    """Prove an artifact against its own samples; the report's `ok` says whether it holds.

    Raises:
        ArtifactError: it can't be opened at all (not an artifact, damaged, newer).
    """
    from edgegnn.runtime import verify as run

    return run(Path(artifact))


# ---------------------------------------------------------------------------------------------------------------------


def _training_recipe(quant: str | None) -> Recipe | None:
    from edgegnn.quantize import recipe

    if quant is None or quant == "none":
        return None
    chosen = recipe(quant)
    if not chosen.trains:
        raise UsageError(
            f"{quant} quantizes after training: train without --quant, then `edgegnn export --quant {quant}`"
        )
    return chosen


def _recipe_for(checkpoint: Checkpoint, wanted: Recipe | None) -> Recipe:
    """The recipe to export with, given what the model was trained with."""
    from torch.export import ExportedProgram

    from edgegnn.quantize import recipe

    trained = checkpoint.recipe
    if trained is not None:
        if wanted is not None and wanted != trained:
            raise QuantizeError(
                f"the model was trained with {trained.name}, so it can't be exported with {wanted.name}: "
                f"leave --quant out, or start from the float model"
            )
        return trained
    chosen = wanted or recipe("none")
    if chosen.trains and isinstance(checkpoint.model, ExportedProgram):
        raise QuantizeError(
            f"{chosen.name} trains, and a .pt2 program can't be trained: use none, dynamic-int8 or static-int8, "
            "or give a state_dict with --factory"
        )
    return chosen


def _check_fits(checkpoint: Checkpoint, task: Task) -> None:
    """One forward on a real graph before anything is trained or written."""
    from edgegnn.export.flow import input_names
    from edgegnn.export.parity import torch_outputs
    from edgegnn.export.samples import Sample, example_inputs
    from edgegnn.tasks import collate

    names = input_names(checkpoint.model, task)
    data = task.graphs[0] if task.spec.kind == "node" else collate(task.graphs[:1])
    inputs = example_inputs(names, data)
    logits = torch_outputs(checkpoint.model, [Sample(task.spec.data, "data", inputs)])[0]
    rows = int(data.num_nodes) if task.spec.kind == "node" else 1
    if logits.shape[0] != rows or logits.shape[1] < task.spec.num_classes:
        raise DataError(
            f"the model gives logits of shape {list(logits.shape)} for {task.spec.data}, which needs [{rows}, "
            f"{task.spec.num_classes}]: is it a model for this {task.spec.kind} task?"
        )


def _finetune_config(checkpoint: Checkpoint, task: Task, settings: dict[str, Any]) -> FitConfig:
    """The settings of the float training, with a tenth of its learning rate and a quarter of its epochs."""
    from edgegnn.train import FitConfig, fit_defaults

    known = {f.name for f in dataclasses.fields(FitConfig)}
    try:
        base = FitConfig(**{k: v for k, v in checkpoint.training.items() if k in known})
    except TypeError as error:
        raise CheckpointError(f"the checkpoint's training settings are damaged: {error}") from error
    if not checkpoint.training:
        base = fit_defaults(task.spec.kind, data=task.spec.data)
    epochs = max(10, base.epochs // 4)
    base = dataclasses.replace(base, epochs=epochs, lr=base.lr / 10, halve_lr_every=None, patience=None)
    return dataclasses.replace(base, **{k: v for k, v in settings.items() if v is not None})


def _step(what: str, recipe: Recipe | None, config: FitConfig, result: Any) -> dict[str, Any]:
    return {
        "step": what,
        "recipe": recipe.name if recipe else "none",
        "settings": dataclasses.asdict(config),
        "best_epoch": result.best_epoch,
        "epochs_run": result.epochs_run,
        "val_loss": result.val_loss,
        "val_metric": result.val_metric,
        "seconds": round(result.seconds, 2),
    }
