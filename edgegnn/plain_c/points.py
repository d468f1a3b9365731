"""C code of the operators that make a graph of points: Knn, Radius, FarthestPoints. The points are of one graph."""

from __future__ import annotations

import math

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.values import Batch, Dim, Tensor, fixed

__all__ = ["farthest_points", "knn", "radius"]


def knn(builder: Builder, node: Node) -> None:
    """Knn."""
    k, loop = int(node.attributes["k"]), 1 if node.attributes.get("loop", 1) else 0
    if k < 1:
        raise node.refuse("it looks for no points")
    most = k if loop else k + 1
    near, places = (builder.buffer("near", kind, fixed(most)).name for kind in ("float", "int32_t"))
    _edges(builder, node, "nearest_points", f"{k}, {loop}", f"{near}, {places}, ", most)


def radius(builder: Builder, node: Node) -> None:
    """Radius."""
    squared, loop = np.float32(node.attributes["squared_radius"]), int(bool(node.attributes.get("loop", 1)))
    most = int(node.attributes["max_num_neighbors"])
    if most < 1:
        raise node.refuse("it looks for no points")
    _edges(builder, node, "points_within", f"{float_literal(float(squared))}, {most}, {loop}", "", most)


def _edges(builder: Builder, node: Node, kernel: str, how: str, scratch: str, most: int) -> None:
    """Call a kernel that makes edges, at most `most` for each query, and lay its two rows behind each other."""
    x, y = _points(builder, node, 0), _points(builder, node, 1)
    sources, queries = x.shape[0], y.shape[0]
    if x.width != y.width:
        raise node.refuse("its points have another number of coordinates")
    room = queries.most * min(most, sources.most)
    pairs = builder.buffer("pairs", "int32_t", fixed(2 * room))
    number = builder.variable("made", room)
    head = f"{how}, {x.width}, {sources.text}, {_name(builder, node, 0)}, {queries.text}, {_name(builder, node, 1)}"
    builder.kernels.add(kernel)
    builder.step(f"{number.text} = {kernel}({head}, {scratch}{pairs.name}, {room});")
    made = builder.result(node.outputs[0], "int32_t", (fixed(2), number))
    rows = f"{made.name}[i] = {pairs.name}[i];\n  {made.name}[{number.text} + i] = {pairs.name}[{room} + i];"
    builder.step(f"for (size_t i = 0; i < {number.text}; ++i) {{\n  {rows}\n}}")


def farthest_points(builder: Builder, node: Node) -> None:
    """FarthestPoints."""
    x = _points(builder, node, 0)
    points = x.shape[0]
    ratio = np.float32(node.attributes["ratio"])
    if not 0 < ratio <= 1:
        raise node.refuse("its ratio is not between 0 and 1")
    most = math.ceil(np.float32(points.most) * ratio)
    number = fixed(most)
    if points.fixed is None:
        number = builder.variable("kept", most)
        builder.kernels.add("whole")
        builder.step(f"{number.text} = (size_t)whole((float){points.text} * {float_literal(float(ratio))}, 1);")
    least = builder.buffer("least", "float", points)
    made = builder.result(node.outputs[0], "int32_t", (number,))
    builder.kernels.add("farthest_points")
    head = f"{number.text}, {x.width}, {points.text}, {_name(builder, node, 0)}"
    builder.step(f"farthest_points({head}, {least.name}, {made.name});")


def _points(builder: Builder, node: Node, place: int) -> Tensor:
    """A matrix of positions, which are checked to be finite.

    Raises:
        ExportError: the points are of graphs that the model makes itself.
    """
    x = builder.tensor(node, place)
    if len(x.shape) != 2:
        raise node.refuse("its points are no matrix")
    graphs = builder.values[node.inputs[place + (len(node.inputs) // 2)]]
    if not isinstance(graphs, Batch) and not _is_zero(graphs):
        raise node.refuse("the graph of each point is computed")
    builder.kernels.add("all_finite")
    size = Dim(x.elements.text, x.elements.most)
    builder.step(f"if (!all_finite({size.text}, {_name(builder, node, place)})) return BAD_SIZES;")
    return x


def _is_zero(value: object) -> bool:
    return isinstance(value, Tensor) and value.constant is not None and not value.constant.any()


def _name(builder: Builder, node: Node, place: int) -> str:
    return pointer(builder, node.inputs[place], builder.tensor(node, place))
