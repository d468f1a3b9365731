"""Bodies of the `ai.edgegnn` ops that make graphs from points, see `edgegnn.exporting.rewrite.functions`.

Distances are summed up one coordinate after the other (Scan), as the kernels do: what is equally far for one is so for
the other, and neighbours are the same. Queries are taken in blocks, and of the sources only those of their graphs, so
that a batch of many graphs never has a matrix of all pairs. A Reshape at the end tells shape inference what a Loop
doesn't.
"""

from __future__ import annotations

__all__ = ["GEOMETRY"]

_BLOCK = 256  # queries


def _distances(x: str, y: str, size: str, out: str) -> str:
    """Squared distances `out` [M, N], whose shape is `size`, of points y [M, D] to points x [N, D]."""
    return f"""
      {out}_x = Transpose <perm = [1, 0]> ({x})
      {out}_y = Transpose <perm = [1, 0]> ({y})
      {out}_start = ConstantOfShape ({size})
      {out}_sum = Scan <num_scan_inputs = 2, body = {out}_coordinate
          (float[m, n] sum, float[n] a, float[m] b) => (float[m, n] more) {{
        {out}_last = Constant <value_ints = [-1]> ()
        {out}_column = Unsqueeze (b, {out}_last)
        {out}_difference = Sub ({out}_column, a)
        {out}_square = Mul ({out}_difference, {out}_difference)
        more = Add (sum, {out}_square)
      }}> ({out}_start, {out}_x, {out}_y)
      {out}_most = Constant <value_float = 3.40282347e38> ()
      {out} = Min ({out}_sum, {out}_most)
"""


def _blocks(choose: str) -> str:
    """`edge_index`, from what `choose` makes of the squared distances `near` [b, s] of a block.

    `choose` gives `sources` and `queries`, int64 of one shape, and `good`, bool of the same shape. It may use `same`
    [b, s], whether a pair is of one graph, `from` int64 [s], the numbers of the sources, and `rows` int64 [b, 1], those
    of the queries.
    """
    return f"""
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  first = Constant <value_ints = [0]> ()
  minus_one = Constant <value_ints = [-1]> ()
  block = Constant <value_int = {_BLOCK}> ()
  loop = Constant <value_int: int = @loop> ()
  loops = Cast <to = 9> (loop)
  queries_in_all = Size (batch_y)
  up = Constant <value_int = {_BLOCK - 1}> ()
  raised = Add (queries_in_all, up)
  blocks = Div (raised, block)
  yes = Constant <value = bool {{1}}> ()
  none_size = Constant <value_ints = [2, 0]> ()
  none = ConstantOfShape <value = int64[1] {{0}}> (none_size)
  edges = Loop (blocks, yes, none) <body = one_block
      (int64 i, bool go, int64[2, e] before) => (bool on, int64[2, f] after) {{
      on = Identity (go)
      begin = Mul (i, block)
      past = Add (begin, block)
      end = Min (past, queries_in_all)
      begins = Reshape (begin, minus_one)
      ends = Reshape (end, minus_one)
      y_block = Slice (y, begins, ends, first)
      graph_y = Slice (batch_y, begins, ends, first)
      low = ReduceMin <keepdims = 0> (graph_y)
      high = ReduceMax <keepdims = 0> (graph_y)
      not_below = GreaterOrEqual (batch_x, low)
      not_above = LessOrEqual (batch_x, high)
      inside = And (not_below, not_above)
      places = NonZero (inside)
      from = Reshape (places, minus_one)
      x_block = Gather <axis = 0> (x, from)
      graph_x = Gather <axis = 0> (batch_x, from)
      last_axis = Constant <value_ints = [1]> ()
      graph_rows = Unsqueeze (graph_y, last_axis)
      same = Equal (graph_rows, graph_x)
      numbers = Range (begin, end, one)
      rows = Unsqueeze (numbers, last_axis)
      size = Shape (same)
{_distances("x_block", "y_block", "size", "near")}
{choose}
      source_list = Reshape (sources, minus_one)
      query_list = Reshape (queries, minus_one)
      good_list = Reshape (good, minus_one)
      kept_sources = Compress <axis = 0> (source_list, good_list)
      kept_queries = Compress <axis = 0> (query_list, good_list)
      upper = Unsqueeze (kept_sources, first)
      lower = Unsqueeze (kept_queries, first)
      found = Concat <axis = 0> (upper, lower)
      after = Concat <axis = 1> (before, found)
  }}>
  two_rows = Constant <value_ints = [2, -1]> ()
  edge_index = Reshape (edges, two_rows)
"""


_NEAREST = """
      infinity = Constant <value = float {inf}> ()
      only = Where (same, near, infinity)
      k = Constant <value_int: int = @k> ()
      extra = Sub (one, loop)
      k_more = Add (k, extra)
      there = Size (from)
      k_there = Min (k_more, there)
      how_many = Reshape (k_there, minus_one)
      distance, at = TopK <largest = 0, sorted = 1> (only, how_many)
      sources = Gather <axis = 0> (from, at)
      found_size = Shape (at)
      queries = Expand (rows, found_size)
      real = Less (distance, infinity)
      itself = Equal (sources, queries)
      other = Not (itself)
      allowed = Or (other, loops)
      good = And (real, allowed)
"""

_WITHIN = """
      square = Constant <value_float: float = @squared_radius> ()
      close = Less (near, square)
      together = And (close, same)
      sources = Expand (from, size)
      queries = Expand (rows, size)
      itself = Equal (sources, queries)
      other = Not (itself)
      allowed = Or (other, loops)
      candidates = And (together, allowed)
      ones = Cast <to = 6> (candidates)
      axis = Constant <value_int = 1> ()
      rank = CumSum (ones, axis)
      most = Constant <value_int: int = @max_num_neighbors> ()
      most_there = Cast <to = 6> (most)
      early = LessOrEqual (rank, most_there)
      good = And (candidates, early)
"""

_FARTHEST = f"""
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  first = Constant <value_ints = [0]> ()
  minus_one = Constant <value_ints = [-1]> ()
  last_one = Constant <value_ints = [1]> ()
  yes = Constant <value = bool {{1}}> ()
  with_none = Concat <axis = 0> (batch, minus_one)
  last_graph = ReduceMax <keepdims = 0> (with_none)
  graphs = Add (last_graph, one)
  none = ConstantOfShape <value = int64[1] {{0}}> (first)
  ratio = Constant <value_float: float = @ratio> ()
  points_found = Loop (graphs, yes, none) <body = one_graph
      (int64 g, bool go, int64[e] before) => (bool on, int64[f] after) {{
      on = Identity (go)
      inside = Equal (batch, g)
      places = NonZero (inside)
      own = Reshape (places, minus_one)
      points = Gather <axis = 0> (x, own)
      there = Size (own)
      there_float = Cast <to = 1> (there)
      share = Mul (there_float, ratio)
      whole = Ceil (share)
      wanted = Cast <to = 7> (whole)
      counts = Reshape (there, minus_one)
      size = Concat <axis = 0> (last_one, counts)
      far = ConstantOfShape <value = float[1] {{inf}}> (counts)
      last_at, last_least, picked = Loop (wanted, yes, zero, far) <body = one_point
          (int64 j, bool go_on, int64 at, float[n] least)
          => (bool still, int64 next, float[n] less, int64 picked_one) {{
          still = Identity (go_on)
          picked_one = Identity (at)
          at_list = Reshape (at, minus_one)
          y_block = Gather <axis = 0> (points, at_list)
{_distances("points", "y_block", "size", "near")}
          near_row = Reshape (near, minus_one)
          less = Min (least, near_row)
          next = ArgMax <axis = 0, keepdims = 0> (less)
      }}>
      found = Gather <axis = 0> (own, picked)
      after = Concat <axis = 0> (before, found)
  }}>
  index = Reshape (points_found, minus_one)
"""

_POINTS = "x, y, batch_x, batch_y"

# name -> (attributes with their defaults, inputs, outputs, body)
GEOMETRY: dict[str, tuple[str, str, str, str]] = {
    "Knn": ("k: int = 1, loop: int = 1", _POINTS, "edge_index", _blocks(_NEAREST)),
    "Radius": (
        "squared_radius: float = 0.0, max_num_neighbors: int = 1, loop: int = 1",
        _POINTS,
        "edge_index",
        _blocks(_WITHIN),
    ),
    "FarthestPoints": ("ratio: float = 0.5", "x, batch", "index", _FARTHEST),
}
