"""What a model with fewer channels looks like, so that it can be rebuilt from the code that makes the whole one.

A checkpoint says how to build the dense module (zoo name or factory). `structure_of` notes the difference in plain
values, `apply_structure` makes it: smaller tensors, and the layers' own numbers of channels. Only what exists can
shrink: a file can ask for no more memory than the dense module has, name no other attribute than whole numbers of
channels, and change no code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from edgegnn.errors import CheckpointError

__all__ = ["apply_structure", "merge_structures", "owners", "structure_of"]

LAZY = -1  # PyG's number of input channels until the first forward


def structure_of(before: nn.Module, after: nn.Module) -> dict[str, Any]:
    """What changed from the dense module to the pruned one.

    Args:
        before: as its source builds it.
        after: the same with fewer channels.

    Returns:
        {"tensors": name -> shape, "attributes": path of a module -> {name -> whole number or list of them}}, of what
        differs; values for JSON.
    """
    dense = _tensors(before)
    tensors = {name: list(value.shape) for name, value in _tensors(after).items() if value.shape != dense[name].shape}
    attributes: dict[str, dict[str, Any]] = {}
    for path, module in after.named_modules():
        old = before.get_submodule(path).__dict__
        for name, value in _sizes(module):
            if old.get(name) != value:
                attributes.setdefault(path, {})[name] = list(value) if isinstance(value, tuple) else value
    return {"tensors": tensors, "attributes": attributes}


def merge_structures(earlier: dict[str, Any] | None, later: dict[str, Any]) -> dict[str, Any]:
    """The difference from the dense module after two prunings, of which each noted its own."""
    first = earlier or {"tensors": {}, "attributes": {}}
    attributes = {path: dict(values) for path, values in first["attributes"].items()}
    for path, values in later["attributes"].items():
        attributes[path] = attributes.get(path, {}) | values
    return {"tensors": first["tensors"] | later["tensors"], "attributes": attributes}


def apply_structure(model: nn.Module, structure: Any) -> None:
    """Give a dense module the shapes of the pruned one, in place; its values are undefined until a state is loaded.

    Args:
        model: as its source builds it.
        structure: what `structure_of` gave.

    Raises:
        CheckpointError: it isn't a structure of this module, or would enlarge something.
    """
    if not isinstance(structure, dict) or set(structure) != {"tensors", "attributes"}:
        raise CheckpointError("the structure of the pruned model is damaged: it must say tensors and attributes")
    tensors, attributes = structure["tensors"], structure["attributes"]
    if not isinstance(tensors, dict) or not isinstance(attributes, dict):
        raise CheckpointError("the structure of the pruned model is damaged: tensors and attributes must be tables")
    dense = _tensors(model)
    for name, shape in tensors.items():
        if name not in dense:
            raise CheckpointError(f"the structure of the pruned model names {name!r}, which its module doesn't have")
        if not is_lazy(dense[name]):  # has no shape before its state is loaded, and takes that one
            _check(name, shape, list(dense[name].shape))
    modules = dict(model.named_modules())
    for path, values in attributes.items():
        if path not in modules or not isinstance(values, dict):
            raise CheckpointError(f"the structure of the pruned model names {path!r}, which its module doesn't have")
        known = dict(_sizes(modules[path]))
        for name, value in values.items():
            if name not in known:
                raise CheckpointError(f"the structure of the pruned model sets {path}.{name}, which is no size")
            old = known[name]
            if old != LAZY:
                _check(f"{path}.{name}", *(([value], [old]) if isinstance(old, int) else (value, list(old))))
    places = {full: found for found in owners(model).values() for *_, full in found}
    for name, shape in tensors.items():
        old_tensor = dense[name]
        if is_lazy(old_tensor):
            continue
        new = old_tensor.detach().new_empty(shape)
        if isinstance(old_tensor, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old_tensor.requires_grad)
        for module, attribute, _ in places[name]:
            setattr(module, attribute, new)
    for path, values in attributes.items():
        for name, value in values.items():
            old = modules[path].__dict__[name]
            if old == LAZY:
                continue
            setattr(modules[path], name, type(old)(value) if isinstance(old, (tuple, list)) else value)


def owners(model: nn.Module) -> dict[int, list[tuple[nn.Module, str, str]]]:
    """Places of each parameter and buffer, by its id: (module, attribute, full name), the first one first."""
    found: dict[int, list[tuple[nn.Module, str, str]]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for attribute, value in {**module._parameters, **module._buffers}.items():
            if value is not None:
                name = f"{path}.{attribute}" if path else attribute
                found.setdefault(id(value), []).append((module, attribute, name))
    return found


def _check(name: str, new: Any, old: list[int]) -> None:
    """Sizes may only shrink, and not to nothing."""
    whole = isinstance(new, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in new)
    if not whole or len(new) != len(old) or any(not 1 <= n <= max(o, 1) for n, o in zip(new, old, strict=True)):
        raise CheckpointError(
            f"the structure of the pruned model makes {name} {str(new)[:60]}: it can only shrink from {old}"
        )


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every name of every parameter and buffer; tensors that are shared have several."""
    return {full: getattr(module, attribute) for found in owners(model).values() for module, attribute, full in found}


def _sizes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The attributes of a module that are whole numbers, or several of them."""
    for name, value in module.__dict__.items():
        if not name.startswith("_") and name != "training":
            values = value if isinstance(value, (tuple, list)) else (value,)
            if values and all(isinstance(v, int) and not isinstance(v, bool) for v in values):
                yield name, value
