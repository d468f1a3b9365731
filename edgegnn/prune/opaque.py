"""Run a model with its layers made opaque, so that autograd's graph shows what couples their channels.

A layer takes channels at sinks and gives them at a source; what it computes in between leaves no trace. A layer that is
left whole takes and gives channels that can't go. See `edgegnn.prune.groups`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from edgegnn.prune.layers import Layer

__all__ = ["End", "OpaqueModel", "Sink", "Source", "Through"]


class _Opaque(torch.autograd.Function):
    """`value`, as if it had been made from `link`: one step in autograd's graph."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, link: Tensor) -> Tensor:
        return value.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        raise NotImplementedError


class End(nn.Module):
    """Where channels start or end; a module of its own, because torch-pruning finds places by modules."""

    def __init__(self, path: str, port: str, channels: int, *, fixed: bool = False, tied: Tensor | None = None) -> None:
        super().__init__()
        self.path, self.port, self.channels, self.fixed, self.tied = path, port, channels, fixed, tied


class Source(End):
    """A layer gives channels here."""

    def forward(self, value: Tensor) -> Tensor:
        """Return `value`, made from nothing."""
        return _Opaque.apply(value, torch.zeros(1, requires_grad=True))


class Sink(End):
    """A layer takes channels here."""

    def forward(self, value: Tensor) -> Tensor:
        """Return one number that depends on `value`."""
        return _Opaque.apply(torch.zeros(1), value)


class Through(End):
    """Channels go through a layer here."""

    def forward(self, value: Tensor, link: Tensor) -> Tensor:
        """Return `value`, made from `link`."""
        return _Opaque.apply(value, link)


class OpaqueModel(nn.Module):
    """The model with opaque layers; its forward gives the sinks, from which torch-pruning goes back."""

    def __init__(
        self, model: nn.Module, layers: dict[str, Layer], inputs: dict[str, Tensor], whole: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.model = model
        self.ends = nn.ModuleList()  # before the first forward: torch-pruning watches the modules it finds
        self.reached: list[Tensor] = []
        widths = _widths_of(model, whole)
        with torch.no_grad():
            outputs = [v for v in tree_leaves(model(**inputs)) if isinstance(v, Tensor)]
        self.given = {k: self._end(Source("", k, v.shape[-1], fixed=True)) for k, v in inputs.items() if _has_rows(v)}
        self.results = [self._end(Sink("", "", v.shape[-1] if v.dim() > 1 else 1, fixed=True)) for v in outputs]
        for path, layer in layers.items():
            self._make_opaque(path, model.get_submodule(path), layer)
        for path in whole:
            self._keep_whole(path, model.get_submodule(path), widths[path])

    def forward(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Run the model and return what its layers and its results took."""
        self.reached = []
        with torch.enable_grad(), _OneChannel(self.reached):
            given = {k: self.given[k](v) if k in self.given else v for k, v in inputs.items()}
            outputs = [v for v in tree_leaves(self.model(**given)) if isinstance(v, Tensor)]
            for sink, value in zip(self.results, outputs, strict=True):
                if value.requires_grad:
                    self.reached.append(sink(value))
        return self.reached

    def _end(self, end: End) -> End:
        self.ends.append(end)
        return end

    def _keep_whole(self, path: str, module: nn.Module, widths: set[int]) -> None:
        original = module.forward
        sinks = {width: self._end(Sink(path, "x", width, fixed=True)) for width in widths}
        sources = {width: self._end(Source(path, "output", width, fixed=True)) for width in widths}

        def forward(*args: Any, **kwargs: Any) -> Any:
            for value in tree_leaves((args, kwargs)):
                if _has_rows(value) and value.requires_grad:
                    self.reached.append(sinks[value.shape[-1]](value))
            with torch.no_grad():
                out = original(*tree_map(_plain, args), **tree_map(_plain, kwargs))
            return tree_map(lambda v: sources[v.shape[-1]](v) if _has_rows(v) else v, out)

        module.forward = forward

    def _make_opaque(self, path: str, module: nn.Module, layer: Layer) -> None:
        original = module.forward
        signature = inspect.signature(original)
        first = next(iter(signature.parameters))
        kind = Through if layer.output is None else Sink
        ends = {port: self._end(kind(path, port, p.channels)) for port, p in layer.inputs.items()}
        output = layer.output
        source = None
        if output is not None:
            source = self._end(Source(path, "output", output.channels, tied=layer.tied))

        def forward(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(*args, **kwargs).arguments
            with torch.no_grad():
                values = original(*tree_map(_plain, args), **tree_map(_plain, kwargs))
            value, *more = values if isinstance(values, tuple) else (values,)
            if source is None:
                link = arguments[first]
                value = ends["x"](value, link) if link.requires_grad else value
            else:
                for port, part in _parts(arguments, first, ends):
                    if part.requires_grad:
                        self.reached.append(ends[port](part))
                value = source(value)
            return (value, *more) if isinstance(values, tuple) else value

        module.forward = forward


def _widths_of(model: nn.Module, paths: Sequence[str]) -> dict[str, set[int]]:
    """Path of a module -> the widths of what it takes and gives, noted in the next forward."""
    found: dict[str, set[int]] = {path: set() for path in paths}
    for path in paths:
        module = model.get_submodule(path)

        def hook(_: nn.Module, args: Any, kwargs: Any, out: Any, own: set[int] = found[path]) -> None:
            own.update(v.shape[-1] for v in tree_leaves((args, kwargs, out)) if _has_rows(v))

        module.register_forward_hook(hook, with_kwargs=True)
    return found


def _has_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1


def _parts(arguments: dict[str, Any], first: str, ends: dict[str, End]) -> Iterator[tuple[str, Tensor]]:
    """Port and tensor of every argument that comes in through one; a pair comes in side by side."""
    for name, value in arguments.items():
        pair = value if isinstance(value, (tuple, list)) else (value, value)
        named = ("x", "x") if "x" in ends else ("x0", "x1")
        for port, part in zip(named if name == first else (name, name), pair, strict=False):
            if port in ends and isinstance(part, Tensor):
                yield port, part
            if part is value and port != "x0":
                break  # one tensor, one port


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


class _OneChannel(TorchFunctionMode):
    """Cut links that torch-pruning would take for elementwise.

    They are a score that scales all channels of a row, and a sum over all channels of a row. What leads there is noted
    in `reached`, so that it is followed all the same.
    """

    def __init__(self, reached: list[Tensor]) -> None:
        super().__init__()
        self.reached = reached

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        linked = [a for a in args if isinstance(a, Tensor) and a.requires_grad and a.dim() > 1]
        widest = max((a.shape[-1] for a in linked), default=0)
        scores = [a for a in linked if a.shape[-1] == 1 < widest]
        if len(linked) == 2 and scores:
            self.reached += scores
            args = [a.detach() if any(a is score for score in scores) else a for a in args]
        out = func(*args, **(kwargs or {}))
        summed = len(linked) == 1 and linked[0].dim() == 2 and widest > 1
        if summed and isinstance(out, Tensor) and out.requires_grad:
            rows = linked[0].shape[0]
            if out.shape in ((rows,), (rows, 1)):
                self.reached.append(out)
                return out.detach()
        return out
