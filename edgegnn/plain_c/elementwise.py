"""C code of the standard operators that take one element after the other, with ONNX's broadcasting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegnn.plain_c.builder import CTYPES, Builder, Node, pointer
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.values import Batch, Dim, Shape, Sizes, Tensor, as_sizes, count, fixed

__all__ = ["Elementwise", "cast", "clip", "elementwise", "power"]

_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}


@dataclass(frozen=True)
class Elementwise:
    """An operator on one element of each input.

    Attributes:
        text: the C expression; {0}, {1}, ... are the inputs' elements, {alpha} and others attributes.
        defaults: attribute -> ONNX's default.
        kernels: C functions that it calls.
        truth: gives true or false, not a number of the inputs' type.
        folds: takes any number of inputs, two at a time.
    """

    text: str
    defaults: tuple[tuple[str, float], ...] = ()
    kernels: tuple[str, ...] = ()
    truth: bool = False
    folds: bool = False


def elementwise(form: Elementwise, builder: Builder, node: Node) -> None:
    """Write the loops of an operator; sizes are computed as C expressions, not at run time."""
    values = [builder.values[name] for name in node.inputs]
    if any(isinstance(value, (Sizes, Batch)) for value in values):
        _sizes(builder, node)
        return
    inputs = [builder.tensor(node, i) for i in range(len(node.inputs))]
    attributes = {n: float_literal(float(np.float32(node.attributes.get(n, d)))) for n, d in form.defaults}
    text = form.text
    if form.folds:
        text = "{0}"
        for i in range(1, len(inputs)):
            text = form.text.replace("{1}", f"{{{i}}}").replace("{0}", text)
    builder.kernels.update(form.kernels)
    ctype = "uint8_t" if form.truth else inputs[-1].ctype
    write(builder, node, inputs, ctype, lambda elements: text.format(*elements, **attributes))


def write(builder: Builder, node: Node, inputs: list[Tensor], ctype: str, expression) -> None:  # type: ignore[no-untyped-def]
    """Write y = expression(elements) for each element of the broadcast shape."""
    shape = _broadcast(node, [value.shape for value in inputs])
    old = next((v for v in inputs if v.buffer is not None and v.shape == shape and v.ctype == ctype), None)
    sources = [
        "" if _is_number(value) else pointer(builder, name, value)
        for name, value in zip(node.inputs, inputs, strict=False)
    ]
    y = builder.result(node.outputs[0], ctype, shape, takes_over=old)
    if all(value.shape == shape or value.elements.fixed == 1 for value in inputs):
        elements = [_element(v, source, "i") for v, source in zip(inputs, sources, strict=True)]
        builder.loop(count(shape), f"{y.name}[i] = {expression(elements)};")
        return
    names = [f"i{k}" for k in range(len(shape))]
    elements = [_element(v, s, _place(v.shape, shape, names)) for v, s in zip(inputs, sources, strict=True)]
    body = f"{y.name}[{_place(shape, shape, names)}] = {expression(elements)};"
    for name, dim in zip(reversed(names), reversed(shape), strict=True):
        body = f"for ({name} = 0; {name} < {dim.text}; ++{name}) {body}"
    declared = ", ".join(names)
    builder.step(f"{{\n  size_t {declared};\n  {body}\n}}")


def _is_number(value: Tensor) -> bool:
    """Whether a tensor is one constant number, which C code spells where it is used."""
    return value.constant is not None and value.constant.size == 1


def _element(value: Tensor, source: str, place: str) -> str:
    if value.constant is not None and _is_number(value):
        number = value.constant.reshape(-1)[0]
        return float_literal(float(number)) if value.ctype == "float" else str(int(number))
    return f"{source}[{place}]" if value.elements.fixed != 1 else f"{source}[0]"


def _broadcast(node: Node, shapes: list[Shape]) -> Shape:
    rank = max(len(shape) for shape in shapes)
    found: list[Dim] = []
    for axis in range(-rank, 0):
        dims = [shape[axis] for shape in shapes if len(shape) >= -axis and shape[axis].fixed != 1]
        if len({dim.text for dim in dims}) > 1:
            raise node.refuse(f"sizes {dims[0].text} and {dims[-1].text} don't match")
        found.append(dims[0] if dims else fixed(1))
    return tuple(found)


def _place(own: Shape, whole: Shape, names: list[str]) -> str:
    """The index into a tensor of sizes `own` at the indices `names` of the broadcast shape."""
    terms = []
    offset = len(whole) - len(own)
    for axis, dim in enumerate(own):
        if dim.fixed == 1:
            continue
        step = count(own[axis + 1 :])
        terms.append(names[offset + axis] if step.fixed == 1 else f"{names[offset + axis]} * {step.text}")
    return " + ".join(terms) or "0"


def _sizes(builder: Builder, node: Node) -> None:
    """Sums, products and quotients of sizes."""
    sign = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Max": "max", "Min": "min"}.get(node.op)
    if sign is None or any(isinstance(builder.values[n], Batch) for n in node.inputs):
        raise node.refuse("it computes with the graph of each node, and the C code takes one graph")
    left, right = (as_sizes(builder.values[name], node.title) for name in node.inputs)
    pairs = zip(
        left * len(right) if len(left) == 1 else left, right * len(left) if len(right) == 1 else right, strict=False
    )
    builder.values[node.outputs[0]] = Sizes(tuple(_joined(node, sign, a, b) for a, b in pairs))


def _joined(node: Node, sign: str, a: Dim, b: Dim) -> Dim:
    if a.fixed is not None and b.fixed is not None:
        results = {"+": a.most + b.most, "-": a.most - b.most, "*": a.most * b.most, "max": max(a.most, b.most)}
        results |= {"min": min(a.most, b.most), "/": a.most // max(b.most, 1)}
        return Dim(str(results[sign]), results[sign])
    neutral = {"+": 0, "-": 0, "*": 1, "/": 1}.get(sign)
    if b.fixed is not None and b.fixed == neutral:
        return a
    if a.fixed is not None and a.fixed == neutral and sign in "+*":
        return b
    if sign == "*":
        return count((a, b))
    if sign == "+":
        return Dim(f"({a.text} + {b.text})", a.most + b.most)
    raise node.refuse("it computes with sizes of the graph")


def cast(builder: Builder, node: Node) -> None:
    """Cast between the number types that C code has."""
    value = builder.values[node.inputs[0]]
    name = _TYPES.get(int(node.attributes["to"]))
    if isinstance(value, (Sizes, Batch)):
        if name is None or name.startswith("int"):
            builder.values[node.outputs[0]] = value
            return
        raise node.refuse("a size becomes a number of the model")
    x = builder.tensor(node, 0)
    if name is None:
        raise node.refuse("it casts to a type that C code does not use")
    ctype = CTYPES[name]
    if ctype == x.ctype:
        builder.alias(node.outputs[0], x, x.shape)
        return
    body = (lambda e: f"{e[0]} != 0") if name == "bool" else (lambda e: f"({ctype}){e[0]}")
    write(builder, node, [x], ctype, body)


def clip(builder: Builder, node: Node) -> None:
    """Clip with constant bounds, either of which may be left out."""
    x = builder.tensor(node, 0)
    text = "{0}"
    for place, sign in ((1, "<"), (2, ">")):
        if len(node.inputs) > place and node.inputs[place]:
            bound = builder.constant(node, place).reshape(-1)[0]
            literal = float_literal(float(bound)) if x.ctype == "float" else str(int(bound))
            text = f"({text} {sign} {literal} ? {literal} : {text})"
    write(builder, node, [x], x.ctype, lambda elements: text.format(*elements))


def power(builder: Builder, node: Node) -> None:
    """Pow with the exponents that need no libm."""
    exponent = float(builder.constant(node, 1).reshape(-1)[0]) if builder.constant(node, 1).size == 1 else np.nan
    texts = {
        -0.5: "inverse_root({0})",
        0.5: "root({0})",
        1.0: "{0}",
        2.0: "{0} * {0}",
        3.0: "{0} * {0} * {0}",
        -1.0: "1.0f / {0}",
    }
    if exponent not in texts:
        raise node.refuse(f"the exponent {exponent:g} needs a power function, and there is none without libm")
    if exponent in (-0.5, 0.5):
        builder.kernels.add("root" if exponent > 0 else "inverse_root")
    x = builder.tensor(node, 0)
    write(builder, node, [x], "float", lambda elements: texts[exponent].format(*elements))
