"""The module that `edgegnn train` starts from: a model of the zoo by its name, or the user's own by its factory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegnn.checkpoint.factory_name import split_factory
from edgegnn.errors import UsageError
from edgegnn.models import check_model, defaults, only_task
from edgegnn.tasks.catalog import TASKS, check_task

if TYPE_CHECKING:
    from torch import nn

    from edgegnn.tasks import Task

__all__ = ["NewModel", "check_new", "is_factory", "new_model"]


@dataclasses.dataclass(frozen=True)
class NewModel:
    """An untrained module.

    Attributes:
        module: the module.
        source: how to build it again (`edgegnn.checkpoint.Checkpoint.source`).
        task: the data, under the names and in the types that the module takes.
    """

    module: nn.Module
    source: dict[str, Any]
    task: Task


def is_factory(model: str) -> bool:
    """Whether a model is the user's own, "package.module:function"."""
    return ":" in model


def check_new(
    model: str, task: str | None, architecture: Mapping[str, Any] | None, factory_args: Mapping[str, Any] | None
) -> str | None:
    """Refuse what can't be built, before torch is imported.

    Args:
        model: a name of the zoo, or "package.module:function".
        task: one of `TASKS`; None: not said.
        architecture: sizes of a model of the zoo; None values for its defaults.
        factory_args: arguments of the user's function.

    Returns:
        The task, where it is said or the model has only one.

    Raises:
        UsageError: an unknown model, or options of the other kind of model.
    """
    if not is_factory(model):
        check_model(model)
        if factory_args:
            raise UsageError(f"--factory-args are for a model of your own, module:function; {model} is of the zoo")
        task = only_task(model) if task is None else task
        check_task(task)
        check_model(model, None if task is None else TASKS[task.partition(":")[0]][0])
        return task
    module, _ = split_factory(model)
    top = module.partition(".")[0]
    if not (Path(f"{top}.py").is_file() or Path(top).is_dir() or find_spec(top)):
        raise UsageError(f"{model}: there is no module {top}: run in the folder of {top}.py, or install it")
    given = [name for name, value in (architecture or {}).items() if value is not None]
    if given:
        option = given[0].replace("_", "-")
        raise UsageError(
            f"--{option} is for models of the zoo: give your own with --factory-args '{{\"{given[0]}\": ...}}'"
        )
    return task


def new_model(
    model: str, work: Task, architecture: Mapping[str, Any] | None, factory_args: Mapping[str, Any] | None
) -> NewModel:
    """Build the module, and fit the data to it.

    Args:
        model: as of `check_new`.
        work: the data.
        architecture: sizes of a model of the zoo.
        factory_args: arguments of the user's function.

    Raises:
        UsageError, CheckpointError, DataError, ExportError: the module can't be built, or doesn't fit the data.
    """
    return _own(model, work, dict(factory_args or {})) if is_factory(model) else _of_zoo(model, work, architecture)


def _of_zoo(model: str, work: Task, architecture: Mapping[str, Any] | None) -> NewModel:
    from edgegnn.models import build
    from edgegnn.tasks.link import EMBEDDING
    from edgegnn.tasks.transforms import as_columns

    as_columns(work.graphs)
    arguments = {
        "in_channels": work.spec.num_features,
        "out_channels": EMBEDDING if work.spec.kind == "link" else work.spec.num_classes,
        "kind": work.spec.kind,
        **defaults(model, work.spec.kind),
        **{key: value for key, value in (architecture or {}).items() if value is not None},
        **({"scale": work.spec.scale} if work.spec.scale else {}),
    }
    return NewModel(build(model, **arguments), {"zoo": model, "args": arguments}, work)


def _own(model: str, work: Task, args: dict[str, Any]) -> NewModel:
    from torch import nn

    from edgegnn.checkpoint import Checkpoint, build_factory
    from edgegnn.compression.model_inputs import fit_inputs
    from edgegnn.compression.model_outputs import fit_outputs
    from edgegnn.compression.model_source import check_fits, fit_features
    from edgegnn.tasks.pair_models import as_pair_model

    module = build_factory(model, args, work.spec)
    module = as_pair_model(module) if work.spec.kind == "link" else module
    checkpoint = Checkpoint(module, {"factory": model, "args": args}, work.spec)
    work = fit_features(checkpoint, fit_inputs(checkpoint, work))
    checkpoint, work = fit_outputs(checkpoint, work)
    check_fits(checkpoint, work)
    assert isinstance(checkpoint.model, nn.Module)
    return NewModel(checkpoint.model, checkpoint.source, work)
