"""How much work a forward is: multiply-adds of matrix products and of sums over neighbours.

Counted by watching the operations of one real forward, so that it holds for any model: a product of [m, k] and [k, n]
is m k n, and adding up messages [E, F] is E F. Activations, norms and biases are left out, as usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Work", "compare_work", "count_work"]


@dataclass(frozen=True)
class Work:
    """Multiply-adds of one forward: of matrix products, and of sums over neighbours (or nodes, in pooling)."""

    products: int
    sums: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.products + self.sums


def compare_work(before: Work, after: Work) -> dict[str, dict[str, int]]:
    """Both counts for a checkpoint or a table: all multiply-adds, and the multiply-adds of sums."""
    return {
        "multiply_adds": {"before": before.total, "after": after.total},
        "message_adds": {"before": before.sums, "after": after.sums},
    }


def count_work(model: nn.Module, inputs: Mapping[str, Tensor]) -> Work:
    """Count the multiply-adds of one forward in eval mode.

    Args:
        model: any module.
        inputs: arguments of its forward by name.
    """
    was_training = model.training
    count = _Count()
    model.eval()
    try:
        with torch.no_grad(), count:
            model(**inputs)
    finally:
        model.train(was_training)
    return Work(count.products, count.sums)


class _Count(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products = self.sums = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in _PRODUCTS:
            a, b = args[1:3] if name == "addmm" else args[:2]
            self.products += a.numel() * int(b.shape[-1])
        elif name in _SUMS:
            self.sums += args[3].numel()
        return func(*args, **(kwargs or {}))


_PRODUCTS = ("mm", "bmm", "addmm")
_SUMS = ("scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "index_add", "index_add_")
