"""The body of each `ai.edgegnn` op in standard operators, so that onnxruntime without the library runs the same file.

A model-local function has the name of the op that it stands in for: where the library is registered, its kernel is
taken, elsewhere the body. Only the functions that a model uses are written into it.

    CooToCsr, IndexToCsr, CsrDegree           the body keeps the edge list as it is: no sort, `indptr` empty
    SpMM, SpMMMean, SpMMMax, SpMMMin          Gather -> ScatterElements
    SpMMWeighted, SpMMChannels, AttentionSpMM Gather -> Mul -> ScatterElements
    SegmentSum, -Mean, -Max, -Min, -Softmax   ScatterElements
    QSpMM[Weighted][Float], QAttentionSpMM[Float], QGemm[Norm][Float], [Normalize]QuantizeGemm[Norm][Float],
    [Normalize]SparseGemm,
    QuantizeRows                              see edgegnn.exporting.rewrite.functions_integer
    PairAttention[Edges], DotAttention[Edges], GatedSum[Edges],
    EdgeProductMax, QEdgeMlpMax               see edgegnn.exporting.rewrite.functions_edges
    Knn, Radius, FarthestPoints               see edgegnn.exporting.rewrite.functions_geometry

The reference of what each computes is `edgegnn.native.reference`.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx.parser
import onnx_ir as ir

from edgegnn.exporting.rewrite.bodies import (
    COUNT,
    SEGMENT,
    SPMM,
    WIDTH,
    attention,
    channels,
    extreme,
    mean,
    total,
    weighted,
)
from edgegnn.exporting.rewrite.functions_edges import EDGES
from edgegnn.exporting.rewrite.functions_geometry import GEOMETRY
from edgegnn.exporting.rewrite.functions_integer import INTEGER
from edgegnn.exporting.rewrite.graph_editor import tail_of

__all__ = ["DOMAIN", "OPS", "VERSION", "add_functions", "function"]

DOMAIN, VERSION = "ai.edgegnn", 1

_NONE = "  nothing = Constant <value = int32[0] {}> ()\n"

_COO_TO_CSR = f"""
{_NONE}
  at_0 = Constant <value_int = 0> ()
  at_1 = Constant <value_int = 1> ()
  source = Gather <axis = 0> (edge_index, at_0)
  target = Gather <axis = 0> (edge_index, at_1)
  wanted = Constant <value_int: int = @self_loops> ()
  with_loops = Cast <to = 9> (wanted)
  sources, targets = If (with_loops) <
    then_branch = looped () => (s, t) {{
      same = Equal (source, target)
      keep = Not (same)
      kept_source = Compress <axis = 0> (source, keep)
      kept_target = Compress <axis = 0> (target, keep)
      loops = Range (at_0, num_rows, at_1)
      s = Concat <axis = 0> (kept_source, loops)
      t = Concat <axis = 0> (kept_target, loops)
    }},
    else_branch = plain () => (a, b) {{
      a = Identity (source)
      b = Identity (target)
    }}
  >
  col = Cast <to = 6> (sources)
  row = Cast <to = 6> (targets)
  indptr = Identity (nothing)
  perm = Identity (nothing)
"""

_INDEX_TO_CSR = f"""
{_NONE}
  row = Cast <to = 6> (index)
  indptr = Identity (nothing)
  perm = Identity (nothing)
"""

_DEGREE = f"""
  minus_one = Constant <value_ints = [-1]> ()
  count = Reshape (num_rows, minus_one)
  edges = Shape (row)
{COUNT}
  y = Identity (degree)
"""

_SOFTMAX = f"""
  minus_one = Constant <value_ints = [-1]> ()
  tail = Shape <start = 1> (logits)
  count = Reshape (num_rows, minus_one)
  size = Concat <axis = 0> (count, tail)
  rank = Shape (tail)
  ones = ConstantOfShape <value = int64[1] {{1}}> (rank)
  down = Concat <axis = 0> (minus_one, ones)
  column = Reshape (row, down)
  edges = Shape (row)
  whole = Concat <axis = 0> (edges, tail)
  full = Expand (column, whole)
  start = ConstantOfShape <value = float[1] {{-inf}}> (size)
  top = ScatterElements <axis = 0, reduction = "max"> (start, full, logits)
  top_of = Gather <axis = 0> (top, row)
  below = Sub (logits, top_of)
  parts = Exp (below)
{total("parts", "sums")}
  tiny = Constant <value_float = 1e-16> ()
  safe = Add (sums, tiny)
  safe_of = Gather <axis = 0> (safe, row)
  y = Div (parts, safe_of)
"""


_CSR = "indptr, col, row, num_rows"
_LIST = "indptr, row, perm, num_rows"

# name -> (attributes with their defaults, inputs, outputs, body)
OPS: dict[str, tuple[str, str, str, str]] = {
    "CooToCsr": ("self_loops: int = 0", "edge_index, num_rows, num_cols", "indptr, col, row, perm", _COO_TO_CSR),
    "IndexToCsr": ("", "index, num_rows", "indptr, row, perm", _INDEX_TO_CSR),
    "CsrDegree": ("", "indptr, row, num_rows", "y", _DEGREE),
    "SpMM": (WIDTH, f"x, {_CSR}", "y", SPMM + total("messages", "y")),
    "SpMMMean": (WIDTH, f"x, {_CSR}", "y", SPMM + total("messages", "sum") + mean("y")),
    "SpMMMax": (WIDTH, f"x, {_CSR}", "y", SPMM + extreme("max", "y")),
    "SpMMMin": (WIDTH, f"x, {_CSR}", "y", SPMM + extreme("min", "y")),
    "SpMMWeighted": (
        "",
        "x, w, indptr, col, row, perm, num_rows",
        "y",
        weighted() + "  y = Reshape <allowzero = 1> (sums, size)\n",
    ),
    "SpMMChannels": (
        "offset: int = 0",
        "x, w, d, indptr, col, row, perm, num_rows",
        "y",
        channels() + SEGMENT + total("messages", "y"),
    ),
    "SegmentSum": ("", f"messages, {_LIST}", "y", SEGMENT + total("messages", "y")),
    "SegmentMean": ("", f"messages, {_LIST}", "y", SEGMENT + total("messages", "sum") + mean("y")),
    "SegmentMax": ("", f"messages, {_LIST}", "y", SEGMENT + extreme("max", "y")),
    "SegmentMin": ("", f"messages, {_LIST}", "y", SEGMENT + extreme("min", "y")),
    "SegmentSoftmax": ("", f"logits, {_LIST}", "y", _SOFTMAX),
    "AttentionSpMM": (
        "negative_slope: float = 0.2",
        f"x, a_src, a_dst, {_CSR}",
        "y",
        attention() + "  y = Identity (mixed)\n",
    ),
    **EDGES,
    **INTEGER,
    **GEOMETRY,
}


def function(name: str, opset: int = 18) -> ir.Function:
    """The function that stands in for an op.

    Args:
        name: of the op, without its domain.
        opset: the version of the standard operators that the model imports, 18 or newer.

    Raises:
        KeyError: there is no such op.
    """
    attributes, inputs, outputs, body = OPS[name]
    text = f"""<domain: "{DOMAIN}", opset_import: ["" : {opset}]>
{name} {f"<{attributes}>" if attributes else ""} ({inputs}) => ({outputs})
{{
{body}
}}"""
    made = ir.serde.deserialize_function(onnx.parser.parse_function(text))
    for node in ir.traversal.RecursiveGraphIterator(made.graph):
        node.name = node.outputs[0].name  # onnxruntime's fusions name nodes after those they replace; "" is there twice
    return made


def add_functions(model: ir.Model) -> None:
    """Write the functions that `model` uses, and none it doesn't, into it; import the domain when there is one."""
    for node in _nodes(model):
        if node.domain != DOMAIN or WIDTH not in OPS[node.op_type][0] or node.inputs[0] is None:
            continue
        tail = tail_of(node.inputs[0])
        if tail is not None and len(tail) == 1:
            node.attributes.add(ir.AttrInt64("width", tail[0]))
    used = {node.op_type for node in _nodes(model) if node.domain == DOMAIN}
    for identifier in [i for i in model.functions if i[0] == DOMAIN]:
        del model.functions[identifier]
    model.opset_imports.pop(DOMAIN, None)
    for name in sorted(used):
        made = function(name, model.opset_imports[""])
        model.functions[made.identifier()] = made
    if used:
        model.opset_imports[DOMAIN] = VERSION


def _nodes(model: ir.Model) -> Iterable[ir.Node]:
    return ir.traversal.RecursiveGraphIterator(model.graph)
