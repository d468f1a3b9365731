"""`edgegnn import`: weights of another program become a model file that describes itself.

The file has the weights under the module's own names, the name and arguments of the factory, and which data with which
split the model is for. Opening it imports nothing: who opens it allows the import of the factory that it names
(`--allow-import`), or names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegnn.compression.model_source import DataSource, ModelSource
from edgegnn.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from edgegnn.checkpoint import Checkpoint

__all__ = ["import_model"]


def import_model(
    weights: str | Path,
    output: str | Path | None = None,
    *,
    factory: str,
    factory_args: dict[str, Any] | None = None,
    data: str,
    task: str | None = None,
    inputs: dict[str, str] | None = None,
    transforms: Sequence[str] = (),
    split: str | None = None,
    split_seed: int = 0,
    data_root: Path | None = None,
    unsafe_pickle: bool = False,
    force: bool = False,
) -> Checkpoint:
    """Read weights, run the module on the data once, and save a model file that needs no description again.

    Args:
        weights: a state dict, alone or in a checkpoint (Lightning, ...), safetensors, or a pickled module.
        output: where to save the model file; None: nowhere.
        factory: "package.module:function" that builds the module.
        factory_args: its arguments.
        data: data set or data file, which the model file refers to.
        task: one of `edgegnn.tasks.TASKS`; None: what the labels are for.
        inputs: name of an input -> its role, or the attribute of the data that it is read from.
        transforms: what prepares each graph of the data first.
        split: which split of `data`; "file:PATH" for one in a file.
        split_seed: seed of a drawn split.
        data_root: folder of the data sets.
        unsafe_pickle: open pickled modules too, which can run any code.
        force: replace `output`.

    Returns:
        The checkpoint; its metrics are of the splits of `data`.

    Raises:
        UsageError, CheckpointError, DataError, ExportError: as their names say.
    """
    from edgegnn.utils.files import check_free

    if output is not None:
        check_free(Path(output), force=force)
    source = ModelSource(factory, factory_args, unsafe_pickle=unsafe_pickle)
    place = DataSource(data, task, split, split_seed, data_root, inputs or {}, transforms=tuple(transforms))
    source.check(weights)
    place.check()

    from torch import nn  # only now: importing torch takes seconds
    from torch.export import ExportedProgram

    from edgegnn.checkpoint import save_checkpoint
    from edgegnn.checkpoint.onnx_module import OnnxModule
    from edgegnn.compression.model_source import check_fits, open_model
    from edgegnn.tasks import all_metrics
    from edgegnn.tasks.notes import note

    checkpoint, work, _ = open_model(weights, source, place)
    if isinstance(checkpoint.model, (ExportedProgram, OnnxModule)):
        raise UsageError(f"{weights} describes itself already: give it to edgegnn export as it is, with --data")
    if "zoo" in checkpoint.source:
        raise UsageError(f"{weights} is a model file of edgegnn already, which needs no factory")
    if "pickle" in checkpoint.source:
        checkpoint = _by_factory(checkpoint, factory, factory_args or {}, work.spec)
    check_fits(checkpoint, work)
    assert isinstance(checkpoint.model, nn.Module)
    metrics = all_metrics(checkpoint.model, work) if work.spec.labelled else {}
    if metrics and work.caveat:
        note(f"{data}: {work.caveat}")
    complete = dataclasses.replace(checkpoint, task=work.spec, metrics=metrics)
    if output is not None:
        save_checkpoint(complete, Path(output), force=force)
    return complete


def _by_factory(checkpoint: Checkpoint, factory: str, args: dict[str, Any], task: Any) -> Checkpoint:
    """A pickled module's weights in the module that the factory builds: a file can't name how the other was built."""
    from torch import nn

    from edgegnn.checkpoint import build_factory

    assert isinstance(checkpoint.model, nn.Module)
    module = build_factory(factory, args, task)
    try:
        module.load_state_dict(checkpoint.model.state_dict())
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the pickled module is not the one that {factory} builds: {reason}") from error
    return dataclasses.replace(checkpoint, model=module.eval(), source={"factory": factory, "args": args})
