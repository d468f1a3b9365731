"""What must be different while `torch.export` runs a model written with PyG layers.

sizes found in the data    `int(batch.max()) + 1` is how PyG and its users find the number of graphs (or of nodes, or
                           relations). Python's `int` can't hold a symbolic size, so while tracing, `int` in those
                           modules is one that can, and equal questions get the same symbol. `len` is the same way.
the model's state          eval mode, no cached normalisation; everything is put back afterwards, also after Ctrl-C.
silence                    the exporter's warnings and log lines are about itself, not about the user's model.
garbage                    of a million small objects most live until the end; looking at them takes a tenth of the time
"""

from __future__ import annotations

import builtins
import gc
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType
from typing import Any

import torch
import torch_geometric
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.overrides import TorchFunctionMode

from edgegnn.exporting.recurrent import recurrent_call
from edgegnn.exporting.scatter_operators import reducing_call, torch_scatter_operators
from edgegnn.exporting.traceable import traceable_layers
from edgegnn.tasks.points import point_graphs
from edgegnn.training.sparse_matrices import sparse_matrices
from edgegnn.utils.layer_caches import drop_graph_caches

__all__ = ["DataSizes", "quiet", "symbolic_int", "uncollected", "untouched"]

# Results that hold the same values as the tensor they are made from.
_SAME_VALUES = {"long", "to", "view", "reshape", "flatten", "contiguous", "clone", "detach", "squeeze", "unsqueeze"} | {
    "expand",
    "expand_as",
}
# Results with as many rows as the data say. Like those of the inputs, their sizes are traced as "several": code that
# branches on emptiness takes the general path, which has to hold for none as well.
_SELECTIONS = {"__getitem__", "masked_select", "nonzero", "unique", "unique_consecutive"}


class DataSizes(TorchFunctionMode):
    """Answer "what is the largest value of this index tensor?" with a symbolic size.

    For `batch` the answer is `num_graphs - 1`, a size like any input's: code that compares it, or joins what it
    pooled twice, traces as if the number of graphs had been an argument. For any other tensor it is a fresh size.

    Args:
        batches: the graph of each node, int64 `[N]`; one for each type of nodes, none where there is one graph.
        num_graphs: symbolic number of graphs, or None.
    """

    def __init__(self, batches: Sequence[Tensor], num_graphs: Any) -> None:
        super().__init__()
        self._keep: list[Tensor] = []  # an id stays unique while its tensor lives
        self._largest: dict[int, Any] = {}  # id of an index tensor -> its largest value
        self._of: dict[int, Tensor] = {}  # id of `index.max()` -> index
        self._value: dict[int, Any] = {}  # id of a scalar tensor -> its value
        self._counts: dict[int, Any] = {}  # id of the number of nodes of each graph -> their sum
        self._batch: set[int] = set()  # ids of `batch` and of other forms of it
        for batch in batches if num_graphs is not None else ():
            self._keep.append(batch)
            self._batch.add(id(batch))
            self._largest[id(batch)] = num_graphs - 1

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        first: Any = args[0] if args else None
        if not isinstance(first, Tensor):
            return func(*args, **kwargs)
        integers = not first.is_floating_point()
        if integers and name == "item" and (value := self._item(first)) is not None:
            return value
        repeats = args[1] if len(args) > 1 else kwargs.get("repeats", first)
        if name == "repeat_interleave" and id(repeats) in self._counts:
            kwargs = {"output_size": self._counts[id(repeats)]} | kwargs
        out = self._of_graphs(name, first, args, kwargs)
        if out is not None:
            return out
        out = self._kept_symbolic(name, first, args, kwargs)
        if out is None:
            out = recurrent_call(name, args)
        if out is None:
            out = reducing_call(name, args, kwargs)
        if out is None:
            out = func(*args, **kwargs)
        if integers and isinstance(out, Tensor):
            self._note(name, first, args[1:], kwargs, out)
        for each in (out if isinstance(out, tuple) else (out,)) if name in _SELECTIONS else ():
            for size in each.shape:
                if free_unbacked_symbols(size):
                    torch._check(size >= 2)
        return out

    def _of_graphs(self, name: str, batch: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Functions that count the nodes of each graph: there are as many results as graphs, each of which has nodes.

        `batch` is sorted and has no gaps: the runtime checks it.
        """
        if id(batch) not in self._batch or len(args) > 1 or name not in {"bincount", "unique", "unique_consecutive"}:
            return None
        if name == "bincount" and (kwargs.get("minlength") or kwargs.get("weights") is not None):
            return None
        count = batch.new_zeros(self._largest[id(batch)] + 1).scatter_add(0, batch, torch.ones_like(batch))
        self._counts[id(count)] = batch.shape[0]
        self._keep.append(count)
        if name == "bincount":
            return count
        wanted = [torch.arange(count.shape[0], device=batch.device)]
        wanted += [batch] if kwargs.get("return_inverse") else []
        wanted += [count] if kwargs.get("return_counts") else []
        return wanted[0] if len(wanted) == 1 else tuple(wanted)

    @staticmethod
    def _kept_symbolic(name: str, first: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
        """The few functions that would take a symbolic size for a constant, by others that don't."""
        if name == "bincount" and _is_symbolic(kwargs.get("minlength")):
            return first.new_zeros(kwargs["minlength"]).scatter_add(0, first, torch.ones_like(first))
        if name == "clamp" and len(args) == 1 and any(map(_is_symbolic, kwargs.values())):
            limits = {k: torch.scalar_tensor(v, dtype=first.dtype) for k, v in kwargs.items() if v is not None}
            return torch.clamp(first, **limits)
        if name in {"clamp", "clip"} and first.is_floating_point():
            bounds = dict(zip(("min", "max"), args[1:], strict=False)) | kwargs
            if {type(v) for v in bounds.values()} == {builtins.int, float}:  # the exporter wants two of one kind
                return torch.clamp(first, float(bounds["min"]), float(bounds["max"]))
        if name == "_convert_indices_from_coo_to_csr":  # `index2ptr` of PyG
            size = args[1] if len(args) > 1 else kwargs["size"]
            count = first.new_zeros(size).scatter_add(0, first, torch.ones_like(first))
            return torch.cat([first.new_zeros(1), count.cumsum(0)])
        if name == "take_along_dim" and len(args) == 2 and set(kwargs) == {"dim"} and first.dim() == args[1].dim():
            return torch.gather(first, kwargs["dim"], args[1])
        return None

    def _note(self, name: str, first: Tensor, rest: Sequence[Any], kwargs: Any, out: Tensor) -> None:
        alone = not rest and not kwargs
        last = id(first) in self._batch and name == "__getitem__" and type(rest[0]) is builtins.int and rest[0] == -1
        if (name in {"max", "amax"} and alone) or last:  # batch is sorted: its last value is its largest
            self._of[id(out)] = first
        elif name in {"add", "__add__", "__radd__"} and rest and isinstance(rest[0], int):
            value = self._item(first)
            if value is None:
                return
            self._value[id(out)] = value + rest[0]
        elif name in _SAME_VALUES and id(first) in self._batch and out.dtype == first.dtype:
            self._batch.add(id(out))
            self._largest[id(out)] = self._largest[id(first)]
        else:
            return
        self._keep += [first, out]

    def _item(self, scalar: Tensor) -> Any:
        """The value of a scalar that came from `index.max()`; None for any other."""
        index = self._of.get(id(scalar))
        if index is None:
            return self._value.get(id(scalar))
        if id(index) not in self._largest:
            # -1 stands for "no element": an index without elements needs no rows. Traced as "several", see _SELECTIONS.
            largest = torch.cat([index.reshape(-1), index.new_full((1,), -1)]).max().item()
            torch._check(largest >= 2)
            self._keep.append(index)
            self._largest[id(index)] = largest
        return self._largest[id(index)]


def _is_symbolic(value: object) -> bool:
    return type(value) is torch.SymInt


class _IntType(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, builtins.int)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, builtins.int)


class _Int(builtins.int, metaclass=_IntType):
    """`int` for code that is traced: the value of a tensor or of a symbolic number stays symbolic."""

    def __new__(cls, value: Any = 0, *args: Any) -> Any:
        if isinstance(value, Tensor):
            return value.item()
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            return torch.sym_int(value)
        return builtins.int(value, *args)


def _len(value: Any) -> Any:
    """`len` for code that is traced: the rows of a tensor stay symbolic."""
    return value.shape[0] if isinstance(value, Tensor) and value.dim() else builtins.len(value)


_SHADOWS = {"int": _Int, "len": _len}


@contextmanager
def symbolic_int(model: nn.Module) -> Iterator[None]:
    """Shadow `int` and `len` in PyG's modules and in those beside the classes of `model`; PyG looks at no values."""
    classes = {c for module in model.modules() for c in type(module).__mro__}
    tops = {c.__module__.partition(".")[0] for c in classes} - {"torch", "builtins", "typing", "abc"}
    tops |= {"torch_geometric", "torch_scatter"}
    shadowed: list[tuple[ModuleType, str]] = []
    segment_matmul = torch_geometric.backend.use_segment_matmul
    try:
        torch_geometric.backend.use_segment_matmul = False
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] not in tops or not isinstance(module, ModuleType):
                continue
            for builtin in _SHADOWS.keys() - vars(module).keys():
                shadowed.append((module, builtin))
                module.__dict__[builtin] = _SHADOWS[builtin]
        with traceable_layers(), torch_scatter_operators(), point_graphs(), sparse_matrices():
            yield
    finally:
        torch_geometric.backend.use_segment_matmul = segment_matmul
        for module, builtin in shadowed:
            module.__dict__.pop(builtin, None)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Eval mode and no cached graph inside; whatever the forward assigned to its modules is undone at the end."""
    saved = [
        (vars(module), dict(vars(module)), {k: v.copy() for k, v in vars(module).items() if isinstance(v, dict)})
        for module in model.modules()
    ]
    try:
        if any(module.training for module in model.modules()):
            model.eval()
        drop_graph_caches(model)  # the first graph would be baked in
        yield
    finally:
        for live, before, dicts in saved:
            live.clear()
            live.update(before)
            for key, value in dicts.items():
                live[key].clear()
                live[key].update(value)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no log records, and none of the graphs that torch prints when tracing fails."""
    disabled, handlers = logging.root.manager.disable, logging.root.handlers[:]
    try:
        logging.disable(logging.CRITICAL)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers  # logging.warning() installs one


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for reference cycles."""
    before = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if before:
            gc.enable()
