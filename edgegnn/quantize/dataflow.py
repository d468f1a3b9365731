"""What a tensor is computed from, proved from the operations that run and not from the values that come out.

    DataFlow            of which inputs, parameters and quantization points a tensor is a function
    is_scaling_of       whether a message is x_j times something else, entry by entry

Both watch the operations of PyTorch while the user's code runs. What they don't know counts as "depends on everything"
and as "not linear".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["DataFlow", "is_scaling_of", "tensors_of"]

# Entries keep their order: an entry of the result is the entry of the same place.
_RESHAPES = frozenset(
    {"view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "expand", "alias", "detach", "clone"}
    | {"contiguous", "lift_fresh"}
)
# These take a tensor for its shape, not for its values.
_SHAPED = frozenset(
    {"ones_like", "zeros_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}
)


def tensors_of(values: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists and dictionaries."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


class DataFlow(TorchDispatchMode):
    """Within this context, follow what tensors are computed from.

    Attributes:
        control: labels of what Python read as a number: all that runs later may depend on it.
    """

    def __init__(self) -> None:
        super().__init__()
        # Views share a storage, so that what is written into one is in all. The reference keeps an address unique.
        self._labels: dict[Any, tuple[Any, frozenset[str]]] = {}
        self.control: frozenset[str] = frozenset()

    def mark(self, tensor: Tensor, label: str) -> None:
        """Give a tensor a name that everything made from it carries."""
        self._add(tensor, frozenset({label}))

    def sources(self, values: Any) -> frozenset[str]:
        """The labels of what these tensors were computed from."""
        found = (self._labels.get(_address(t), (None, frozenset[str]()))[1] for t in tensors_of(values))
        return frozenset().union(*found)

    def _add(self, tensor: Tensor, labels: frozenset[str]) -> None:
        key = _address(tensor)
        if key in self._labels:
            reference, before = self._labels[key]
            self._labels[key] = reference, before | labels
        else:
            self._labels[key] = (StorageWeakRef(tensor.untyped_storage()) if isinstance(key, int) else tensor), labels

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        labels = self.control if name in _SHAPED else self.control | self.sources((args, kwargs))
        if func.namespace == "edgegnn":
            labels |= {args[-1]}  # the name of the point
        results = tensors_of(out)
        if not results:
            self.control = labels
        for tensor in results:
            self._add(tensor, labels)
        if func._schema.is_mutable:
            for tensor in _written(func, args, kwargs):
                self._add(tensor, labels)
        return out


def _address(tensor: Tensor) -> Any:
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # a sparse tensor has no storage of its own
        return "tensor", id(tensor)


def _written(func: Any, args: Any, kwargs: Any) -> Iterable[Tensor]:
    for at, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tensors_of(args[at] if at < len(args) else kwargs.get(argument.name))


# Linear in one argument ------------------------------------------------------------


def is_scaling_of(x: Tensor, run: Callable[[Tensor], Any]) -> bool:
    """Whether `run(x)` is x times a tensor that does not depend on x, entry by entry and in x's shape.

    Args:
        x: float.
        run: code under test.
    """
    watch = _Scaling(x)
    try:
        with torch.no_grad(), watch:
            out = run(x)
    except Exception:
        return False
    return isinstance(out, Tensor) and out.shape == x.shape and watch.scales(out)


class _Scaling(TorchDispatchMode):
    """Follow x through products with what does not depend on it; anything else that touches it is no scaling."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self._kept: list[Any] = [x]  # an id stays unique while its tensor lives
        self._touched, self._scaled = {id(x)}, {id(x)}
        self._refused = False

    def scales(self, out: Tensor) -> bool:
        """Whether `out` is the tensor followed, times something."""
        return not self._refused and id(out) in self._scaled

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        touched = [t for t in tensors_of((args, kwargs)) if id(t) in self._touched]
        name = func.overloadpacket.__name__
        if not touched or name in _SHAPED:
            return out
        results = tensors_of(out)
        # Written in place, or read as a number: what follows may hold x anywhere.
        self._refused |= func._schema.is_mutable or not results
        scaled = all(id(t) in self._scaled for t in touched) and self._keeps(func, name, args, touched, out)
        for tensor in results:
            self._kept.append(tensor)
            self._touched.add(id(tensor))
            if scaled:
                self._scaled.add(id(tensor))
        return out

    @staticmethod
    def _keeps(func: Any, name: str, args: Any, touched: list[Tensor], out: Any) -> bool:
        """Whether the operation gives a scaling of x for scalings of x."""
        if not isinstance(out, Tensor) or any(t.numel() != out.numel() or t.dtype != out.dtype for t in touched):
            return False
        if name in _RESHAPES or name == "neg":
            return len(touched) == 1
        if name == "mul":
            return len(touched) == 1
        if name == "div":
            return len(touched) == 1 and args[0] is touched[0] and "mode" not in func._overloadname
        if name in {"add", "sub"}:
            return len(touched) == 2 and touched[0].shape == touched[1].shape
        return False
