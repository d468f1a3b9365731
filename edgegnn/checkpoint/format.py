"""`model.pt`: how a trained model, its task and its history are written, and safely read back.

A checkpoint is a `torch.save`d dictionary that loads with `weights_only=True`:

    format       "edgegnn-checkpoint/1"; of pruned models "edgegnn-checkpoint/2"
    model        {"zoo": name, "args": {...}} or {"factory": "package.module:function", "args": {...}}
    state_dict   tensors; of the QuantModel when `quant` is set; of pruned models instead
    sparse_state the same as one block of bytes without the zeros; quantized weights as codes (`sparse_state.py`)
    quant        None, or {"recipe": {...}, "structure": {...}} (edgegnn.quantize)
    task         TaskSpec as a dictionary, or None
    training     settings of the last training
    history      list of steps: what was done, with which settings, to which metric
    metrics      {"val": ..., "test": ...} in [0, 1]
    pruning      None, or what was pruned (edgegnn.compression.compress); absent in files from before there was pruning

Opening a file never runs code from it: pickled modules are refused unless `unsafe_pickle`, and a factory is imported
only when the user named it or allowed it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import io
import pickle
import sys
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from edgegnn.checkpoint.exported_program import is_program, is_torchscript, load_program
from edgegnn.checkpoint.factory_name import split_factory
from edgegnn.checkpoint.foreign_files import is_safetensors, read_safetensors, read_unsafe, state_beside_objects
from edgegnn.checkpoint.foreign_names import find_state_dict, prefix_in_words, without_prefix
from edgegnn.checkpoint.onnx_file import is_onnx_file
from edgegnn.checkpoint.onnx_module import OnnxModule, load_onnx
from edgegnn.checkpoint.sparse_state import decode_state, encode_state, weight_grids
from edgegnn.errors import CheckpointError, EdgeGNNError, first_line
from edgegnn.prune.structure import apply_structure
from edgegnn.quantize import QuantModel, Recipe, recipe_from_dict
from edgegnn.runtime.archive import verified
from edgegnn.tasks import TaskSpec
from edgegnn.tasks.link import EMBEDDING
from edgegnn.tasks.notes import note
from edgegnn.tasks.pair_models import as_pair_model
from edgegnn.tasks.points import point_graphs
from edgegnn.training import FitConfig, FitResult
from edgegnn.utils.files import check_plain, saved
from edgegnn.utils.layer_caches import drop_graph_caches
from edgegnn.utils.torch_files import load_tensors

__all__ = ["FORMAT", "Checkpoint", "build_factory", "history_step", "least_bytes", "load_checkpoint", "save_checkpoint"]

FORMAT = "edgegnn-checkpoint/1"
PRUNED_FORMAT = "edgegnn-checkpoint/2"  # an edgegnn from before there was pruning says that the file is newer
_MOST_BYTES = 2**28
_MOST_COUNTED = 1000


@dataclass
class Checkpoint:
    """A model and what is known about it. Layers of the model that cache a graph stop doing so.

    Attributes:
        model: the module in eval mode (a QuantModel when it is quantized), or a `torch.export` program.
        source: how to rebuild the module: {"zoo": ..., "args": ...}, {"factory": ..., "args": ...}, or
            {"program": file name} or {"onnx": file name}.
        task: what it was trained for, if known.
        training: settings of the last training, {} if unknown.
        history: the steps that led here.
        metrics: "val" and "test", by the task's metric; None where the labels of a split don't define it.
        pruning: None for a dense model, else what `edgegnn.prune` did: "method", "sparsity" (asked), "achieved",
            "tensors" (names that carry a mask), "excluded" (tensor and why), "structure" and "edges" (or None).
    """

    model: nn.Module | ExportedProgram
    source: dict[str, Any]
    task: TaskSpec | None = None
    training: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)
    pruning: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.model, nn.Module):
            drop_graph_caches(self.model)

    @property
    def recipe(self) -> Recipe | None:
        """The recipe the model was trained with, None for a float model."""
        return self.model.recipe if isinstance(self.model, QuantModel) else None


def history_step(what: str, config: FitConfig, result: FitResult | None, **more: Any) -> dict[str, Any]:
    """One entry of a checkpoint's history.

    Args:
        what: "train", "prune" or "quantize".
        config: how it was trained.
        result: what training gave; None when nothing was trained.
        more: what else to keep; also replaces entries.
    """
    trained: dict[str, Any] = {"best_epoch": 0, "epochs_run": 0, "val_loss": None, "val_metric": None, "seconds": 0.0}
    if result is not None:
        trained = {key: getattr(result, key) for key in trained}
        if result.grades is not None:
            trained["grades"] = dataclasses.asdict(result.grades)
        trained |= result.facts
    step = {"step": what, "recipe": "none", "settings": dataclasses.asdict(config), **trained, **more}
    return {**step, "seconds": round(step["seconds"], 2)}


def save_checkpoint(checkpoint: Checkpoint, path: Path, *, force: bool = False) -> None:
    """Write `checkpoint` to `path`, all or nothing.

    Raises:
        UsageError: `path` exists and not `force`.
        CheckpointError: a program (it has no state of ours to save), or the file can't be written.
    """
    model = checkpoint.model
    if isinstance(model, ExportedProgram):
        raise CheckpointError("a .pt2 program can be exported, but not saved as a checkpoint")
    if isinstance(model, OnnxModule):
        raise CheckpointError("an ONNX file can be exported, but not saved as a checkpoint")
    quant = None
    if isinstance(model, QuantModel):
        quant = {"recipe": model.recipe.to_dict(), "structure": model.structure()}
    state = {k: v.detach().cpu() for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    content: dict[str, Any] = {
        "format": FORMAT,
        "model": checkpoint.source,
        "state_dict": state,
        "quant": quant,
        "task": checkpoint.task.to_dict() if checkpoint.task else None,
        "training": checkpoint.training,
        "history": checkpoint.history,
        "metrics": checkpoint.metrics,
        "pruning": checkpoint.pruning,
    }
    if checkpoint.pruning is not None:
        grids = weight_grids(model) if isinstance(model, QuantModel) else {}
        del content["state_dict"]
        content |= {"format": PRUNED_FORMAT, "sparse_state": encode_state(state, grids)}
    out = io.BytesIO()  # torch's own writer of files reports a full disk in words that nobody understands
    torch.save(content, out)
    saved(path, lambda temporary: temporary.write_bytes(out.getbuffer()), force=force, error=CheckpointError)


def least_bytes(model: nn.Module) -> int:
    """Bytes that the file of a dense model has at least."""
    return _bytes_of(model.parameters())


def load_checkpoint(
    path: Path,
    *,
    factory: str | None = None,
    factory_args: dict[str, Any] | None = None,
    allow_import: bool = False,
    unsafe_pickle: bool = False,
    task: TaskSpec | None = None,
) -> Checkpoint:
    """Read a checkpoint, a bare `state_dict` (with `factory`), a `.pt2` program or an ONNX file of another program.

    Args:
        path: the file.
        factory: "package.module:function" that builds the module; needed for a bare state_dict.
        factory_args: arguments of the factory; `in_channels`/`out_channels` (`num_features`/`num_classes`) are filled
            in from the task when the factory asks for them.
        allow_import: allow the import of a factory that the *file* names.
        unsafe_pickle: also open pickled modules, which can run any code.
        task: the task to fill factory arguments from, when the file has none.

    Raises:
        CheckpointError: the file is not one of these, is damaged, newer or unsafe, or does not fit its module.
    """
    if is_onnx_file(path):
        _check_file(path)
        return Checkpoint(load_onnx(path), {"onnx": path.name}, task)
    kind = _check_file(path)
    if kind == "program":
        return Checkpoint(load_program(path), {"program": path.name}, task)
    content = _read(path, unsafe_pickle)
    if isinstance(content, nn.Module):
        return Checkpoint(content.eval(), {"pickle": path.name}, task)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not an edgegnn checkpoint or a state_dict")
    if "format" not in content:
        return _from_state_dict(path, content, factory, factory_args or {}, task)
    _check_format(path, content["format"])
    try:
        return _from_content(path, content, factory, factory_args, allow_import, task)
    except EdgeGNNError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError, OverflowError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {first_line(error)}") from error


@point_graphs()
def build_factory(name: str, args: dict[str, Any], task: TaskSpec | None) -> nn.Module:
    """Import "package.module:function" (the working folder is searched too) and build the module.

    Raises:
        UsageError: `name` is not of that form.
        CheckpointError: it can't be imported, or fails, or gives no `nn.Module`.
    """
    module_name, function_name = split_factory(name)
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        build = importlib.import_module(module_name)
        for part in function_name.split("."):
            build = getattr(build, part)
        model = build(**_factory_args(build, args, task))  # type: ignore[operator]
    except Exception as error:
        raise CheckpointError(f"the factory {name} failed: {type(error).__name__}: {first_line(error)}") from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"the factory {name} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


# ---------------------------------------------------------------------------------------------------------------------


def _check_file(path: Path) -> str:
    """Which of the two archives of torch this is: "program" (.pt2) or "torch"."""
    check_plain(path, CheckpointError)
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except FileNotFoundError:
        raise CheckpointError(f"no such file: {path}") from None
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"{path} is empty")
    if is_torchscript(path):
        raise CheckpointError(
            f"{path} is a TorchScript program, which can't be trained or exported again: save `model.state_dict()` and "
            "give --factory, or write a .pt2 with torch.export.save"
        )
    return "program" if not is_safetensors(path) and is_program(path) else "torch"


def _read(path: Path, unsafe_pickle: bool) -> Any:
    if is_safetensors(path):
        return read_safetensors(path)
    try:
        return read_unsafe(path) if unsafe_pickle else load_tensors(path.read_bytes(), path.name, CheckpointError)
    except CheckpointError as error:
        if isinstance(error.__cause__, (ImportError, AttributeError)):
            raise  # it says what is wrong
        raise CheckpointError(f"{path} is not a model file, or is damaged: {error}") from error
    except pickle.UnpicklingError as error:
        if (
            "Unsupported global" in str(error)
            or "Unsupported class" in str(error)
            or "weights_only" in str(error).lower()
        ):
            beside = state_beside_objects(verified(path.read_bytes(), path.name, CheckpointError))
            if beside is not None and "format" not in beside:
                note(f"{path.name}: only its state_dict is read; other objects in it are left out")
                return beside
            raise CheckpointError(
                f"{path} holds pickled objects, which can run any code when opened: refused. Save "
                "`model.state_dict()` and give --factory, or, if you trust the file, add --unsafe-pickle"
            ) from error
        raise CheckpointError(f"{path} is not a model file, or is damaged: {first_line(error)}") from error
    except Exception as error:
        raise CheckpointError(f"{path} is not a model file, or is truncated: {first_line(error)}") from error


def _check_format(path: Path, found: Any) -> None:
    if found in (FORMAT, PRUNED_FORMAT):
        return
    name, _, version = str(found).partition("/")
    if name == FORMAT.partition("/")[0] and version.isdigit():
        raise CheckpointError(
            f"{path} has format {found}, newer than this edgegnn reads ({PRUNED_FORMAT}): upgrade edgegnn"
        )
    raise CheckpointError(f"{path} is not an edgegnn checkpoint (its format is {found!r})")


def _from_state_dict(
    path: Path, content: dict[Any, Any], factory: str | None, args: dict[str, Any], task: TaskSpec | None
) -> Checkpoint:
    state = find_state_dict(content)
    if state is None:
        raise CheckpointError(f"{path} is neither an edgegnn checkpoint nor a state_dict")
    if factory is None:
        raise CheckpointError(
            f"{path} is a bare state_dict: say how to build the module with --factory package.module:function"
        )
    model = build_factory(factory, args, task)
    state, prefix = without_prefix(state, model.state_dict())
    if prefix:
        note(f"{path.name}: {prefix_in_words(prefix)}")
    _load_state(path, model, state)
    model = as_pair_model(model) if task is not None and task.kind == "link" else model
    source = {"factory": factory, "args": args, **({"prefix": prefix} if prefix else {})}
    return Checkpoint(model.eval(), source, task)


def _from_content(
    path: Path,
    content: dict[str, Any],
    factory: str | None,
    factory_args: dict[str, Any] | None,
    allow_import: bool,
    task: TaskSpec | None,
) -> Checkpoint:
    own_task = TaskSpec.from_dict(content["task"]) if content["task"] is not None else task
    source = dict(content["model"])
    args = dict(source["args"]) if factory_args is None else factory_args
    if "zoo" in source:
        from edgegnn.models import build

        _check_model(path, source["zoo"], args)
        model = build(source["zoo"], **args)
    elif "factory" in source:
        named = factory or source["factory"]
        if factory is None and not allow_import:
            raise CheckpointError(
                f"{path} is rebuilt by importing {named}: say --factory {named}, or allow it with --allow-import"
            )
        if factory_args is None:
            _check_numbers(path, args)
        model = build_factory(named, args, own_task)
        source = {"factory": named, "args": args}
    else:
        raise CheckpointError(f"{path} does not say how to build its module")
    if own_task is not None and own_task.kind == "link":
        model = as_pair_model(model)
    structure = (content.get("pruning") or {}).get("structure")
    if structure is not None:
        apply_structure(model, structure)
    if content["quant"] is not None:
        _check_points(path, content["quant"]["structure"])
        model = QuantModel(model, recipe_from_dict(content["quant"]["recipe"]), content["quant"]["structure"])
    _load_state(path, model, _dense_state(path, content, model))
    return Checkpoint(
        model.eval(),
        source,
        own_task,
        content["training"],
        list(content["history"]),
        dict(content["metrics"]),
        content.get("pruning"),
    )


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of all tensors that have a shape yet."""
    return sum(v.numel() * v.element_size() for v in tensors if not is_lazy(v))


def _most_bytes(path: Path) -> int:
    """What a file may ask for: a model is not much larger than its file."""
    return max(_MOST_BYTES, 64 * path.stat().st_size)


def _check_numbers(path: Path, asked: Any, counts: Container[str] = (), key: str = "") -> None:
    """Bound every number in what a file asks for, before anything is built; those called as `counts` says to 1000."""
    if isinstance(asked, dict):
        for name, value in asked.items():
            _check_numbers(path, value, counts, str(name))
    elif isinstance(asked, (list, tuple)):
        for value in asked:
            _check_numbers(path, value, counts, key)
    elif isinstance(asked, (int, float)):
        limit = _MOST_COUNTED if key in counts else _most_bytes(path) // 4
        if not abs(asked) <= limit:
            raise CheckpointError(
                f"{path} asks for {key[:80]} = {str(asked)[:40]}, more than its file can hold: refused"
            )


def _check_model(path: Path, name: str, args: dict[str, Any]) -> None:
    """Bound a model of the zoo before it is built."""
    from edgegnn.models import COUNTS, build

    _check_numbers(path, args, COUNTS)
    with torch.device("meta"):
        empty = build(name, **args)
    size = _bytes_of((*empty.parameters(), *empty.buffers()))
    if size > _most_bytes(path):
        raise CheckpointError(f"{path} asks for a model of {size} bytes, more than its file can hold: refused")


def _check_points(path: Path, structure: dict[str, Any]) -> None:
    """Bound the quantization points of a model before they are made."""
    learnt = [size for _, size in structure.get("learnt", {}).values()]
    _check_numbers(path, {"quantized channels": sum(map(abs, [*structure["points"].values(), *learnt]))})


def _dense_state(path: Path, content: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """The saved state; one without its zeros may take little more than the state of its module."""
    if content["format"] == FORMAT:
        state: dict[str, Tensor] = content["state_dict"]
        return state
    own = [v for v in model.state_dict().values() if isinstance(v, Tensor)]
    known = not any(is_lazy(v) for v in own)  # what has no shape before it is loaded says nothing
    try:
        most = 2 * _bytes_of(own) + (1 << 20) if known else None
        return decode_state(content["sparse_state"], most=most)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _load_state(path: Path, model: nn.Module, state: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise CheckpointError(f"{path} does not fit its module: {lines[0] if lines else first_line(error)}") from error
    broken = [k for k, v in model.state_dict().items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if broken:
        raise CheckpointError(f"{path} has NaN or infinite weights in {broken[0]}")


def _factory_args(build: Any, args: dict[str, Any], task: TaskSpec | None) -> dict[str, Any]:
    """`args`, and the sizes of the task for the parameters that ask for them."""
    filled = dict(args)
    if task is not None:
        sizes = {"in_channels": task.num_features, "num_features": task.num_features}
        out = EMBEDDING if task.kind == "link" else task.num_classes  # of links the module is the encoder
        sizes.update(out_channels=out, num_classes=out)
        for name, parameter in inspect.signature(build).parameters.items():
            if name in sizes and name not in filled and parameter.default is inspect.Parameter.empty:
                filled[name] = sizes[name]
    return filled
