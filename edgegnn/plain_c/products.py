"""C code of matrix products whose factors both differ from graph to graph, or that are scaled or transposed."""

from __future__ import annotations

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.loops import nested, place_at
from edgegnn.plain_c.rows import at_least
from edgegnn.plain_c.values import Dim, Shape, fixed

__all__ = ["any_gemm", "any_matmul"]


def any_matmul(builder: Builder, node: Node) -> None:
    """MatMul of any two tensors, with ONNX's broadcasting of the sizes before the last two."""
    a, b = builder.tensor(node, 0), builder.tensor(node, 1)
    if a.ctype != "float" or b.ctype != "float":
        raise node.refuse("only products of floats have one")
    left: Shape = a.shape if len(a.shape) > 1 else (fixed(1), *a.shape)
    right: Shape = b.shape if len(b.shape) > 1 else (*b.shape, fixed(1))
    batch = _broadcast(builder, node, left[:-2], right[:-2])
    builder.same(node, [left[-1], right[-2]])
    rows, depth, columns = left[-2], left[-1], right[-1]
    shape = (*batch, *([rows] if len(a.shape) > 1 else []), *([columns] if len(b.shape) > 1 else []))
    names = [f"i{k}" for k in range(len(batch))]
    first = place_at([*_aligned(names, left[:-2]), "r", "k"], left)
    second = place_at([*_aligned(names, right[:-2]), "k", "c"], right)
    sources = [pointer(builder, node.inputs[i], value) for i, value in enumerate((a, b))]
    y = builder.result(node.outputs[0], "float", shape)
    target = f"{y.name}[{place_at([*names, 'r', 'c'], (*batch, rows, columns))}]"
    body = _sum(f"{sources[0]}[{first}]", f"{sources[1]}[{second}]", depth, f"{target} = sum;")
    builder.step(nested([*names, "r", "c"], (*batch, rows, columns), body))


def any_gemm(builder: Builder, node: Node) -> None:
    """Gemm of any two matrices: alpha A B + beta C."""
    a, b = builder.tensor(node, 0), builder.tensor(node, 1)
    across, down = bool(node.attributes.get("transA", 0)), bool(node.attributes.get("transB", 0))
    if (len(a.shape), len(b.shape)) != (2, 2):
        raise node.refuse("it takes two matrices in C")
    rows, depth = a.shape[::-1] if across else a.shape
    columns = b.shape[0] if down else b.shape[1]
    builder.same(node, [depth, b.shape[1] if down else b.shape[0]])
    first = place_at(["k", "r"] if across else ["r", "k"], a.shape)
    second = place_at(["c", "k"] if down else ["k", "c"], b.shape)
    sources = [pointer(builder, node.inputs[i], value) for i, value in enumerate((a, b))]
    result = _scaled("sum", float(node.attributes.get("alpha", 1.0)))
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = builder.tensor(node, 2)
        for dim, whole in zip(bias.shape[::-1], (columns, rows), strict=False):
            if dim.fixed != 1:
                at_least(builder, node, dim, whole)
        place = place_at(_aligned(["r", "c"], bias.shape), bias.shape)
        added = f"{pointer(builder, node.inputs[2], bias)}[{place}]"
        result += f" + {_scaled(added, float(node.attributes.get('beta', 1.0)))}"
    y = builder.result(node.outputs[0], "float", (rows, columns))
    target = f"{y.name}[{place_at(['r', 'c'], y.shape)}]"
    body = _sum(f"{sources[0]}[{first}]", f"{sources[1]}[{second}]", depth, f"{target} = {result};")
    builder.step(nested(["r", "c"], y.shape, body))


def _scaled(text: str, factor: float) -> str:
    return text if factor == 1.0 else f"{float_literal(factor)} * {text}"


def _sum(first: str, second: str, depth: Dim, end: str) -> str:
    return (
        f"{{\n  float sum = 0.0f, product;\n"
        f"  for (size_t k = 0; k < {depth.text}; ++k) {{ product = {first} * {second}; sum = sum + product; }}\n"
        f"  {end}\n}}"
    )


def _broadcast(builder: Builder, node: Node, a: Shape, b: Shape) -> Shape:
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    offset = len(longer) - len(shorter)
    found = list(longer)
    for i, dim in enumerate(shorter):
        if found[offset + i].fixed == 1:
            found[offset + i] = dim
        elif dim.fixed != 1:
            found[offset + i] = builder.same(node, [found[offset + i], dim])
    return tuple(found)


def _aligned(names: list[str], shape: Shape) -> list[str]:
    """The names of the last axes, "0" where a size of 1 is repeated."""
    own = names[len(names) - len(shape) :]
    return ["0" if dim.fixed == 1 else name for name, dim in zip(own, shape, strict=True)]
