"""C code of the standard operators that move elements or give them another shape, and of those on shapes."""

from __future__ import annotations

import math

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.values import Batch, Dim, Shape, Sizes, Tensor, as_sizes, count, fixed

__all__ = [
    "concat",
    "gather",
    "identity",
    "reshape",
    "shape_of",
    "split",
    "squeeze",
    "unsqueeze",
]


def shape_of(builder: Builder, node: Node) -> None:
    """Shape: sizes, known as C expressions."""
    value = builder.values[node.inputs[0]]
    shape = (value.nodes,) if isinstance(value, Batch) else builder.tensor(node, 0).shape
    builder.values[node.outputs[0]] = Sizes(shape[node.attributes.get("start", 0) : node.attributes.get("end")])


def identity(builder: Builder, node: Node) -> None:
    """Identity."""
    value = builder.values[node.inputs[0]]
    if isinstance(value, Tensor):
        builder.alias(node.outputs[0], value, value.shape)
    else:
        builder.values[node.outputs[0]] = value


def reshape(builder: Builder, node: Node) -> None:
    """Reshape: the same elements, other sizes."""
    value = builder.values[node.inputs[0]]
    if isinstance(value, Sizes):
        builder.values[node.outputs[0]] = value
        return
    x = builder.tensor(node, 0)
    builder.alias(node.outputs[0], x, _reshaped(node, x.shape, as_sizes(builder.values[node.inputs[1]], node.title)))


def _reshaped(node: Node, old: Shape, wanted: Shape) -> Shape:
    if not node.attributes.get("allowzero", 0):
        wanted = tuple(old[i] if dim.fixed == 0 and i < len(old) else dim for i, dim in enumerate(wanted))
    if all(dim.text != "-1" for dim in wanted):
        return wanted
    rest = [dim for dim in wanted if dim.text != "-1"]
    free = [dim for dim in old if dim.fixed is None]
    for dim in rest:
        if dim.fixed is None:
            if dim not in free:
                raise node.refuse(f"the size {dim.text} is not one of its input")
            free.remove(dim)
    known = math.prod(dim.most for dim in old if dim.fixed is not None)
    taken = math.prod(dim.most for dim in rest if dim.fixed is not None)
    if taken == 0 or known % taken:
        raise node.refuse("rows of one graph would be split")
    own = count((*free, fixed(known // taken)))
    text = f"({own.text})" if " " in own.text else own.text
    return tuple(Dim(text, own.most) if dim.text == "-1" else dim for dim in wanted)


def squeeze(builder: Builder, node: Node) -> None:
    """Squeeze."""
    value = builder.values[node.inputs[0]]
    if isinstance(value, Sizes):
        builder.values[node.outputs[0]] = value
        return
    x = builder.tensor(node, 0)
    axes = _axes(builder, node, len(x.shape)) or [i for i, dim in enumerate(x.shape) if dim.fixed == 1]
    builder.alias(node.outputs[0], x, tuple(dim for i, dim in enumerate(x.shape) if i not in axes))


def unsqueeze(builder: Builder, node: Node) -> None:
    """Unsqueeze."""
    value = builder.values[node.inputs[0]]
    if isinstance(value, Sizes):
        builder.values[node.outputs[0]] = value
        return
    x = builder.tensor(node, 0)
    rank = len(x.shape) + len(builder.constant(node, 1).reshape(-1))
    axes = _axes(builder, node, rank)
    own = iter(x.shape)
    builder.alias(node.outputs[0], x, tuple(fixed(1) if i in axes else next(own) for i in range(rank)))


def _axes(builder: Builder, node: Node, rank: int) -> list[int]:
    if len(node.inputs) < 2 or not node.inputs[1]:
        return []
    return [int(axis) % rank for axis in builder.constant(node, 1).reshape(-1)]


def concat(builder: Builder, node: Node) -> None:
    """Concat of sizes, or of tensors along an axis."""
    values = [builder.values[name] for name in node.inputs]
    if any(isinstance(value, Sizes) for value in values):
        dims = [dim for value in values for dim in as_sizes(value, node.title)]
        builder.values[node.outputs[0]] = Sizes(tuple(dims))
        return
    inputs = [builder.tensor(node, i) for i in range(len(values))]
    axis = int(node.attributes["axis"]) % len(inputs[0].shape)
    along = [value.shape[axis] for value in inputs]
    if any(dim.fixed is None for dim in along):
        raise node.refuse("it joins tensors along the nodes or edges")
    total = fixed(sum(dim.most for dim in along))
    shape = (*inputs[0].shape[:axis], total, *inputs[0].shape[axis + 1 :])
    y = builder.result(node.outputs[0], inputs[0].ctype, shape)
    blocks = count(shape[:axis])
    inner = count(shape[axis + 1 :])
    start = 0
    for name, value, dim in zip(node.inputs, inputs, along, strict=True):
        move = f"{y.name}[i * {_times(total, inner)} + {_times(fixed(start), inner)} + j]"
        source = f"{pointer(builder, name, value)}[i * {_times(dim, inner)} + j]"
        builder.step(_rows(blocks, _times(dim, inner), f"{move} = {source};"))
        start += dim.most


def split(builder: Builder, node: Node) -> None:
    """Split along an axis whose size is fixed."""
    x = builder.tensor(node, 0)
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    whole = x.shape[axis]
    if whole.fixed is None:
        raise node.refuse("it splits along the nodes or edges")
    parts = len(node.outputs)
    each = -(-whole.fixed // parts)
    sizes = [each] * (parts - 1) + [whole.fixed - each * (parts - 1)]
    if len(node.inputs) > 1 and node.inputs[1]:
        sizes = [int(v) for v in builder.constant(node, 1)]
    blocks, inner = count(x.shape[:axis]), count(x.shape[axis + 1 :])
    start = 0
    for name, size in zip(node.outputs, sizes, strict=True):
        if builder.is_read(name):
            y = builder.result(name, x.ctype, (*x.shape[:axis], fixed(size), *x.shape[axis + 1 :]))
            source = f"{x.name}[i * {_times(whole, inner)} + {_times(fixed(start), inner)} + j]"
            move = f"{y.name}[i * {_times(fixed(size), inner)} + j] = {source};"
            builder.step(_rows(blocks, _times(fixed(size), inner), move))
        start += size


def _times(a: Dim, b: Dim) -> str:
    return count((a, b)).text


def _rows(blocks: Dim, width: str, body: str) -> str:
    return f"for (size_t i = 0; i < {blocks.text}; ++i) {{\n  for (size_t j = 0; j < {width}; ++j) {body}\n}}"


def gather(builder: Builder, node: Node) -> None:
    """Gather of sizes, of one row of the edge list, or of rows by an index."""
    value = builder.values[node.inputs[0]]
    axis = int(node.attributes.get("axis", 0))
    if isinstance(value, Sizes):
        places = builder.constant(node, 1).reshape(-1)
        builder.values[node.outputs[0]] = Sizes(tuple(value.dims[int(place)] for place in places))
        return
    x, index = builder.tensor(node, 0), builder.values[node.inputs[1]]
    if axis % len(x.shape) != 0:
        raise node.refuse("it gathers columns")
    rest = count(x.shape[1:])
    if isinstance(index, Tensor) and index.constant is not None and index.constant.ndim == 0:
        place = int(index.constant) % x.shape[0].most
        step = f"{place} * {rest.text}" if place else "0"
        view = Tensor(f"({x.name} + {step})", x.ctype, x.shape, x.buffer, None, x.source)
        builder.alias(node.outputs[0], view, x.shape[1:])
        return
    rows: Shape
    if isinstance(index, Batch):
        chosen, rows = "0", (index.nodes,)
    elif isinstance(index, Tensor):
        if index.constant is None:
            builder.check_below(node, index, x.shape[0])
        chosen, rows = f"(size_t){pointer(builder, node.inputs[1], index)}[i]", index.shape
    else:
        raise node.refuse("its index is a size")
    source = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], x.ctype, (*rows, *x.shape[1:]))
    move = f"{y.name}[i * {rest.text} + j] = {source}[{chosen} * {rest.text} + j];"
    builder.step(_rows(count(rows), rest.text, move))
