"""Bodies of attention whose scores depend on both ends of an edge at once: PairAttention, DotAttention."""

from __future__ import annotations

from edgegnn.exporting.rewrite.bodies import total

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
    "DotAttentionEdges": (_SCALE, f"query, key, edge_query, features, {_LISTED}", "y, mixed", _DOT_EDGES),
}
