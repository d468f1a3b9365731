"""C code of reductions over any axes, and of softmax."""

from __future__ import annotations

from dataclasses import dataclass

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.loops import nested, place_at
from edgegnn.plain_c.sizes import joined
from edgegnn.plain_c.values import Batch, Shape, Sizes, Tensor, count, fixed

__all__ = ["REDUCTIONS", "Reduced", "reduce", "softmax"]


@dataclass(frozen=True)
class Reduced:
    """How numbers are reduced to one.

    Attributes:
        kernel: `how` of the kernel reduce_last.
        start: of no number.
        step: a C statement on `v` and `own`.
        end: a C expression of `v` and `times`, how many numbers there were.
        kernels: C functions that it calls.
    """

    kernel: int
    start: str
    step: str
    end: str = "v"
    kernels: tuple[str, ...] = ()


REDUCTIONS = {
    "ReduceSum": Reduced(0, "0", "v = v + own;"),
    "ReduceMean": Reduced(1, "0", "v = v + own;", "v / (float)times"),
    "ReduceMax": Reduced(2, "-INFINITY", "if (own > v || own != own) v = own;"),
    "ReduceMin": Reduced(3, "INFINITY", "if (own < v || own != own) v = own;"),
    "ReduceL2": Reduced(4, "0", "square = own * own; v = v + square;", "root(v)", ("root",)),
    "ReduceSumSquare": Reduced(5, "0", "square = own * own; v = v + square;"),
    "ReduceL1": Reduced(6, "0", "v = v + (own < 0 ? -own : own);"),
    "ReduceProd": Reduced(7, "1", "v = v * own;"),
}
_WHOLE = {"-INFINITY": "INT32_MIN", "INFINITY": "INT32_MAX"}


def reduce(builder: Builder, node: Node) -> None:
    """ReduceSum and the like; over the last axis by a kernel, else by loops of their own."""
    form = REDUCTIONS[node.op]
    value = builder.values[node.inputs[0]]
    if isinstance(value, Batch) and node.op == "ReduceMax":
        builder.values[node.outputs[0]] = Sizes((fixed(0),))  # one graph: its number is 0
        return
    if isinstance(value, Sizes) and node.op == "ReduceMax":
        largest = value.dims[0]
        for dim in value.dims[1:]:
            largest = joined("max", largest, dim)
        builder.values[node.outputs[0]] = Sizes((largest,))
        return
    x = builder.tensor(node, 0)
    rank = len(x.shape)
    axes = _axes(builder, node, rank)
    keep = bool(node.attributes.get("keepdims", 1))
    if not axes:
        builder.alias(node.outputs[0], x, x.shape)
        return
    if axes == [rank - 1] and x.shape[-1].fixed and x.ctype == "float" and form.kernel <= 4:
        _last(builder, node, form, x, keep)
        return
    if x.ctype not in ("float", "int32_t") or (form.kernels and x.ctype != "float"):
        raise node.refuse("only numbers are reduced")
    names = [f"i{k}" for k in range(rank)]
    kept = [k for k in range(rank) if k not in axes]
    shape: Shape = tuple(fixed(1) if k in axes else dim for k, dim in enumerate(x.shape) if keep or k not in axes)
    source = pointer(builder, node.inputs[0], x)
    builder.kernels.update(form.kernels)
    y = builder.result(node.outputs[0], x.ctype, shape)
    is_float = x.ctype == "float"
    start = form.start if is_float else _WHOLE.get(form.start, form.start)
    step = form.step if is_float else form.step.replace(" || own != own", "")
    inner = nested(
        [names[k] for k in axes],
        tuple(x.shape[k] for k in axes),
        f"{{ const {x.ctype} own = {source}[{place_at(names, x.shape)}]; {step} times = times + 1; }}",
    )
    square = f"\n  {x.ctype} square;" if "square" in form.step else ""
    end = form.end if is_float else form.end.replace("(float)", "(int32_t)")
    place = place_at([names[k] for k in kept], tuple(x.shape[k] for k in kept))
    body = (
        f"{{\n  {x.ctype} v = {start};{square}\n  size_t times = 0;\n  {inner}\n  (void)times;\n"
        f"  {y.name}[{place}] = {end};\n}}"
    )
    builder.step(nested([names[k] for k in kept], tuple(x.shape[k] for k in kept), body))


def _last(builder: Builder, node: Node, form: Reduced, x: Tensor, keep: bool) -> None:
    shape: Shape = (*x.shape[:-1], fixed(1)) if keep else x.shape[:-1]
    builder.kernels.add("reduce_last")
    source = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], "float", shape)
    head = f"{form.kernel}, {count(x.shape[:-1]).text}, {x.shape[-1].text}"
    builder.step(f"reduce_last({head}, {source}, {y.name});")


def _axes(builder: Builder, node: Node, rank: int) -> list[int]:
    given = len(node.inputs) > 1 and bool(node.inputs[1])
    found = builder.constant(node, 1).reshape(-1) if given else node.attributes.get("axes", ())
    axes = sorted(int(axis) % rank for axis in found)
    if axes or node.attributes.get("noop_with_empty_axes", 0):
        return axes
    return list(range(rank))


def softmax(builder: Builder, node: Node) -> None:
    """Softmax and LogSoftmax along one axis."""
    x = builder.tensor(node, 0)
    axis = int(node.attributes.get("axis", -1)) % len(x.shape)
    outer, own, inner = count(x.shape[:axis]), x.shape[axis], count(x.shape[axis + 1 :])
    logarithm = node.op == "LogSoftmax"
    builder.kernels.update({"exponential", *(["natural_log"] if logarithm else [])})
    y = builder.result(node.outputs[0], "float", x.shape)
    place = place_at(["i0", "k", "i2"], (outer, own, inner))
    read, write = f"{x.name}[{place}]", f"{y.name}[{place}]"
    each = f"for (size_t k = 0; k < {own.text}; ++k)"
    end = f"{read} - top - natural_log(sum)" if logarithm else f"{write} / sum"
    first = (
        f"sum = sum + exponential({read} - top);"
        if logarithm
        else f"{{ {write} = exponential({read} - top); sum = sum + {write}; }}"
    )
    body = (
        f"{{\n  float top = -INFINITY, sum = 0.0f;\n  {each} if ({read} > top) top = {read};\n"
        f"  {each} {first}\n  {each} {write} = {end};\n}}"
    )
    builder.step(nested(["i0", "i2"], (outer, inner), body))
