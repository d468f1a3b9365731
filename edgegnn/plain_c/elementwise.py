"""C code of the standard operators that take one element after the other, with ONNX's broadcasting."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgegnn.plain_c.builder import CTYPES, Builder, Node, pointer
from edgegnn.plain_c.literals import float_literal, literal
from edgegnn.plain_c.loops import nested, place_at
from edgegnn.plain_c.sizes import joined
from edgegnn.plain_c.values import Batch, Dim, Shape, Sizes, Tensor, as_sizes, count, fixed

__all__ = ["Elementwise", "cast", "clip", "elementwise", "power"]

_DOUBLES = ("exponential", "natural_log", "sigmoid", "hyperbolic_tangent")
_SIGNS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Max": "max", "Min": "min"}
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}


@dataclass(frozen=True)
class Elementwise:
    """An operator on one element of each input.

    Attributes:
        text: the C expression; {0}, {1}, ... are the inputs' elements, {alpha} and others attributes.
        defaults: attribute -> ONNX's default.
        kernels: C functions that it calls.
        truth: gives true or false, not a number of the inputs' type.
        folds: takes any number of inputs, two at a time.
        whole: the C expression for whole numbers; "" where it is the same.
    """

    text: str
    defaults: tuple[tuple[str, float], ...] = ()
    kernels: tuple[str, ...] = ()
    truth: bool = False
    folds: bool = False
    whole: str = ""


def elementwise(form: Elementwise, builder: Builder, node: Node) -> None:
    """Write the loops of an operator; sizes are computed as C expressions, not at run time."""
    if _are_sizes(builder, node):
        _sizes(builder, node)
        return
    inputs = [builder.tensor(node, i) for i in range(len(node.inputs))]
    attributes = {n: float_literal(float(np.float32(node.attributes.get(n, d)))) for n, d in form.defaults}
    text = once = form.whole if form.whole and not inputs[0].ctype.startswith(("float", "double")) else form.text
    kernels = form.kernels
    if any(value.ctype == "double" for value in inputs):
        text, kernels = _in_double(node, form)
    builder.kernels.update(kernels)
    ctype = "uint8_t" if form.truth else inputs[-1].ctype
    if form.folds and len(inputs) != 2:
        write(builder, node, inputs, ctype, lambda elements: elements[0], fold=once)
        return
    write(builder, node, inputs, ctype, lambda elements: text.format(*elements, **attributes))


def _in_double(node: Node, form: Elementwise) -> tuple[str, tuple[str, ...]]:
    """The expression, and the kernels that it calls, of an operator on doubles."""
    text = re.sub(r"(\d\.\d+)f", r"\1", form.text)
    for name in form.kernels:
        if name not in _DOUBLES:
            raise node.refuse("only simple functions of doubles have one")
        text = text.replace(f"{name}(", f"{name}_double(")
    return text, tuple(f"{name}_double" for name in form.kernels)


def write(
    builder: Builder,
    node: Node,
    inputs: list[Tensor],
    ctype: str,
    expression: Callable[[list[str]], str],
    fold: str = "",
) -> None:
    """Write y = expression(elements) for each element of the broadcast shape.

    Args:
        builder: what the C code is added to.
        node: the operator.
        inputs: its tensors.
        ctype: of its result.
        expression: C text of the inputs' elements.
        fold: an expression of {0} and {1}, by which the elements behind the first are added one by one.
    """
    shape = _broadcast(builder, node, [value.shape for value in inputs])
    old = next((v for v in inputs if v.buffer is not None and v.shape == shape and v.ctype == ctype), None)
    sources = [
        "" if _is_number(value) else pointer(builder, name, value)
        for name, value in zip(node.inputs, inputs, strict=False)
    ]
    y = builder.result(node.outputs[0], ctype, shape, takes_over=old)
    if all(_as_wide(value.shape, shape) or value.elements.fixed == 1 for value in inputs):
        elements = [_element(v, source, "i") for v, source in zip(inputs, sources, strict=True)]
        builder.loop(count(shape), _assigned(f"{y.name}[i]", ctype, elements, expression, fold))
        return
    names = [f"i{k}" for k in range(len(shape))]
    places = [place_at(names[len(shape) - len(value.shape) :], value.shape) for value in inputs]
    elements = [_element(v, s, place) for v, s, place in zip(inputs, sources, places, strict=True)]
    target = f"{y.name}[{place_at(names, shape)}]"
    builder.step(nested(names, shape, _assigned(target, ctype, elements, expression, fold)))


def _assigned(target: str, ctype: str, elements: list[str], expression: Callable[[list[str]], str], fold: str) -> str:
    if not fold:
        return f"{target} = {expression(elements)};"
    steps = " ".join(f"v = {fold.format('v', element)};" for element in elements[1:])
    return f"{{ {ctype} v = {expression(elements)}; {steps} {target} = v; }}"


def _as_wide(own: Shape, whole: Shape) -> bool:
    """Whether no size is repeated."""
    return len(own) == len(whole) and all((a.fixed == 1) == (b.fixed == 1) for a, b in zip(own, whole, strict=True))


def _is_number(value: Tensor) -> bool:
    """Whether a tensor is one constant number, which C code spells where it is used."""
    return value.constant is not None and value.constant.size == 1


def _element(value: Tensor, source: str, place: str) -> str:
    if value.constant is not None and _is_number(value):
        number = value.constant.reshape(-1)[0]
        return literal(number, value.ctype)
    return f"{source}[{place}]" if value.elements.fixed != 1 else f"{source}[0]"


def _broadcast(builder: Builder, node: Node, shapes: list[Shape]) -> Shape:
    rank = max(len(shape) for shape in shapes)
    found: list[Dim] = []
    for axis in range(-rank, 0):
        dims = [shape[axis] for shape in shapes if len(shape) >= -axis and shape[axis].fixed != 1]
        found.append(builder.same(node, dims) if dims else fixed(1))
    return tuple(found)


def _sizes(builder: Builder, node: Node) -> None:
    """Sums, products and quotients of sizes."""
    left, right = (as_sizes(builder.values[name], node.title) for name in node.inputs)
    if len(left) == 1:
        left = left * len(right)
    elif len(right) == 1:
        right = right * len(left)
    pairs = zip(left, right, strict=True)
    builder.values[node.outputs[0]] = Sizes(tuple(joined(_SIGNS[node.op], a, b) for a, b in pairs))


def _are_sizes(builder: Builder, node: Node) -> bool:
    """Whether an operator computes a size: its inputs are sizes and constants."""
    values = [builder.values[name] for name in node.inputs]
    made = all(isinstance(v, Sizes) or (isinstance(v, Tensor) and v.constant is not None) for v in values)
    return made and any(isinstance(v, Sizes) for v in values) and node.op in _SIGNS and len(values) == 2


def cast(builder: Builder, node: Node) -> None:
    """Cast between the number types that C code has."""
    value = builder.values[node.inputs[0]]
    if node.inputs[0] in builder.known:
        value = Sizes(builder.known[node.inputs[0]])
    name = _TYPES.get(int(node.attributes["to"]))
    if isinstance(value, (Sizes, Batch)) and (name is None or name.startswith("int")):
        builder.values[node.outputs[0]] = value
        return
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
            limit = literal(bound, x.ctype)
            text = f"({text} {sign} {limit} ? {limit} : {text})"
    write(builder, node, [x], x.ctype, lambda elements: text.format(*elements))


def power(builder: Builder, node: Node) -> None:
    """Pow; without a power function where a product or a root does."""
    x = builder.tensor(node, 0)
    texts = {
        -0.5: "inverse_root({0})",
        0.5: "root({0})",
        1.0: "{0}",
        2.0: "{0} * {0}",
        3.0: "{0} * {0} * {0}",
        -1.0: "1.0f / {0}",
    }
    exponent = builder.tensor(node, 1)
    if exponent.constant is not None and exponent.constant.size == 1:
        number = float(exponent.constant.reshape(-1)[0])
        if number in (-0.5, 0.5):
            builder.kernels.add("root" if number > 0 else "inverse_root")
        if number in texts:
            write(builder, node, [x], x.ctype, lambda elements: texts[number].format(*elements))
            return
    if x.ctype != "float":
        raise node.refuse("only powers of floats have one")
    builder.kernels.add("to_the_power")
    write(builder, node, [x, exponent], "float", lambda e: f"to_the_power({e[0]}, (float){e[1]})")
