"""Bodies of operators on rows of both ends of an edge."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgegnn.exporting.rewrite.bodies import SEGMENT, extreme, total
from edgegnn.exporting.rewrite.functions_integer import INTEGER

__all__ = ["EDGES"]

_CSR = "indptr, col, row, num_rows"
_LISTED = "indptr, col, row, perm, num_rows"


def _softmax(out: str) -> str:
    """`out`, f32 [E, H]: softmax of `logits` over the entries of each row."""
    return f"""
  heads = Shape <start = 1> (logits)
  count = Reshape (num_rows, minus_one)
  edges = Shape (row)
  by_head = Concat <axis = 0> (count, heads)
  down = Constant <value_ints = [-1, 1]> ()
  column = Reshape (row, down)
  whole = Concat <axis = 0> (edges, heads)
  full = Expand (column, whole)
  start = ConstantOfShape <value = float[1] {{-inf}}> (by_head)
  top = ScatterElements <axis = 0, reduction = "max"> (start, full, logits)
  top_of = Gather <axis = 0> (top, row)
  below = Sub (logits, top_of)
  parts = Exp (below)
{total("parts", "sums", size="by_head")}
  tiny = Constant <value_float = 1e-16> ()
  safe = Add (sums, tiny)
  safe_of = Gather <axis = 0> (safe, row)
  {out} = Div (parts, safe_of)
"""


def _pair(added: str, both: str) -> str:
    return f"""
  minus_one = Constant <value_ints = [-1]> ()
  from_source = Gather <axis = 0> (source, col)
  from_target = Gather <axis = 0> (target, row)
  ends = Add (from_source, from_target)
{added}
  leaky = LeakyRelu <alpha: float = @negative_slope> ({both})
  products = Mul (leaky, att)
  logits = ReduceSum <keepdims = 0> (products, minus_one)
{_softmax("y")}
"""


_ADDED = """
  own = MatMul (features, product)
  size = Shape (ends)
  laid = Reshape <allowzero = 1> (own, size)
  all_three = Add (ends, laid)
"""

_DOT = """
  minus_one = Constant <value_ints = [-1]> ()
  from_source = Gather <axis = 0> (key, col)
  from_target = Gather <axis = 0> (query, row)
  products = Mul (from_target, from_source)
  dots = ReduceSum <keepdims = 0> (products, minus_one)
  factor = Constant <value_float: float = @scale> ()
"""
_DOT_EDGES = f"""{_DOT}
  one = Constant <value_ints = [1]> ()
  queried = Gather <axis = 0> (edge_query, row)
  of_all_heads = Unsqueeze (features, one)
  edge_products = Mul (queried, of_all_heads)
  edge_dots = ReduceSum <keepdims = 0> (edge_products, minus_one)
  both = Add (dots, edge_dots)
  logits = Mul (both, factor)
{_softmax("y")}
  weights = Unsqueeze (y, minus_one)
  messages = Mul (weights, of_all_heads)
  tail = Shape <start = 1> (edge_query)
  mixed_size = Concat <axis = 0> (count, tail)
  mixed_down = Constant <value_ints = [-1, 1, 1]> ()
  mixed_column = Reshape (row, mixed_down)
  mixed_whole = Concat <axis = 0> (edges, tail)
  mixed_full = Expand (mixed_column, mixed_whole)
{total("messages", "mixed", size="mixed_size", full="mixed_full")}
"""


# Products ------------------------------------------------------------


def _renamed(op: str, inputs: Mapping[str, str], attributes: Mapping[str, str], prefix: str) -> str:
    """An operator's body as a part of another: with other inputs and attributes, its own names behind a prefix."""
    body = INTEGER[op][3]
    made = {name for names in re.findall(r"^ *([\w, ]+?) = ", body, re.M) for name in names.split(", ")}
    body = re.sub(r"@(\w+)", lambda found: f"@{attributes.get(found[1], found[1])}", body)
    names = {**{name: f"{prefix}{name}" for name in made}, **inputs}
    return re.sub(r"(?<![@\w])[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), body)


_HIDDEN = {name: f"hidden_{name[2:]}" for name in ("y_scale", "y_zero_point")}
_LIMITS = {"clip_low": "hidden_low", "clip_high": "hidden_high"}
_SECOND = {"x_scale": "hidden_scale", "x_zero_point": "hidden_zero_point"}
_EDGE_MLP = f"""
  minus_one = Constant <value_ints = [-1]> ()
  unit = Constant <value = float[1] {{1}}> ()
  nothing = Constant <value = float[1] {{0}}> ()
  from_source = Gather <axis = 0> (source, col)
  from_target = Gather <axis = 0> (target, row)
  difference = Sub (from_source, from_target)
  both_ends = Concat <axis = 1> (from_target, difference)
{_renamed("QuantizeGemm", {"x": "both_ends", "row_scale": "unit", "addend": "nothing"}, {**_HIDDEN, **_LIMITS}, "a_")}
{
    _renamed(
        "QGemmFloat",
        {"x": "a_y", "w": "w2", "w_scale": "w2_scale", "bias": "bias2", "row_scale": "unit", "addend": "nothing"},
        _SECOND,
        "b_",
    )
}
{SEGMENT.replace("messages", "b_y").replace("minus_one = Constant <value_ints = [-1]> ()", "")}
{extreme("max", "y").replace("messages", "b_y")}
"""
_QEDGE_PRODUCT = f"""
  minus_one = Constant <value_ints = [-1]> ()
  unit = Constant <value = float[1] {{1}}> ()
  nothing = Constant <value = float[1] {{0}}> ()
  from_source = Gather <axis = 0> (source, col)
  from_target = Gather <axis = 0> (target, row)
  ends = Add (from_source, from_target)
  least = Constant <value_float: float = @low> ()
  most = Constant <value_float: float = @high> ()
  clipped = Clip (ends, least, most)
{_renamed("QuantizeGemmFloat", {"x": "clipped", "row_scale": "unit", "addend": "nothing", "y": "messages"}, {}, "a_")}
{SEGMENT.replace("minus_one = Constant <value_ints = [-1]> ()", "")}
{extreme("max", "y")}
"""
_LIMITED = "low: float = -3.4028235e38, high: float = 3.4028235e38"
_CODED = "x_scale, x_zero_point: int = 0, x_low: int = 0, x_high: int = 255"
_CLIPPED = "clip_low: float = -3.4028235e38, clip_high: float = 3.4028235e38"
_EDGE_MLP_NUMBERS = (
    "x_scale, x_zero_point: int = 0, x_low: int = 0, x_high: int = 255, hidden_scale, hidden_zero_point: int = 0, "
    "hidden_low: float = -3.4028235e38, hidden_high: float = 3.4028235e38, "
    "clip_low: float = -3.4028235e38, clip_high: float = 3.4028235e38"
)
_EDGE_PRODUCT = f"""
  minus_one = Constant <value_ints = [-1]> ()
  from_source = Gather <axis = 0> (source, col)
  from_target = Gather <axis = 0> (target, row)
  ends = Add (from_source, from_target)
  least = Constant <value_float: float = @low> ()
  most = Constant <value_float: float = @high> ()
  clipped = Clip (ends, least, most)
  messages = Gemm (clipped, w, bias)
{SEGMENT.replace("minus_one = Constant <value_ints = [-1]> ()", "")}
{extreme("max", "y")}
"""


def _gated(added: bool) -> str:
    """The sum of gates times values: of rows of both ends, and of features of the edges where they are added."""
    body = "  minus_one = Constant <value_ints = [-1]> ()\n"
    for name in ("gate", "value"):
        whole = f"{name}_ends" if added else name
        body += f"""
  {name}_from_source = Gather <axis = 0> ({name}_source, col)
  {name}_from_target = Gather <axis = 0> ({name}_target, row)
  {whole} = Add ({name}_from_source, {name}_from_target)
"""
        if added:
            body += f"  {name}_own = MatMul (features, {name}_product)\n  {name} = Add ({whole}, {name}_own)\n"
    body += "  gates = Sigmoid (gate)\n  values = Softplus (value)\n  messages = Mul (gates, values)\n"
    segment = SEGMENT.replace("minus_one = Constant <value_ints = [-1]> ()", "")
    return body + segment + total("messages", "y")


_GATES = "gate_source, gate_target, value_source, value_target"
_SLOPE, _SCALE = "negative_slope: float = 0.2", "scale: float = 1.0"

EDGES: dict[str, tuple[str, str, str, str]] = {
    "PairAttention": (_SLOPE, f"source, target, att, {_CSR}", "y", _pair("", "ends")),
    "PairAttentionEdges": (
        _SLOPE,
        f"source, target, att, features, product, {_LISTED}",
        "y",
        _pair(_ADDED, "all_three"),
    ),
    "DotAttention": (_SCALE, f"query, key, {_CSR}", "y", f"{_DOT}  logits = Mul (dots, factor)\n{_softmax('y')}"),
    "QEdgeProductMax": (
        f"{_LIMITED}, {_CODED}, {_CLIPPED}",
        f"source, target, w, w_scale, bias, {_CSR}",
        "y",
        _QEDGE_PRODUCT,
    ),
    "EdgeProductMax": (
        _LIMITED,
        f"source, target, w, bias, {_CSR}",
        "y",
        _EDGE_PRODUCT,
    ),
    "GatedSum": ("", f"{_GATES}, {_CSR}", "y", _gated(False)),
    "GatedSumEdges": ("", f"{_GATES}, features, gate_product, value_product, {_LISTED}", "y", _gated(True)),
    "QEdgeMlpMax": (
        _EDGE_MLP_NUMBERS,
        f"source, target, w, w_scale, bias, w2, w2_scale, bias2, {_CSR}",
        "y",
        _EDGE_MLP,
    ),
    "DotAttentionEdges": (_SCALE, f"query, key, edge_query, features, {_LISTED}", "y, mixed", _DOT_EDGES),
}
