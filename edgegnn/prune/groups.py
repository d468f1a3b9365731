"""Which channels of a model can only go together, found with torch-pruning's dependency graph.

torch-pruning (https://github.com/VainF/Torch-Pruning; DepGraph, Fang et al. 2023, arXiv 2301.12900) follows autograd's
graph of one forward and takes every operation that it doesn't know for elementwise. It doesn't know PyG's layers, and
passes over PyG's `Linear` without a word. So the model is run with its layers made opaque:

    x ──▶ ▷ x of conv1 ┊ output of conv1 ▷ ──▶ norm ──▶ relu ──▶ + ──▶ ▷ x of conv2 ┊ ...
                          (a skip connection from elsewhere) ────┘

Channels end in a sink where a layer (`edgegnn.prune.layers`) takes them and start at a source where it gives them. What
is left for torch-pruning to follow is what couples channels: sums over neighbours, activations, skip connections,
concatenations, slices, pooling. Its groups are then written down as plain data, by tensor names: which entries of
which tensors go when a channel goes.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgegnn.errors import PruneError, first_line
from edgegnn.prune.layers import Layer, layer_of
from edgegnn.prune.opaque import End, OpaqueModel, Sink, Source, Through
from edgegnn.prune.structure import owners
from edgegnn.utils.model_copies import copied

__all__ = [
    "Clock",
    "Group",
    "Inputs",
    "Slice",
    "channel_groups",
    "known_layers",
    "named_inputs",
    "positions",
    "tensors_by_name",
]

Inputs = Sequence[Tensor] | Mapping[str, Tensor]
OTHERWISE = "use --prune global or fine-grained for this model"


class Clock:
    """Says when the search for channels has taken too long.

    Args:
        seconds: how long it may take from now.
    """

    def __init__(self, seconds: float = 120.0) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Raise a PruneError when the time is over."""
        if time.monotonic() > self._end:
            raise PruneError(
                f"structured pruning did not find this model's channels within {self.seconds:g} seconds: {OTHERWISE}"
            )


@dataclass(frozen=True)
class Slice:
    """One dimension of a tensor, and which channel of a group its positions belong to.

    Attributes:
        tensor: name of a parameter or buffer of the model.
        dim: its dimension.
        channel: int64 `[size of dim]`, -1 where a position belongs to no channel of the group.
        weight: it says how much a channel matters.
    """

    tensor: str
    dim: int
    channel: Tensor
    weight: bool


@dataclass(frozen=True)
class Group:
    """Channels that go through several layers.

    Attributes:
        layer: path of the layer that makes them (the first of several).
        kind: its class.
        channels: how many.
        unit: int64 `[channels]`: channels of the same number can only go together (the same channel of every attention
            head, say); -1 for channels that can't go, because the model's inputs or outputs have them too.
        slices: where they are in the model's tensors.
        ports: (path of a layer, port, int64 `[channels of the port]`: which channel of the group each is, or -1).
    """

    layer: str
    kind: str
    channels: int
    unit: Tensor
    slices: tuple[Slice, ...]
    ports: tuple[tuple[str, str, Tensor], ...]

    @property
    def units(self) -> int:
        """How many sets of channels can go."""
        return int(self.unit.max()) + 1

    @property
    def name(self) -> str:
        """Path and class, for messages."""
        return f"{self.layer} ({self.kind})"


def channel_groups(model: nn.Module, inputs: Inputs, clock: Clock | None = None) -> tuple[list[Group], dict[str, str]]:
    """Find the groups of channels of a model that can go; input features and output classes are none of them.

    Args:
        model: any float module; it stays as it is.
        inputs: a real graph: arguments of its forward, in order or by name.
        clock: when to give up; None: in two minutes.

    Returns:
        The groups; and path and class of each layer that keeps all its channels -> why.

    Raises:
        PruneError: the model has a weight of its own outside of layers, can't be followed, or not in time.
    """
    clock = clock or Clock()
    named = named_inputs(model, inputs)
    copied = copied_model(model)
    whole = _whole_layers(model)
    layers = {path: layer for path, layer in known_layers(copied) if not _inside(path, whole)}
    vectors = _vectors(copied, [*layers, *whole])
    try:
        traced = OpaqueModel(copied, layers, named, list(whole))
        lost: dict[str, str] = {_name(model, path): why for path, why in whole.items()}
        graph = _dependency_graph(traced, named, vectors, clock)
        return list(_groups(graph, traced, layers, vectors, lost, clock)), lost
    except PruneError:
        raise
    except Exception as error:
        raise PruneError(f"structured pruning can't follow this model: {first_line(error)}; {OTHERWISE}") from error


def known_layers(model: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Path and description of every layer that is cut as one; what is inside such a layer belongs to it."""
    inside: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if path.startswith(inside) and inside:
            continue
        found = layer_of(module)
        if found is not None:
            yield path, found
            inside = (*inside, f"{path}." if path else "")


def named_inputs(model: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Arguments of `model.forward` by name.

    Raises:
        PruneError: they don't fit its signature.
    """
    if isinstance(inputs, Mapping):
        return dict(inputs)
    try:
        bound = inspect.signature(model.forward).bind(*inputs)
    except TypeError as error:
        raise PruneError(f"the example graph doesn't fit the model's forward: {error}") from error
    return dict(bound.arguments)


def copied_model(model: nn.Module) -> nn.Module:
    """A copy in eval mode, to try things with.

    Raises:
        PruneError: it can't be copied.
    """
    try:
        return copied(model).eval()
    except Exception as error:
        raise PruneError(f"the model can't be copied, which structured pruning needs: {first_line(error)}") from error


def tensors_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the first name of each."""
    return {found[0][2]: getattr(found[0][0], found[0][1]) for found in owners(model).values()}


def positions(
    tensors: dict[str, Tensor], groups: Sequence[Group], gone: Sequence[Tensor]
) -> dict[tuple[str, int], Tensor]:
    """Tensor and dimension -> bool `[size]`, true where an entry belongs to a channel that goes."""
    drop: dict[tuple[str, int], Tensor] = {}
    for group, going in zip(groups, gone, strict=True):
        for part in group.slices:
            key = part.tensor, part.dim
            here = going[part.channel.clamp_min(0)] & (part.channel >= 0)
            drop[key] = drop.get(key, torch.zeros(tensors[part.tensor].shape[part.dim], dtype=torch.bool)) | here
    return drop


# Before tracing ------------------------------------------------------------


def _whole_layers(model: nn.Module) -> dict[str, str]:
    """Path of each layer that is left whole -> why: it has a weight that nobody knows how to cut.

    Recurrent layers, RGCNConv, ARMAConv and a user's own are among them; what is inside of one belongs to it.

    Raises:
        PruneError: the model itself has such a weight, outside of all layers.
    """
    known = tuple(path for path, _ in known_layers(model))
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        if _inside(path, found) or path in known or _inside(path, known):
            continue
        for own, parameter in module.named_parameters(recurse=False):
            if sum(size > 1 for size in parameter.shape) < 2:
                continue
            shape = list(parameter.shape)
            if not path:
                raise PruneError(
                    f"structured pruning has no adapter for {type(module).__name__} itself, whose {own} has shape "
                    f"{shape}: {OTHERWISE}"
                )
            found[path] = (
                f"structured pruning has no adapter for {type(module).__name__}, whose {own} has shape {shape}"
            )
            break
    return found


def _inside(path: str, others: Iterable[str]) -> bool:
    """Whether a module is inside one of others."""
    return any(path.startswith(f"{other}.") for other in others)


def _name(model: nn.Module, path: str) -> str:
    return f"{path} ({type(model.get_submodule(path)).__name__})"


def _vectors(model: nn.Module, layers: Sequence[str]) -> dict[nn.Parameter, tuple[str, int]]:
    """Name and dimension of the vectors that no layer owns: the bias of a GCNConv."""
    vectors: dict[nn.Parameter, tuple[str, int]] = {}
    for path, module in model.named_modules():
        if path in layers or _inside(path, layers):
            continue
        for own, parameter in module.named_parameters(recurse=False):
            for dim, size in enumerate(parameter.shape):
                if size > 1:
                    vectors[parameter] = (f"{path}.{own}" if path else own, dim)
    return vectors


# torch-pruning ------------------------------------------------------------


def _dependency_graph(
    traced: OpaqueModel, inputs: dict[str, Tensor], vectors: dict[nn.Parameter, tuple[str, int]], clock: Clock
) -> Any:
    import torch_pruning

    for parameter in traced.parameters():
        parameter.requires_grad_(True)
    apart, alike = _pruners(clock)
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(
            traced,
            example_inputs=inputs,
            forward_fn=lambda model, given: model(given),
            unwrapped_parameters=[
                torch_pruning._helpers.UnwrappedParameters(p, dim) for p, (_, dim) in vectors.items()
            ],
            customized_pruners={Source: apart, Sink: apart, Through: alike},
            ignored_layers=list(traced.model.modules()),
            verbose=False,
        )
    _pass_row_slices(graph)
    for node in graph.module2node.values():
        for dependency in node.dependencies:
            dependency.index_mapping = [None if m is None else _Timed(m, clock) for m in dependency.index_mapping]
    return graph


class _Timed:
    """A mapping of channels, of which torch-pruning runs millions where it takes rows for channels."""

    def __init__(self, mapping: Any, clock: Clock) -> None:
        self._mapping, self._clock = mapping, clock

    def __call__(self, indices: Any) -> Any:
        self._clock.check()
        return self._mapping(indices)


def _pruners(clock: Clock) -> tuple[Any, Any]:
    """What torch-pruning asks of a layer again and again: how many channels an end has.

    Nothing is cut by these. That both directions have one function says that channels go through.
    """
    from torch_pruning.pruner.function import BasePruningFunc

    class Apart(BasePruningFunc):
        def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
            raise NotImplementedError

        def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
            raise NotImplementedError

        def get_out_channels(self, layer: Any) -> int | None:
            clock.check()
            return None if isinstance(layer, Sink) else int(layer.channels)

        def get_in_channels(self, layer: Any) -> int | None:
            clock.check()
            return None if isinstance(layer, Source) else int(layer.channels)

    class Alike(Apart):
        prune_in_channels = Apart.prune_out_channels

    return Apart(), Alike()


def _pass_row_slices(graph: Any) -> None:
    """A slice of rows (`x[:n]`) leaves channels alone; torch-pruning takes any slice of a matrix for one of columns."""
    rows = {node for node in graph.module2node.values() if getattr(node.module, "dim", None) == 0}
    for node in rows:
        node.enable_index_mapping = False
        node.type = type(node.type).ELEMENTWISE
    for node in graph.module2node.values():
        for dependency in node.dependencies:
            if dependency.source in rows or dependency.target in rows:
                dependency.index_mapping = [None, None]


class _LostError(Exception):
    """Rows or columns of a tensor were taken for channels of a layer."""


def _groups(
    graph: Any,
    traced: OpaqueModel,
    layers: dict[str, Layer],
    vectors: dict[nn.Parameter, tuple[str, int]],
    lost: dict[str, str],
    clock: Clock,
) -> Iterator[Group]:
    """The groups; a layer whose channels are lost on the way is noted in `lost`, and keeps them."""
    canonical = {full: places[0][2] for places in owners(traced.model).values() for *_, full in places}
    done: set[nn.Module] = set()
    for source in traced.ends:
        clock.check()
        if not isinstance(source, Source) or source.fixed or source in done or source not in graph.module2node:
            continue
        try:
            group, members = _group(graph, source, traced, layers, vectors, canonical)
        except _LostError:
            lost[_name(traced.model, source.path)] = "its channels can't be followed"
            continue
        done |= members
        if int(group.unit.max()) >= 0 and source.channels > 1:  # a score of one channel has none to lose
            yield group


def _group(
    graph: Any,
    source: Source,
    traced: OpaqueModel,
    layers: dict[str, Layer],
    vectors: dict[nn.Parameter, tuple[str, int]],
    canonical: dict[str, str],
) -> tuple[Group, set[nn.Module]]:
    """The channels of a source, and all sources that share them."""
    whole = list(range(source.channels))
    found = graph.get_pruning_group(source, graph.get_pruner_of_module(source).prune_out_channels, whole)
    ends: list[tuple[End, Tensor]] = []
    slices: dict[tuple[str, int], Slice] = {}
    for item in found.items:
        target = item.dep.target.module
        if isinstance(target, nn.Parameter):
            name, dim = vectors[target]
            _put(slices, Slice(name, dim, _mapping(item, target.shape[dim]), False))
        elif isinstance(target, End):
            ends.append((target, _mapping(item, target.channels)))
    ties = [(end.tied, channel) for end, channel in ends if end.tied is not None]
    ties += [tie for item in found.items for tie in _chunks(item)]
    unit = _units(source.channels, ties, [channel for end, channel in ends if end.fixed])
    inner = [(end, channel) for end, channel in ends if not end.fixed]
    for end, channel in inner:
        layer = layers[end.path]
        port = layer.output if end.port == "output" and layer.output else layer.inputs[end.port]
        for axis in port.axes:
            name = canonical[f"{end.path}.{axis.tensor}" if end.path else axis.tensor]
            _put(slices, Slice(name, axis.dim, channel[axis.channel], axis.weight))
    kind = type(traced.model.get_submodule(source.path)).__name__
    ports = tuple((end.path, end.port, channel) for end, channel in inner)
    group = Group(source.path, kind, source.channels, unit, tuple(slices.values()), ports)
    return group, {end for end, _ in ends if isinstance(end, Source)}


def _mapping(item: Any, size: int) -> Tensor:
    """Which channel of the source each channel of a group's member is; -1 for none."""
    channel = torch.full((size,), -1)
    for index, root in zip(item.idxs, item.root_idxs, strict=True):
        if root is None or not 0 <= index < size:
            raise _LostError
        channel[index] = root
    return channel


def _put(slices: dict[tuple[str, int], Slice], new: Slice) -> None:
    """Add a slice; one tensor may be reached twice (weights that two layers share)."""
    old = slices.get((new.tensor, new.dim))
    channel = new.channel if old is None else torch.where(old.channel < 0, new.channel, old.channel)
    slices[new.tensor, new.dim] = Slice(new.tensor, new.dim, channel, new.weight)


def _chunks(item: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Channels that are split into equal parts, which stay equal if the same channels of each part go."""
    sizes = getattr(item.dep.target.module, "split_sizes", None)
    if sizes and len(set(sizes)) == 1:
        yield torch.arange(sum(sizes)) % sizes[0], _mapping(item, sum(sizes))


def _units(channels: int, ties: list[tuple[Tensor, Tensor]], fixed: list[Tensor]) -> Tensor:
    """Number the sets of channels that can only go together, -1 for those that can't go.

    Args:
        channels: how many.
        ties: pairs of int64 [n]: positions of the same number go together; and which channel each is, or -1.
        fixed: int64 [n] each: channels that can't go, or -1.
    """
    of = list(range(channels))

    def find(i: int) -> int:
        while of[i] != i:
            of[i] = of[of[i]]
            i = of[i]
        return i

    for tied, channel in ties:
        first: dict[int, int] = {}
        for number, i in zip(tied.tolist(), channel.tolist(), strict=True):
            if i >= 0:
                of[find(i)] = find(first.setdefault(number, i))
    stays = {find(i) for channel in fixed for i in channel.tolist() if i >= 0}
    numbers: dict[int, int] = {}
    roots = [find(i) for i in range(channels)]
    return torch.tensor([-1 if r in stays else numbers.setdefault(r, len(numbers)) for r in roots])
