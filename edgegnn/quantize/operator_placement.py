"""Quantization points where an integer operator reads its input.

A deployed layer is integer products and integer sums over neighbours; what stands between them (scales, biases, ReLU,
normalisation) runs in the float epilogue of the one before. So a point belongs in front of every Linear and in front
of every aggregation, and nowhere else: each further point would only round once more.

    input of every Linear          unless it lies on a point's grid already
    the rows that neighbours read  one point on the source nodes, not one on each edge: where the message is x_j, or
                                   x_j times anything that does not depend on it, the two say the same, and codes are
                                   made once a node
    degree normalisation           deg^-1/2 of the source goes into the rows before the point, the target's into
                                   the epilogue; the sum itself has no weights (GCN)
    a product behind the sum       no point, where the product makes rows much narrower: the export puts it in front of
                                   the sum, which reads its few columns in float (the first layer of GIN or SAGE)

Messages that a layer computes edge by edge (EdgeConv, GINE) are added up in float.

How a layer uses its rows is proved from the operations that run in its `message` (`edgegnn.quantize.dataflow`), and for
degree normalisation from what the weights are computed from, beside their values on several graphs; no layer is known
by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import scatter

from edgegnn.quantize.dataflow import is_scaling_of
from edgegnn.training.sparse import Plan, csr_sum, sparse_plan, sparse_propagate

if TYPE_CHECKING:
    from edgegnn.quantize.quant_model import QuantModel

__all__ = ["EDGES", "GRAPHS_FLOAT", "OUTPUTS", "quantizes_input_alone", "wrap_conv"]

EDGES = "edges"  # the label of edge lists among a model's inputs
OUTPUTS = False  # a Linear's output has no point
GRAPHS_FLOAT = True  # a row for each graph has none: too few to gain from integers, and sums have no largest size
_INPUT_ALONE = "_edgegnn_quantizes_input_alone"
_LARGER, _SMALLER = 4, 2.0**-12  # than the data's rows, and than those
_NARROWER = 6  # times: at 4 a sum of the product's floats costs what one of the rows' bytes does, from there on less


def wrap_conv(q: QuantModel, path: str, conv: MessagePassing) -> None:
    """Override `propagate` on the instance, and quantize the layer's input where that is what neighbours read.

    `q.layers[path]` says how the layer uses its rows:
        rows: name of the argument of `propagate` that holds them.
        shared: they are the layer's own input (GIN, SAGE): unless scaled, its other uses get the same codes.
        scaled: messages are weighted by deg^-1/2 of both ends.
        products_first: names of the products behind the sum that the export can put in front of it, and should.
    """
    original = conv.propagate
    entered: list[Any] = []
    plans: list[Plan | None] = []

    def before(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        entered[:] = args[:1]
        layer = q.layers.get(path)
        if layer and layer["shared"] and not layer["scaled"] and not q.looking and args:
            return (_quantize(q, path, conv, args[0], q.step.calls[f"{path}.propagate"]), *args[1:])
        return args

    def propagate(edge_index: Any, size: Any = None, **kwargs: Any) -> Any:
        if q.looking:
            own = entered[0] if entered else None
            return _look(q, path, conv, original, edge_index, size, kwargs, own)
        layer = q.layers.get(path)
        if not layer or q.step.off:
            return original(edge_index, size=size, **kwargs)
        rows, call = kwargs[layer["rows"]], q.called(f"{path}.propagate")
        if layer["scaled"]:
            return _scaled_sum(q, path, conv, edge_index, rows, call)
        kwargs[layer["rows"]] = _quantize(q, path, conv, rows, call)
        if not plans:
            plans.append(sparse_plan(conv))
        out = sparse_propagate(conv, plans[0], edge_index, size, kwargs)
        return original(edge_index, size=size, **kwargs) if out is None else out

    def after(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], __: Any) -> None:
        layer = q.layers.get(path)
        if q.looking and layer and layer["shared"] and not layer["scaled"] and not q.recipe.does.learns_bits:
            found = _products_first(q, path, args[0], lambda x: conv.forward(x, *args[1:], **kwargs))
            layer["products_first"] = [name for name in layer.get("products_first", found) if name in found]

    conv.register_forward_pre_hook(before)
    conv.register_forward_hook(after, with_kwargs=True)
    conv.propagate = propagate
    vars(conv)[_INPUT_ALONE] = lambda: bool((known := q.layers.get(path)) and known["shared"] and not known["scaled"])


def quantizes_input_alone(conv: MessagePassing) -> bool:
    """Whether a layer that `wrap_conv` wrapped is its own forward on quantized input, and rounds nothing more."""
    answer = vars(conv).get(_INPUT_ALONE)
    return answer is not None and bool(answer())


def _source(conv: MessagePassing) -> int:
    """Which of a pair (x of sources, x of targets) is read by neighbours."""
    return 0 if conv.flow == "source_to_target" else 1


def _quantize(q: QuantModel, path: str, conv: MessagePassing, rows: Any, call: int) -> Any:
    name = f"{path}.message"
    if not isinstance(rows, tuple):
        return q.quantize(name, rows, q.node_mask(rows, conv.node_dim), conv.node_dim, call=call)
    at = _source(conv)
    done = q.quantize(name, rows[at], q.node_mask(rows[at], conv.node_dim), conv.node_dim, call=call)
    # one tensor in both places stays one tensor
    return tuple(done if row is rows[at] else row for row in rows)


def _scaled_sum(q: QuantModel, path: str, conv: MessagePassing, edge_index: Tensor, rows: Tensor, call: int) -> Tensor:
    """out[i] = c[i] * sum of codes of (c[j] * x[j]), c = deg^-1/2 (PyG's `gcn_norm` without edge weights)."""
    source, target = edge_index[_source(conv)], edge_index[1 - _source(conv)]
    nodes = rows.size(0)
    ones = torch.ones(edge_index.size(1), dtype=rows.dtype, device=rows.device)
    degree = scatter(ones, target, dim=0, dim_size=nodes, reduce="sum")
    scale = degree.pow(-0.5)
    scale = scale.masked_fill(scale == float("inf"), 0.0).unsqueeze(-1)
    sent = q.quantize(f"{path}.message", rows * scale, q.node_mask(rows), call=call)
    if torch.compiler.is_compiling():
        out = scatter(sent.index_select(0, source), target, dim=0, dim_size=nodes, reduce="sum")
    else:
        out = csr_sum(sent, torch.stack([source, target]) if _source(conv) else edge_index, nodes)
    return out * scale


# The dry run ------------------------------------------------------------


def _look(
    q: QuantModel, path: str, conv: MessagePassing, original: Any, edge_index: Any, size: Any, kwargs: Any, own: Any
) -> Any:
    """Run the layer as it is, and note in `q.layers` how it uses its rows."""
    message = conv.message
    seen: list[dict[str, Any]] = []

    def watched(**values: Any) -> Any:
        seen.append(values)
        return message(**values)

    conv.message = watched
    try:
        out = original(edge_index, size=size, **kwargs)
    finally:
        del conv.message
    found = [(key, values) for values in seen for key in _scaled_arguments(message, values)]
    name = found[0][0].removesuffix("_j") if len(found) == 1 else ""
    if name not in kwargs or not isinstance(edge_index, Tensor):
        q.layers[path] = {}  # settled: no later graph changes it
        q.stayed_float[f"{path} messages"] = "computed edge by edge and added up in float"
        return out
    rows = kwargs[name]
    scaled = _is_scaled(q, conv, edge_index, rows, partial(_factor, message, *found[0]))
    shared = own is not None and own is (rows[_source(conv)] if isinstance(rows, tuple) else rows)
    now = {"rows": name, "shared": shared, "scaled": scaled}
    # What holds for one graph may be chance (all degrees equal): every graph has to agree.
    before = q.layers.setdefault(path, now)
    q.layers[path] = before and {**before, **{key: now[key] and before[key] for key in now}}
    return out


def _products_first(q: QuantModel, path: str, x: Tensor, forward: Callable[[Tensor], Any]) -> list[str]:
    """Products of a layer that could as well stand in front of its sum, and make rows much narrower.

    What such a product reads is L(x) with L(x M) = L(x) M for any matrix M: sums over neighbours, means, numbers for
    each row, the row itself added. Found by giving the layer other rows: some larger than those of the data, where a
    limit shows, and some much smaller, where a threshold or a constant does.
    """
    products = {name: p for name, p in q.products(path).items() if x.shape[-1] >= _NARROWER * len(p.weight)}
    if not products:
        return []
    order, factor = torch.randperm(x.shape[-1], device=x.device), torch.rand(x.shape[-1], device=x.device) + 0.5
    largest = x.abs().max().clamp(min=torch.finfo(x.dtype).tiny)
    a, b = _LARGER * largest * torch.randn_like(x), _LARGER * largest * torch.randn_like(x)
    try:
        others = (a, b, a + b, a[..., order] * factor, a * _SMALLER)
        seen = [_read_by(q, products, partial(forward, v)) for v in others]
    except Exception:
        return []  # a layer that can't do with other rows is not linear in them
    return [
        name
        for name in products
        if all(name in read for read in seen)
        and _same(seen[2][name], seen[0][name] + seen[1][name])
        and seen[0][name].shape == x.shape
        and _same(seen[3][name], seen[0][name][..., order] * factor)
        and _same(seen[4][name], seen[0][name] * _SMALLER)
        and seen[0][name] is not a
    ]


def _read_by(q: QuantModel, products: Mapping[str, nn.Module], run: Callable[[], Any]) -> dict[str, Tensor]:
    """The inputs of these modules while `run` runs without any point."""
    read: dict[str, Tensor] = {}

    def reader(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, args: read.update({name: args[0]})

    hooks = [module.register_forward_pre_hook(reader(name)) for name, module in products.items()]
    looking, q.looking, q.step.off = q.looking, False, True
    try:
        run()
    finally:
        q.looking, q.step.off = looking, False
        for hook in hooks:
            hook.remove()
    return read


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def _scaled_arguments(message: Any, values: dict[str, Any]) -> list[str]:
    """Names of the arguments x_j that the message is proportional to: x_j times something independent of it."""
    rows = [
        key
        for key, x in values.items()
        if key.endswith("_j") and isinstance(x, Tensor) and x.dim() >= 2 and x.is_floating_point()
    ]
    return [
        key
        for key in rows
        if values.get(f"{key[:-2]}_i") is None
        and is_scaling_of(values[key], lambda x, key=key: message(**{**values, key: x}))  # type: ignore[misc]
    ]


def _factor(message: Any, key: str, values: dict[str, Any]) -> Tensor:
    """The factor of argument `key` in a message: the message of ones."""
    x = values[key]
    out: Tensor = message(**{**values, key: torch.ones(x.shape, dtype=x.dtype, device=x.device)})
    return out


def _is_scaled(
    q: QuantModel, conv: MessagePassing, edge_index: Tensor, rows: Any, factor: Callable[[], Tensor]
) -> bool:
    """Whether each message is weighted by deg^-1/2 of its source and of its target, and the layer sums them plainly.

    Equal values are not enough: the weights must be a function of the edges alone, so that no input is left out.
    """
    if not isinstance(rows, Tensor) or rows.dim() != 2 or edge_index.layout != torch.strided:
        return False
    plain = type(conv).aggregate is MessagePassing.aggregate and type(conv).update is MessagePassing.update
    if not plain or conv.aggr not in ("sum", "add"):
        return False
    weight = factor()
    if q.flow is None or not q.flow.sources(weight) <= {EDGES} or bool((weight != weight[:, :1]).any()):
        return False
    source, target = edge_index[_source(conv)], edge_index[1 - _source(conv)]
    scale = torch.bincount(target, minlength=rows.size(0)).to(rows.dtype).pow(-0.5)
    scale[scale == float("inf")] = 0.0
    return weight.numel() > 0 and torch.allclose(weight[:, 0], scale[source] * scale[target], atol=1e-6)
