"""C code of the standard operators that move elements or give them another shape, and of those on shapes."""

from __future__ import annotations

import math
import re

from edgegnn.plain_c.builder import Builder, Node
from edgegnn.plain_c.loops import nested
from edgegnn.plain_c.values import Absent, Batch, Dim, Shape, Sizes, count, fixed, grouped

__all__ = [
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
    for known in (builder.graphs, builder.columns, builder.orders):
        if node.inputs[0] in known:
            known[node.outputs[0]] = known[node.inputs[0]]
    if not _stays(builder, node, Sizes, Batch, Absent):
        x = builder.tensor(node, 0)
        builder.alias(node.outputs[0], x, x.shape)


def _stays(builder: Builder, node: Node, *kinds: type[Absent | Batch | Sizes]) -> bool:
    """Whether the node's input is of these kinds, which have no shape to change: its output is the same then."""
    value = builder.values[node.inputs[0]]
    if not isinstance(value, kinds):
        return False
    builder.values[node.outputs[0]] = value
    return True


def reshape(builder: Builder, node: Node) -> None:
    """Reshape: the same elements, other sizes."""
    if _stays(builder, node, Sizes):
        return
    x = builder.tensor(node, 0)
    shape = _reshaped(builder, node, x.shape, builder.sizes(node, 1))
    if count(shape).most >= 2**62:  # its product could begin again at 0
        raise node.refuse("its sizes may be too large")
    builder.same(node, [x.elements, count(shape)])
    builder.alias(node.outputs[0], x, shape)


def _reshaped(builder: Builder, node: Node, old: Shape, wanted: Shape) -> Shape:
    if not node.attributes.get("allowzero", 0):
        wanted = tuple(old[i] if dim.fixed == 0 and i < len(old) else dim for i, dim in enumerate(wanted))
    if all(dim.text != "-1" for dim in wanted):
        return wanted
    rest = [dim for dim in wanted if dim.text != "-1"]
    old = tuple(part for dim in old for part in _factors(dim))
    rest = [part for dim in rest for part in _factors(dim)]
    free = [dim for dim in old if dim.fixed is None]
    divisors = []
    for dim in rest:
        if dim.fixed is None:
            matching = next((each for each in free if each.text == dim.text), None)
            if matching is None:
                divisors.append(dim)
            else:
                free.remove(matching)
    known = math.prod(dim.most for dim in old if dim.fixed is not None)
    taken = math.prod(dim.most for dim in rest if dim.fixed is not None)
    if divisors or taken == 0 or known % taken:
        own = _divided(builder, count((*free, fixed(known))), count((*divisors, fixed(taken))))
    else:
        own = count((*free, fixed(known // taken)))
    text = grouped(own.text)
    return tuple(Dim(text, own.most) if dim.text == "-1" else dim for dim in wanted)


def _divided(builder: Builder, whole: Dim, part: Dim) -> Dim:
    """The missing size of a reshape where only the run shows that it comes out even."""
    found = builder.variable("rest", whole.most)
    builder.step(
        f"if ({grouped(part.text)} == 0 || {grouped(whole.text)} % {grouped(part.text)} != 0) return BAD_SIZES;\n"
        f"{found.text} = {grouped(whole.text)} / {grouped(part.text)};"
    )
    return found


def _factors(dim: Dim) -> Shape:
    """A size that is a multiple, as its parts."""
    found = re.fullmatch(r"\((\w+) \* (\d+)\)", dim.text)
    if found is None:
        return (dim,)
    times = int(found[2])
    return (Dim(found[1], dim.most // times), fixed(times))


def squeeze(builder: Builder, node: Node) -> None:
    """Squeeze."""
    if _stays(builder, node, Sizes):
        return
    x = builder.tensor(node, 0)
    axes = _axes(builder, node, len(x.shape)) or [i for i, dim in enumerate(x.shape) if dim.fixed == 1]
    for axis in axes:
        builder.same(node, [x.shape[axis], fixed(1)])
    builder.alias(node.outputs[0], x, tuple(dim for i, dim in enumerate(x.shape) if i not in axes))


def unsqueeze(builder: Builder, node: Node) -> None:
    """Unsqueeze."""
    if _stays(builder, node, Sizes):
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
    if sum(sizes) != whole.fixed or min(sizes) < 0:
        raise node.refuse("its parts are not as long as the whole")
    blocks, inner = count(x.shape[:axis]), count(x.shape[axis + 1 :])
    start = 0
    for name, size in zip(node.outputs, sizes, strict=True):
        if builder.is_read(name):
            y = builder.result(name, x.ctype, (*x.shape[:axis], fixed(size), *x.shape[axis + 1 :]))
            source = f"{x.name}[i * {count((whole, inner)).text} + {count((fixed(start), inner)).text} + j]"
            row = count((fixed(size), inner))
            builder.step(nested(["i", "j"], (blocks, row), f"{y.name}[i * {row.text} + j] = {source};"))
        start += size
