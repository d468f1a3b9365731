"""State dicts as other programs save them: inside a dictionary of more, and under names with a prefix.

DataParallel writes `module.`, torch.compile `_orig_mod.`, Lightning the attribute's name; several may stand in a row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeGuard

from torch import Tensor

__all__ = ["find_state_dict", "without_prefix"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")


def find_state_dict(content: Mapping[Any, Any]) -> dict[str, Tensor] | None:
    """The state dict in a file; None: there is none, or there are several.

    It is the dictionary itself, what that has under a usual name, or its only entry that is a state dict.
    """
    for candidate in (content, *(content.get(name) for name in _WRAPPERS)):
        if _is_state(candidate):
            return dict(candidate)
    found = [value for value in content.values() if _is_state(value)]
    return dict(found[0]) if len(found) == 1 else None


def _is_state(value: Any) -> TypeGuard[Mapping[str, Tensor]]:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def without_prefix(state: Mapping[str, Tensor], names: Collection[str]) -> tuple[dict[str, Tensor], str]:
    """Tensors under the names of a module, and the prefix that was taken off.

    Tensors without the prefix (of a loss, of a metric) are left out. Where no prefix gives exactly the module's names,
    the state is returned as it is, with "".

    Args:
        state: name -> tensor, as the file has it.
        names: the names that the module's own state dict has.
    """
    wanted = set(names)
    if wanted and not wanted <= set(state):
        one = min(wanted)
        for prefix in sorted({key[: -len(one)] for key in state if key.endswith(f".{one}")}):
            found = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
            if set(found) == wanted:
                return found, prefix
    return dict(state), ""
