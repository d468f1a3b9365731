"""What the commands that change a model share: opening it with its task, its recipe, and how it is fine-tuned."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgegnn.compression.model_inputs import fit_inputs, one_graph, whole_numbered
from edgegnn.compression.model_outputs import fit_outputs
from edgegnn.compression.model_state import fit_state, with_first_state
from edgegnn.errors import CheckpointError, DataError, QuantizeError, UsageError, first_line
from edgegnn.tasks.catalog import check_data, check_split, check_task, check_transforms
from edgegnn.utils.files import check_plain
from edgegnn.utils.model_copies import copied

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from edgegnn.checkpoint import Checkpoint
    from edgegnn.quantize import Recipe
    from edgegnn.tasks import Task, TaskSpec
    from edgegnn.training import FitConfig

__all__ = [
    "DataSource",
    "ModelSource",
    "check_fits",
    "finetune_config",
    "fit_features",
    "open_model",
    "recipe_for",
    "split_facts",
    "training_recipe",
]

_OTHER_FLOATS = ("Double", "Half", "BFloat16", "double")
_CASTS = "; artifacts compute in float32: take .double() or .half() out of forward"
_LOOKS_UP = "; if forward looks up rows by a feature, save the feature as whole numbers (x.long()) in the data"


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """How a model file is opened.

    Attributes:
        factory: "package.module:function" that builds the module of a bare state_dict.
        factory_args: its arguments.
        allow_import: allow the import of a factory that the file names.
        unsafe_pickle: open pickled modules too, which can run any code.
    """

    factory: str | None = None
    factory_args: dict[str, Any] | None = None
    allow_import: bool = False
    unsafe_pickle: bool = False

    def check(self, path: str | Path | Checkpoint | None) -> None:
        """Refuse a file that is not there, or no name of a factory, before torch is imported; None is no file.

        Raises:
            CheckpointError: there is no such file.
            UsageError: the factory is not of the form package.module:function.
        """
        from edgegnn.checkpoint.factory_name import split_factory

        if isinstance(path, (str, Path)):
            if not Path(path).exists():
                raise CheckpointError(f"no such file: {path}")
            check_plain(Path(path), CheckpointError)
        if self.factory is not None:
            split_factory(self.factory)

    def load(self, path: str | Path, task: TaskSpec | None = None) -> Checkpoint:
        """Read a model file; `task` fills arguments of the factory where the file names none.

        Raises:
            CheckpointError: as of `edgegnn.checkpoint.load_checkpoint`.
        """
        from edgegnn.checkpoint import load_checkpoint

        return load_checkpoint(
            Path(path),
            factory=self.factory,
            factory_args=self.factory_args,
            allow_import=self.allow_import,
            unsafe_pickle=self.unsafe_pickle,
            task=task,
        )


@dataclasses.dataclass(frozen=True)
class DataSource:
    """Which data a model is trained, compared and measured on.

    Attributes:
        data: data set or data file; None for the checkpoint's own.
        task: one of `edgegnn.tasks.TASKS`; None for the checkpoint's own, or what the labels of `data` are for.
        split: which split of `data`; "file:PATH" for one in a file.
        split_seed: seed of a drawn split of `data`.
        data_root: folder of the data sets.
        inputs: of the model's forward, name -> role or the attribute of `data` that it is read from; {}: told from the
            data.
        state: of a recurrent model, name of an input -> name of the output that feeds it at the next call.
        labels: name of the output that is scored -> the attribute of `data` that has its labels; {}: the one that fits.
            The first one decides, those behind it are further heads (`edgegnn.tasks.heads`).
        transforms: what prepares each graph of `data` first (`edgegnn.tasks.user_transforms`); without data, which of
            the model's own may be imported.
    """

    data: str | None = None
    task: str | None = None
    split: str | None = None
    split_seed: int = 0
    data_root: Path | None = None
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    state: dict[str, str] = dataclasses.field(default_factory=dict)
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    transforms: tuple[str, ...] = ()

    def check(self, model: object = None) -> None:
        """Refuse unknown names and missing files before torch is imported.

        Args:
            model: what the data are for; an ONNX file needs none to be told what its inputs are.

        Raises:
            UsageError: an unknown data set, task or split, or a task without data.
            DataError: a data file that is not there, or rdkit is missing for molecules.
        """
        if self.task is not None and self.data is None:
            raise UsageError("--task says what --data is for: name a data set with it, or leave it out")
        onnx = isinstance(model, (str, Path)) and Path(model).suffix == ".onnx"
        if self.inputs and self.data is None and not onnx:
            raise UsageError("--input says what --data has for the model: name a data set with it, or leave it out")
        if self.labels and self.data is None:
            raise UsageError("--target OUTPUT=ATTRIBUTE says which labels of --data are meant: name a data set with it")
        check_transforms(self.transforms)
        check_task(self.task)
        check_split(self.split)
        if self.data is not None:
            check_data(self.data)

    @property
    def names_data_only(self) -> bool:
        """Whether data or transforms of a module are named, and nothing else is said: the user allows their import."""
        from edgegnn.tasks.catalog import object_name

        said = self.task or self.split or self.split_seed or self.inputs or self.state or self.labels
        module = self.data is not None and (object_name(self.data) is not None or bool(self.transforms))
        return module and not said

    def options(self) -> dict[str, Any]:
        """The fields as arguments of the public functions, which have the same names."""
        shared = [field.name for field in dataclasses.fields(self) if field.name not in ("state", "labels")]
        return {name: getattr(self, name) for name in shared}

    def load(self) -> Task | None:
        """Load the data; None where none are named.

        Raises:
            UsageError, DataError: as of `edgegnn.tasks.load_task`.
        """
        from edgegnn.tasks import load_task
        from edgegnn.tasks.heads import with_heads

        if self.data is None:
            return None
        task = load_task(
            self.data,
            split=self.split,
            seed=self.split_seed,
            root=self.data_root,
            task=self.task,
            inputs=self.inputs,
            label=next(iter(self.labels.values()), None),
            transforms=self.transforms,
        )
        return with_heads(task, dict(list(self.labels.items())[1:]), self.data)


def open_model(
    model: str | Path | Checkpoint,
    source: ModelSource = ModelSource(),
    data: DataSource = DataSource(),
) -> tuple[Checkpoint, Task, str]:
    """A model, the task that is named or its own (on the pruned graph of the model), and the stem of its file name.

    Args:
        model: a model file, or a loaded checkpoint.
        source: how the file is opened.
        data: the data; without a name the checkpoint's own.

    Raises:
        UsageError: no data set is named, or an unknown name.
        CheckpointError, DataError: as their names say.
    """
    source.check(model)
    data.check(model)
    from edgegnn.checkpoint import Checkpoint
    from edgegnn.checkpoint.onnx_file import is_onnx_file
    from edgegnn.tasks import restore_task

    if not isinstance(model, Checkpoint) and is_onnx_file(model):
        return _open_onnx(source.load(model), data, Path(model).stem)
    work = data.load()
    if isinstance(model, Checkpoint):
        checkpoint, stem = dataclasses.replace(model, model=_of_our_own(model.model)), "model"
    else:
        checkpoint, stem = source.load(model, work.spec if work else None), Path(model).stem
    own = checkpoint.task
    same = own is not None and own.data == data.data and own.transforms == list(data.transforms)
    if work is not None and own is not None and own != work.spec and data.names_data_only and same:
        # Its split, and constants of its features.
        work = restore_task(own, data.data_root, data.data, data.transforms)
    if work is None:
        if checkpoint.task is None:
            raise UsageError("the model file names no data set: give one with --data (a name, or a .pt file)")
        unknown = [text for text in data.transforms if text not in checkpoint.task.transforms]
        if unknown:
            raise UsageError(f"--transform {unknown[0]} prepares what --data names: name a data set with it")
        work = restore_task(checkpoint.task, root=data.data_root, transforms=data.transforms)
    checkpoint = _in_float32(checkpoint)
    edges = (checkpoint.pruning or {}).get("edges")
    if edges is not None:
        from edgegnn.prune.edges import without_edges

        work = without_edges(work, edges)
    own_state = [name for name in data.state if work.graphs[0].get(name) is not None]
    work = fit_inputs(checkpoint, with_first_state(work, data.state))
    work = fit_state(checkpoint, work, data.state, own_state)
    work = fit_features(checkpoint, dataclasses.replace(work, caveat=_caveat(checkpoint, work)))
    return (*fit_outputs(checkpoint, work, next(iter(data.labels), "")), stem)


def _of_our_own(model: Any) -> Any:
    """The module with another forward to come, which the caller's keeps; weights and layers are the caller's."""
    from torch import nn

    from edgegnn.quantize import QuantModel

    return copy.copy(model) if isinstance(model, nn.Module) and not isinstance(model, QuantModel) else model


def _in_float32(checkpoint: Checkpoint) -> Checkpoint:
    """The model with float32 weights, in which artifacts compute; said where it had others."""
    from torch import nn

    from edgegnn.tasks.notes import note

    model = checkpoint.model
    if not isinstance(model, nn.Module):
        return checkpoint
    types = {str(t.dtype) for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()} - {"torch.float32"}
    if not types:
        return checkpoint
    note(f"weights of {', '.join(sorted(types)).replace('torch.', '')} are read as float32, in which artifacts compute")
    return dataclasses.replace(checkpoint, model=copied(model).float())


def _open_onnx(checkpoint: Checkpoint, data: DataSource, stem: str) -> tuple[Checkpoint, Task, str]:
    from edgegnn.compression.onnx_source import fit_onnx

    checkpoint, work = fit_onnx(checkpoint, data)
    work = dataclasses.replace(work, caveat=_caveat(checkpoint, work))
    return (*fit_outputs(checkpoint, work, next(iter(data.labels), "")), stem)


def split_facts(task: Task) -> dict[str, Any]:
    """Which data a model was trained on, and by which split: kept in its history."""
    from edgegnn.tasks.splits import digest

    spec = task.spec
    return {"data": spec.data, "split": spec.split, "seed": spec.seed, "sha256": digest(task.index)}


def _caveat(checkpoint: Checkpoint, task: Task) -> str:
    """What has to be said beside a metric: a model that comes from elsewhere may have been trained on the test split.

    Nothing where the split is the user's or a published one, or where the model was trained here by the same split.
    """
    split = task.spec.split
    if split in ("given", "public") or split.startswith("file:") or not task.spec.labelled:
        return ""
    trained = checkpoint.history[0].get("trained_on") if checkpoint.history else None
    if trained is not None and trained == split_facts(task):
        return ""
    return f"split drawn here; the model may have seen these {task.spec.kind}s"


def fit_features(checkpoint: Checkpoint, task: Task) -> Task:
    """The task with those features as int64 that the model takes in no other way: it looks up rows of an embedding.

    Found by running the model on one graph: with float features if that works, else with the fewest integers. Only what
    the data have as whole numbers can become int64.
    """
    from edgegnn.errors import ExportError
    from edgegnn.exporting.parity import run_torch
    from edgegnn.exporting.request import input_names
    from edgegnn.exporting.samples import Sample, example_inputs

    names = input_names(checkpoint.model, task)
    inputs = example_inputs(names, one_graph(task))
    whole = [name for name in names if name in task.whole]
    own = [name for name in names if name not in task.whole and _is_whole_feature(name, inputs[name], task)]
    if not whole and not own:
        return task
    for floats in ((), tuple(own)) if own else ((),):
        for chosen in whole_numbered(whole):
            types = {**dict.fromkeys(chosen, np.int64), **dict.fromkeys(floats, np.float32)}
            tried = inputs | {name: inputs[name].astype(kind) for name, kind in types.items()}
            with contextlib.suppress(ExportError):
                run_torch(checkpoint.model, Sample(task.spec.data, "data", tried, roles=task.roles))
                return dataclasses.replace(task, graphs=[_as_types(graph, chosen, floats) for graph in task.graphs])
    return task  # check_fits says why it fails


def _is_whole_feature(name: str, value: Any, task: Task) -> bool:
    """Whether an input of the user's own name has whole numbers: they stay so, if the model takes them."""
    from edgegnn.runtime.roles import EDGE, GRAPH, NODE, role_of

    return value.dtype.kind in "bi" and any(map(role_of(task.roles, name).is_a, (NODE, EDGE, GRAPH)))


def _as_types(graph: Data, whole: tuple[str, ...], floats: tuple[str, ...]) -> Data:
    graph = copy.copy(graph)
    for name in whole:
        graph[name] = graph[name].long()
    for name in floats:
        graph[name] = graph[name].float()
    return graph


def check_fits(checkpoint: Checkpoint, task: Task) -> None:
    """One forward on a real graph before anything is trained or written.

    Raises:
        ExportError: the model fails on the graph.
        DataError: the model's output doesn't fit the task.
    """
    from edgegnn.errors import ExportError
    from edgegnn.exporting.parity import torch_outputs
    from edgegnn.exporting.request import input_names
    from edgegnn.exporting.samples import Sample, example_inputs
    from edgegnn.tasks.target import columns_fit

    names = input_names(checkpoint.model, task)
    data = one_graph(task)
    inputs = example_inputs(names, data)
    try:
        logits = torch_outputs(checkpoint.model, [Sample(task.spec.data, "data", inputs, roles=task.roles)])[0]
    except ExportError as error:
        if error.__cause__ is None:
            raise
        reason = first_line(error.__cause__)
        cure = _LOOKS_UP if "indices" in reason else _CASTS if any(word in reason for word in _OTHER_FLOATS) else ""
        raise ExportError(f"the model fails on the first graph of {task.spec.data}: {reason}{cure}") from error
    if task.spec.target == "classes" and logits.shape[1] == 1 and _ends_in_sigmoid(checkpoint, task):
        raise DataError(
            "the model ends in a sigmoid: its one column must be a logit, of which the sign decides; leave the sigmoid "
            "to the loss (BCEWithLogitsLoss)"
        )
    if not task.spec.labelled:
        return
    rows = len(data.y)
    if logits.shape[0] != rows or not columns_fit(task.spec, logits.shape[1]):
        raise DataError(
            f"the model gives logits of shape {list(logits.shape)} for {task.spec.data}, which needs [{rows}, "
            f"{task.spec.num_classes}]: is it a model for this {task.spec.kind} task?"
        )


def _ends_in_sigmoid(checkpoint: Checkpoint, task: Task) -> bool:
    """Whether the outputs come from a sigmoid, perhaps in another shape."""
    import torch
    from torch.export import ExportedProgram
    from torch.utils._python_dispatch import TorchDispatchMode

    from edgegnn.exporting.tracing import untouched
    from edgegnn.tasks.collating import named_args

    model, made = checkpoint.model, set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if func is torch.ops.aten.sigmoid.default:
                made.add(out.untyped_storage()._cdata)
                kept.append(out)
            return out

    kept: list[torch.Tensor] = []  # an address stays unique while its tensor lives
    if isinstance(model, ExportedProgram):
        return False
    with torch.no_grad(), untouched(model), Watch():
        out = model(**named_args(model, task, one_graph(task)))
    return out.untyped_storage()._cdata in made


def finetune_config(
    checkpoint: Checkpoint,
    task: Task,
    settings: dict[str, Any],
    *,
    lr_share: float = 0.1,
    epochs_share: float = 0.25,
    distill: float = 0.0,
) -> FitConfig:
    """The settings of the float training, with these shares of its learning rate and of its epochs.

    Raises:
        UsageError: a setting out of range.
        CheckpointError: the settings in the checkpoint are damaged.
    """
    from edgegnn.training import FitConfig, fit_defaults

    known = {f.name for f in dataclasses.fields(FitConfig)}
    try:
        base = FitConfig(**{k: v for k, v in checkpoint.training.items() if k in known})
    except TypeError as error:
        raise CheckpointError(f"the checkpoint's training settings are damaged: {error}") from error
    if not checkpoint.training:
        base = fit_defaults(task.spec.kind, data=task.spec.data)
    epochs = max(10, int(base.epochs * epochs_share))
    base = dataclasses.replace(
        base,
        epochs=epochs,
        lr=base.lr * lr_share,
        halve_lr_every=None,
        patience=None,
        early_stop=None,
        distill=distill,
    )
    return dataclasses.replace(base, **{k: v for k, v in settings.items() if v is not None})


def training_recipe(quant: str | None) -> Recipe | None:
    """The recipe to train a zoo model with; None for floats.

    Raises:
        UsageError: it quantizes after training.
    """
    from edgegnn.quantize import recipe

    chosen = None if quant is None else recipe(quant)
    if chosen is None or chosen.name == "none":
        return None
    if not chosen.trains:
        raise UsageError(
            f"{quant} quantizes after training: train without --quant, then `edgegnn export --quant {quant}`"
        )
    return chosen


def recipe_for(checkpoint: Checkpoint, wanted: Recipe | None) -> Recipe:
    """The recipe to export with, given what the model was trained with.

    Raises:
        QuantizeError: the model was trained with another one, or can't be trained.
    """
    from torch.export import ExportedProgram

    from edgegnn.checkpoint.onnx_module import OnnxModule
    from edgegnn.quantize import RECIPES, recipe

    trained = checkpoint.recipe
    if trained is not None:
        same = wanted is None or wanted == trained or wanted == RECIPES.get(trained.name)  # its name, no more
        if wanted is not None and not same:
            raise QuantizeError(
                f"the model was trained with {trained.name}, so it can't be exported with {wanted.name}: "
                f"leave --quant out, or start from the float model"
            )
        return trained
    chosen = wanted or recipe("none")
    if chosen.trains and isinstance(checkpoint.model, ExportedProgram):
        raise QuantizeError(
            f"{chosen.name} trains, and a .pt2 program can't be trained: use fp32, dynamic-int8 or static-int8, "
            "or give a state_dict with --factory"
        )
    if chosen.trains and isinstance(checkpoint.model, OnnxModule):
        raise QuantizeError(
            f"{chosen.name} trains, and an ONNX file has no PyTorch model to train: take static-int8 or dynamic-int8"
        )
    return chosen
