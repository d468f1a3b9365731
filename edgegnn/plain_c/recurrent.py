"""C code of LSTM and GRU over sequences: the rows of earlier layers, or the neighbours of a node."""

from __future__ import annotations

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.rows import at_least
from edgegnn.plain_c.values import Absent, Dim, Shape, Tensor, count, fixed

__all__ = ["gru", "lstm"]

_DIRECTIONS = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}


def lstm(builder: Builder, node: Node) -> None:
    """LSTM with the usual activations."""
    _recurrent(builder, node, states=2)


def gru(builder: Builder, node: Node) -> None:
    """GRU with the usual activations."""
    _recurrent(builder, node, states=1)


def _recurrent(builder: Builder, node: Node, states: int) -> None:
    directions = _check(node)
    x = builder.tensor(node, 0)
    weights = [builder.constant(node, i) for i in (1, 2)]
    bias = builder.constant(node, 3) if _given(node, 3) else None
    hidden = int(weights[1].shape[2])
    steps, rows, width = x.shape
    gates = (4 if states == 2 else 3) * hidden
    wanted = [(len(directions), gates, width.fixed), (len(directions), gates, hidden)]
    if [w.shape for w in weights] != wanted or (bias is not None and bias.shape != (len(directions), 2 * gates)):
        raise node.refuse("its weights don't match its input")
    source = pointer(builder, node.inputs[0], x)
    every = _result(builder, node, 0, (steps, fixed(len(directions)), rows, fixed(hidden)))
    ends = [_state(builder, node, 1 + i, 5 + i, (fixed(len(directions)), rows, fixed(hidden))) for i in range(states)]
    scratch = builder.buffer("gates", "float", fixed(4 * hidden))
    size = count((rows, fixed(hidden))).text
    builder.kernels.add("lstm" if states == 2 else "gru")
    for place, backwards in enumerate(directions):
        tables = [
            builder.table(node.inputs[1 + i], np.ascontiguousarray(w[place]), "float") for i, w in enumerate(weights)
        ]
        tables.append("NULL" if bias is None else builder.table(node.inputs[3], bias[place], "float"))
        y = "NULL" if every is None else f"{every.name} + {place} * {size}"
        kept = ", ".join(f"{end.name} + {place} * {size}" for end in ends)
        linear = "" if states == 2 else f", {int(node.attributes.get('linear_before_reset', 0))}"
        head = f"{steps.text}, {rows.text}, {width.text}, {hidden}, {backwards}{linear}, {source}"
        strides = f"{len(directions)} * {size}, {hidden}"
        function = "lstm" if states == 2 else "gru"
        builder.step(f"{function}({head}, {', '.join(tables)}, {y}, {strides}, {kept}, {scratch.name});")


def _check(node: Node) -> tuple[int, ...]:
    """The directions: 1 for backwards.

    Raises:
        ExportError: a form that PyTorch doesn't make.
    """
    attributes = node.attributes
    unusual = [name for name in ("activations", "clip", "input_forget", "layout") if attributes.get(name)]
    if unusual or _given(node, 4) or _given(node, 7):
        raise node.refuse("only its usual activations, and sequences of one length, have one")
    direction = attributes.get("direction", b"forward")
    return _DIRECTIONS[direction.decode() if isinstance(direction, bytes) else direction]


def _given(node: Node, place: int) -> bool:
    return len(node.inputs) > place and bool(node.inputs[place])


def _result(builder: Builder, node: Node, place: int, shape: Shape) -> Tensor | None:
    name = node.outputs[place] if len(node.outputs) > place else ""
    if not builder.is_read(name):
        if name:
            builder.values[name] = Absent()
        return None
    return builder.result(name, "float", shape)


def _state(builder: Builder, node: Node, output: int, initial: int, shape: tuple[Dim, Dim, Dim]) -> Tensor:
    """Memory for a state, which holds what it is at the start."""
    if _given(node, initial):
        at_least(builder, node, builder.tensor(node, initial).elements, count(shape))
    start = (
        f"{pointer(builder, node.inputs[initial], builder.tensor(node, initial))}[i]"
        if _given(node, initial)
        else "0.0f"
    )
    made = _result(builder, node, output, shape)
    if made is None:
        place = builder.buffer("state", "float", count(shape))
        made = Tensor(place.name, "float", shape, place.buffer)
    builder.loop(count(shape), f"{made.name}[i] = {start};")
    return made
