"""C code of the operators on graphs: compressed rows, float aggregation, attention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.integer_operators import code_record, vector
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.rows import Csr, at_least, columns_of, order_of, rows_of
from edgegnn.plain_c.values import Absent, Batch, Dim, Shape, Tensor, WideIndex, count, fixed

__all__ = [
    "AttentionForm",
    "Reduction",
    "WeightedForm",
    "attention_spmm",
    "coo_to_csr",
    "csr_degree",
    "index_to_csr",
    "reduce_rows",
    "segment_softmax",
    "spmm_channels",
    "spmm_weighted",
]


@dataclass(frozen=True)
class Reduction:
    """How rows are reduced.

    Attributes:
        how: 0 sum, 1 mean, 2 maximum, 3 minimum.
        segments: takes one row an edge, in the order of the edge list, in place of the rows of a matrix of nodes.
    """

    how: int
    segments: bool = False


@dataclass(frozen=True)
class WeightedForm:
    """A variant of SpMMWeighted: of floats, or of codes to codes or to floats."""

    codes: bool = False
    floats: bool = True


@dataclass(frozen=True)
class AttentionForm:
    """A variant of AttentionSpMM: of floats, or of codes to codes or to floats."""

    codes: bool = False
    floats: bool = True


def _one_more(dim: Dim) -> Dim:
    return fixed(dim.most + 1) if dim.fixed is not None else Dim(f"({dim.text} + 1)", dim.most + 1)


def coo_to_csr(builder: Builder, node: Node) -> None:
    """CooToCsr; the edges were checked before the first step."""
    edges = builder.tensor(node, 0)
    if edges.ctype != "int32_t" or len(edges.shape) != 2 or edges.shape[0].fixed != 2:
        raise node.refuse("its edges are no list of two rows")
    (rows,), (columns,) = (builder.sizes(node, i) for i in (1, 2))
    if rows == columns:
        builder.check_below(node, edges, rows)
    else:
        ends = (("sources", "", columns), ("targets", f" + {edges.shape[1].text}", rows))
        for hint, offset, limit in ends:
            place = f"({pointer(builder, hint, edges)}{offset})" if offset else pointer(builder, hint, edges)
            builder.check_below(node, replace(edges, name=place, shape=edges.shape[1:], constant=None), limit)
    loops = 1 if node.attributes.get("self_loops", 0) else 0
    number = edges.shape[1]
    if loops:
        at_least(builder, node, columns, rows)
    ordered = len(node.outputs) > 3 and node.outputs[3] in builder.uses
    entries = Dim(f"({number.text} + {rows.text})", number.most + rows.most) if loops else number
    if loops and ordered:  # what has a row an edge has none for those that were left out
        entries = builder.variable("entries", entries.most)
    indptr = builder.result(node.outputs[0], "index_t", (_one_more(rows),))
    col = builder.result(node.outputs[1], "index_t", (entries,))
    perm = "NULL"
    for name in node.outputs[2:]:
        builder.values[name] = Absent()
    if loops and ordered:
        place = f"({pointer(builder, 'edges', edges)})"
        kept = f"if ({place}[i] != {place}[{number.text} + i]) {entries.text} = {entries.text} + 1;"
        builder.step(f"{entries.text} = {rows.text};\nfor (size_t i = 0; i < {number.text}; ++i) {kept}")
    if ordered:
        perm = builder.result(node.outputs[3], "index_t", (entries,)).name
    source = pointer(builder, node.inputs[0], edges)
    csr = Csr(indptr.name, rows, columns, entries)
    builder.graphs[node.outputs[0]] = builder.columns[node.outputs[1]] = csr
    if perm != "NULL":
        builder.orders[node.outputs[3]] = csr
    _sort(builder, csr, number, f"{source}, {source} + {number.text}, {loops}", f"{col.name}, {perm}")


def _sort(builder: Builder, csr: Csr, number: Dim, edges: str, rest: str) -> None:
    if csr.entries.most + csr.rows.most >= 2 ** (8 * builder.index_bytes):
        raise WideIndex("its graph has more rows and edges than an index in the C form can count")
    builder.kernels.add("coo_to_csr")
    builder.step(f"coo_to_csr({csr.rows.text}, {number.text}, {edges}, {csr.indptr}, {rest});")


def index_to_csr(builder: Builder, node: Node) -> None:
    """IndexToCsr: the batch, whose only row has all nodes; or the destinations of the edges."""
    value = builder.values[node.inputs[0]]
    for name in node.outputs[1:]:
        builder.values[name] = Absent()
    if isinstance(value, Batch):
        indptr = builder.result(node.outputs[0], "index_t", (fixed(2),))
        builder.graphs[node.outputs[0]] = Csr(indptr.name, fixed(1), fixed(0), value.nodes)
        builder.step(f"{indptr.name}[0] = 0;\n{indptr.name}[1] = (index_t){value.nodes.text};")
        return
    index = builder.tensor(node, 0)
    if index.ctype != "int32_t" or len(index.shape) != 1:
        raise node.refuse("its index is no vector of whole numbers")
    (rows,) = builder.sizes(node, 1)
    builder.check_below(node, index, rows)
    indptr = builder.result(node.outputs[0], "index_t", (_one_more(rows),))
    perm = builder.result(node.outputs[2], "index_t", index.shape)
    scratch = builder.buffer("scratch", "index_t", index.shape[0])
    csr = Csr(indptr.name, rows, fixed(0), index.shape[0])
    builder.graphs[node.outputs[0]] = builder.orders[node.outputs[2]] = csr
    source = pointer(builder, node.inputs[0], index)
    _sort(builder, csr, index.shape[0], f"{source}, {source}, 0", f"{scratch.name}, {perm.name}")


def csr_degree(builder: Builder, node: Node) -> None:
    """CsrDegree."""
    csr, rows = rows_of(builder, node, 0, 2)
    y = builder.result(node.outputs[0], "float", (rows,))
    if builder.pools_whole_graph(node):
        builder.known[node.outputs[0]] = (builder.nodes,)
    builder.loop(rows, f"{y.name}[i] = (float)({csr.indptr}[i + 1] - {csr.indptr}[i]);")


def reduce_rows(form: Reduction, builder: Builder, node: Node) -> None:
    """SpMM and Segment operators."""
    x = builder.tensor(node, 0)
    csr, rows = rows_of(builder, node, 1, 4)
    if form.segments:
        at_least(builder, node, x.shape[0], csr.entries)
        chosen = order_of(builder, node, 3, csr)
    else:
        chosen = columns_of(builder, node, 2, csr, x.shape[0])
    builder.kernels.add("reduce")
    y = builder.result(node.outputs[0], "float", (rows, *x.shape[1:]))
    source = pointer(builder, node.inputs[0], x)
    builder.step(f"reduce({form.how}, {rows.text}, {x.width}, {source}, {csr.indptr}, {chosen}, {y.name});")


def segment_softmax(builder: Builder, node: Node) -> None:
    """SegmentSoftmax."""
    logits = builder.tensor(node, 0)
    csr, rows = rows_of(builder, node, 1, 4)
    at_least(builder, node, logits.shape[0], csr.entries)
    builder.kernels.add("segment_softmax")
    perm = order_of(builder, node, 3, csr)
    source = pointer(builder, node.inputs[0], logits)
    y = builder.result(node.outputs[0], "float", logits.shape)
    builder.step(f"segment_softmax({rows.text}, {logits.width}, {source}, {csr.indptr}, {perm}, {y.name});")


def _heads(x: Tensor) -> tuple[int, int]:
    """Heads of a tensor [C, F] or [C, H, F], and the columns of one."""
    return (x.shape[1].most, x.width // max(x.shape[1].most, 1)) if len(x.shape) == 3 else (1, x.width)


def spmm_channels(builder: Builder, node: Node) -> None:
    """SpMMChannels."""
    x, w, d = (builder.tensor(node, place) for place in range(3))
    csr, rows = rows_of(builder, node, 3, 7)
    if (len(x.shape), len(w.shape), len(d.shape)) != (3, 2, 2):
        raise node.refuse("its inputs have other sizes than three, two and two")
    own, factors, width = (value.fixed for value in (x.shape[1], d.shape[1], x.shape[2]))
    if own is None or factors is None or width is None:
        raise node.refuse("the number of channels or of coordinates isn't fixed")
    offset = int(node.attributes.get("offset", 0))
    if own != factors and 1 not in (own, factors):
        raise node.refuse("its planes and its factors don't match")
    if offset < 0 or offset + width > w.width:
        raise node.refuse("its weights have too few columns")
    for value in (w, d):
        at_least(builder, node, value.shape[0], csr.entries)
    builder.kernels.add("spmm_channels")
    planes = fixed(max(own, factors))
    y = builder.result(node.outputs[0], "float", (rows, planes, x.shape[2]))
    weights = (
        f"{pointer(builder, node.inputs[1], w)} + {offset}, {w.width}, {pointer(builder, node.inputs[2], d)}, {factors}"
    )
    edges = f"{csr.indptr}, {columns_of(builder, node, 4, csr, x.shape[0])}, {order_of(builder, node, 6, csr)}"
    builder.step(f"spmm_channels({rows.text}, {planes.text}, {width}, {x.name}, {own}, {weights}, {edges}, {y.name});")


def spmm_weighted(form: WeightedForm, builder: Builder, node: Node) -> None:
    """SpMMWeighted, QSpMMWeighted and QSpMMWeightedFloat."""
    x, w = builder.tensor(node, 0), builder.tensor(node, 1)
    csr, rows = rows_of(builder, node, 2, 6)
    heads, width = _heads(x)
    if w.width not in (1, heads):
        raise node.refuse("it has neither one weight an edge nor one a head")
    at_least(builder, node, w.shape[0], csr.entries)
    edges = f"{csr.indptr}, {columns_of(builder, node, 3, csr, x.shape[0])}, {order_of(builder, node, 5, csr)}"
    shape: Shape = (rows, *x.shape[1:])
    weights = f"{pointer(builder, node.inputs[1], w)}, {w.width}, {edges}"
    if not form.codes:
        builder.kernels.add("spmm_weighted")
        y = builder.result(node.outputs[0], "float", shape)
        builder.step(f"spmm_weighted({rows.text}, {heads}, {width}, {x.name}, {weights}, {y.name});")
        return
    builder.kernels.add("qspmm_weighted")
    record = _qweighted(builder, node, x)
    row_scale, bias = vector(builder, node, 7, rows), vector(builder, node, 8, fixed(heads * width))
    results = _results(builder, node, shape, form.floats)
    head = f"&{record}, {rows.text}, {heads}, {width}, {x.name}, {weights}"
    builder.step(f"qspmm_weighted({head}, {', '.join(row_scale)}, {', '.join(bias)}, {results});")


def _qweighted(builder: Builder, node: Node, x: Tensor) -> str:
    if x.ctype != "uint8_t":
        raise node.refuse("its codes are signed")
    zero = int(node.attributes.get("x_zero_point", 0))
    text = f"{{{float_literal(node.attributes['x_scale'])}, {zero}, {code_record(node)}}}"
    return builder.record("weighted", "qweighted_t", text)


def _results(builder: Builder, node: Node, shape: Shape, floats: bool) -> str:
    """The arguments for a result of codes and for one of floats: one of them is null."""
    y = builder.result(node.outputs[0], "float" if floats else "uint8_t", shape)
    return f"NULL, {y.name}" if floats else f"{y.name}, NULL"


def attention_spmm(form: AttentionForm, builder: Builder, node: Node) -> None:
    """AttentionSpMM, QAttentionSpMM and QAttentionSpMMFloat."""
    x, a_src, a_dst = (builder.tensor(node, i) for i in range(3))
    csr, rows = rows_of(builder, node, 3, 6)
    heads, width = _heads(x)
    at_least(builder, node, a_src.elements, count((x.shape[0], fixed(heads))))
    at_least(builder, node, a_dst.elements, count((rows, fixed(heads))))
    columns = columns_of(builder, node, 4, csr, x.shape[0])
    shape: Shape = (rows, *x.shape[1:])
    slope = float_literal(float(np.float32(node.attributes.get("negative_slope", 0.2))))
    graph = f"{a_src.name}, {a_dst.name}, {slope}, {csr.indptr}, {columns}"
    if not form.codes:
        builder.kernels.add("attention_spmm")
        y = builder.result(node.outputs[0], "float", shape)
        builder.step(f"attention_spmm({rows.text}, {heads}, {width}, {x.name}, {graph}, {y.name});")
        return
    builder.kernels.add("qattention_spmm")
    record = _qweighted(builder, node, x)
    bias = ", ".join(vector(builder, node, 7, fixed(heads * width)))
    row = builder.buffer("row", "float", fixed(width))
    results = _results(builder, node, shape, form.floats)
    builder.step(
        f"qattention_spmm(&{record}, {rows.text}, {heads}, {width}, {x.name}, {graph}, {bias}, {results}, {row.name});"
    )
