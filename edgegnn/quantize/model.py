"""Put quantization points into any module written with PyG layers.

The rules of Degree-Quant for GCN, GAT and GIN (papers.md 2.4), carried to every `MessagePassing` layer:

    every Linear                   input, weight, output; by the node mask when the Linear belongs to a message
                                   passing layer itself, without a mask inside a nested MLP (GIN) or a head
    other parameters >= 2-D        weight (attention vectors, relation and kernel weights, embeddings)
    one-dimensional edge weights   always (the normalisation coefficients of GCN)
    leaky-ReLU inside a layer      its input, the attention logit, by the mask of the source node
    message                        by the mask of the source node
    aggregate                      by the node mask
    output of the layer            by the node mask ("update")

Everything else (softmax, ReLU, norms, pooling, biases) stays float. Nothing here knows a model of the zoo: points are
found by walking the module tree and by one dry run on an example graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
import torch_geometric.nn.dense.linear as pyg_linear
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch_geometric.nn import MessagePassing

from edgegnn.errors import QuantizeError
from edgegnn.quantize.quantizer import QuantPoint
from edgegnn.quantize.recipe import Recipe
from edgegnn.train.sparse import csr_sum

__all__ = ["QuantModel", "prepare"]

_LINEAR = (nn.Linear, pyg_linear.Linear)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


@dataclass(frozen=True)
class _Layer:
    """A message passing layer and its path in the model."""

    path: str
    conv: MessagePassing


@dataclass
class _Step:
    """What the points of one forward share; kept off the module, where torch.export would see it change."""

    probability: Tensor | None = None
    mask: Tensor | None = None
    edge_index: Tensor | None = None
    off: bool = False


class QuantModel(nn.Module):
    """A module with quantization points; same `forward` arguments as the module it wraps.

    Args:
        model: the float module; its parameters are shared, its submodules get hooks.
        recipe: a recipe that trains ("qat" or "dq").
        structure: what `structure()` of an earlier `prepare` gave, to rebuild a saved model; None while `prepare` finds
            the points.

    Attributes:
        stayed_float: name -> reason, for everything that was looked at and left alone.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, structure: dict[str, Any] | None = None) -> None:
        super().__init__()
        if not recipe.trains:
            raise QuantizeError(f"recipe {recipe.name!r} does not put quantizers into a model")
        self.model, self.recipe = model, recipe
        self.stayed_float: dict[str, str] = {}
        self.points = nn.ModuleDict()
        self._finding = structure is None
        self._copies = set((structure or {}).get("copies", ()))  # layers whose message is x_j itself
        self._step = _Step()
        self._weights = dict(self._find_weights())
        for name, channels in (structure or {"points": self._weights})["points"].items():
            self._add(name, channels)
        self._install()

        def forward(*args: Tensor, **kwargs: Tensor) -> Tensor:
            return self._forward(*args, **kwargs)

        # torch.export, and whoever asks which inputs the model takes, read the wrapped model's signature.
        forward.__signature__ = inspect.signature(model.forward)  # type: ignore[attr-defined]
        self.forward = forward

    # Public ------------------------------------------------------------

    def set_protection(self, probability: Tensor | None) -> None:
        """Protection probabilities (float `[N]`) of the next training forward; None protects nobody."""
        self._step.probability = probability if self.recipe.method == "dq" else None

    def structure(self) -> dict[str, Any]:
        """Plain values from which the constructor rebuilds the points (name -> channels, 0 for an activation)."""
        points = {p.name: p.lo.numel() if p.observer == "weight" else 0 for p in self._all_points()}
        return {"points": points, "copies": sorted(self._copies)}

    def freeze(self) -> None:
        """Fix scale and zero point of every point from its range.

        Raises:
            QuantizeError: a point has never seen a value.
        """
        unseen = [p.name for p in self._all_points() if not p.seen]
        if unseen:
            raise QuantizeError(
                f"{len(unseen)} quantization points never saw a value ({unseen[0]}, ...): train for at least one epoch"
            )
        with torch.no_grad():
            for point in self._all_points():
                point.freeze()

    @contextmanager
    def as_float(self) -> Iterator[nn.Module]:
        """The wrapped module with every point switched off: the float model with the same parameters."""
        self._step.off = True
        try:
            yield self.model
        finally:
            self._step.off = False

    def train(self, mode: bool = True) -> QuantModel:
        """Switch modes; leaving training derives every scale from the range seen so far."""
        super().train(mode)
        if not mode:
            for point in self._all_points():
                if point.seen:
                    point.freeze()
        return self

    def _forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        """Run the wrapped model with its weights and activations on their code grids."""
        self._step.mask = self._draw()
        weights = {name: self._point(name)(self.model.get_parameter(name)) for name in self._weights}
        with _RememberDropout() if self.training else nullcontext():
            return torch.func.functional_call(self.model, weights, args, kwargs)

    # Points ------------------------------------------------------------

    def _all_points(self) -> Iterator[QuantPoint]:
        return iter(self.points.values())  # type: ignore[arg-type]

    def _point(self, name: str) -> QuantPoint:
        return self.points[name.replace(".", "/")]  # type: ignore[return-value]

    def _add(self, name: str, channels: int = 0) -> QuantPoint:
        r = self.recipe
        own = channels > 0 and r.weight_per_channel
        point = QuantPoint(
            name,
            bits=r.bits,
            observer="weight" if own else r.observer,
            quantile=r.quantile,
            momentum=r.momentum,
            clip_grad=r.clip_grad,
            channels=channels if own else 1,
        )
        self.points[name.replace(".", "/")] = point.train(self.training)
        return point

    def _quantize(self, name: str, x: Any, protected: Tensor | None = None, dim: int = 0) -> Any:
        """Pass a float tensor through the point `name`; anything else is left as it is."""
        if self._step.off or not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0:
            return x
        if name.replace(".", "/") not in self.points:
            if not self._finding:
                return x
            self._add(name)
        point = self._point(name)
        if hasattr(x, "_before_dropout"):
            kept, factor = x._before_dropout
            return self._quantize(name, kept, protected, dim) * factor
        if dim % max(x.dim(), 1) == 0 or protected is None:
            return point(x, protected)
        return point(x.movedim(dim, 0), protected).movedim(0, dim)

    def _draw(self) -> Tensor | None:
        """Which nodes run in full precision this time (papers.md 2.2)."""
        if not self.training or self._step.probability is None:
            return None
        return torch.bernoulli(self._step.probability).bool()

    def _node_mask(self, x: Any, dim: int = 0) -> Tensor | None:
        mask = self._step.mask
        return mask if mask is not None and isinstance(x, Tensor) and x.shape[dim] == mask.numel() else None

    def _source_mask(self, conv: MessagePassing, rows: int) -> Tensor | None:
        mask, edge_index = self._step.mask, self._step.edge_index
        if mask is None or edge_index is None or edge_index.shape[1] != rows:
            return None
        return mask[edge_index[0 if conv.flow == "source_to_target" else 1]]

    # Where points go ------------------------------------------------------------

    def _float_reason(self, path: str, module: nn.Module) -> str | None:
        if any(fnmatch(path, pattern) for pattern in self.recipe.keep_float):
            return "kept float by the recipe's keep_float"
        if isinstance(module, _RECURRENT):
            return f"{type(module).__name__} has no integer form here"
        return None

    def _find_weights(self) -> Iterator[tuple[str, int]]:
        seen: set[int] = set()
        for path, module in self.model.named_modules():
            reason = self._float_reason(path, module)
            for own, parameter in module.named_parameters(recurse=False):
                name = f"{path}.{own}" if path else own
                if parameter.dim() < 2 or id(parameter) in seen or not parameter.is_floating_point():
                    continue
                seen.add(id(parameter))
                if reason is None and isinstance(module, _LINEAR) and _is_scalar_input(module):
                    reason = "its input is the raw single node feature"
                if reason is not None:
                    self.stayed_float[name] = reason
                    continue
                channels = parameter.shape[0] if isinstance(module, _LINEAR) else 1
                yield name, channels

    def _install(self) -> None:
        inside: dict[str, MessagePassing] = {}
        for path, module in self.model.named_modules():
            if isinstance(module, MessagePassing):
                if self._float_reason(path, module) is None:
                    self._wrap_conv(_Layer(path, module))
                inside[path] = module
        for path, module in self.model.named_modules():
            name = f"{path}.weight"
            if isinstance(module, _LINEAR) and name in self._weights:
                self._wrap_linear(path, module, inside.get(path.rpartition(".")[0]))

    def _wrap_linear(self, path: str, linear: nn.Module, conv: MessagePassing | None) -> None:
        def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            mask = self._node_mask(args[0]) if conv is not None else None
            return (self._quantize(f"{path}.input", args[0], mask), *args[1:])

        def after(_: nn.Module, __: tuple[Any, ...], out: Any) -> Any:
            mask = self._node_mask(out) if conv is not None else None
            return self._quantize(f"{path}.output", out, mask)

        linear.register_forward_pre_hook(before)
        linear.register_forward_hook(after)

    def _wrap_conv(self, layer: _Layer) -> None:
        """Override `message`, `aggregate`, `propagate` and `edge_updater` on the instance.

        PyG skips its message and aggregate hooks while compiling or exporting; instance attributes are always called.
        """
        conv, path = layer.conv, layer.path
        message, aggregate = conv.message, conv.aggregate
        propagate, edge_updater, edge_update = conv.propagate, conv.edge_updater, conv.edge_update

        def quantized_message(*args: Any, **kwargs: Any) -> Any:
            with self._logits(f"{path}.logit", conv):
                out = message(*args, **kwargs)
            if not isinstance(out, Tensor):
                return out
            if self._finding and out is kwargs.get("x_j"):
                self._copies.add(path)
            mask = self._source_mask(conv, out.shape[conv.node_dim])
            return self._quantize(f"{path}.message", out, mask, conv.node_dim)

        def quantized_aggregate(*args: Any, **kwargs: Any) -> Any:
            out = aggregate(*args, **kwargs)
            if not isinstance(out, Tensor):
                return out
            return self._quantize(f"{path}.aggregate", out, self._node_mask(out, conv.node_dim), conv.node_dim)

        def quantized_edge_update(*args: Any, **kwargs: Any) -> Any:
            with self._logits(f"{path}.logit", conv):
                return edge_update(*args, **kwargs)

        def tracked_propagate(edge_index: Any, size: Any = None, **kwargs: Any) -> Any:
            for key, value in kwargs.items():
                # What an edge weighs in the sum; attention (one column a head) is two-dimensional and stays float.
                if key in {"edge_weight", "norm"} and isinstance(value, Tensor) and value.dim() == 1:
                    kwargs[key] = self._quantize(f"{path}.{key}", value)
            with self._edges(edge_index):
                if self._sums_copies(layer, edge_index, kwargs):
                    return self._sum_of_copies(layer, edge_index, size, kwargs)
                return propagate(edge_index, size=size, **kwargs)

        def tracked_edge_updater(edge_index: Any, *args: Any, **kwargs: Any) -> Any:
            with self._edges(edge_index):
                return edge_updater(edge_index, *args, **kwargs)

        def after(_: nn.Module, __: tuple[Any, ...], out: Any) -> Any:
            return self._quantize(f"{path}.update", out, self._node_mask(out))

        conv.message, conv.aggregate = quantized_message, quantized_aggregate
        conv.propagate, conv.edge_updater, conv.edge_update = (
            tracked_propagate,
            tracked_edge_updater,
            quantized_edge_update,
        )
        conv.register_forward_hook(after)

    @contextmanager
    def _edges(self, edge_index: Any) -> Iterator[None]:
        step = self._step
        outer, step.edge_index = step.edge_index, edge_index if isinstance(edge_index, Tensor) else None
        try:
            yield
        finally:
            step.edge_index = outer

    def _logits(self, name: str, conv: MessagePassing) -> TorchFunctionMode:
        return _LeakyReLUInput(
            lambda x: self._quantize(name, x, self._source_mask(conv, x.shape[0]) if isinstance(x, Tensor) else None)
        )

    # Sums of copied messages ------------------------------------------------------------

    def _sums_copies(self, layer: _Layer, edge_index: Any, kwargs: dict[str, Any]) -> bool:
        """Whether quantizing the source nodes once equals quantizing every message: the message is x_j itself."""
        x = kwargs.get("x")
        x = x[0] if isinstance(x, tuple) else x
        return (
            layer.path in self._copies
            and not self._step.off
            and not torch.compiler.is_compiling()
            and layer.conv.aggr in ("sum", "add", "mean")
            and layer.conv.flow == "source_to_target"
            and type(layer.conv).aggregate is MessagePassing.aggregate
            and type(layer.conv).update is MessagePassing.update
            and isinstance(edge_index, Tensor)
            and edge_index.layout == torch.strided
            and isinstance(x, Tensor)
            and x.dim() == 2
        )

    def _sum_of_copies(self, layer: _Layer, edge_index: Tensor, size: Any, kwargs: dict[str, Any]) -> Tensor:
        """Quantize, then aggregate by one sparse product, in place of gather, quantize each edge, scatter.

        Statistics count each source row as often as it is sent, so that ranges equal those of the edge-level path.
        """
        x = kwargs["x"]
        source, target = x if isinstance(x, tuple) else (x, x)
        rows = target.shape[0] if target is not None else (size[1] if size and size[1] else source.shape[0])
        point = self._point(f"{layer.path}.message")
        sent = None
        if self.training:
            sent = torch.zeros(source.shape[0], dtype=torch.int64).scatter_add_(
                0, edge_index[0], torch.ones_like(edge_index[0])
            )
        kept, factor = getattr(source, "_before_dropout", (source, None))
        messages = point(kept, self._node_mask(kept), sent)
        messages = messages if factor is None else messages * factor
        out = csr_sum(messages, edge_index, rows)
        if layer.conv.aggr == "mean":
            received = torch.zeros(rows, dtype=out.dtype).scatter_add_(
                0, edge_index[1], torch.ones(edge_index.shape[1], dtype=out.dtype)
            )
            out = out / received.clamp(min=1).unsqueeze(1)
        return self._quantize(f"{layer.path}.aggregate", out, self._node_mask(out))


def _is_scalar_input(linear: nn.Module) -> bool:
    """The first Linear after a raw scalar feature stays float (papers.md 2.4, GIN)."""
    return getattr(linear, "in_channels", getattr(linear, "in_features", 0)) == 1


class _LeakyReLUInput(TorchFunctionMode):
    """Quantize what goes into a leaky ReLU: in an attention layer, the logit (papers.md 2.4, GAT)."""

    def __init__(self, quantize: Callable[[Any], Any]) -> None:
        super().__init__()
        self.quantize = quantize

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.leaky_relu:
            args = (self.quantize(args[0]), *args[1:])
        return func(*args, **(kwargs or {}))


class _RememberDropout(TorchFunctionMode):
    """Let a point that stands right after a dropout quantize first and drop then.

    Dropout scales what it keeps by 1 / (1 - p): a range tracked after it would be that much too wide for inference,
    which at p = 0.8 leaves 4-bit codes with three values.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not functional.dropout:
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
    """The arguments of `torch.nn.functional.dropout`, by its own names."""
    return input, p, training, inplace


def prepare(model: nn.Module, recipe: Recipe, example_args: Sequence[Tensor]) -> QuantModel:
    """Find the quantization points of `model` by one dry run and return the model that trains with them.

    Args:
        model: any module; its parameters are shared with the result.
        recipe: "qat" or "dq".
        example_args: forward arguments (a real graph with at least one edge).

    Raises:
        QuantizeError: the recipe doesn't train, or no tensor of the model can be quantized.
    """
    quantized = QuantModel(model, recipe)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    quantized.train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        quantized(*example_args)
    for name, value in model.named_buffers():  # the dry run must not move batch-norm statistics
        value.copy_(buffers[name])
    quantized._finding = False
    if not quantized.points:
        raise QuantizeError("nothing to quantize: the model has no Linear, no weight matrix, no message passing layer")
    for point in quantized._all_points():
        point.lo.fill_(float("nan"))
        point.hi.fill_(float("nan"))
    return quantized
