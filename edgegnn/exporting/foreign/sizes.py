"""Which sizes of a graph are the same, through the arithmetic on shapes that exporters write.

Exporters compute shapes with operators: Shape, Gather, Concat, a comparison with -1. What of it is known while the file
is read is computed here, with names for the free sizes, so that shapes become names and numbers, and what expands,
slices or reshapes a tensor into itself goes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as passes

from edgegnn.exporting.rewrite.graph_editor import array, axis_of, number
from edgegnn.exporting.rewrite.unify_dims import unify_sizes

__all__ = ["fold_sizes", "name_sizes"]

Size = int | str
Elements = tuple[Size | bool | None, ...]
_LONGEST = 64  # elements of a tensor that is taken for a shape
_END = 2**31 - 1
_ROUNDS = 3
_BROADCAST = {
    *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul"),
    *("Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"),
}
_SAME_SHAPE = {
    *("Abs", "BatchNormalization", "Cast", "Ceil", "Clip", "Cos", "CumSum", "Dropout", "Elu", "Erf", "Exp", "Floor"),
    *("Gelu", "HardSigmoid", "Identity", "InstanceNormalization", "IsInf", "IsNaN", "LayerNormalization", "LeakyRelu"),
    *("Log", "LogSoftmax", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "ScatterElements", "ScatterND", "Selu"),
    *("Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Tanh"),
}


def name_sizes(model: ir.Model) -> dict[ir.Value, Elements]:
    """Give sizes that are equal one name, in place; the free sizes of the inputs have names.

    Returns:
        The elements of tensors that hold sizes, numbers and names; None for what isn't known.
    """
    graph = model.graph
    given = {str(size.value) for value in graph.inputs for size in value.shape or () if not isinstance(size, int)}
    elements: dict[ir.Value, Elements] = {}
    for _ in range(_ROUNDS):
        for node in graph:
            for out in node.outputs:
                if out.shape is not None and not all(s in given for s in _sizes(out) or () if isinstance(s, str)):
                    out.shape = None if not out.is_graph_output() else out.shape
        passes.ShapeInferencePass()(model)
        unify_sizes(graph)
        elements = _forward(graph)
    return elements


def fold_sizes(graph: ir.Graph, elements: dict[ir.Value, Elements]) -> int:
    """Write down what is known of shapes, and remove what leaves a tensor as it is; how much was found."""
    count = 0
    for node in list(graph):
        out = node.outputs[0] if node.outputs else None
        if out is None or out.is_graph_output():
            continue
        known = elements.get(out)
        if known is not None and node.op_type not in ("Constant", "Shape") and all(isinstance(e, int) for e in known):
            kind = np.bool_ if out.dtype == ir.DataType.BOOL else np.int64
            if out.dtype in (ir.DataType.INT64, ir.DataType.BOOL):
                values: npt.NDArray[Any] = np.array(known, kind).reshape(() if _rank(out) == 0 else (len(known),))
                _replace(out, _constant(graph, f"{out.name}.known", values))
                count += 1
                continue
        source = node.inputs[0] if node.inputs else None
        if source is not None and node.op_type in {"Slice", "Expand", "Reshape"} and _leaves(node, elements):
            _replace(out, source)
            count += 1
    return count


def _leaves(node: ir.Node, elements: dict[ir.Value, Elements]) -> bool:
    """Whether an operator gives its first input as it is."""
    before, after = _sizes(node.inputs[0]), _sizes(node.outputs[0])
    if before is None or before != after or any(size == "" for size in before):
        return False
    if node.op_type != "Slice":
        return True
    start = elements.get(node.inputs[1]) if node.inputs[1] is not None else None
    steps = elements.get(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else (1,)
    return start is not None and all(s == 0 for s in start) and steps is not None and all(s == 1 for s in steps)


def _replace(old: ir.Value, new: ir.Value) -> None:
    new.shape = new.shape or old.shape
    old.replace_all_uses_with(new)


def _constant(graph: ir.Graph, name: str, values: npt.NDArray[Any]) -> ir.Value:
    tensor = ir.tensor(values, name=name)
    value = ir.Value(name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


# Elements ------------------------------------------------------------


def _forward(graph: ir.Graph) -> dict[ir.Value, Elements]:
    """The elements of everything that holds sizes; shapes that follow from them are written to the values."""
    known: dict[ir.Value, Elements] = {}
    for value in graph.initializers.values():
        _note(known, value)
    for node in graph:
        if node.domain:
            continue
        if node.op_type == "Constant":
            _note(known, node.outputs[0])
        elif (rule := _ELEMENTS.get(node.op_type)) is not None and (found := rule(node, known)) is not None:
            known[node.outputs[0]] = found
        shape = _shape(node, known)
        out = node.outputs[0] if node.outputs else None
        if shape is not None and out is not None:
            before = _sizes(out) or ("",) * len(shape)
            if len(before) == len(shape):
                merged = [old if new == "" else new for old, new in zip(before, shape, strict=True)]
                out.shape = ir.Shape([None if size == "" else size for size in merged])
    return known


def _note(known: dict[ir.Value, Elements], value: ir.Value) -> None:
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.size > _LONGEST or len(tensor.shape) > 1:
        return
    if tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL):
        known[value] = tuple(tensor.numpy().reshape(-1).tolist())


def _get(known: dict[ir.Value, Elements], node: ir.Node, at: int) -> Elements | None:
    value = node.inputs[at] if at < len(node.inputs) else None
    return None if value is None else known.get(value)


def _of_shape(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    sizes = _sizes(node.inputs[0])
    if sizes is None:
        return None
    end = node.attributes["end"].as_int() if "end" in node.attributes else None
    return tuple(None if size == "" else size for size in sizes[number(node, "start") : end])


def _of_gather(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    data, at = _get(known, node, 0), array(node.inputs[1])
    if data is None or at is None or _rank(node.inputs[0]) != 1 or axis_of(node) not in (0, -1):
        return None
    return tuple(data[int(i)] for i in at.reshape(-1)) if (np.abs(at) <= len(data)).all() and len(data) else None


def _of_slice(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    data, bounds = _get(known, node, 0), [array(v) for v in node.inputs[1:]]
    if data is None or any(b is None or b.size != 1 for b in bounds) or _rank(node.inputs[0]) != 1:
        return None
    start, end, _, step = (*(int(b.flat[0]) for b in bounds if b is not None), 0, 1)[:4]
    step = int(bounds[3].flat[0]) if len(bounds) > 3 and bounds[3] is not None else 1
    return data[start:end:step] if step > 0 else None


def _of_concat(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    parts: list[Size | bool | None] = []
    if _rank(node.outputs[0]) not in (1, None):
        return None
    for value in node.inputs:
        own = None if value is None else known.get(value)
        if own is None:
            sizes = _sizes(value)
            if sizes is None or len(sizes) != 1 or not isinstance(sizes[0], int) or sizes[0] > _LONGEST:
                return None
            own = (None,) * sizes[0]
        parts += own
    return tuple(parts)


def _as_is(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    return _get(known, node, 0) if (_rank(node.outputs[0]) or 0) <= 1 else None


def _of_cast(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    return _get(known, node, 0) if node.outputs[0].dtype in (ir.DataType.INT64, ir.DataType.INT32) else None


def _of_filled(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    size, fill = _get(known, node, 0), node.attributes.get("value")
    if size is None or len(size) != 1 or not isinstance(size[0], int) or not 0 <= size[0] <= _LONGEST:
        return None
    if fill is None or fill.as_tensor().dtype != ir.DataType.INT64:
        return None
    return (int(fill.as_tensor().numpy().flat[0]),) * size[0]


def _pairwise(
    rule: Callable[[Size | bool | None, Size | bool | None], Size | bool | None],
) -> Callable[[ir.Node, dict[ir.Value, Elements]], Elements | None]:
    def apply(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
        a, b = _get(known, node, 0), _get(known, node, 1)
        if a is None or b is None or len(node.inputs) != 2 or not (len(a) == len(b) or 1 in (len(a), len(b))):
            return None
        length = max(len(a), len(b)) if len(a) and len(b) else 0
        a, b = (v * length if len(v) == 1 else v for v in (a, b))
        return tuple(rule(x, y) for x, y in zip(a, b, strict=True))

    return apply


def _times(a: Size | bool | None, b: Size | bool | None) -> Size | None:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return b if a == 1 else a if b == 1 else None


def _plus(sign: int) -> Callable[[Size | bool | None, Size | bool | None], Size | None]:
    def add(a: Size | bool | None, b: Size | bool | None) -> Size | None:
        if isinstance(a, int) and isinstance(b, int):
            return a + sign * b
        return a if b == 0 and a is not None else b if a == 0 and sign > 0 else None

    return add


def _divided(a: Size | bool | None, b: Size | bool | None) -> Size | None:
    if isinstance(a, int) and isinstance(b, int) and b:
        return int(math.copysign(abs(a) // abs(b), a * b)) if a else 0  # towards zero, as in C
    return a if b == 1 else None


def _equal(a: Size | bool | None, b: Size | bool | None) -> bool | None:
    if (isinstance(a, int) and isinstance(b, int)) or (isinstance(a, str) and a == b):
        return a == b
    sizes = [v for v in (a, b) if isinstance(v, str)]
    others = [v for v in (a, b) if isinstance(v, int) and v < 0]
    return False if sizes and others else None  # a size is never -1


def _chosen(node: ir.Node, known: dict[ir.Value, Elements]) -> Elements | None:
    parts = [_get(known, node, at) for at in range(3)]
    lengths = {len(part) for part in parts if part is not None}
    if any(part is None for part in parts) or len(lengths - {1}) > 1 or 0 in lengths:
        return None
    test, yes, no = (part * max(lengths) if len(part) == 1 else part for part in parts if part is not None)
    chosen = zip(test, yes, no, strict=True)
    return tuple((y if t else n) if isinstance(t, bool | int) else (y if y == n else None) for t, y, n in chosen)


_ELEMENTS: dict[str, Callable[[ir.Node, dict[ir.Value, Elements]], Elements | None]] = {
    "Shape": _of_shape,
    "Gather": _of_gather,
    "Slice": _of_slice,
    "Concat": _of_concat,
    "Cast": _of_cast,
    "ConstantOfShape": _of_filled,
    "Where": _chosen,
    "Mul": _pairwise(_times),
    "Add": _pairwise(_plus(1)),
    "Sub": _pairwise(_plus(-1)),
    "Div": _pairwise(_divided),
    "Equal": _pairwise(_equal),
    **dict.fromkeys(("Identity", "Reshape", "Squeeze", "Unsqueeze"), _as_is),
}


# Shapes ------------------------------------------------------------


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _sizes(value: ir.Value | None) -> tuple[Size, ...] | None:
    """Sizes as numbers and names; "" for what isn't known."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else size.value or "" for size in value.shape)


def _shape(node: ir.Node, known: dict[ir.Value, Elements]) -> tuple[Size, ...] | None:
    """The shape of the first output as far as it follows from names; "" for sizes that don't."""
    kind, shapes = node.op_type, [_sizes(value) for value in node.inputs]
    first = shapes[0] if shapes else None
    if kind in _SAME_SHAPE:
        return first
    if kind in _BROADCAST:
        return _broadcast(shapes)
    if kind == "ConstantOfShape":
        return _as_shape(_get(known, node, 0))
    if first is None:
        return None
    if kind == "Expand":
        target = _as_shape(_get(known, node, 1))
        return None if target is None else _broadcast([first, target])
    if kind == "Reshape":
        return _reshaped(first, _get(known, node, 1), bool(number(node, "allowzero")))
    if kind == "Slice":
        return _sliced(first, [_get(known, node, at) for at in range(1, 5)], len(node.inputs))
    if kind == "Gather" and shapes[1] is not None:
        axis = axis_of(node) % len(first) if first else 0
        return (*first[:axis], *shapes[1], *first[axis + 1 :])
    return None


def _as_shape(elements: Elements | None) -> tuple[Size, ...] | None:
    return None if elements is None else tuple("" if size is None else size for size in elements)


def _broadcast(shapes: Sequence[tuple[Size, ...] | None]) -> tuple[Size, ...] | None:
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes) or not known:
        return None
    length = max(map(len, known))
    rows = zip(*((1,) * (length - len(shape)) + shape for shape in known), strict=True)
    return tuple(_common([size for size in row if size != 1]) for row in rows)


def _common(sizes: Sequence[Size]) -> Size:
    """The size of several that are not 1; free sizes are taken to be no 1."""
    numbers = [size for size in sizes if isinstance(size, int)]
    names = set(sizes)
    return numbers[0] if numbers else 1 if not sizes else names.pop() if len(names) == 1 else ""


def _reshaped(before: tuple[Size, ...], target: Elements | None, zero: bool) -> tuple[Size, ...] | None:
    if target is None:
        return None
    sizes: list[Size] = []
    for at, size in enumerate(target):
        copied = size == 0 and not zero and at < len(before)
        sizes.append(before[at] if copied else "" if size is None else size)
    if sizes.count(-1) == 1 and "" not in (*before, *(s for s in sizes if s != -1)):
        rest = [s for s in sizes if s != -1]
        names = Counter(s for s in before if isinstance(s, str))
        names.subtract(s for s in rest if isinstance(s, str))
        top = math.prod(s for s in before if isinstance(s, int))
        bottom = math.prod(s for s in rest if isinstance(s, int))
        left = [name for name, times in names.items() for _ in range(times)]
        whole = bottom > 0 and top % bottom == 0 and min(names.values(), default=0) >= 0
        if whole and not left:
            sizes[sizes.index(-1)] = top // bottom
        elif whole and len(left) == 1 and top == bottom:
            sizes[sizes.index(-1)] = left[0]
    return tuple("" if size == -1 else size for size in sizes)


def _sliced(before: tuple[Size, ...], bounds: Sequence[Elements | None], inputs: int) -> tuple[Size, ...] | None:
    starts, ends, axes, steps = bounds
    if starts is None or ends is None or (inputs > 3 and axes is None) or (inputs > 4 and steps is None):
        return None
    axes = axes if axes is not None else tuple(range(len(starts)))
    steps = steps if steps is not None else (1,) * len(starts)
    sizes: list[Size] = list(before)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not isinstance(axis, int):
            return None
        size = before[axis]
        if start == 0 and step == 1 and size != "" and (end == size or (isinstance(end, int) and end >= _END)):
            continue
        if isinstance(size, int) and isinstance(start, int) and isinstance(end, int) and isinstance(step, int) and step:
            sizes[axis] = len(range(size)[start:end:step])
        else:
            sizes[axis] = ""
    return tuple(sizes)
