"""Weights as other programs save them: safetensors, and checkpoints with objects of their own beside the tensors.

A checkpoint of PyTorch Lightning, say, has a state dict and, pickled beside it, hyperparameters and callbacks of any
class. Tensors and containers are read; whatever else the pickle names becomes an inert `_Placeholder`. Nothing is
imported, and no function runs but those that make tensors.
"""

from __future__ import annotations

import collections
import io
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgegnn.checkpoint.foreign_names import find_state_dict
from edgegnn.errors import CheckpointError, first_line
from edgegnn.runtime.archive import verified

__all__ = ["is_safetensors", "read_safetensors", "read_unsafe", "state_beside_objects"]

_MAKERS: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "torch.Size": torch.Size,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
}
_MAKERS |= {f"torch.{name}": getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64", "int64")}


def is_safetensors(path: Path) -> bool:
    """Whether a file is one of safetensors, by its name."""
    return path.suffix == ".safetensors"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: it can't be read, or is damaged.
    """
    from safetensors.torch import load

    try:
        return dict(load(path.read_bytes()))
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror}") from error
    except Exception as error:  # the library has a type of error of its own
        raise CheckpointError(f"{path} is no safetensors file, or is damaged: {first_line(error)}") from error


class _Placeholder(dict[Any, Any]):
    """Stands for an object that is not read. It takes what a pickle gives to an object, and keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Placeholder:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, *args: Any, **kwargs: Any) -> _Placeholder:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Take an element as a list does."""

    def extend(self, values: Any) -> None:
        """Take elements as a list does."""

    def add(self, value: Any) -> None:
        """Take an element as a set does."""


class _Inert(pickle.Unpickler):
    """An unpickler that finds nothing but what tensors and containers are made of."""

    def find_class(self, module: str, name: str) -> Any:
        modern = {"__builtin__": "builtins"}.get(module, module)
        return _MAKERS.get(f"{modern}.{name}", _Placeholder)


def state_beside_objects(content: bytes) -> dict[Any, Any] | None:
    """The content of a checkpoint with placeholders for objects; None where it has no state dict, or can't be read.

    Args:
        content: of a file whose checksums hold.
    """
    reader: Any = types.SimpleNamespace(__name__="inert", Unpickler=_Inert)
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False, pickle_module=reader)
    except Exception:  # a pickle can be wrong in any way
        return None
    plain = type(found) is dict or isinstance(found, collections.OrderedDict)
    return dict(found) if plain and find_state_dict(found) is not None else None


def read_unsafe(path: Path) -> Any:
    """What a file holds, objects of any class included: this can run any code. The working folder is searched, too.

    Raises:
        CheckpointError: the file is damaged, or a class in it can't be imported.
    """
    content = verified(path.read_bytes(), path.name, CheckpointError)
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{path} holds an object whose class can't be imported here: {first_line(error)}{_cure(error)}"
        ) from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if isinstance(found, dict) and find_state_dict(found) is None and "format" not in found:
        modules = [value for value in found.values() if isinstance(value, nn.Module)]
        return modules[0] if len(modules) == 1 else found
    return found


def _cure(error: Exception) -> str:
    if "__main__" in str(error):
        return (
            "; it was defined in a script: save `model.state_dict()` there and give --factory, or define the class in "
            "a module and save again"
        )
    missing = getattr(error, "name", None)
    where = f" (where {missing} is)" if isinstance(error, ModuleNotFoundError) and missing else ""
    return f"; run in the folder of that module{where}, or save `model.state_dict()` and give --factory"
