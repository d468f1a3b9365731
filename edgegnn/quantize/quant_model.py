"""Put quantization points into any module written with PyG layers.

    every Linear                   input, weight (and output); by the node mask when the Linear belongs to a message
                                   passing layer itself, without a mask inside a nested MLP (GIN) or a head
    other parameters >= 2-D        weight (attention vectors, relation and kernel weights, embeddings)
    message passing layers         where the recipe's placement says: `operator_placement.py` (in front of integer
                                   operators) or `paper_placement.py` (Degree-Quant's own)

Everything else (softmax, ReLU, norms, pooling, biases) stays float. Nothing here knows a model of the zoo: points are
found by walking the module tree and by dry runs on an example graph.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import torch
import torch_geometric.nn.dense.linear as pyg_linear
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from edgegnn.errors import QuantizeError
from edgegnn.quantize import operator_placement, paper_placement
from edgegnn.quantize.a2q import (
    A2QPoint,
    average_bits,
    in_front_of_sum,
    kind_and_size,
    memory_penalty,
    parameter_groups,
)
from edgegnn.quantize.dataflow import DataFlow
from edgegnn.quantize.degree_protection import TypedProtection
from edgegnn.quantize.quantizer import QuantPoint
from edgegnn.quantize.recipe import A2Q, QAT, Recipe, Trained
from edgegnn.training.dropout import RememberDropout
from edgegnn.training.sparse_matrices import sparse_matrices

__all__ = ["QuantModel"]

_LINEAR = (nn.Linear, pyg_linear.Linear)
_TOLERATED = 0.4  # bits above the target that still count as reached
_NOISE = 2.0**-21  # of a tensor's largest value: flips as many codes as a sum in another order does
_RECURRENT = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)


@dataclass
class _Step:
    """What the points of one forward share; kept off the module, where torch.export would see it change."""

    probability: Tensor | TypedProtection | None = None
    mask: Tensor | None = None
    relations: dict[int, tuple[Tensor, Tensor]] = field(
        default_factory=dict
    )  # id of an input of edges -> masks of ends
    ends: tuple[Tensor, Tensor] | None = None  # masks of the ends of the relation whose layer runs
    edge_index: Tensor | None = None
    off: bool = False
    only: Collection[str] | None = None
    noise: torch.Generator | None = None
    watch: Callable[[str, Tensor], None] | None = None  # is told what points are given, in place of rounding it
    calls: Counter[str] = field(default_factory=Counter)


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
        graphs: how many the example holds while `prepare` finds the points, 0 where that says nothing of a tensor.
        flow: what tensors are computed from, while `prepare` looks.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, structure: dict[str, Any] | None = None, nodes: int = 0
    ) -> None:
        super().__init__()
        if not isinstance(recipe, Trained):
            raise QuantizeError(f"recipe {recipe.name!r} does not put quantizers into a model")
        self.model, self.recipe = model, recipe
        paper = isinstance(recipe, QAT) and recipe.placement == "paper"
        self.stayed_float: dict[str, str] = {}
        self.points = nn.ModuleDict()
        self._placement = paper_placement if paper else operator_placement
        self.looking, self.finding = False, structure is None
        self.graphs = 0
        self.flow: DataFlow | None = None
        self.layers: dict[str, dict[str, Any]] = dict((structure or {}).get("layers", {}))
        self.step = _Step()
        self._nodes = nodes
        self._paths: dict[nn.Module, list[str]] = {}  # a module may have several names; its points have the first
        for path, module in model.named_modules(remove_duplicate=False):
            self._paths.setdefault(module, []).append(path)
        self._holders = _holders(model)
        self._weights = dict(self._find_weights())
        points: dict[str, int] = self._weights if structure is None else structure["points"]
        self._weights = {name: channels for name, channels in self._weights.items() if name in points}
        self.stayed_float |= (structure or {}).get("stayed_float", {})
        for name, channels in points.items():
            self._add(name, channels, (structure or {}).get("learnt", {}).get(name))
        self._install()

        def forward(*args: Tensor, **kwargs: Tensor) -> Tensor:
            return self._forward(*args, **kwargs)

        # torch.export, and whoever asks which inputs the model takes, read the wrapped model's signature.
        forward.__signature__ = inspect.signature(model.forward)  # type: ignore[attr-defined]
        forward.own_inputs = getattr(model.forward, "own_inputs", None)  # type: ignore[attr-defined]
        self.forward = forward

    # Public ------------------------------------------------------------

    def set_protection(self, probability: Tensor | TypedProtection | None) -> None:
        """Protection probabilities (float `[N]`) of the next training forward; None protects nobody.

        With several types of nodes, layers that are given one relation (as in `HeteroConv`) protect its ends; one that
        takes all relations at once (`HGTConv`) protects nobody.
        """
        self.step.probability = probability if self.recipe.does.protects_nodes else None

    def structure(self) -> dict[str, Any]:
        """Plain values from which the constructor rebuilds the points (name -> channels, 0 for an activation)."""
        points = {p.name: p.channels for p in self._all_points()}
        learnt = {p.name: [p.kind, p.size] for p in self._learnt()}
        extra: dict[str, Any] = {"learnt": learnt} if learnt else {}
        if self.stayed_float:
            extra["stayed_float"] = dict(sorted(self.stayed_float.items()))
        return {"points": points, "layers": dict(sorted(self.layers.items())), **extra}

    def weight_points(self) -> dict[str, QuantPoint]:
        """Name of a parameter of the wrapped module -> the point of fixed bits that its values pass through."""
        points = {name: self.point(name) for name in self._weights}
        return {name: point for name, point in points.items() if isinstance(point, QuantPoint)}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the recipe trains at rates of its own, as groups for an optimizer."""
        return parameter_groups(self._learnt(), self.recipe) if isinstance(self.recipe, A2Q) else []

    def penalty(self) -> Tensor | None:
        """What learnt bit widths add to the loss of the last batch; None where none are learnt."""
        points, r = [p for p in self._learnt() if p.learns_bits], self.recipe
        return memory_penalty(points, r.target_bits, r.memory_weight) if points and isinstance(r, A2Q) else None

    def settle(self) -> None:
        """Bring learnt widths back into their range after an optimizer step."""
        for point in self._learnt():
            point.settle()

    def excess(self) -> float:
        """By how many bits the average of learnt widths lies above the target; 0 up to 0.4 bits above it."""
        found = self.average_bits()
        over = found["rows"] - self.recipe.target_bits if found and isinstance(self.recipe, A2Q) else 0.0
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
        """Fix scale and zero point of every point from its range; one that never saw a value is dropped.

        Raises:
            QuantizeError: no point of an activation has ever seen a value.
        """
        seen = {p.name: p.seen for p in self._all_points()}
        activations = set(seen) - set(self._weights)
        if not any(seen[name] for name in activations or seen):
            raise QuantizeError("the quantization points never saw a value: train for at least one epoch")
        self.drop([name for name in seen if not seen[name]], "no value passed here in training")
        with torch.no_grad():
            for point in self._all_points():
                point.freeze()
            for name in self._weights:
                point = self.point(name)
                if isinstance(point, A2QPoint):
                    point.project(self.model.get_parameter(name))

    def drop(self, names: Collection[str], reason: str) -> None:
        """Take points out of the model for good."""
        for name in names:
            del self.points[name.replace(".", "/")]
            self._weights.pop(name, None)
            self.stayed_float[name] = reason

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
        """Switch off all points but the named ones."""
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
        self.step.mask = self._draw(kwargs)
        self.step.calls = Counter()
        chosen = [name for name in self._weights if self.step.only is None or name in self.step.only]
        if (
            self.looking or self.step.watch is not None
        ):  # scales may not be known yet: rounded weights would show another structure
            chosen = []
        weights: dict[str, Tensor] = {}
        for name in chosen:
            rounded = self.point(name)(self.model.get_parameter(name))
            weights |= dict.fromkeys(self._holders[name], rounded)
        with RememberDropout() if self.training else nullcontext(), sparse_matrices():
            # It would replace a parameter once for each name of its module, and put back what it had put there.
            return torch.func.functional_call(self.model, weights, args, kwargs, tie_weights=False)

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
        if isinstance(r, A2Q):
            kind, size = learnt or ("weight", channels)
            self.points[key] = A2QPoint(name, kind, size, r).train(self.training or self.finding)
            return
        assert isinstance(r, QAT)  # the only other class that trains
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

    def called(self, what: str) -> int:
        """Number of earlier calls with this key in this forward."""
        before = self.step.calls[what]
        self.step.calls[what] += 1
        return before

    def name_of(self, name: str, call: int) -> str:
        """The point of a module's call, counted from 0: each has values of its own ("conv.message", "conv.message.1").

        Where a call has none (a model saved without them, a loop longer than the example's), it is the first call's.
        """
        own = f"{name}.{call}" if call else name
        known = self.finding or own.replace(".", "/") in self.points or own in self.stayed_float
        return own if known else name

    def quantize(self, name: str, x: Any, protected: Tensor | None = None, dim: int = 0, *, call: int = 0) -> Any:
        """Pass a float tensor through the point `name` of that call; anything else is left as it is."""
        name = self.name_of(name, call)
        if self.step.off or self.looking or not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0:
            return x
        if self.step.only is not None and name not in self.step.only:
            return x
        if not self._placement.OUTPUTS and getattr(x, "_on_grid", None) == self._grid(name):
            return x
        if name.replace(".", "/") not in self.points:
            if not self.finding:
                return x
            if self._placement.GRAPHS_FLOAT and dim == 0 and x.dim() == 2 and len(x) == self.graphs:
                self.stayed_float[name] = "one row for each graph: in float it holds the sums of graphs of any size"
                return x
            moved = x.movedim(dim % x.dim(), 0)
            groups = self.recipe.groups if isinstance(self.recipe, A2Q) else None
            self._add(name, learnt=None if groups is None else kind_and_size(name, moved, self._nodes, groups))
        if self.step.watch is not None:
            self.step.watch(name, x)
            return x
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
        if not self.recipe.does.learns_bits:
            return "tensor"
        return "columns" if in_front_of_sum(name) else "rows"

    def _draw(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Draw the nodes that run in full precision this time (arXiv 2008.05000, section 4).

        The step keeps the masks of relations.
        """
        probability, self.step.relations, self.step.ends = self.step.probability, {}, None
        if not self.training or probability is None:
            return None
        if isinstance(probability, TypedProtection):
            drawn = probability.draw()
            self.step.relations = {id(inputs[name]): masks for name, masks in drawn.items() if name in inputs}
            return None
        return torch.bernoulli(probability).bool()

    def node_mask(self, x: Any, dim: int = 0) -> Tensor | None:
        """Which rows of `x` are protected in this forward (bool `[N]`); None where `x` has another number of rows."""
        masks = {id(m): m for m in (self.step.mask, *(self.step.ends or ())) if m is not None}
        fitting = [m for m in masks.values() if isinstance(x, Tensor) and x.shape[dim] == m.numel()]
        return fitting[0] if len(fitting) == 1 else None  # of two types with as many nodes, nobody can tell

    def source_mask(self, end: int) -> Tensor | None:
        """Which nodes are protected at an end of the edges, 0 or 1 (bool `[N]`)."""
        return self.step.mask if self.step.ends is None else self.step.ends[end]

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A layer is about to run on one relation."""
        known = self.step.relations
        self.step.ends = (
            next((known[id(a)] for a in (*args, *kwargs.values()) if id(a) in known), None) if known else None
        )

    def _leave(self, *_: Any) -> None:
        self.step.ends = None

    # Where points go ------------------------------------------------------------

    def _float_reason(self, module: nn.Module) -> str | None:
        if any(fnmatch(path, pattern) for path in self._paths[module] for pattern in self.recipe.keep_float):
            return "kept float by the recipe's keep_float"
        if isinstance(module, _RECURRENT):
            return f"{type(module).__name__} has no integer form here"
        return None

    def _find_weights(self) -> Iterator[tuple[str, int]]:
        seen: set[int] = set()
        for path, module in self.model.named_modules():
            reason = self._float_reason(module)
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
        for path, module in self.model.named_modules():
            if isinstance(module, MessagePassing) and self._float_reason(module) is None:
                module.register_forward_pre_hook(self._enter, with_kwargs=True)
                self._placement.wrap_conv(self, path, module)
                module.register_forward_hook(self._leave)
        for path, module in self.model.named_modules():
            if isinstance(module, _LINEAR) and f"{path}.weight" in self._weights:
                parents = (self.model.get_submodule(own.rpartition(".")[0]) for own in self._paths[module] if own)
                self._wrap_linear(path, module, any(isinstance(parent, MessagePassing) for parent in parents))

    def products(self, path: str) -> dict[str, nn.Linear]:
        """Name -> every quantized Linear (PyG's or PyTorch's) in the module at `path`."""
        inside = self.model.get_submodule(path).modules()
        linears = {self._paths[m][0]: m for m in inside if isinstance(m, _LINEAR)}
        return {name: m for name, m in linears.items() if f"{name}.weight" in self._weights}

    def _wrap_linear(self, path: str, linear: nn.Module, masked: bool) -> None:
        """Points at a Linear; by the node mask when it belongs to a message passing layer itself."""

        def before(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            call = self.called(path)
            if any(path in layer.get("products_first", ()) for layer in self.layers.values()):
                return args
            mask = self.node_mask(args[0]) if masked else None
            return (self.quantize(f"{path}.input", args[0], mask, call=call), *args[1:])

        def after(_: nn.Module, __: tuple[Any, ...], out: Any) -> Any:
            mask = self.node_mask(out) if masked else None
            return self.quantize(f"{path}.output", out, mask, call=self.called(f"{path}.output"))

        linear.register_forward_pre_hook(before)
        if self._placement.OUTPUTS:
            linear.register_forward_hook(after)


def _holders(model: nn.Module) -> dict[str, list[str]]:
    """First name of each parameter -> its names in all modules that hold it."""
    holders: dict[nn.Parameter, list[str]] = {}
    for path, module in model.named_modules():
        for own, parameter in module._parameters.items():
            if parameter is not None:
                holders.setdefault(parameter, []).append(f"{path}.{own}" if path else own)
    return {names[0]: names for names in holders.values()}


def _is_scalar_input(linear: nn.Module) -> bool:
    """The first Linear after a raw scalar feature stays float (as the released GIN of 2008.05000)."""
    return getattr(linear, "in_channels", getattr(linear, "in_features", 0)) == 1
