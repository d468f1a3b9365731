"""Put quantization points into any module written with PyG layers.

    every Linear                   input, weight (and output); by the node mask when the Linear belongs to a message
                                   passing layer itself, without a mask inside a nested MLP (GIN) or a head
    other parameters >= 2-D        weight (attention vectors, relation and kernel weights, embeddings)
    message passing layers         where the recipe's placement says: `edgegnn.quantize.inputs` (in front of integer
                                   operators) or `edgegnn.quantize.paper` (Degree-Quant's own)

Everything else (softmax, ReLU, norms, pooling, biases) stays float. Nothing here knows a model of the zoo: points are
found by walking the module tree and by dry runs on an example graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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

from edgegnn.caches import drop_graph_caches
from edgegnn.errors import QuantizeError
from edgegnn.quantize import inputs, paper
from edgegnn.quantize.a2q import A2QPoint, average_bits, kind_and_size, memory_penalty, parameter_groups
from edgegnn.quantize.dataflow import DataFlow
from edgegnn.quantize.probes import fewer_edges, is_edges, random_graphs
from edgegnn.quantize.quantizer import QuantPoint
from edgegnn.quantize.recipe import Recipe

__all__ = ["QuantModel", "prepare"]

_LINEAR = (nn.Linear, pyg_linear.Linear)
_TOLERATED = 0.4  # bits above the target that still count as reached
_NOISE = 2.0**-21  # of a tensor's largest value: flips as many codes as a sum in another order does
_RECURRENT = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


@dataclass
class _Step:
    """What the points of one forward share; kept off the module, where torch.export would see it change."""

    probability: Tensor | None = None
    mask: Tensor | None = None
    edge_index: Tensor | None = None
    off: bool = False
    only: Collection[str] | None = None
    noise: torch.Generator | None = None


class QuantModel(nn.Module):
    """A module with quantization points; same `forward` arguments as the module it wraps.

    Args:
        model: the float module; its parameters are shared, its submodules get hooks.
        recipe: a recipe that trains ("qat", "dq" or "a2q").
        structure: what `structure()` of an earlier `prepare` gave, to rebuild a saved model; None while `prepare` finds
            the points.
        nodes: nodes of the one graph that the model is for; 0 for any graphs ("a2q" asks).

    Attributes:
        stayed_float: name -> reason, for everything that was looked at and left alone.
        layers: path of a message passing layer -> what its placement has to know of it.
        looking, finding: `prepare` is learning how layers use their rows; it is finding the points.
        flow: what tensors are computed from, while `prepare` looks.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, structure: dict[str, Any] | None = None, nodes: int = 0
    ) -> None:
        super().__init__()
        if not recipe.trains:
            raise QuantizeError(f"recipe {recipe.name!r} does not put quantizers into a model")
        self.model, self.recipe = model, recipe
        self.stayed_float: dict[str, str] = {}
        self.points = nn.ModuleDict()
        self._placement = paper if recipe.placement == "paper" else inputs
        self.looking, self.finding = False, structure is None
        self.flow: DataFlow | None = None
        self.layers: dict[str, dict[str, Any]] = dict((structure or {}).get("layers", {}))
        self.step = _Step()
        self._nodes = nodes
        self._weights = dict(self._find_weights())
        for name, channels in (structure or {"points": self._weights})["points"].items():
            self._add(name, channels, (structure or {}).get("learnt", {}).get(name))
        self._install()

        def forward(*args: Tensor, **kwargs: Tensor) -> Tensor:
            return self._forward(*args, **kwargs)

        # torch.export, and whoever asks which inputs the model takes, read the wrapped model's signature.
        forward.__signature__ = inspect.signature(model.forward)  # type: ignore[attr-defined]
        self.forward = forward

    # Public ------------------------------------------------------------

    def set_protection(self, probability: Tensor | None) -> None:
        """Protection probabilities (float `[N]`) of the next training forward; None protects nobody."""
        self.step.probability = probability if self.recipe.method == "dq" else None

    def structure(self) -> dict[str, Any]:
        """Plain values from which the constructor rebuilds the points (name -> channels, 0 for an activation)."""
        points = {p.name: p.channels for p in self._all_points()}
        learnt = {p.name: [p.kind, p.size] for p in self._learnt()}
        extra = {"learnt": learnt} if learnt else {}
        return {"points": points, "layers": dict(sorted(self.layers.items())), **extra}

    def weight_points(self) -> dict[str, QuantPoint]:
        """Name of a parameter of the wrapped module -> the point of fixed bits that its values pass through."""
        points = {name: self.point(name) for name in self._weights}
        return {name: point for name, point in points.items() if isinstance(point, QuantPoint)}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the recipe trains at rates of its own, as groups for an optimizer."""
        return parameter_groups(self._learnt(), self.recipe)

    def penalty(self) -> Tensor | None:
        """What learnt bit widths add to the loss of the last batch; None where none are learnt."""
        points = [p for p in self._learnt() if p.learns_bits]
        return memory_penalty(points, self.recipe.target_bits, self.recipe.memory_weight) if points else None

    def settle(self) -> None:
        """What learnt widths need after each optimizer step."""
        for point in self._learnt():
            point.settle()

    def excess(self) -> float:
        """By how many bits the average of learnt widths lies above the target; 0 up to 0.4 bits above it."""
        found = self.average_bits()
        over = found["rows"] - self.recipe.target_bits if found else 0.0
        return over if over > _TOLERATED else 0.0

    @property
    def fixed_nodes(self) -> int | None:
        """Number of nodes of the one graph that the model can run on; None for any graph."""
        return next((p.size for p in self._learnt() if p.kind == "node"), None)

    def average_bits(self) -> dict[str, float]:
        """Mean bits of learnt codes: over "rows", over "values", and by name of the point; {} where none are learnt.

        `edgegnn.quantize.a2q.average_bits` says what counts how often.
        """
        points = [p for p in self._learnt() if p.learns_bits]
        return average_bits(points) if points else {}

    def learnt_bits(self) -> dict[str, dict[str, Any]]:
        """Name of each point with learnt widths -> `A2QPoint.describe`."""
        return {p.name: p.describe() for p in self._learnt() if p.learns_bits}

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
            for name in self._weights:
                point = self.point(name)
                if isinstance(point, A2QPoint):
                    point.project(self.model.get_parameter(name))

    @contextmanager
    def as_float(self) -> Iterator[nn.Module]:
        """The wrapped module with every point switched off: the float model with the same parameters."""
        self.step.off = True
        try:
            yield self.model
        finally:
            self.step.off = False

    @contextmanager
    def only(self, names: Collection[str]) -> Iterator[None]:
        """Switch all points off but those of these names."""
        self.step.only = names
        try:
            yield
        finally:
            self.step.only = None

    @contextmanager
    def noise(self) -> Iterator[None]:
        """Move what points round by about the rounding error of a float sum: codes on the edge fall to either side."""
        self.step.noise = torch.Generator().manual_seed(0)
        try:
            yield
        finally:
            self.step.noise = None

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
        self.step.mask = self._draw()
        chosen = [name for name in self._weights if self.step.only is None or name in self.step.only]
        if self.looking:  # scales are not known yet: rounded weights would show another structure
            chosen = []
        weights = {name: self.point(name)(self.model.get_parameter(name)) for name in chosen}
        with _RememberDropout() if self.training else nullcontext():
            return torch.func.functional_call(self.model, weights, args, kwargs)

    # Points ------------------------------------------------------------

    def _all_points(self) -> Iterator[QuantPoint | A2QPoint]:
        return iter(self.points.values())  # type: ignore[arg-type]

    def _learnt(self) -> list[A2QPoint]:
        return [p for p in self._all_points() if isinstance(p, A2QPoint)]

    def point(self, name: str) -> QuantPoint | A2QPoint:
        """The point of that name."""
        return self.points[name.replace(".", "/")]  # type: ignore[return-value]

    def _add(self, name: str, channels: int = 0, learnt: Sequence[Any] | None = None) -> None:
        r = self.recipe
        key = name.replace(".", "/")
        if r.method == "a2q":
            kind, size = learnt or ("weight", channels)
            self.points[key] = A2QPoint(name, kind, size, r).train(self.training or self.finding)
            return
        own = channels > 0 and r.weight_per_channel
        point = QuantPoint(
            name,
            bits=r.bits_at(name),
            observer="weight" if own else r.observer,
            quantile=r.quantile,
            momentum=r.momentum,
            clip_grad=r.clip_grad,
            channels=channels if own else 1,
        )
        self.points[key] = point.train(self.training)

    def quantize(self, name: str, x: Any, protected: Tensor | None = None, dim: int = 0) -> Any:
        """Pass a float tensor through the point `name`; anything else is left as it is."""
        if self.step.off or self.looking or not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0:
            return x
        if self.step.only is not None and name not in self.step.only:
            return x
        if not self._placement.OUTPUTS and getattr(x, "_on_grid", None) == self._grid(name):
            return x
        if name.replace(".", "/") not in self.points:
            if not self.finding:
                return x
            moved = x.movedim(dim % x.dim(), 0)
            self._add(name, learnt=kind_and_size(name, moved, self._nodes, self.recipe.groups))
        point = self.point(name)
        if self.step.noise is not None and x.numel():
            x = x + _NOISE * x.abs().max() * torch.randn(x.shape, generator=self.step.noise)
        if hasattr(x, "_before_dropout"):
            kept, factor = x._before_dropout
            out = self.quantize(name, kept, protected, dim) * factor
        elif dim % max(x.dim(), 1) == 0 or (protected is None and isinstance(point, QuantPoint)):
            out = point(x, protected)
        else:
            out = point(x.movedim(dim, 0), protected).movedim(0, dim)
        out._on_grid = self._grid(name)
        return out

    def _grid(self, name: str) -> str:
        """Along what the codes of an activation share a scale: products need rows of one scale, sums columns."""
        if self.recipe.method != "a2q":
            return "tensor"
        return "columns" if name.endswith(".message") else "rows"

    def _draw(self) -> Tensor | None:
        """Which nodes run in full precision this time (2008.05000, section 4)."""
        if not self.training or self.step.probability is None:
            return None
        return torch.bernoulli(self.step.probability).bool()

    def node_mask(self, x: Any, dim: int = 0) -> Tensor | None:
        """Which rows of `x` are protected in this forward (bool `[N]`); None where `x` has another number of rows."""
        mask = self.step.mask
        return mask if mask is not None and isinstance(x, Tensor) and x.shape[dim] == mask.numel() else None

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
                    self._placement.wrap_conv(self, path, module)
                inside[path] = module
        for path, module in self.model.named_modules():
            if isinstance(module, _LINEAR) and f"{path}.weight" in self._weights:
                self._wrap_linear(path, module, path.rpartition(".")[0] in inside)

    def products(self, path: str) -> dict[str, nn.Linear]:
        """Name -> every quantized Linear (PyG's or PyTorch's) in the module at `path`."""
        inside = self.model.get_submodule(path).named_modules(prefix=path)
        return {name: m for name, m in inside if isinstance(m, _LINEAR) and f"{name}.weight" in self._weights}

    def read_by(self, products: Mapping[str, nn.Module], run: Callable[[], Any]) -> dict[str, Tensor]:
        """What these modules read while `run` runs without any point."""
        read: dict[str, Tensor] = {}

        def reader(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            return lambda _, args: read.update({name: args[0]})

        hooks = [module.register_forward_pre_hook(reader(name)) for name, module in products.items()]
        looking, self.looking, self.step.off = self.looking, False, True
        try:
            run()
        finally:
            self.looking, self.step.off = looking, False
            for hook in hooks:
                hook.remove()
        return read

    def _wrap_linear(self, path: str, linear: nn.Module, masked: bool) -> None:
        """Points at a Linear; by the node mask when it belongs to a message passing layer itself."""

        def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            if any(path in layer.get("products_first", ()) for layer in self.layers.values()):
                return args
            mask = self.node_mask(args[0]) if masked else None
            return (self.quantize(f"{path}.input", args[0], mask), *args[1:])

        def after(_: nn.Module, __: tuple[Any, ...], out: Any) -> Any:
            return self.quantize(f"{path}.output", out, self.node_mask(out) if masked else None)

        linear.register_forward_pre_hook(before)
        if self._placement.OUTPUTS:
            linear.register_forward_hook(after)


def _is_scalar_input(linear: nn.Module) -> bool:
    """The first Linear after a raw scalar feature stays float (as the released GIN of 2008.05000)."""
    return getattr(linear, "in_channels", getattr(linear, "in_features", 0)) == 1


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


def prepare(model: nn.Module, recipe: Recipe, example_args: Sequence[Tensor], nodes: int = 0) -> QuantModel:
    """Find the quantization points of `model` by one dry run and return the model that trains with them.

    Args:
        model: any module; its parameters are shared with the result.
        recipe: "qat", "dq" or "a2q".
        example_args: forward arguments (a real graph with at least one edge).
        nodes: nodes of the one graph that the model is for; 0 for any graphs ("a2q" asks).

    Raises:
        QuantizeError: the recipe doesn't train, or no tensor of the model can be quantized.
    """
    drop_graph_caches(model)  # what the example gives would hide what other graphs give
    quantized = QuantModel(model, recipe, nodes=nodes)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        quantized.eval()
        _look(quantized, example_args)
        quantized.train(recipe.method != "a2q")
        quantized.points.train()  # learnt steps start from what inference sees, without dropout
        quantized(*example_args)
        quantized.train()
    for name, value in model.named_buffers():  # the dry runs must not move batch-norm statistics
        value.copy_(buffers[name])
    quantized.finding = False
    if not quantized.points:
        raise QuantizeError("nothing to quantize: the model has no Linear, no weight matrix, no message passing layer")
    for point in quantized._all_points():
        point.forget()
    return quantized


def _look(quantized: QuantModel, example_args: Sequence[Tensor]) -> None:
    """Learn how layers use their rows: what they compute, on the example and on random graphs of its size."""
    quantized.looking = True
    try:
        for args in (example_args, fewer_edges(example_args)):
            _run_followed(quantized, args)
        for args in random_graphs(example_args):
            try:
                _run_followed(quantized, args)
            except Exception:  # the model is for graphs of a certain kind, of which one example shows too little
                for layer in quantized.layers.values():
                    layer.update({"scaled": False} if layer else {})
                break
    finally:
        quantized.looking, quantized.flow = False, None


def _run_followed(quantized: QuantModel, args: Sequence[Tensor]) -> None:
    flow = quantized.flow = DataFlow()
    for name, value in (*quantized.model.named_parameters(), *quantized.model.named_buffers()):
        flow.mark(value, name)
    for at, value in enumerate(args):
        flow.mark(value, inputs.EDGES if is_edges(value) else f"input {at}")
    with flow:
        quantized(*args)
