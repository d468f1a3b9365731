"""Quantization points where Degree-Quant puts them (2008.05000), carried to every `MessagePassing` layer.

    one-dimensional edge weights   always (the normalisation coefficients of GCN)
    leaky-ReLU inside a layer      its input, the attention logit, by the mask of the source node
    message                        by the mask of the source node
    aggregate                      by the node mask
    output of the layer            by the node mask ("update")

and the input and output of every Linear (`edgegnn.quantize.quant_model`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch_geometric.nn import MessagePassing

from edgegnn.training.sparse import csr_sum

if TYPE_CHECKING:
    from edgegnn.quantize.quant_model import QuantModel

__all__ = ["GRAPHS_FLOAT", "OUTPUTS", "wrap_conv"]

OUTPUTS = True  # a Linear's output has a point
GRAPHS_FLOAT = False  # a row for each graph has a point like any other


def wrap_conv(q: QuantModel, path: str, conv: MessagePassing) -> None:
    """Override `message`, `aggregate`, `propagate` and `edge_updater` on the instance.

    PyG skips its message and aggregate hooks while compiling or exporting; instance attributes are always called.
    """
    message, aggregate = conv.message, conv.aggregate
    propagate, edge_updater, edge_update = conv.propagate, conv.edge_updater, conv.edge_update

    def quantized_message(*args: Any, **kwargs: Any) -> Any:
        with _logits(q, path, conv):
            out = message(*args, **kwargs)
        if not isinstance(out, Tensor):
            return out
        if q.finding and out is kwargs.get("x_j"):
            q.layers[path] = {"copies": True}
        mask, call = _source_mask(q, conv, out.shape[conv.node_dim]), q.called(f"{path}.message")
        return q.quantize(f"{path}.message", out, mask, conv.node_dim, call=call)

    def quantized_aggregate(*args: Any, **kwargs: Any) -> Any:
        out = aggregate(*args, **kwargs)
        if not isinstance(out, Tensor):
            return out
        mask, call = q.node_mask(out, conv.node_dim), q.called(f"{path}.aggregate")
        return q.quantize(f"{path}.aggregate", out, mask, conv.node_dim, call=call)

    def quantized_edge_update(*args: Any, **kwargs: Any) -> Any:
        with _logits(q, path, conv):
            return edge_update(*args, **kwargs)

    def tracked_propagate(edge_index: Any, size: Any = None, **kwargs: Any) -> Any:
        for key, value in kwargs.items():
            # What an edge weighs in the sum; attention (one column a head) is two-dimensional and stays float.
            if key in {"edge_weight", "norm"} and isinstance(value, Tensor) and value.dim() == 1:
                kwargs[key] = q.quantize(f"{path}.{key}", value, call=q.called(f"{path}.{key}"))
        with _edges(q, edge_index):
            if _sums_copies(q, path, conv, edge_index, kwargs):
                return _sum_of_copies(q, path, conv, edge_index, size, kwargs)
            return propagate(edge_index, size=size, **kwargs)

    def tracked_edge_updater(edge_index: Any, *args: Any, **kwargs: Any) -> Any:
        with _edges(q, edge_index):
            return edge_updater(edge_index, *args, **kwargs)

    def after(_: Any, __: tuple[Any, ...], out: Any) -> Any:
        return q.quantize(f"{path}.update", out, q.node_mask(out), call=q.called(f"{path}.update"))

    conv.message, conv.aggregate = quantized_message, quantized_aggregate
    conv.propagate, conv.edge_updater, conv.edge_update = tracked_propagate, tracked_edge_updater, quantized_edge_update
    conv.register_forward_hook(after)


@contextmanager
def _edges(q: QuantModel, edge_index: Any) -> Iterator[None]:
    step = q.step
    outer, step.edge_index = step.edge_index, edge_index if isinstance(edge_index, Tensor) else None
    try:
        yield
    finally:
        step.edge_index = outer


def _source_mask(q: QuantModel, conv: MessagePassing, rows: int) -> Tensor | None:
    end = 0 if conv.flow == "source_to_target" else 1
    mask, edge_index = q.source_mask(end), q.step.edge_index
    if mask is None or edge_index is None or edge_index.shape[1] != rows:
        return None
    return mask[edge_index[end]]


def _logits(q: QuantModel, path: str, conv: MessagePassing) -> TorchFunctionMode:
    def quantize(x: Any) -> Any:
        mask = _source_mask(q, conv, x.shape[0]) if isinstance(x, Tensor) else None
        return q.quantize(f"{path}.logit", x, mask, call=q.called(f"{path}.logit"))

    return _LeakyReLUInput(quantize)


class _LeakyReLUInput(TorchFunctionMode):
    """Quantize what goes into a leaky ReLU: in an attention layer, the logit."""

    def __init__(self, quantize: Callable[[Any], Any]) -> None:
        super().__init__()
        self.quantize = quantize

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.leaky_relu:
            args = (self.quantize(args[0]), *args[1:])
        return func(*args, **(kwargs or {}))


# Sums of copied messages ------------------------------------------------------------


def _sums_copies(q: QuantModel, path: str, conv: MessagePassing, edge_index: Any, kwargs: dict[str, Any]) -> bool:
    """Whether quantizing the source nodes once equals quantizing every message: the message is x_j itself."""
    x = kwargs.get("x")
    x = x[0] if isinstance(x, tuple) else x
    return (
        path in q.layers
        and not q.finding
        and not q.step.off
        and not torch.compiler.is_compiling()
        and conv.aggr in ("sum", "add", "mean")
        and conv.flow == "source_to_target"
        and type(conv).aggregate is MessagePassing.aggregate
        and type(conv).update is MessagePassing.update
        and isinstance(edge_index, Tensor)
        and edge_index.layout == torch.strided
        and isinstance(x, Tensor)
        and x.dim() == 2
    )


def _sum_of_copies(
    q: QuantModel, path: str, conv: MessagePassing, edge_index: Tensor, size: Any, kwargs: dict[str, Any]
) -> Tensor:
    """Quantize, then aggregate by one sparse product, in place of gather, quantize each edge, scatter.

    Statistics count each source row as often as it is sent, so that ranges equal those of the edge-level path.
    """
    x = kwargs["x"]
    source, target = x if isinstance(x, tuple) else (x, x)
    rows = target.shape[0] if target is not None else (size[1] if size and size[1] else source.shape[0])
    sent = torch.bincount(edge_index[0], minlength=source.shape[0]) if q.training else None
    kept, factor = getattr(source, "_before_dropout", (source, None))
    own = q.name_of(f"{path}.message", q.called(f"{path}.message"))
    messages = q.point(own)(kept, q.node_mask(kept), sent)
    messages = messages if factor is None else messages * factor
    out = csr_sum(messages, edge_index, rows)
    if conv.aggr == "mean":
        received = torch.bincount(edge_index[1], minlength=rows).to(out.dtype)
        out = out / received.clamp(min=1).unsqueeze(1)
    return q.quantize(f"{path}.aggregate", out, q.node_mask(out), call=q.called(f"{path}.aggregate"))
