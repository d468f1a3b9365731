"""Pieces of function bodies, in ONNX's text syntax, that several `ai.edgegnn` ops are put together from.

A body stands in for a kernel in stock onnxruntime, so it is written for what that does well: indices are broadcast over
rows by one Expand that layers of the same width share (its shape never depends on the messages' values), degrees are
counted over a vector, and a maximum starts from -inf and is masked by node instead of being scattered twice.

Each piece expects the names in its text to be defined before it: `row` int32 [E] and `num_rows` int64 [] are inputs of
every op that has edges.
"""

from __future__ import annotations

__all__ = [
    "CENTRED",
    "COUNT",
    "OF_ROWS",
    "SEGMENT",
    "SPMM",
    "WIDTH",
    "attention",
    "channels",
    "clipped",
    "codes",
    "extreme",
    "mean",
    "quantized",
    "scaled_sum",
    "total",
    "weighted",
]

# Rows and trailing sizes: `size` int64, the shape of the result; `down` int64, [-1, 1, ...] of the same rank;
# `full` int32, the row of each element of the messages.
_ROWS = """
  count = Reshape (num_rows, minus_one)
  size = Concat <axis = 0> (count, tail)
  rank = Shape (tail)
  ones = ConstantOfShape <value = int64[1] {1}> (rank)
  down = Concat <axis = 0> (minus_one, ones)
  column = Reshape (row, down)
  edges = Shape (row)
  whole = Concat <axis = 0> (edges, tail)
  full = Expand (column, whole)
"""
_MINUS_ONE = "  minus_one = Constant <value_ints = [-1]> ()\n"

# onnxruntime folds no part of a shape: with `width` written down, all that follows from it is folded, and layers of the
# same width share the rest.
WIDTH = "width: int = 0"  # the attribute
_TAIL = """
  width = Constant <value_int: int = @width> ()
  has_width = Cast <to = 9> (width)
  tail = If (has_width) <
    then_branch = known () => (k) {
      k = Reshape (width, minus_one)
    },
    else_branch = unknown () => (u) {
      u = Shape <start = 1> (x)
    }
  >
"""
SPMM = _MINUS_ONE + _TAIL + _ROWS + "  messages = Gather <axis = 0> (x, col)\n"
SEGMENT = _MINUS_ONE + "  tail = Shape <start = 1> (messages)" + _ROWS

COUNT = """
  one = Constant <value_float = 1.0> ()
  each = Expand (one, edges)
  none = ConstantOfShape (count)
  degree = ScatterElements <axis = 0, reduction = "add"> (none, row, each)
"""


def total(messages: str, out: str, *, size: str = "size", full: str = "full") -> str:
    """Sum of messages by row; empty rows are 0."""
    return f"""
  {out}_zeros = ConstantOfShape ({size})
  {out} = ScatterElements <axis = 0, reduction = "add"> ({out}_zeros, {full}, {messages})
"""


def mean(out: str) -> str:
    """`sum` of a row by the number of its entries, empty rows 0."""
    return f"""{COUNT}
  least = Max (degree, one)
  share = Reshape (least, down)
  {out} = Div (sum, share)
"""


def extreme(reduction: str, out: str) -> str:
    """Largest or smallest of the messages of each row; empty rows are 0."""
    start = "-inf" if reduction == "max" else "inf"
    return f"""
  start = ConstantOfShape <value = float[1] {{{start}}}> (size)
  found = ScatterElements <axis = 0, reduction = "{reduction}"> (start, full, messages)
  nowhere = ConstantOfShape <value = bool[1] {{0}}> (count)
  yes = Constant <value = bool {{1}}> ()
  marks = Expand (yes, edges)
  somewhere = ScatterElements <axis = 0> (nowhere, row, marks)
  mask = Reshape (somewhere, down)
  zero = Constant <value_float = 0.0> ()
  {out} = Where (mask, found, zero)
"""


def weighted(x: str = "x", w: str = "w") -> str:
    """`sums`, f32 [R, heads, rest]: sum of `w * x` by row, for one weight an edge or one an edge and head; and `size`.

    No size is left for Reshape to guess: there may be no edge.
    """
    return f"""
  minus_one = Constant <value_ints = [-1]> ()
  one_size = Constant <value_ints = [1]> ()
  tail = Shape <start = 1> (x)
  tail_1 = Concat <axis = 0> (one_size, tail)
  width = ReduceProd <keepdims = 1> (tail_1)
  w_tail = Shape <start = 1> (w)
  w_tail_1 = Concat <axis = 0> (one_size, w_tail)
  heads = ReduceProd <keepdims = 1> (w_tail_1)
  rest = Div (width, heads)
  block = Concat <axis = 0> (heads, rest)
  cols = Shape <start = 0, end = 1> (x)
  x_size = Concat <axis = 0> (cols, block)
  x_block = Reshape <allowzero = 1> ({x}, x_size)
  edges = Shape (row)
  w_size = Concat <axis = 0> (edges, heads, one_size)
  w_block = Reshape <allowzero = 1> ({w}, w_size)
  gathered = Gather <axis = 0> (x_block, col)
  messages = Mul (gathered, w_block)
  down = Constant <value_ints = [-1, 1, 1]> ()
  column = Reshape (row, down)
  whole = Concat <axis = 0> (edges, block)
  full = Expand (column, whole)
  count = Reshape (num_rows, minus_one)
  sums_size = Concat <axis = 0> (count, block)
{total("messages", "sums", size="sums_size")}
  size = Concat <axis = 0> (count, tail)
"""


def channels() -> str:
    """`messages`, f32 [E, P, F]: d [E, P or 1] times columns of w [E, W] from `offset` on, times rows of x."""
    return """
  first = Constant <value_int: int = @offset> ()
  at_1 = Constant <value_ints = [1]> ()
  at_2 = Constant <value_ints = [2]> ()
  begin = Reshape (first, at_1)
  channel_count = Shape <start = 2> (x)
  end = Add (begin, channel_count)
  weights = Slice (w, begin, end, at_1)
  weight = Unsqueeze (weights, at_1)
  gathered = Gather <axis = 0> (x, col)
  products = Mul (weight, gathered)
  factor = Unsqueeze (d, at_2)
  messages = Mul (products, factor)
"""


def attention(x: str = "x") -> str:
    """`mixed`, f32 [R, H, F]: rows of `x` under softmax(leaky_relu(a_src[col] + a_dst[row])); and its `size`.

    The sum of the exponentials divides the result, once a node, instead of each weight, once an edge.
    """
    return f"""
  minus_one = Constant <value_ints = [-1]> ()
  one_size = Constant <value_ints = [1]> ()
  from_source = Gather <axis = 0> (a_src, col)
  from_target = Gather <axis = 0> (a_dst, row)
  both = Add (from_source, from_target)
  logits = LeakyRelu <alpha: float = @negative_slope> (both)
  count = Reshape (num_rows, minus_one)
  heads = Shape <start = 1> (a_src)
  edges = Shape (row)
  by_head = Concat <axis = 0> (count, heads)
  down_2 = Constant <value_ints = [-1, 1]> ()
  column_2 = Reshape (row, down_2)
  whole_2 = Concat <axis = 0> (edges, heads)
  full_2 = Expand (column_2, whole_2)
  start = ConstantOfShape <value = float[1] {{-inf}}> (by_head)
  top = ScatterElements <axis = 0, reduction = "max"> (start, full_2, logits)
  top_of = Gather <axis = 0> (top, row)
  below = Sub (logits, top_of)
  parts = Exp (below)
{total("parts", "sums", size="by_head", full="full_2")}
  gathered = Gather <axis = 0> ({x}, col)
  weights = Unsqueeze (parts, minus_one)
  messages = Mul (gathered, weights)
  tail = Shape <start = 1> (x)
  size = Concat <axis = 0> (count, tail)
  down = Constant <value_ints = [-1, 1, 1]> ()
  column = Reshape (row, down)
  whole = Concat <axis = 0> (edges, tail)
  full = Expand (column, whole)
{total("messages", "mixture")}
  tiny = Constant <value_float = 1e-16> ()
  safe = Add (sums, tiny)
  shares = Unsqueeze (safe, minus_one)
  mixed = Div (mixture, shares)
"""


# Integer ops ------------------------------------------------------------


CENTRED = """
  x_zero_integer = Constant <value_int: int = @x_zero_point> ()
  x_zero = Cast <to = 1> (x_zero_integer)
  x_float = Cast <to = 1> (x)
  centred = Sub (x_float, x_zero)
"""


OF_ROWS = """
  last = Constant <value_ints = [-1]> ()
  by_row = Unsqueeze (row_scale, last)
  of_rows = Mul (scaled, by_row)
"""


def scaled_sum(sums: str, out: str) -> str:
    """`sums * x_scale * row_scale + bias` for `sums` of shape [R, F]; row_scale [R] or [1], bias [F] or [1]."""
    return f"""
  x_scale = Constant <value_float: float = @x_scale> ()
  scaled = Mul ({sums}, x_scale)
{OF_ROWS}
  {out} = Add (of_rows, bias)
"""


def clipped(value: str, out: str) -> str:
    """Clip to `clip_low`, `clip_high`."""
    return f"""
  clip_low = Constant <value_float: float = @clip_low> ()
  clip_high = Constant <value_float: float = @clip_high> ()
  {out} = Clip ({value}, clip_low, clip_high)
"""


def quantized(value: str, out: str) -> str:
    """Clip, then codes of uint8."""
    return clipped(value, "within") + codes("within", out)


def codes(value: str, out: str) -> str:
    """Codes of uint8."""
    return f"""
  y_scale = Constant <value_float: float = @y_scale> ()
  y_zero_integer = Constant <value_int: int = @y_zero_point> ()
  y_zero = Cast <to = 2> (y_zero_integer)
  {out} = QuantizeLinear ({value}, y_scale, y_zero)
"""
