"""Training without dropout, whatever module it is in and however it calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["NoDropout"]

_DROPOUTS = frozenset(
    {
        torch.dropout,
        torch.dropout_,
        torch.feature_dropout,
        torch.alpha_dropout,
        torch.feature_alpha_dropout,
        F.dropout,
        F.dropout1d,
        F.dropout2d,
        F.dropout3d,
        F.alpha_dropout,
        F.feature_alpha_dropout,
    }
)


class NoDropout(TorchFunctionMode):
    """Within this context every dropout gives its input back.

    For a student: its teacher's outputs were made without dropout, and with dropout it would chase noise.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call `func`, or pass by a dropout."""
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        return func(*args, **(kwargs or {}))
