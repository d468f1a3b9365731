"""What a message is a product of: rows looked up at either end of an edge, numbers of the edge itself, constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgegnn.exporting.rewrite.csr import Segments, edge_row, partner
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, array, axis_of, made_by, rank, same_values, tail_of, uniform

__all__ = ["CONSTANT", "EDGE", "SOURCE", "TARGET", "Factor", "Message", "finite", "message_of", "product", "width"]

SOURCE, TARGET, EDGE, CONSTANT = "source", "target", "edge", "constant"


@dataclass(frozen=True)
class Factor:
    """One factor of a message.

    Attributes:
        role: where its rows are looked up: "source", "target", "edge" (nowhere) or "constant" (the same for all).
        value: [nodes, ...], [E, ...] or a constant.
        tail: sizes after the first that it has beside the other factors, 1 where it is broadcast.
        divides: whether the message is divided by it.
        edge: the factor as one row an edge, [E, ...].
    """

    role: str
    value: ir.Value
    tail: tuple[int, ...]
    divides: bool
    edge: ir.Value


@dataclass(frozen=True)
class Message:
    """A message as a product.

    Attributes:
        segments: the op that reduces it.
        tail: its sizes after the first.
        factors: of which it is the product.
        source: index of the source of each edge, int64 [E].
    """

    segments: Segments
    tail: tuple[int, ...]
    factors: tuple[Factor, ...]
    source: ir.Value

    def of(self, *roles: str) -> list[Factor]:
        """The factors with one of these roles, the widest first."""
        return sorted((f for f in self.factors if f.role in roles), key=lambda f: (f.divides, -int(np.prod(f.tail))))


def width(factors: Sequence[Factor], length: int) -> tuple[int, ...]:
    """Sizes after the first of the product of some factors."""
    return tuple(max((f.tail[i] for f in factors), default=1) for i in range(length))


def message_of(found: Segments) -> Message | None:
    """A message as a product with rows looked up at the source of each edge; None when it is no such product."""
    tail = tail_of(found.messages)
    if tail is None:
        return None
    raw = _factors(found.messages, tail, False)
    sources = [index for _, index in raw if index is not None and partner(index, found.index)]
    if not sources and edge_row(found.index) is None:
        sources = [index for _, index in raw if index is not None and index is not found.index]
    if not sources:
        return None
    factors = []
    for factor, index in raw:
        role = factor.role
        if index is not None:
            role = SOURCE if index is sources[0] else TARGET if index is found.index else EDGE
        value = factor.edge if role == EDGE else factor.value
        factors.append(Factor(role, value, factor.tail, factor.divides, factor.edge))
    return Message(found, tail, tuple(factors), sources[0])


def _factors(value: ir.Value, tail: tuple[int, ...], divides: bool) -> list[tuple[Factor, ir.Value | None]]:
    """Factors of `value` [E, ...] laid out as [E, *tail]; with the index of those that are looked up."""
    if uniform(value) == 1.0:
        return []
    base, own = same_values(value), tail_of(value)
    assert base is not None
    node, inner = made_by(base), tail_of(base)
    if node is not None and node.op_type == "Gather" and rank(node.inputs[1]) == 1:
        table, index = node.inputs[:2]
        if axis_of(node) == 0 and table is not None and table.dtype == ir.DataType.FLOAT:
            return [(Factor(SOURCE, table, tail, divides, value), index)]
    if node is not None and node.op_type in {"Mul", "Div"} and inner is not None and own is not None:
        parts: list[tuple[Factor, ir.Value | None]] = []
        for position, operand in enumerate(node.inputs):
            flips = divides != (node.op_type == "Div" and position == 1)
            found = None if operand is None else _operand(operand, base, inner, tail, flips)
            if found is None:
                break
            parts += found
        else:
            return parts
    return [(Factor(EDGE, value, tail, divides, value), None)]


def _operand(
    operand: ir.Value, whole: ir.Value, inner: tuple[int, ...], tail: tuple[int, ...], divides: bool
) -> list[tuple[Factor, ir.Value | None]] | None:
    """Factors of one operand of a product; None when its layout can't be followed."""
    if operand.shape is None or whole.shape is None:
        return None
    number = uniform(operand) if operand.producer() is None or array(operand) is not None else None
    if number is not None:
        return [] if number == 1.0 else [(Factor(CONSTANT, operand, (1,) * len(tail), divides, operand), None)]
    if len(operand.shape) < len(whole.shape) or (operand.shape[0] == 1 != whole.shape[0]):
        if inner != tail or array(operand) is None:  # a vector over the features
            return None
        sizes = [s if isinstance(s, int) else 0 for s in operand.shape][-len(tail) :] if tail else []
        padded = (*(1,) * (len(tail) - len(sizes)), *sizes)
        return None if len(padded) != len(tail) else [(Factor(CONSTANT, operand, padded, divides, operand), None)]
    own = tail_of(operand)
    laid = None if own is None else _relaid(own, inner, tail)
    return None if laid is None else _factors(operand, laid, divides)


def _relaid(own: tuple[int, ...], inner: tuple[int, ...], tail: tuple[int, ...]) -> tuple[int, ...] | None:
    """Sizes of an operand when the product [E, *inner] is laid out as [E, *tail]; None unless only ones come or go."""
    if inner == tail:
        return own
    places = [i for i, size in enumerate(tail) if size != 1]
    kept = [i for i, size in enumerate(inner) if size != 1]
    if [tail[i] for i in places] != [inner[i] for i in kept]:
        return None
    laid = [1] * len(tail)
    for place, i in zip(places, kept, strict=True):
        laid[place] = own[i]
    return tuple(laid)


def product(sheet: Sheet, start: ir.Value | None, factors: Sequence[Factor], at: ir.Node, *, edges: bool) -> ir.Value:
    """`start` times factors, one row a node, or one row an edge."""
    value, tail = start, () if start is None else tail_of(start) or ()
    for factor in factors:
        raw = factor.edge if edges else factor.value
        operand = raw if factor.role == CONSTANT else sheet.shaped(raw, factor.tail, at)
        if value is None and not factor.divides:
            value, tail = operand, factor.tail
            continue
        kind, left = ("Div" if factor.divides else "Mul"), sheet.floats(1.0) if value is None else value
        tail = tuple(max(pair) for pair in zip(tail or (1,) * len(factor.tail), factor.tail, strict=True))
        rows = next((v.shape[0] for v in (left, operand) if v.shape is not None and len(v.shape) > len(tail)), None)
        shape, both = [rows, *tail], [left, operand]
        key = ("product", kind, left, operand)
        value = sheet.once(
            key,
            lambda both=both, kind=kind, shape=shape: sheet.make(
                kind, both, at=at, dtype=ir.DataType.FLOAT, shape=shape
            ),
        )[0]
    assert value is not None
    return value


# Numbers where no edge ends ------------------------------------------------------------

_SAFE = {
    *("Abs", "Add", "BatchNormalization", "Cast", "Clip", "Concat", "DequantizeLinear", "Erf", "Expand", "Flatten"),
    *("Gather", "Gelu", "Gemm", "HardSigmoid", "Identity", "LayerNormalization", "LeakyRelu", "MatMul", "Max", "Min"),
    *("Mul", "Neg", "PRelu", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Sigmoid", "Slice", "Softmax"),
    *("Split", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Elu", "Selu", "Softplus", "Where"),
}


def finite(value: ir.Value | None, depth: int = 40) -> bool:
    """Whether a tensor computed from finite numbers is finite, also at nodes where no edge ends.

    A factor at the target may only be taken out of a sum when it is: 0 edges times infinity would be no number.
    """
    node = made_by(value)
    if node is None:
        return True
    if depth == 0:
        return False
    if node.op_type == "Where":
        test = made_by(node.inputs[0], "Equal", "IsInf")
        if test is not None and test.inputs[0] is node.inputs[2] and _infinity(test):  # those are replaced
            return True
    if node.op_type == "ScatterND" and (where := made_by(node.inputs[1], "Transpose")) is not None:
        test = made_by(where.inputs[0], "NonZero")
        equal = None if test is None else made_by(test.inputs[0], "Equal", "IsInf")
        if equal is not None and equal.inputs[0] is node.inputs[0] and _infinity(equal):
            return True
    if node.op_type in {"Div", "Reciprocal", "Pow", "Sqrt", "Log"}:
        least = _least(node.inputs[1] if node.op_type == "Div" else node.inputs[0])
        if least < 0 or (least == 0 and node.op_type != "Sqrt"):
            return False
    elif node.op_type not in _SAFE and node.domain != DOMAIN:
        return False
    return all(finite(v, depth - 1) for v in node.inputs if v is not None and v.dtype == ir.DataType.FLOAT)


def _infinity(test: ir.Node) -> bool:
    return test.op_type == "IsInf" or uniform(test.inputs[1]) == np.inf


_AT_LEAST_0 = {"Abs", "CsrDegree", "Exp", "Relu", "Sigmoid", "Softmax", "Softplus"}


def _least(value: ir.Value | None, depth: int = 20) -> float:
    """A number that no element is below; -inf when none is known."""
    known, same = array(value), uniform(value)
    if known is not None and known.size and known.dtype.kind in "fiu":
        return float(known.min())
    node = made_by(value)
    if same is not None or node is None or depth == 0:
        return -np.inf if same is None else same
    parts = [_least(v, depth - 1) for v in node.inputs[:2]]
    if node.op_type in {"Max", "Clip"}:
        return max(parts)
    if node.op_type in {"Add", "Min"}:
        return sum(parts) if node.op_type == "Add" else min(parts)
    if node.op_type in {"Expand", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Gather", "Cast"}:
        return parts[0]
    if node.op_type in {"Sqrt", "Log"} and parts[0] > 0:
        return float(np.sqrt(parts[0]) if node.op_type == "Sqrt" else np.log(parts[0]))
    if node.op_type in {"Mul", "Div"} and min(parts) >= 0:
        return parts[0] * parts[1] if node.op_type == "Mul" and np.isfinite(parts).all() else 0.0
    return 0.0 if node.op_type in _AT_LEAST_0 else -np.inf
