"""Function bodies: every op in stock onnxruntime, and with the library where it is built, against numpy."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from rewrite_example import GRAPHS, WAYS, edges, names, one_op, session
from sweep import spread

from edgegnn.exporting.rewrite.functions import OPS, add_functions, function
from edgegnn.exporting.rewrite.functions_edges import EDGES
from edgegnn.exporting.rewrite.functions_geometry import GEOMETRY
from edgegnn.native import reference

CODES = {"x_scale": 0.03, "x_zero_point": 117, "clip_low": 0.0, "clip_high": 40.0}
OUT = {"y_scale": 0.11, "y_zero_point": 7}


def quantized(op, **attributes):
    return {**CODES, **attributes, **({} if op.endswith("Float") else OUT)}


def codes(rng, *shape, dtype=np.uint8):
    low, high = (0, 256) if dtype == np.uint8 else (-128, 128)
    return rng.integers(low, high, shape).astype(dtype)


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def cases(kind):
    """(name, op, csr, inputs without the graph, attributes)."""
    nodes, index = edges(kind)
    count = index.shape[1]
    rng = np.random.default_rng(1)
    f = lambda *shape: floats(rng, *shape)  # noqa: E731
    one = np.ones(1, np.float32)
    for op in ("SpMM", "SpMMMean", "SpMMMax", "SpMMMin"):
        yield f"{op} [C]", op, "CooToCsr", {"x": f(nodes)}, {}
        yield f"{op} [C, F]", op, "CooToCsr", {"x": f(nodes, 5)}, {}
        yield f"{op} [C, H, F]", op, "CooToCsr", {"x": f(nodes, 2, 3)}, {}
    for shape in ((), (1,)):
        yield f"SpMMWeighted [E{shape}]", "SpMMWeighted", "CooToCsr", {"x": f(nodes, 4), "w": f(count, *shape)}, {}
    for shape in ((), (3,), (3, 1)):
        given = {"x": f(nodes, 3, 4), "w": f(count, *shape)}
        yield f"SpMMWeighted heads [E{shape}]", "SpMMWeighted", "CooToCsr", given, {}
    for planes, own, wide in ((1, 1, 5), (3, 1, 20), (1, 3, 5), (4, 4, 37)):
        given = {"x": f(nodes, own, wide), "w": f(count, wide + 3), "d": f(count, planes)}
        yield f"SpMMChannels {planes} {own}", "SpMMChannels", "CooToCsr", given, {"offset": 2}
    for op in ("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin"):
        for shape in ((), (3,), (2, 3)):
            yield f"{op} [E{shape}]", op, "IndexToCsr", {"messages": f(count, *shape)}, {}
    for shape in ((), (3,)):
        yield f"SegmentSoftmax [E{shape}]", "SegmentSoftmax", "IndexToCsr", {"logits": f(count, *shape) * 5}, {}
    yield "CsrDegree", "CsrDegree", "IndexToCsr", {}, {}
    attention = {"a_src": f(nodes, 2), "a_dst": f(nodes, 2)}
    slope = {"negative_slope": 0.3}
    yield "AttentionSpMM", "AttentionSpMM", "CooToCsr", {"x": f(nodes, 2, 3), **attention}, slope
    for heads, wide, deep in ((1, 3, 1), (4, 16, 8), (5, 21, 19)):
        ends, own = (f(nodes, heads, wide) for _ in range(2)), f(count, deep)
        source, target = ends
        pair = {"source": source, "target": target, "att": f(heads, wide)}
        edge = {**pair, "features": own, "product": f(deep, heads * wide)}
        yield f"PairAttention {heads}", "PairAttention", "CooToCsr", pair, slope
        yield f"PairAttentionEdges {heads}", "PairAttentionEdges", "CooToCsr", edge, slope
        dot = {"query": target, "key": source}
        edge = {**dot, "edge_query": f(nodes, heads, deep), "features": own}
        yield f"DotAttention {heads}", "DotAttention", "CooToCsr", dot, {"scale": 0.25}
        yield f"DotAttentionEdges {heads}", "DotAttentionEdges", "CooToCsr", edge, {"scale": 0.25}
    for end in ("", "Float"):
        for dtype in (np.uint8, np.int8):
            x, zero = codes(rng, nodes, 6, dtype=dtype), {"x_zero_point": 117 if dtype == np.uint8 else -3}
            scales = {"row_scale": np.abs(f(nodes)), "bias": f(6)}
            op = f"QSpMM{end}"
            yield f"{op} {x.dtype}", op, "CooToCsr", {"x": x, **scales}, quantized(op, **zero)
            own = quantized(op, self_weight=1.5, **zero)
            yield f"{op} {x.dtype} self", op, "CooToCsr", {"x": x, "row_scale": one, "bias": one}, own
            op = f"QSpMMWeighted{end}"
            yield f"{op} {x.dtype}", op, "CooToCsr", {"x": x, "w": f(count), **scales}, quantized(op, **zero)
            heads = {"x": x.reshape(nodes, 2, 3), "w": f(count, 2), **scales}
            yield f"{op} {x.dtype} heads", op, "CooToCsr", heads, quantized(op, **zero)
            op = f"QAttentionSpMM{end}"
            heads = {"x": x.reshape(nodes, 2, 3), **attention, "bias": f(6)}
            yield f"{op} {x.dtype}", op, "CooToCsr", heads, quantized(op, **slope, **zero)
            product = {"w": codes(rng, 6, 5, dtype=np.int8), "w_scale": np.abs(f(5)) * 0.01}
            bare = {"row_scale": one, "bias": one, "addend": one}
            norm = {"gain": f(5), "shift": f(5)}
            full = {"row_scale": np.abs(f(nodes)), "bias": f(5), "addend": f(nodes, 5)}
            op = f"QGemm{end}"
            yield f"{op} {x.dtype}", op, None, {"x": x, **product, **bare}, quantized(op, **zero)
            yield f"{op} {x.dtype} full", op, None, {"x": x, **product, **full}, quantized(op, **zero)
            op = f"QGemmNorm{end}"
            normed = {"x": x, **product, **full, **norm}
            yield f"{op} {x.dtype}", op, None, normed, quantized(op, clip_low=0.0, **zero)
        op = f"QuantizeGemm{end}"
        x = f(nodes, 6) * (rng.random((nodes, 6)) < 0.3)
        some = quantized(op, x_low=100, x_high=130)
        yield op, op, None, {"x": x, **product, **full}, quantized(op)
        yield f"{op} narrow", op, None, {"x": x, **product, **bare}, some
        op = f"QuantizeGemmNorm{end}"
        yield op, op, None, {"x": x, **product, **full, **norm}, quantized(op, clip_low=0.0)
        words = {"x": np.abs(np.rint(x * 4))}  # whole numbers: a sum is the same in any order
        for op in (f"NormalizeQuantizeGemm{end}", f"NormalizeQuantizeGemmNorm{end}"):
            more = norm if "Norm" in op.removeprefix("Normalize") else {}
            yield op, op, None, {**words, **product, **full, **more}, quantized(op, least_sum=2.0)
    gates = {f"{kind}_{end}": f(nodes, 21) * 4 for kind in ("gate", "value") for end in ("source", "target")}
    yield "GatedSum", "GatedSum", "CooToCsr", gates, {}
    edge = {"features": f(count, 3), "gate_product": f(3, 21), "value_product": f(3, 21)}
    yield "GatedSumEdges", "GatedSumEdges", "CooToCsr", {**gates, **edge}, {}
    ends = {"source": f(nodes, 6), "target": f(nodes, 6), "w": f(6, 5), "bias": f(5)}
    yield "EdgeProductMax", "EdgeProductMax", "CooToCsr", ends, {"low": 0.0}
    rng_2 = np.random.default_rng(2)
    mlp = {"source": floats(rng_2, nodes, 3), "target": floats(rng_2, nodes, 3)}
    for end, shape in (("", (6, 7)), ("2", (7, 5))):
        scales = {f"w{end}_scale": np.abs(floats(rng_2, shape[1])) * 0.01, f"bias{end}": floats(rng_2, shape[1])}
        mlp |= {f"w{end}": codes(rng_2, *shape, dtype=np.int8), **scales}
    numbers = {"x_scale": 0.03, "x_zero_point": 120, "hidden_scale": 0.02, "hidden_zero_point": 3, "hidden_low": 0.0}
    yield "QEdgeMlpMax", "QEdgeMlpMax", "CooToCsr", mlp, numbers
    product = {k: v for k, v in mlp.items() if not k.endswith("2") and "2_" not in k and k not in ("source", "target")}
    product |= {"source": floats(rng_2, nodes, 6), "target": floats(rng_2, nodes, 6)}
    limits = {"x_scale": 0.03, "x_zero_point": 20, "low": 0.0, "clip_high": 9.0}
    yield "QEdgeProductMax", "QEdgeProductMax", "CooToCsr", product, limits
    step, top = 0.1 + np.abs(f(nodes, 1)), rng.choice([0, 1, 7, 127], (nodes, 1)).astype(np.float32)
    columns = {"step": 0.1 + np.abs(f(1, 6)), "top": rng.choice([1, 7, 127], (1, 6)).astype(np.float32)}
    for signed in (0, 1):
        name = f"QuantizeRows {signed}"
        yield name, "QuantizeRows", None, {"x": x, "step": step, "top": top, "factor": one}, {"signed": signed}
        yield f"{name} columns", "QuantizeRows", None, {"x": x, **columns, "factor": f(1, 6)}, {"signed": signed}
        single = {"step": one * 0.3, "top": one * 7, "factor": one * 2}
        yield f"{name} one", "QuantizeRows", None, {"x": x, **single}, {"signed": signed}
    yield "SparseGemm", "SparseGemm", None, {"x": x, "w": f(6, 5), "bias": f(5)}, {}
    yield "SparseGemm one bias", "SparseGemm", None, {"x": x, "w": f(6, 5), "bias": one}, {}
    normalised = {**words, "w": f(6, 5), "bias": f(5)}
    yield "NormalizeSparseGemm", "NormalizeSparseGemm", None, normalised, {"least_sum": 2.0}


def graph_inputs(kind, csr):
    nodes, index = edges(kind)
    rows = np.array(nodes)
    if csr is None:
        return {}
    return (
        {"edge_index": index, "num_rows": rows, "num_cols": rows}
        if csr == "CooToCsr"
        else {"index": index[1].copy(), "num_rows": rows}
    )


def expected(op, csr, graph, given, attributes, way):
    values = {**given, **graph}
    if op in EDGES and way == "stock":  # their weights are in the order of the graph, which a body makes its own way
        none, (source, target) = np.zeros(0, np.int32), graph["edge_index"].astype(np.int32)
        values.update(indptr=none, col=source, row=target, perm=none)
    elif csr is not None:
        takes, gives = names(csr)
        values.update(zip(gives, reference.run(csr, *(values[k] for k in takes)), strict=True))
    return reference.run(op, *(values[k] for k in names(op)[0]), **attributes)


@pytest.mark.parametrize(("kind", "way"), spread(list(GRAPHS), list(WAYS)))
def test_bodies_and_kernels_equal_the_reference(kind, way):
    seen, ran = set(), 0
    for name, op, csr, given, attributes in cases(kind):
        seen.add(op)
        inputs = {**graph_inputs(kind, csr), **given}
        run = session(one_op(op, inputs, attributes, csr), way)
        if run is None:
            continue
        ran += 1
        results = run.run(None, {k: v for k, v in inputs.items() if k in {i.name for i in run.get_inputs()}})
        wanted = expected(op, csr, graph_inputs(kind, csr), given, attributes, way)
        for got, want in zip(results, wanted, strict=True):
            assert got.shape == want.shape, name
            assert got.dtype == want.dtype, name
            if got.dtype == np.uint8:  # a float sum in another order may fall on the other side of a half
                assert np.abs(got.astype(int) - want).max(initial=0) <= 1, name
                assert (got != want).mean() <= 0.02 if got.size else True, name
            else:
                np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5, err_msg=name)
    assert seen == set(OPS) - {"CooToCsr", "IndexToCsr"} - set(GEOMETRY)
    if not ran:
        pytest.skip("the library is not built, or has none of these ops yet")


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("self_loops", [0, 1])
def test_edge_list_stays_as_it_is(kind, self_loops):
    nodes, index = edges(kind)
    inputs = {"edge_index": index, "num_rows": np.array(nodes), "num_cols": np.array(nodes)}
    run = session(one_op("CooToCsr", inputs, {"self_loops": self_loops}))
    indptr, col, row, perm = run.run(None, {k: v for k, v in inputs.items() if k in {i.name for i in run.get_inputs()}})
    kept = index[:, index[0] != index[1]]
    want = np.concatenate([kept, np.tile(np.arange(nodes), (2, 1))], axis=1) if self_loops else index
    np.testing.assert_array_equal(np.stack([col, row]), want)
    assert [v.dtype for v in (indptr, col, row, perm)] == [np.int32] * 4
    assert indptr.size == perm.size == 0


def test_infinite_messages_and_empty_rows():
    """A row that holds only -inf is -inf; a row that holds nothing is 0."""
    inputs = {
        "index": np.array([0, 2]),
        "num_rows": np.array(4),
        "messages": np.array([[-np.inf, 1], [np.inf, -2]], np.float32),
    }
    (got,) = session(one_op("SegmentMax", inputs, csr="IndexToCsr")).run(None, inputs)
    np.testing.assert_array_equal(got, [[-np.inf, 1], [0, 0], [np.inf, -2], [0, 0]])


@pytest.mark.parametrize("opset", [18, 21])
def test_only_what_is_used(opset):
    x, y = ir.Value(name="x"), ir.Value(name="y")
    node = ir.node("IndexToCsr", [x, y], domain="ai.edgegnn", num_outputs=3)
    graph = ir.Graph([x, y], node.outputs, nodes=[node], opset_imports={"": opset}, name="g")
    model = ir.Model(graph, ir_version=10)
    model.functions[function("SpMM").identifier()] = function("SpMM")
    add_functions(model)
    assert [f.name for f in model.functions.values()] == ["IndexToCsr"]
    assert model.opset_imports == {"": opset, "ai.edgegnn": 1}
    assert next(iter(model.functions.values())).opset_imports == {"": opset}


def test_no_scatter_nd_with_a_reduction():
    def nodes(graph):
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                yield from nodes(attribute.g)

    for op in OPS:
        body: onnx.FunctionProto = ir.to_proto(function(op))
        assert all(n.op_type != "ScatterND" and n.domain == "" for n in nodes(body)), op
        named = [
            n.name for n in nodes(body)
        ]  # onnxruntime 1.20 names what it fuses after them: "" would be there twice
        assert "" not in named, op
        assert len(set(named)) == len(named), op
