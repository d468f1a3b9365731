"""Training without dropout, or with one that quantization sees through, whatever module it is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["NoDropout", "RememberDropout"]

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


class RememberDropout(TorchFunctionMode):
    """Let a point that stands right after a dropout quantize first and drop then.

    Dropout scales what it keeps by 1 / (1 - p): a range tracked after it would be that much too wide for inference,
    which at p = 0.8 leaves 4-bit codes with three values.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.dropout:
            return func(*args, **(kwargs or {}))
        x, p, training, _ = _dropout_arguments(*args, **(kwargs or {}))
        if not training or p <= 0 or p >= 1:
            return x
        factor = torch.empty_like(x).bernoulli_(1 - p).div_(1 - p)
        out = x * factor
        out._before_dropout = x, factor  # type: ignore[attr-defined]
        return out


def _dropout_arguments(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> tuple[Tensor, float, bool, bool]:
    """The arguments of `torch.nn.F.dropout`, by its own names."""
    return input, p, training, inplace
