"""State dicts as other programs save them: inside a dictionary of more, and under names with a prefix.

DataParallel writes `module.`, torch.compile `_orig_mod.`, Lightning the attribute's name; several may stand in a row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

from torch import Tensor

__all__ = ["find_state_dict", "prefix_in_words", "without_prefix"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
_INSIDE = ("_orig_mod.", "module.")  # of torch.compile and DataParallel, around a part of the model


def find_state_dict(content: Mapping[Any, Any]) -> dict[str, Tensor] | None:
    """The state dict in a file; None: there is none, or there are several.

    It is the dictionary itself, what that has under a usual name (also one level deeper), or its only entry that is a
    state dict.
    """
    inner = [content.get(name) for name in _WRAPPERS]
    deeper = [value.get(name) for value in inner if isinstance(value, Mapping) for name in _WRAPPERS]
    for candidate in (content, *inner, *deeper):
        if _is_state(candidate):
            return _tensors(candidate)
    found = [value for value in content.values() if _is_state(value)]
    return _tensors(found[0]) if len(found) == 1 else None


def _is_state(value: Any) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether it has tensors only; what modules save beside tensors (`_extra_state`) doesn't count."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    tensors = _tensors(value)
    return bool(tensors) and all(isinstance(v, Tensor) for v in tensors.values())


def _tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.endswith("_extra_state")}


def without_prefix(state: Mapping[str, Tensor], names: Collection[str]) -> tuple[dict[str, Tensor], str]:
    """Tensors under the names of a module, and the prefix that was taken off ("+model.": that was put in front).

    Tensors without the prefix (of a loss, of a metric) are left out. A wrapper's name in the middle
    (`encoder._orig_mod.weight`) is taken off, too. Where nothing gives exactly the module's names, the state is
    returned as it is, with "".

    Args:
        state: name -> tensor, as the file has it.
        names: the names that the module's own state dict has.
    """
    wanted = set(names)
    if not wanted or wanted <= set(state):
        return dict(state), ""
    for wrapper in ("", *_INSIDE):
        shorter = {key.replace(wrapper, ""): value for key, value in state.items()} if wrapper else dict(state)
        if wrapper and wanted == set(shorter):
            return shorter, wrapper
        one = min(wanted)
        for prefix in sorted({key[: -len(one)] for key in shorter if key.endswith(f".{one}")}):
            found = {key[len(prefix) :]: value for key, value in shorter.items() if key.startswith(prefix)}
            if set(found) == wanted:
                return found, prefix
    first = min(wanted)
    for end in (i + 1 for i, letter in enumerate(first) if letter == "."):
        longer = {first[:end] + key: value for key, value in state.items()}
        if set(longer) == wanted:
            return longer, f"+{first[:end]}"
    return dict(state), ""


def prefix_in_words(prefix: str) -> str:
    """What was done with names, as `without_prefix` returns it."""
    if prefix.startswith("+"):
        return f"its names get {prefix[1:]!r} in front, as the factory's module has them"
    return f"its names are read without {prefix!r}"
