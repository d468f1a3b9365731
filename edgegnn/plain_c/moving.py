"""C code of the standard operators that move elements of tensors, also along sizes that differ from graph to graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, constant_tensor, pointer
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.loops import nested, place_at
from edgegnn.plain_c.sizes import joined
from edgegnn.plain_c.values import Dim, Shape, Sizes, Tensor, as_sizes, count, fixed

__all__ = ["concat", "constant_of_shape", "nonzero", "slice_of", "tile", "transpose", "whole_range"]

_END = 2**31 - 1  # ONNX's "to the end" is any number as large as that


def transpose(builder: Builder, node: Node) -> None:
    """Transpose."""
    x = builder.tensor(node, 0)
    order = [int(axis) for axis in node.attributes.get("perm", range(len(x.shape))[::-1])]
    y = builder.result(node.outputs[0], x.ctype, tuple(x.shape[axis] for axis in order))
    names = [f"i{k}" for k in range(len(order))]
    source = [names[order.index(axis)] for axis in range(len(order))]
    text = f"{y.name}[{place_at(names, y.shape)}] = {pointer(builder, node.inputs[0], x)}[{place_at(source, x.shape)}];"
    builder.step(nested(names, y.shape, text))


def slice_of(builder: Builder, node: Node) -> None:
    """Slice with constant bounds and steps above 0; of sizes, too."""
    value = builder.values[node.inputs[0]]
    own = value.dims if isinstance(value, Sizes) else builder.tensor(node, 0).shape
    rank = 1 if isinstance(value, Sizes) else len(own)
    starts, ends = _bounds(builder, node, 1), _bounds(builder, node, 2)
    axes, steps = (
        [int(v) for v in builder.constant(node, i).reshape(-1)] if len(node.inputs) > i and node.inputs[i] else default
        for i, default in ((3, list(range(len(starts)))), (4, [1] * len(starts)))
    )
    if any(step < -1 or step == 0 for step in steps):
        raise node.refuse("it slices backwards in steps of more than 1")
    if isinstance(value, Sizes):
        if isinstance(starts[0], Dim) or isinstance(ends[0], Dim):
            raise node.refuse("its bounds differ from graph to graph")
        builder.values[node.outputs[0]] = Sizes(own[starts[0] : ends[0] : steps[0]])
        return
    x = builder.tensor(node, 0)
    bounds = [(fixed(0), dim, 1) for dim in own]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        dim = own[axis % rank]
        if step == -1:
            whole = isinstance(start, int) and isinstance(end, int) and end <= -dim.most
            if not whole or (start != -1 and isinstance(start, int) and start < dim.most - 1):
                raise node.refuse("it turns a part around")
            bounds[axis % rank] = (fixed(0), dim, -1)
            continue
        bounds[axis % rank] = (_clamped(dim, start), _clamped(dim, end), step)
    shape = tuple(_between(*bound) for bound in bounds)
    names = [f"i{k}" for k in range(rank)]
    source = [_source(name, *bound) for name, bound in zip(names, bounds, strict=True)]
    source = [f"({text})" if " " in text else text for text in source]
    read = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], x.ctype, shape)
    builder.step(nested(names, shape, f"{y.name}[{place_at(names, shape)}] = {read}[{place_at(source, x.shape)}];"))


def _source(name: str, start: Dim, end: Dim, step: int) -> str:
    """The place that the element of a slice comes from, along one axis."""
    if step == -1:
        return f"{end.text} - 1 - {name}"
    own = f"{name} * {step}" if step > 1 else name
    return own if start.text == "0" else f"{start.text} + {own}"


def _bounds(builder: Builder, node: Node, place: int) -> list[int | Dim]:
    """The starts or ends of a slice: whole numbers, or sizes that differ from graph to graph."""
    value = builder.values[node.inputs[place]]
    if isinstance(value, Tensor) and value.constant is not None:
        return [int(v) for v in value.constant.reshape(-1)]
    return [dim if dim.fixed is None else dim.fixed for dim in builder.sizes(node, place)]


def _clamped(dim: Dim, bound: int | Dim) -> Dim:
    """A bound of a slice as a number between 0 and the size."""
    if isinstance(bound, Dim):
        return joined("min", dim, bound)
    if bound >= _END or bound >= dim.most:
        return dim
    if dim.fixed is not None:
        return fixed(max(bound + dim.fixed, 0) if bound < 0 else bound)
    if bound < 0:
        return joined("-", dim, fixed(-bound))
    return joined("min", dim, fixed(bound)) if bound else fixed(0)


def _between(start: Dim, end: Dim, step: int) -> Dim:
    length = joined("-", end, start)
    if length.fixed is not None and length.fixed < 0:
        return fixed(0)
    if step in (1, -1):
        return length
    if length.fixed is not None:
        return fixed(-(-max(length.fixed, 0) // step))
    return Dim(f"(({length.text} + {step - 1}) / {step})", -(-length.most // step))


def tile(builder: Builder, node: Node) -> None:
    """Tile: repeat along each axis."""
    x = builder.tensor(node, 0)
    repeats = builder.sizes(node, 1)
    shape = tuple(joined("*", dim, times) for dim, times in zip(x.shape, repeats, strict=True))
    names = [f"i{k}" for k in range(len(shape))]
    source = [
        name if times.fixed == 1 else "0" if dim.fixed == 1 else f"({name} % {dim.text})"
        for name, dim, times in zip(names, x.shape, repeats, strict=True)
    ]
    read = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], x.ctype, shape)
    builder.step(nested(names, shape, f"{y.name}[{place_at(names, shape)}] = {read}[{place_at(source, x.shape)}];"))


def concat(builder: Builder, node: Node) -> None:
    """Concat of sizes, or of tensors along an axis."""
    values = [builder.values[name] for name in node.inputs]
    if any(isinstance(value, Sizes) for value in values) and not any(
        isinstance(value, Tensor) and value.constant is None for value in values
    ):
        builder.values[node.outputs[0]] = Sizes(tuple(d for v in values for d in as_sizes(v, node.title)))
        return
    inputs = [builder.tensor(node, i) for i in range(len(values))]
    axis = int(node.attributes["axis"]) % len(inputs[0].shape)
    total = fixed(0)
    for value in inputs:
        total = joined("+", total, value.shape[axis])
    before, after = _shared(inputs, axis, before=True), _shared(inputs, axis, before=False)
    for value in inputs:
        own = (*value.shape[:axis], *value.shape[axis + 1 :])
        for one, other in zip(own, (*before, *after), strict=True):
            builder.same(node, [one, other])
    shape = (*before, total, *after)
    sources = [pointer(builder, name, value) for name, value in zip(node.inputs, inputs, strict=True)]
    y = builder.result(node.outputs[0], inputs[0].ctype, shape)
    start = fixed(0)
    for source, value in zip(sources, inputs, strict=True):
        part = count((value.shape[axis], *after)).text
        first = count((start, *after)).text if start.text != "0" else "0"
        text = f"{y.name}[i0 * {count((total, *after)).text} + {first} + i1] = {source}[i0 * {part} + i1];"
        builder.step(nested(["i0", "i1"], (count(before), count((value.shape[axis], *after))), text))
        start = joined("+", start, value.shape[axis])


def _shared(inputs: Sequence[Tensor], axis: int, *, before: bool) -> Shape:
    """The sizes on one side of an axis, of the input that knows most of them as numbers."""
    sides = [value.shape[:axis] if before else value.shape[axis + 1 :] for value in inputs]
    return max(sides, key=lambda side: sum(dim.fixed is not None for dim in side))


def whole_range(builder: Builder, node: Node) -> None:
    """Range of whole numbers from a constant, in steps of 1."""
    start, step = (int(builder.constant(node, i).reshape(-1)[0]) for i in (0, 2))
    (limit,) = builder.sizes(node, 1)
    if step != 1 or start < 0:
        raise node.refuse("only a range in steps of 1 from 0 or above has one")
    y = builder.result(node.outputs[0], "int32_t", (joined("-", limit, fixed(start)),))
    builder.loop(y.elements, f"{y.name}[i] = (int32_t)(i{f' + {start}' if start else ''});")


def constant_of_shape(builder: Builder, node: Node) -> None:
    """ConstantOfShape: one number everywhere."""
    shape = builder.sizes(node, 0)
    number = builder.attribute_array(node, "value", np.zeros(1, np.float32))
    ctype = constant_tensor(node.name, number).ctype
    text = float_literal(float(number[0])) if ctype == "float" else str(int(number[0]))
    y = builder.result(node.outputs[0], ctype, shape)
    builder.loop(y.elements, f"{y.name}[i] = {text};")


def nonzero(builder: Builder, node: Node) -> None:
    """NonZero: the places of what is not 0, one row for each axis; how many there are is known at run time."""
    x = builder.tensor(node, 0)
    number = builder.variable("found", x.elements.most)
    rank = len(x.shape)
    y = builder.result(node.outputs[0], "int32_t", (fixed(rank), number))
    names = [f"i{k}" for k in range(rank)]
    read = pointer(builder, node.inputs[0], x)
    found = f"{read}[{place_at(names, x.shape)}]"
    # Rows lie behind each other as soon as their length is known: it is counted first.
    builder.step(f"{number.text} = 0;\n" + nested(names, x.shape, f"if ({found}) {number.text} = {number.text} + 1;"))
    moves = " ".join(f"{y.name}[{k} * {number.text} + at] = (int32_t){name};" for k, name in enumerate(names))
    fill = nested(names, x.shape, f"if ({found}) {{ {moves} at = at + 1; }}")
    builder.step(f"{{\n  size_t at = 0;\n{fill}\n}}")
