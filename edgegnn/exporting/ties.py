"""Which of two equal numbers comes first when PyTorch sorts: its sort isn't stable, and depends on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["LowerIndexFirst"]

_ATEN = torch.ops.aten


class LowerIndexFirst(TorchDispatchMode):
    """Within this context, PyTorch's sorts put the lower index of two equal numbers first, as ONNX's TopK does."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _ATEN.sort.default:
            return _sorted(*args, **kwargs)
        if func is _ATEN.topk.default:
            return _largest(*args, **kwargs)
        return func(*args, **kwargs)


def _sorted(x: Tensor, dim: int = -1, descending: bool = False) -> Any:
    return _ATEN.sort.stable(x, stable=True, dim=dim, descending=descending)


def _largest(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Tensor, Tensor]:
    values, indices = _sorted(x, dim, largest)
    return values.narrow(dim, 0, k), indices.narrow(dim, 0, k)
