"""Where the channels of a layer are in its tensors: what structured pruning knows about layers.

    Linear (torch, PyG)                     rows of the weight and the bias are outputs, columns are inputs
    Embedding                               columns are outputs
    BatchNorm, LayerNorm, GraphNorm, ...    one entry of each vector belongs to a channel that goes through
    GATConv, GATv2Conv, TransformerConv     every head has the same channels; attention vectors, skip and gate weights

Every other layer is followed from the inside: GCNConv, SAGEConv, GraphConv, GINConv, ... are Linear layers and sums of
neighbours. A layer with parameters of its own that is neither is refused (`edgegnn.prune.groups`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch_geometric.nn.dense.linear as pyg_linear
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv, GraphNorm, TransformerConv
from torch_geometric.nn import LayerNorm as GraphLayerNorm

__all__ = ["Axis", "Layer", "Port", "layer_of"]


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor that is laid out by channels.

    Attributes:
        tensor: name of a parameter or buffer below the layer.
        dim: its dimension.
        channel: int64 `[size of dim]`: which channel each position belongs to.
        weight: it says how much a channel matters (biases and running statistics don't).
    """

    tensor: str
    dim: int
    channel: Tensor
    weight: bool = True


@dataclass(frozen=True)
class Port:
    """Channels that come in or go out, and where they are in the layer's tensors."""

    channels: int
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Layer:
    """What structured pruning knows about a layer.

    Attributes:
        inputs: argument -> port: "x" for the first one ("x0" and "x1" where it is a pair of different widths),
            otherwise the argument's name.
        output: None for a layer that passes its channels through (`inputs["x"]` then stands for both).
        resize: sets the layer's own attributes from the channels that are left ("x", "output", ...).
        tied: int64 `[output channels]`: channels of the same number can only go together; None: each by itself.
        mixes: it normalizes over channels, so that a channel of zeros is not the same as none.
        rescale: tensors to be multiplied by sqrt(channels left / channels) to keep what the layer computes.
    """

    inputs: dict[str, Port]
    output: Port | None
    resize: Callable[[nn.Module, dict[str, int]], None]
    tied: Tensor | None = None
    mixes: bool = False
    rescale: tuple[str, ...] = field(default=())


def layer_of(module: nn.Module) -> Layer | None:
    """What is known about a layer; None when it has to be followed from the inside (or can't be)."""
    made = _make(module)
    if made is None:
        return None
    ports = [*made.inputs.values(), *([made.output] if made.output else [])]
    known = {axis.tensor for port in ports for axis in port.axes}
    # A subclass with further parameters is another layer.
    own = {name for name, value in module.named_parameters() if value.numel() > 1}
    return made if own <= known else None


def _make(module: Any) -> Layer | None:
    if isinstance(module, nn.Linear):
        return _linear(module, module.in_features, module.out_features, _Sizes("in_features", "out_features"))
    if isinstance(module, pyg_linear.Linear):
        return _linear(module, module.in_channels, module.out_channels, _Sizes("in_channels", "out_channels"))
    if isinstance(module, nn.Embedding):
        port = Port(module.embedding_dim, (_axis("weight", 1, module.embedding_dim),))
        return Layer({}, port, _Sizes("", "embedding_dim"))
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)):
        return _through(module, module.num_features, "num_features")
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
        return _through(module, module.normalized_shape[0], "normalized_shape", mixes=True)
    if isinstance(module, GraphLayerNorm):
        return _through(module, module.in_channels, "in_channels", mixes=True)
    if isinstance(module, GraphNorm):
        return _through(module, module.in_channels, "in_channels")
    if isinstance(module, nn.PReLU) and module.num_parameters > 1:
        return _through(module, module.num_parameters, "num_parameters")
    if isinstance(module, (GATConv, GATv2Conv, TransformerConv)):
        return _attention(module)
    return None


@dataclass(frozen=True)
class _Sizes:
    """Sets the attributes that hold the number of input and output channels."""

    inputs: str
    outputs: str = ""

    def __call__(self, module: nn.Module, left: dict[str, int]) -> None:
        for attribute, port in ((self.inputs, "x"), (self.outputs, "output")):
            if attribute and port in left:
                old = getattr(module, attribute)
                setattr(module, attribute, (left[port],) if isinstance(old, tuple) else left[port])


def _axis(tensor: str, dim: int, size: int, *, weight: bool = True) -> Axis:
    return Axis(tensor, dim, torch.arange(size), weight)


def _linear(module: Any, inputs: int, outputs: int, resize: _Sizes) -> Layer:
    out = [_axis("weight", 0, outputs)]
    if module.bias is not None:
        out.append(_axis("bias", 0, outputs, weight=False))
    return Layer({"x": Port(inputs, (_axis("weight", 1, inputs),))}, Port(outputs, tuple(out)), resize)


def _through(module: nn.Module, channels: int, attribute: str, *, mixes: bool = False) -> Layer:
    names = ("weight", "bias", "mean_scale", "running_mean", "running_var")
    axes = [
        _axis(name, 0, channels, weight=name == "weight") for name in names if getattr(module, name, None) is not None
    ]
    return Layer({"x": Port(channels, tuple(axes))}, None, _Sizes(attribute), mixes=mixes)


# Attention ------------------------------------------------------------
# Linear layer -> which of a pair of inputs it reads. `_PER_HEAD` give heads x channels, `_TOTAL` the layer's own width.

_PER_HEAD = {
    "lin": 0,
    "lin_src": 0,
    "lin_dst": 1,
    "lin_l": 0,
    "lin_r": 1,
    "lin_key": 0,
    "lin_query": 1,
    "lin_value": 0,
}
_TOTAL = {"res": 1, "lin_skip": 1}
_VECTORS = ("att", "att_src", "att_dst", "att_edge")


def _attention(module: Any) -> Layer:
    """Heads with the same channels each: output channel c of head h is h * C + c, or c where heads are averaged."""
    heads, channels, pair = module.heads, module.out_channels, isinstance(module.in_channels, tuple)
    width = heads * channels if module.concat else channels
    of_head = torch.arange(heads * channels) % (heads * channels if module.concat else channels)
    own = torch.arange(width)
    out: list[Axis] = []
    ports: dict[str, list[Axis]] = {}
    sizes: dict[str, int] = {}

    def add(name: str, side: int, rows: Tensor) -> None:
        linear = getattr(module, name)
        out.extend(_outputs(name, linear, rows))
        port = f"x{side}" if pair else "x"
        sizes[port] = linear.weight.shape[1]
        ports.setdefault(port, []).append(_axis(f"{name}.weight", 1, sizes[port]))

    for name, side in _PER_HEAD.items():
        if getattr(module, name, None) is not None:
            add(name, side, of_head)
    for name, side in _TOTAL.items():
        if getattr(module, name, None) is not None:
            add(name, side, own)
    for name in _VECTORS:
        if getattr(module, name, None) is not None:
            out.append(Axis(name, 2, torch.arange(channels)))
    if isinstance(getattr(module, "bias", None), Tensor):
        out.append(Axis("bias", 0, own, weight=False))
    if getattr(module, "lin_beta", None) is not None:  # reads the sum, the skip and their difference side by side
        out.append(Axis("lin_beta.weight", 1, own.repeat(3)))
    if getattr(module, "lin_edge", None) is not None:
        out.extend(_outputs("lin_edge", module.lin_edge, of_head))
        sizes["edge_attr"] = module.lin_edge.weight.shape[1]
        ports["edge_attr"] = [_axis("lin_edge.weight", 1, sizes["edge_attr"])]

    def resize(layer: Any, left: dict[str, int]) -> None:
        if "output" in left:
            layer.out_channels = left["output"] // (heads if layer.concat else 1)
            for _, linear in _linears(layer, (*_PER_HEAD, "lin_edge")):
                linear.out_channels = heads * layer.out_channels
            for _, linear in _linears(layer, _TOTAL):
                linear.out_channels = left["output"]
            for _, linear in _linears(layer, ("lin_beta",)):
                linear.in_channels = 3 * left["output"]
        if "x" in left:
            layer.in_channels = left["x"]
        elif pair:
            layer.in_channels = tuple(left.get(f"x{side}", old) for side, old in enumerate(layer.in_channels))
        for name, linear in _linears(layer, (*_PER_HEAD, *_TOTAL)):
            side = {**_PER_HEAD, **_TOTAL}[name]
            linear.in_channels = left.get(f"x{side}" if pair else "x", linear.in_channels)
        if "edge_attr" in left:
            layer.edge_dim = layer.lin_edge.in_channels = left["edge_attr"]

    query = ("lin_query.weight", "lin_query.bias") if isinstance(module, TransformerConv) else ()
    return Layer(
        {port: Port(sizes[port], tuple(axes)) for port, axes in ports.items()},
        Port(width, tuple(out)),
        resize,
        tied=own % channels if heads > 1 and module.concat else None,
        rescale=query,
    )


def _outputs(name: str, linear: Any, rows: Tensor) -> Iterator[Axis]:
    yield Axis(f"{name}.weight", 0, rows)
    if linear.bias is not None:
        yield Axis(f"{name}.bias", 0, rows, weight=False)


def _linears(layer: nn.Module, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        linear = getattr(layer, name, None)
        if linear is not None:
            yield name, linear
