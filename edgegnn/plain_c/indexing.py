"""C code of the standard operators that look elements up by an index, or write them to one.

An index that the model takes is checked before the first step. One that is computed is checked where it is used.
"""

from __future__ import annotations

from dataclasses import replace

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.loops import nested, place_at
from edgegnn.plain_c.rows import at_least
from edgegnn.plain_c.values import Batch, Dim, Shape, Sizes, Tensor, count, fixed

__all__ = ["cumulative_sum", "gather", "gather_elements", "gather_nd", "scatter_elements", "scatter_nd", "top_k"]

_WRITES = {
    "none": "{0} = {1};",
    "add": "{0} = {0} + {1};",
    "mul": "{0} = {0} * {1};",
    "max": "if ({1} > {0} || {1} != {1}) {0} = {1};",
    "min": "if ({1} < {0} || {1} != {1}) {0} = {1};",
}


def gather(builder: Builder, node: Node) -> None:
    """Gather of sizes, of one row or column, or of rows or columns by an index."""
    value = builder.values[node.inputs[0]]
    axis = int(node.attributes.get("axis", 0))
    if isinstance(value, Sizes):
        places = builder.constant(node, 1).reshape(-1)
        builder.values[node.outputs[0]] = Sizes(tuple(value.dims[int(place)] for place in places))
        return
    if isinstance(value, Batch):
        chosen_nodes = builder.tensor(node, 1)
        builder.check_below(node, chosen_nodes, value.nodes)
        builder.values[node.outputs[0]] = Batch(chosen_nodes.elements)
        return
    x, index = builder.tensor(node, 0), builder.values[node.inputs[1]]
    axis = axis % len(x.shape)
    if axis == 0 and isinstance(index, Tensor) and index.constant is not None and index.constant.ndim == 0:
        rest = count(x.shape[1:])
        place = int(index.constant)
        if x.shape[0].fixed is None:
            builder.step(f"if ({x.shape[0].text} < {place + 1 if place >= 0 else -place}) return BAD_INDEX;")
        else:
            place += x.shape[0].fixed if place < 0 else 0
            if not 0 <= place < x.shape[0].fixed:
                raise node.refuse("its constant index is out of range")
        row = str(place) if place >= 0 else f"({x.shape[0].text} - {-place})"
        step = f"{row} * {rest.text}" if place else "0"
        first = pointer(builder, node.inputs[0], x)
        view = Tensor(f"({first} + {step})", x.ctype, x.shape, x.buffer, None, x.source)
        builder.alias(node.outputs[0], view, x.shape[1:])
        return
    before, after = x.shape[:axis], count(x.shape[axis + 1 :])
    rows: Shape
    if isinstance(index, Batch):
        at_least(builder, node, x.shape[axis], fixed(1))
        chosen, rows = "0", (index.nodes,)
    else:
        found = _positive(builder, builder.tensor(node, 1), x.shape[axis])
        builder.check_below(node, found, x.shape[axis])
        chosen, rows = f"(size_t){pointer(builder, node.inputs[1], found)}[i1]", found.shape
    source = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], x.ctype, (*before, *rows, *x.shape[axis + 1 :]))
    loops: Shape = (count(before), count(rows), after)
    read = place_at(["i0", chosen, "i2"], (count(before), x.shape[axis], after))
    builder.step(
        nested(["i0", "i1", "i2"], loops, f"{y.name}[{place_at(['i0', 'i1', 'i2'], loops)}] = {source}[{read}];")
    )


def _positive(builder: Builder, index: Tensor, size: Dim) -> Tensor:
    """A constant index counted from the start."""
    if index.constant is None or int(index.constant.min(initial=0)) >= 0:
        return index
    if size.fixed is None:
        made = builder.buffer("places", "int32_t", index.elements)
        places = [int(v) for v in index.constant.reshape(-1)]
        texts = [f"(int32_t){size.text} - {-v}" if v < 0 else str(v) for v in places]
        builder.step("\n".join(f"{made.name}[{i}] = {text};" for i, text in enumerate(texts)))
        return replace(made, shape=index.shape)
    return replace(index, constant=index.constant % size.fixed)


def gather_elements(builder: Builder, node: Node) -> None:
    """GatherElements: each element names its place along an axis."""
    x, index = builder.tensor(node, 0), builder.tensor(node, 1)
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    names = [f"i{k}" for k in range(len(x.shape))]
    builder.check_below(node, index, x.shape[axis])
    _inside(builder, node, index.shape, x.shape, axis)
    chosen = [f"(size_t){_at(builder, node, 1, names)}" if k == axis else name for k, name in enumerate(names)]
    source = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], x.ctype, index.shape)
    text = f"{y.name}[{place_at(names, y.shape)}] = {source}[{place_at(chosen, x.shape)}];"
    builder.step(nested(names, index.shape, text))


def gather_nd(builder: Builder, node: Node) -> None:
    """GatherND without batch dimensions: each row of the index names the first places of what it looks up."""
    x, index = builder.tensor(node, 0), builder.tensor(node, 1)
    depth = index.shape[-1].fixed
    if node.attributes.get("batch_dims", 0) or depth is None:
        raise node.refuse("it looks up within batches")
    rows, rest = index.shape[:-1], x.shape[depth:]
    chosen = _named_places(builder, node, index, x.shape, depth)
    source = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], x.ctype, (*rows, *rest))
    inner = count(rest)
    read = place_at([*chosen, "j"], (*x.shape[:depth], inner))
    builder.step(
        nested(
            ["i", "j"],
            (count(rows), inner),
            f"{y.name}[{place_at(['i', 'j'], (count(rows), inner))}] = {source}[{read}];",
        )
    )


def scatter_elements(builder: Builder, node: Node) -> None:
    """ScatterElements: a copy, into which each element is written at the place that it names along an axis."""
    x, index, updates = (builder.tensor(node, i) for i in range(3))
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    write = _write(node)
    builder.check_below(node, index, x.shape[axis])
    _inside(builder, node, index.shape, x.shape, axis)
    _inside(builder, node, index.shape, updates.shape, -1)
    y = _copied(builder, node, x)
    names = [f"i{k}" for k in range(len(x.shape))]
    chosen = [f"(size_t){_at(builder, node, 1, names)}" if k == axis else name for k, name in enumerate(names)]
    update = f"{pointer(builder, node.inputs[2], updates)}[{place_at(names, index.shape)}]"
    builder.step(nested(names, index.shape, write.format(f"{y.name}[{place_at(chosen, y.shape)}]", update)))


def scatter_nd(builder: Builder, node: Node) -> None:
    """ScatterND: a copy, into which rows are written at the places that an index names."""
    x, index, updates = (builder.tensor(node, i) for i in range(3))
    depth = index.shape[-1].fixed
    if depth is None:
        raise node.refuse("its index has no fixed width")
    write = _write(node)
    chosen = _named_places(builder, node, index, x.shape, depth)
    y = _copied(builder, node, x)
    inner, rows = count(x.shape[depth:]), count(index.shape[:-1])
    at_least(builder, node, updates.elements, count((rows, inner)))
    target = f"{y.name}[{place_at([*chosen, 'j'], (*x.shape[:depth], inner))}]"
    update = f"{pointer(builder, node.inputs[2], updates)}[{place_at(['i', 'j'], (rows, inner))}]"
    builder.step(nested(["i", "j"], (rows, inner), write.format(target, update)))


def _inside(builder: Builder, node: Node, part: Shape, whole: Shape, axis: int) -> None:
    """Have it checked that a shape lies inside another, but for one axis (-1: for none)."""
    if len(part) != len(whole):
        raise node.refuse("its inputs have another number of sizes")
    for k, (need, have) in enumerate(zip(part, whole, strict=True)):
        if k != axis:
            at_least(builder, node, have, need)


def cumulative_sum(builder: Builder, node: Node) -> None:
    """CumSum along a constant axis, forwards."""
    x = builder.tensor(node, 0)
    axis = int(builder.constant(node, 1).reshape(-1)[0]) % len(x.shape)
    if node.attributes.get("reverse", 0):
        raise node.refuse("it sums backwards")
    outer, own, inner = count(x.shape[:axis]), x.shape[axis], count(x.shape[axis + 1 :])
    source = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], x.ctype, x.shape)
    place = place_at(["i0", "i1", "i2"], (outer, own, inner))
    add = f"sum = sum + {source}[{place}];"
    keep = f"{y.name}[{place}] = sum;"
    body = f"{keep} {add}" if node.attributes.get("exclusive", 0) else f"{add} {keep}"
    loop = f"for (size_t i1 = 0; i1 < {own.text}; ++i1) {{ {body} }}"
    builder.step(nested(["i0", "i2"], (outer, inner), f"{{\n  {x.ctype} sum = 0;\n  {loop}\n}}"))


def _at(builder: Builder, node: Node, place: int, names: list[str]) -> str:
    index = builder.tensor(node, place)
    return f"{pointer(builder, node.inputs[place], index)}[{place_at(names, index.shape)}]"


def _named_places(builder: Builder, node: Node, index: Tensor, shape: Shape, depth: int) -> list[str]:
    """The places that the rows of an index name, each checked against its size."""
    name = pointer(builder, node.inputs[1], index)
    found = [f"{name}[i * {depth} + {k}]" for k in range(depth)]
    tests = " || ".join(
        f"{place} < 0 || (size_t){place} >= {dim.text}" for place, dim in zip(found, shape, strict=False)
    )
    builder.step(nested(["i"], (count(index.shape[:-1]),), f"if ({tests}) return BAD_INDEX;"))
    return [f"(size_t){place}" for place in found]


def _copied(builder: Builder, node: Node, x: Tensor) -> Tensor:
    source = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], x.ctype, x.shape)
    builder.loop(y.elements, f"{y.name}[i] = {source}[i];")
    return y


def _write(node: Node) -> str:
    how = node.attributes.get("reduction", b"none")
    return _WRITES[how.decode() if isinstance(how, bytes) else how]


def top_k(builder: Builder, node: Node) -> None:
    """TopK along an axis, sorted; of equal elements the first comes first, as ONNX has it."""
    (k,) = builder.sizes(node, 1)
    graphs = builder.values[node.inputs[0]]
    if isinstance(graphs, Batch) and graphs.nodes == k:  # the graph of each node, in order already
        builder.values[node.outputs[0]] = graphs
        order = _kept(builder, node, 1, "int32_t", (k,))
        builder.loop(k, f"{order.name}[i] = (int32_t)i;")
        return
    x = builder.tensor(node, 0)
    axis = int(node.attributes.get("axis", -1)) % len(x.shape)
    outer, own, inner = count(x.shape[:axis]), x.shape[axis], count(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], replace(k, most=min(k.most, own.most)), *x.shape[axis + 1 :])
    source = pointer(builder, node.inputs[0], x)
    values = _kept(builder, node, 0, x.ctype, shape)
    places = _kept(builder, node, 1, "int32_t", shape)
    rows = (outer, shape[axis], inner)
    sign = ">" if node.attributes.get("largest", 1) else "<"
    here, last, before, at = (
        place_at(["i0", place, "i2"], rows) for place in ("at", f"({k.text} - 1)", "(at - 1)", "at")
    )
    body = (
        "{\n  size_t used = 0;\n"
        f"  for (size_t i1 = 0; i1 < {own.text} && {k.text} > 0; ++i1) {{\n"
        f"    const {x.ctype} v = {source}[{place_at(['i0', 'i1', 'i2'], (outer, own, inner))}];\n"
        f"    size_t at = used;\n"
        f"    if (used == {k.text}) {{\n"
        f"      if (!(v {sign} {values.name}[{last}])) continue;\n"
        f"      at = {k.text} - 1;\n"
        "    } else {\n      ++used;\n    }\n"
        f"    for (; at > 0 && v {sign} {values.name}[{before}]; --at) {{\n"
        f"      {values.name}[{here}] = {values.name}[{before}];\n"
        f"      {places.name}[{at}] = {places.name}[{before}];\n"
        "    }\n"
        f"    {values.name}[{here}] = v;\n    {places.name}[{at}] = (int32_t)i1;\n"
        "  }\n}"
    )
    if k != own:
        builder.step(f"if ({k.text} > {own.text}) return BAD_SIZES;")
    builder.step(nested(["i0", "i2"], (outer, inner), body))


def _kept(builder: Builder, node: Node, place: int, ctype: str, shape: Shape) -> Tensor:
    """An output of TopK; scratch of that size where nothing reads it."""
    name = node.outputs[place] if len(node.outputs) > place else ""
    if builder.is_read(name):
        return builder.result(name, ctype, shape)
    scratch = builder.buffer("kept", ctype, count(shape))
    return Tensor(scratch.name, ctype, shape, scratch.buffer)
