"""C code of the operators on graphs: compressed rows, float aggregation, attention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.integer_operators import code_record, vector
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.values import Absent, Batch, Dim, Shape, Tensor, fixed

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
    (rows,), (columns,) = (builder.sizes(node, i) for i in (1, 2))
    if rows == columns:
        builder.check_below(node, edges, rows)
    else:
        ends = (("sources", "", columns), ("targets", f" + {edges.shape[1].text}", rows))
        for hint, offset, limit in ends:
            place = f"({pointer(builder, hint, edges)}{offset})" if offset else pointer(builder, hint, edges)
            builder.check_below(node, replace(edges, name=place, shape=edges.shape[1:], constant=None), limit)
    loops = int(node.attributes.get("self_loops", 0))
    number = edges.shape[1]
    entries = Dim(f"({number.text} + {rows.text})", number.most + rows.most) if loops else number
    indptr = builder.result(node.outputs[0], "index_t", (_one_more(rows),))
    col = builder.result(node.outputs[1], "index_t", (entries,))
    perm = "NULL"
    for name in node.outputs[2:]:
        builder.values[name] = Absent()
    if len(node.outputs) > 3 and node.outputs[3] in builder.uses:
        if loops:
            raise node.refuse("it adds loops to a graph whose edges have values of their own")
        perm = builder.result(node.outputs[3], "index_t", (number,)).name
    _sort(builder, rows, number, f"{edges.name}, {edges.name} + {number.text}, {loops}", indptr, f"{col.name}, {perm}")


def _sort(builder: Builder, rows: Dim, number: Dim, edges: str, indptr: Tensor, rest: str) -> None:
    builder.kernels.add("coo_to_csr")
    builder.step(f"coo_to_csr({rows.text}, {number.text}, {edges}, {indptr.name}, {rest});")


def index_to_csr(builder: Builder, node: Node) -> None:
    """IndexToCsr: the batch, whose only row has all nodes; or the destinations of the edges."""
    value = builder.values[node.inputs[0]]
    for name in node.outputs[1:]:
        builder.values[name] = Absent()
    if isinstance(value, Batch):
        indptr = builder.result(node.outputs[0], "index_t", (fixed(2),))
        builder.step(f"{indptr.name}[0] = 0;\n{indptr.name}[1] = (index_t){value.nodes.text};")
        return
    index = builder.tensor(node, 0)
    (rows,) = builder.sizes(node, 1)
    builder.check_below(node, index, rows)
    indptr = builder.result(node.outputs[0], "index_t", (_one_more(rows),))
    perm = builder.result(node.outputs[2], "index_t", index.shape)
    scratch = builder.buffer("scratch", "index_t", index.shape[0])
    _sort(builder, rows, index.shape[0], f"{index.name}, {index.name}, 0", indptr, f"{scratch.name}, {perm.name}")


def csr_degree(builder: Builder, node: Node) -> None:
    """CsrDegree."""
    indptr = builder.index(node, 0)
    (rows,) = builder.sizes(node, 2)
    y = builder.result(node.outputs[0], "float", (rows,))
    if builder.pools_whole_graph(node):
        builder.known[node.outputs[0]] = (builder.nodes,)
    builder.loop(rows, f"{y.name}[i] = (float)({indptr.name}[i + 1] - {indptr.name}[i]);")


def reduce_rows(form: Reduction, builder: Builder, node: Node) -> None:
    """SpMM and Segment operators."""
    x, indptr = builder.tensor(node, 0), builder.index(node, 1)
    chosen = _perm(builder, node, 3) if form.segments else builder.index(node, 2).name
    (rows,) = builder.sizes(node, 4)
    builder.kernels.add("reduce")
    y = builder.result(node.outputs[0], "float", (rows, *x.shape[1:]))
    source = pointer(builder, node.inputs[0], x)
    builder.step(f"reduce({form.how}, {rows.text}, {x.width}, {source}, {indptr.name}, {chosen}, {y.name});")


def segment_softmax(builder: Builder, node: Node) -> None:
    """SegmentSoftmax."""
    logits, indptr = builder.tensor(node, 0), builder.index(node, 1)
    (rows,) = builder.sizes(node, 4)
    builder.kernels.add("segment_softmax")
    perm = _perm(builder, node, 3)
    y = builder.result(node.outputs[0], "float", logits.shape)
    builder.step(f"segment_softmax({rows.text}, {logits.width}, {logits.name}, {indptr.name}, {perm}, {y.name});")


def _heads(x: Tensor) -> tuple[int, int]:
    """Heads of a tensor [C, F] or [C, H, F], and the columns of one."""
    return (x.shape[1].most, x.width // x.shape[1].most) if len(x.shape) == 3 else (1, x.width)


def _perm(builder: Builder, node: Node, place: int) -> str:
    """The order of the entries; none where it changes nothing."""
    value = builder.values[node.inputs[place]]
    if not isinstance(value, Tensor) or value.elements.most == 0:
        return "NULL"
    return builder.index(node, place).name


def spmm_channels(builder: Builder, node: Node) -> None:
    """SpMMChannels."""
    x, w, d = (builder.tensor(node, place) for place in range(3))
    indptr, col = builder.index(node, 3), builder.index(node, 4)
    (rows,) = builder.sizes(node, 7)
    own, factors, width = (value.fixed for value in (x.shape[1], d.shape[1], x.shape[2]))
    if own is None or factors is None or width is None:
        raise node.refuse("the number of channels or of coordinates isn't fixed")
    offset = int(node.attributes.get("offset", 0))
    builder.kernels.add("spmm_channels")
    planes = fixed(max(own, factors))
    y = builder.result(node.outputs[0], "float", (rows, planes, x.shape[2]))
    weights = (
        f"{pointer(builder, node.inputs[1], w)} + {offset}, {w.width}, {pointer(builder, node.inputs[2], d)}, {factors}"
    )
    edges = f"{indptr.name}, {col.name}, {_perm(builder, node, 6)}"
    builder.step(f"spmm_channels({rows.text}, {planes.text}, {width}, {x.name}, {own}, {weights}, {edges}, {y.name});")


def spmm_weighted(form: WeightedForm, builder: Builder, node: Node) -> None:
    """SpMMWeighted, QSpMMWeighted and QSpMMWeightedFloat."""
    x, w = builder.tensor(node, 0), builder.tensor(node, 1)
    indptr, col = builder.index(node, 2), builder.index(node, 3)
    (rows,) = builder.sizes(node, 6)
    heads, width = _heads(x)
    shape: Shape = (rows, *x.shape[1:])
    weights = f"{pointer(builder, node.inputs[1], w)}, {w.width}, {indptr.name}, {col.name}, {_perm(builder, node, 5)}"
    if not form.codes:
        builder.kernels.add("spmm_weighted")
        y = builder.result(node.outputs[0], "float", shape)
        builder.step(f"spmm_weighted({rows.text}, {heads}, {width}, {x.name}, {weights}, {y.name});")
        return
    builder.kernels.add("qspmm_weighted")
    record = _qweighted(builder, node, x)
    row_scale, bias = ", ".join(vector(builder, node, 7)), ", ".join(vector(builder, node, 8))
    results = _results(builder, node, shape, form.floats)
    head = f"&{record}, {rows.text}, {heads}, {width}, {x.name}, {weights}"
    builder.step(f"qspmm_weighted({head}, {row_scale}, {bias}, {results});")


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
    indptr, col = builder.index(node, 3), builder.index(node, 4)
    (rows,) = builder.sizes(node, 6)
    heads, width = _heads(x)
    shape: Shape = (rows, *x.shape[1:])
    slope = float_literal(float(np.float32(node.attributes.get("negative_slope", 0.2))))
    graph = f"{a_src.name}, {a_dst.name}, {slope}, {indptr.name}, {col.name}"
    if not form.codes:
        builder.kernels.add("attention_spmm")
        y = builder.result(node.outputs[0], "float", shape)
        builder.step(f"attention_spmm({rows.text}, {heads}, {width}, {x.name}, {graph}, {y.name});")
        return
    builder.kernels.add("qattention_spmm")
    record = _qweighted(builder, node, x)
    bias = ", ".join(vector(builder, node, 7))
    row = builder.buffer("row", "float", fixed(width))
    results = _results(builder, node, shape, form.floats)
    builder.step(
        f"qattention_spmm(&{record}, {rows.text}, {heads}, {width}, {x.name}, {graph}, {bias}, {results}, {row.name});"
    )
