"""Graphs as PyG's layers leave the exporter, in ONNX's text syntax; and a comparison of the graph before and after."""

from __future__ import annotations

import numpy as np
import onnx.parser
from rewrite_example import GRAPHS, WAYS, edges, session

from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.exporting.rewrite.functions import DOMAIN

F, H = 4, 2  # channels; heads
_ENDS = """
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  one_float = Constant <value_float = 1.0> ()
  minus = Constant <value_ints = [-1]> ()
  column = Constant <value_ints = [-1, 1]> ()
  source = Gather <axis = 0> (edge_index, zero)
  target = Gather <axis = 0> (edge_index, one)
  nodes = Shape <start = 0, end = 1> (x)
  edges = Shape <start = 1, end = 2> (edge_index)
"""


def scattered(messages, how, out, tail=(F,), index="target", count="edges", rows="nodes", of=""):
    """PyG's scatter: sum, max or min of messages by row of an index."""
    line = "minus" if not tail else f"{out}_line"
    shaped = "" if not tail else f"{line} = Constant <value_ints = {[-1, *[1] * len(tail)]}> ()\n"
    text = f"""
  {shaped}
  {out}_tail = Constant <value = int64[{len(tail)}] {{{",".join(map(str, tail))}}}> ()
  {out}_view = Reshape <allowzero = 1> ({index}, {line})
  {out}_full = Concat <axis = 0> ({count}, {out}_tail)
  {out}_index = Expand ({out}_view, {out}_full)
  {out}_size = Concat <axis = 0> ({rows}, {out}_tail)
  {out}_zeros = ConstantOfShape ({out}_size)
"""
    start = f"{out}_zeros"
    if how in ("max", "min"):
        other, bound = ("min", -3.4028234663852886e38) if how == "max" else ("max", 3.4028234663852886e38)
        text += f"""
  {out}_shape = Shape <start = 0> ({messages})
  {out}_bound = ConstantOfShape <value = float[1] {{{bound}}}> ({out}_shape)
  {out}_start = ScatterElements <axis = 0, reduction = "{other}"> ({start}, {out}_index, {out}_bound)
"""
        start = f"{out}_start"
    return (
        text
        + f"""
  {out} = ScatterElements <axis = 0, reduction = "{how}"> ({start}, {out}_index, {messages})
"""
    )


def looked_up(table, end, out):
    """PyG's index_select."""
    return f"""
  {out}_at = Reshape ({end}, minus)
  {out} = Gather <axis = 0> ({table}, {out}_at)
"""


def counted(out, index="target", count="edges", rows="nodes"):
    """PyG's degree of each row, one where nothing ends."""
    return f"""
  {out}_ones = Expand (one_float, {count})
  {out}_zeros = ConstantOfShape ({rows})
  {out}_degree = ScatterElements <axis = 0, reduction = "add"> ({out}_zeros, {index}, {out}_ones)
  {out} = Max ({out}_degree, one_float)
"""


def divided(summed, count, out, tail=(F,), rows="nodes"):
    """PyG's mean of a sum."""
    ones = [-1, *[1] * len(tail)]
    return f"""
  {out}_ones = Constant <value_ints = {ones}> ()
  {out}_tail = Constant <value_ints = {list(tail)}> ()
  {out}_view = Reshape ({count}, {out}_ones)
  {out}_size = Concat <axis = 0> ({rows}, {out}_tail)
  {out}_share = Expand ({out}_view, {out}_size)
  {out} = Div ({summed}, {out}_share)
"""


def softmaxed(logits, out, heads=(H,), index="target", count="edges"):
    """PyG's softmax over edges."""
    return f"""
{scattered(logits, "max", out + "_top", heads, index, count)}
{looked_up(out + "_top", index, out + "_top_of")}
  {out}_below = Sub ({logits}, {out}_top_of)
  {out}_power = Exp ({out}_below)
{scattered(out + "_power", "add", out + "_sum", heads, index, count)}
{looked_up(out + "_sum", index, out + "_sum_of")}
  {out} = Div ({out}_power, {out}_sum_of)
"""


LOOPS = """
  same = Equal (source, target)
  different = Not (same)
  places = NonZero (different)
  turned = Transpose <perm = [1, 0]> (places)
  axis_1 = Constant <value_ints = [1]> ()
  keep = Squeeze (turned, axis_1)
  pairs = Transpose <perm = [1, 0]> (edge_index)
  keep_at = Unsqueeze (keep, minus)
  kept_pairs = GatherND (pairs, keep_at)
  kept = Transpose <perm = [1, 0]> (kept_pairs)
  number = Squeeze (nodes)
  range = Range (zero, number, one)
  row_of = Constant <value_ints = [1, -1]> ()
  line = Reshape (range, row_of)
  twice = Constant <value_ints = [2, 1]> ()
  loops = Tile (line, twice)
  all_edges = Concat <axis = 1> (kept, loops)
  all_source = Gather <axis = 0> (all_edges, zero)
  all_target = Gather <axis = 0> (all_edges, one)
  all_count = Shape <start = 1, end = 2> (all_edges)
"""


def gcn_norm(out, source="source", target="target", count="edges"):
    """PyG's deg^-1/2 of both ends of each edge."""
    return f"""
{counted(out + "_least", target, count)}
  {out}_half = Constant <value_float = -0.5> ()
  {out}_power = Pow ({out}_least_degree, {out}_half)
  {out}_infinite = Constant <value = float {{inf}}> ()
  {out}_bad = Equal ({out}_power, {out}_infinite)
  {out}_nought = Constant <value_float = 0.0> ()
  {out}_safe = Where ({out}_bad, {out}_nought, {out}_power)
{looked_up(out + "_safe", source, out + "_s")}
{looked_up(out + "_safe", target, out + "_t")}
  {out}_ones = Expand (one_float, {count})
  {out}_first = Mul ({out}_s, {out}_ones)
  {out} = Mul ({out}_first, {out}_t)
"""


def model(body, extra="", tail=(F,), out="y", rows="num_nodes", weights=()):
    """A model from x float32 [N, F] and edge_index to `out` [rows, *tail]; `extra` are more inputs in text syntax.

    Args:
        body: its nodes.
        extra: more inputs.
        tail: sizes of the output after the first.
        out: name of the output.
        rows: its first dimension.
        weights: (name, array) of initializers.
    """
    sizes = ",".join(map(str, (rows, *tail)))
    more = f", {extra}" if extra else ""
    made = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["": 18]>
        graph (float[num_nodes,{F}] x, int64[2,num_edges] edge_index{more}) => (float[{sizes}] {out}) {{
        {_ENDS}{body} }}"""
    )
    made.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights)
    for node in made.graph.node:
        node.name = f"conv.aggr_module/{node.output[0]}"
    return made


def inputs_of(made, kind, seed=0):
    """Random inputs of a model for one of the graphs of `rewrite_example`."""
    nodes, index = edges(kind, seed)
    rng = np.random.default_rng(seed + 1)
    sizes = {"num_nodes": nodes, "num_edges": index.shape[1]}
    given = {"edge_index": index}
    for value in made.graph.input:
        shape = [d.dim_value or sizes[d.dim_param] for d in value.type.tensor_type.shape.dim]
        if value.name == "batch":
            some = rng.integers(0, 4, nodes)
            given["batch"] = np.sort(np.where(np.arange(nodes) < 4, np.arange(nodes), some)).astype(np.int64)
        elif value.name != "edge_index":
            given[value.name] = rng.standard_normal(shape).astype(np.float32)
    return given


def rewritten(made):
    """The rewritten model, its outcomes, and the names of its native ops."""
    found = rewrite_proto(made)
    after, outcomes = found.model, found.aggregations
    onnx.checker.check_model(after)
    return after, outcomes, [n.op_type for n in after.graph.node if n.domain == DOMAIN]


def assert_rewritten(made, *ops, outcomes=None, tolerance=1e-5):
    """The model becomes these native ops, and computes the same on all graphs, with the library and without it."""
    after, found, names = rewritten(made)
    assert sorted(names) == sorted(ops)
    assert not [n for n in after.graph.node if n.op_type in ("ScatterElements", "ScatterND")]
    assert {f.name for f in after.functions} == set(ops)
    assert all(n.metadata_props == [] for n in after.graph.node)
    assert_same(made, after, tolerance)
    if outcomes is not None:
        assert [(o.aggregation, o.rule) for o in found] == outcomes
    assert {o.layer for o in found} == {"conv"}
    return after


def assert_same(made, after, tolerance=1e-5):
    """Two models compute the same."""
    before = session(made)
    runs = [run for run in (session(after, way) for way in WAYS) if run is not None]
    for kind in GRAPHS:
        given = inputs_of(made, kind)
        (want,) = before.run(None, given)
        for run in runs:
            (got,) = run.run(None, {k: given[k] for k in (i.name for i in run.get_inputs())})
            assert got.shape == want.shape, kind
            scale = max(1.0, float(np.abs(want).max(initial=0)))
            np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale, err_msg=kind)
