"""Where edges come from: one CSR for all layers that aggregate over the same edges, and what is counted from it.

Degree          a sum of ones by row -> CsrDegree
SelfLoops       CooToCsr of (edges without loops, then one loop a node) -> CooToCsr(self_loops=1) of the edges
ShareCsr        IndexToCsr of an edge list's destinations -> the CooToCsr of that list
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import (
    Sheet,
    array,
    axis_of,
    made_by,
    number,
    rank,
    same_size,
    tail_of,
    uniform,
)
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = [
    "Csr",
    "Degree",
    "SelfLoops",
    "ShareCsr",
    "coo_csr",
    "edge_row",
    "index_csr",
    "partner",
    "segments",
    "untwisted",
]


@dataclass(frozen=True)
class Csr:
    """What carries the edges from CooToCsr or IndexToCsr to an aggregation; `col` is None when nothing is looked up."""

    indptr: ir.Value
    col: ir.Value | None
    row: ir.Value
    perm: ir.Value
    rows: ir.Value


@dataclass(frozen=True)
class Segments:
    """A Segment op: what it reduces, by which index, to how many rows.

    Attributes:
        node: the op.
        messages: float32 [E, ...].
        index: the row of each message, int64 [E].
        rows: number of rows, int64 [].
    """

    node: ir.Node
    messages: ir.Value
    index: ir.Value
    rows: ir.Value

    @property
    def how(self) -> str:
        """Sum, Mean, Max or Min."""
        return self.node.op_type.removeprefix("Segment")


def segments(value: ir.Value | None, *hows: str) -> Segments | None:
    """The Segment op that makes a value, if it is one of these ("Sum", "Mean", "Max", "Min")."""
    node = made_by(value, *(f"Segment{how}" for how in hows))
    source = None if node is None or node.domain != DOMAIN else made_by(node.inputs[1], "IndexToCsr")
    if node is None or source is None:
        return None
    messages, index, rows = node.inputs[0], source.inputs[0], source.inputs[1]
    return None if messages is None or index is None or rows is None else Segments(node, messages, index, rows)


def index_csr(sheet: Sheet, index: ir.Value, rows: ir.Value, at: ir.Node) -> Csr:
    """Messages by row: IndexToCsr, made once for an index and a number of rows."""
    made = sheet.once(
        ("IndexToCsr", index, rows),
        lambda: _typed(sheet.make_all("IndexToCsr", [index, rows], at=at, outputs=3, domain=DOMAIN)),
    )
    return Csr(made[0], None, made[1], made[2], rows)


def coo_csr(sheet: Sheet, source: ir.Value, target: ir.Value, rows: ir.Value, cols: ir.Value, at: ir.Node) -> Csr:
    """Edges by destination: CooToCsr, made once for an edge list and its sizes.

    Args:
        sheet: the graph.
        source: column of each edge, int64 [E].
        target: row of each edge, int64 [E].
        rows: number of rows, int64 [].
        cols: number of columns, int64 [].
        at: the node that needs it.
    """
    edges = _edge_list(sheet, source, target, at)
    attributes = {"self_loops": 0}
    made = sheet.once(
        ("CooToCsr", edges, rows, cols),
        lambda: _typed(sheet.make_all("CooToCsr", [edges, rows, cols], attributes, at=at, outputs=4, domain=DOMAIN)),
    )
    return Csr(made[0], made[1], made[2], made[3], rows)


def _typed(values: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    for value in values:
        value.dtype, value.shape = ir.DataType.INT32, ir.Shape([None])
    return tuple(values)


def _edge_list(sheet: Sheet, source: ir.Value, target: ir.Value, at: ir.Node) -> ir.Value:
    """The list [2, E] that the two are rows of, the right way up."""
    column, row = edge_row(source), edge_row(target)
    if column is not None and row is not None and column[0] is row[0]:
        if (column[1], row[1]) == (0, 1):
            return column[0]
        if (column[1], row[1]) == (1, 0):  # flow="target_to_source"
            edges, turned = column[0], sheet.integers([1, 0])
            return sheet.once(
                ("turned", edges), lambda: sheet.make("Gather", [edges, turned], {"axis": 0}, at=at, like=edges)
            )[0]

    def make() -> ir.Value:
        first, length = sheet.integers([0]), None if source.shape is None else source.shape[0]
        lines = [
            sheet.make("Unsqueeze", [v, first], at=at, dtype=ir.DataType.INT64, shape=[1, length])
            for v in (source, target)
        ]
        return sheet.make("Concat", lines, {"axis": 0}, at=at, dtype=ir.DataType.INT64, shape=[2, length])

    return sheet.once(("edges", source, target), make)[0]


def edge_row(index: ir.Value | None) -> tuple[ir.Value, int] | None:
    """The edge list [2, E] that an index is a row of, and which row; None when it is no row of one."""
    node = made_by(index, "Gather")
    at = None if node is None else array(node.inputs[1])
    if node is None or at is None or at.ndim or axis_of(node):
        return None
    edges = node.inputs[0]
    if edges is None or edges.dtype != ir.DataType.INT64 or rank(edges) != 2 or edges.shape is None:
        return None
    return (edges, int(at) % 2) if edges.shape[0] == 2 else None


def untwisted(edges: ir.Value | None) -> tuple[ir.Value | None, int]:
    """The list that `_edge_list` turned upside down, and 1; the list itself and 0 when it did not."""
    node = made_by(edges, "Gather")
    return (node.inputs[0], 1) if node is not None and _turns(node) else (edges, 0)


def partner(index: ir.Value, target: ir.Value) -> bool:
    """Whether `index` holds the sources of the edges whose ends `target` holds."""
    own, other = edge_row(target), edge_row(index)
    return own is not None and other is not None and own[0] is other[0] and own[1] != other[1]


# Rules ------------------------------------------------------------


class Degree(Rule[tuple[Segments, float]]):
    """Counting, by summing ones."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[Segments, float] | None:
        """(the sum, the number that every message is)."""
        found = segments(node.outputs[0], "Sum") if node.outputs else None
        if found is None or any(size != 1 for size in tail_of(found.messages) or (0,) * (rank(found.messages) != 1)):
            return None
        number = uniform(found.messages)
        return None if number is None else (found, number)

    def rewrite(self, match: tuple[Segments, float], sheet: Sheet) -> ir.Value:
        """CsrDegree."""
        (found, number), node = match, match[0].node
        inputs = [node.inputs[1], node.inputs[2], found.rows]
        out = node.outputs[0]
        rows = None if out.shape is None else out.shape[0]
        degree = sheet.make("CsrDegree", inputs, at=node, dtype=out.dtype, shape=[rows], domain=DOMAIN)
        if number != 1.0:
            degree = sheet.make("Mul", [degree, sheet.floats(number)], at=node, like=degree)
        return sheet.shaped(degree, tail_of(out) or (), node)


class SelfLoops(Rule[tuple[ir.Node, ir.Value]]):
    """Edges to which every node's loop was added, after those that were there had been removed."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value] | Miss | None:
        """(CooToCsr, the edges before)."""
        if node.domain != DOMAIN or node.op_type != "CooToCsr" or number(node, "self_loops"):
            return None
        edges, rows, cols = node.inputs
        both = made_by(edges, "Concat")
        if edges is None or rows is None or cols is None or both is None or len(both.inputs) != 2:
            return None
        if axis_of(both) not in (1, -1):
            return None
        before, loops = _without_loops(both.inputs[0]), _one_loop_each(both.inputs[1], rows)
        if before is None:
            return Miss("a loop is added to each node, and loops that were there stay") if loops else None
        if not loops or not same_size(rows, cols):
            return Miss("loops are removed, and what is appended is not one loop for each node")
        return node, before

    def check(self, match: tuple[ir.Node, ir.Value], sheet: Sheet) -> str | None:
        """Only when the longer list isn't needed for anything else."""
        edges = match[0].inputs[0]
        assert edges is not None
        used = {use.node.op_type for use in edges.uses()}
        return None if used == {"CooToCsr"} else "the edge list with loops is used by other nodes, too"

    def rewrite(self, match: tuple[ir.Node, ir.Value], sheet: Sheet) -> None:
        """The attribute instead of the longer list."""
        node, before = match
        node.replace_input_with(0, before)
        node.attributes["self_loops"] = ir.AttrInt64("self_loops", 1)


def _without_loops(edges: ir.Value | None) -> ir.Value | None:
    """The edge list that `edges` was made from by removing the loops; None when it was not."""
    node = made_by(edges, "Gather", "Compress")
    if node is None or axis_of(node) not in (1, -1):
        return None
    keep, before = node.inputs[1], node.inputs[0]
    while (
        node.op_type == "Gather" and (step := made_by(keep, "Squeeze", "Transpose", "Reshape", "NonZero")) is not None
    ):
        keep = step.inputs[0]
        if step.op_type == "NonZero":
            break
    negated = made_by(keep, "Not")
    equal = None if negated is None else made_by(negated.inputs[0], "Equal")
    if equal is None or rank(keep) != 1:
        return None
    rows = [edge_row(v) for v in equal.inputs]
    found = [r for r in rows if r is not None and r[0] is before]
    return before if sorted(r[1] for r in found) == [0, 1] else None


def _one_loop_each(edges: ir.Value | None, rows: ir.Value) -> bool:
    """Whether a list is 0, 1, ..., rows - 1, twice."""
    tile = made_by(edges, "Tile", "Expand")
    sizes = None if tile is None else array(tile.inputs[1])
    if tile is None or sizes is None or sizes.tolist() != [2, 1]:
        return False
    line = tile.inputs[0]
    while (step := made_by(line, "Expand", "Reshape", "Unsqueeze", "Identity")) is not None:
        if step.op_type == "Expand" and ((sizes := array(step.inputs[1])) is None or not np.all(sizes == 1)):
            return False
        line = step.inputs[0]
    count = made_by(line, "Range")
    if count is None or count.inputs[1] is None:
        return False
    return uniform(count.inputs[0]) == 0 and uniform(count.inputs[2]) == 1 and same_size(count.inputs[1], rows)


class ShareCsr(Rule[tuple[ir.Node, ir.Node]]):
    """Two CSRs of the same edges."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Node] | Miss | None:
        """(IndexToCsr, CooToCsr)."""
        if node.domain != DOMAIN or node.op_type != "IndexToCsr":
            return None
        index, rows = node.inputs
        own = edge_row(index)
        if own is None or rows is None:
            return None
        unlike = False
        for use in own[0].uses():
            other = use.node
            if own[1] == 0:  # against the flow: the list was turned first
                turned = [u.node for u in other.outputs[0].uses()] if _turns(other) else []
            else:
                turned = [other]
            for coo in turned:
                if coo.op_type == "CooToCsr" and not number(coo, "self_loops") and coo.inputs[1] is rows:
                    return node, coo
                unlike = unlike or coo.op_type == "CooToCsr"
        return Miss("the other CSR of these edges has loops, or another number of rows") if unlike else None

    def rewrite(self, match: tuple[ir.Node, ir.Node], sheet: Sheet) -> None:
        """Use the outputs of CooToCsr in place of those of IndexToCsr."""
        index, coo = match
        for old, new in zip(index.outputs, (coo.outputs[0], coo.outputs[2], coo.outputs[3]), strict=True):
            sheet.replace(old, new)


def _turns(node: ir.Node) -> bool:
    at = array(node.inputs[1]) if node.op_type == "Gather" and len(node.inputs) > 1 else None
    return at is not None and at.tolist() == [1, 0]
