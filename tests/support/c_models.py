"""A small INT8 model as the exporter writes it, graphs for it, and its answers by the operators' numpy reference."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgegnn.native.reference import run

FEATURES, HIDDEN, CLASSES = 5, 12, 3
CODES = ("codes", "sums", "hidden")
_SPMM = {"x_scale": 0.03, "x_zero_point": 119, "self_weight": 1.25, "y_scale": 0.11, "y_zero_point": 100}
_GEMM = {"x_scale": 0.11, "x_zero_point": 100, "clip_low": 0.0, "y_scale": 0.02, "y_zero_point": 3}
_NORM = {"x_scale": 0.02, "x_zero_point": 3, "clip_low": 0.0, "clip_high": 6.0}


def _constants(bits: tuple[int, int] = (8, 8)) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(5)
    floats = {name: draw.normal(size=HIDDEN).astype(np.float32) for name in ("bias1", "bias2", "gain", "shift")}
    scales = {name: draw.uniform(1e-3, 3e-3, HIDDEN).astype(np.float32) for name in ("scale1", "scale2")}
    return {
        "x_scale": np.array(0.03, np.float32),
        "x_zero": np.array(119, np.uint8),
        "one": np.ones(1, np.float32),
        "none": np.zeros(1, np.float32),
        "first": np.array([1], np.int64),
        "w1": draw.integers(-127, 128, (FEATURES, HIDDEN)).astype(np.int8) >> (8 - bits[0]),
        "w2": draw.integers(-127, 128, (HIDDEN, HIDDEN)).astype(np.int8) >> (8 - bits[1]),
        "w3": draw.integers(-127, 128, (CLASSES, HIDDEN)).astype(np.int8),
        "scale3": draw.uniform(1e-3, 3e-3, CLASSES).astype(np.float32),
        "zero3": np.zeros(CLASSES, np.int8),
        "bias3": draw.normal(size=CLASSES).astype(np.float32),
        **floats,
        **scales,
    }


def gin(bits: tuple[int, int] = (8, 8)) -> onnx.ModelProto:
    """One GIN layer in integers, a batch norm, mean pooling and a float classifier.

    Args:
        bits: of the weights of its two products.
    """

    def own(op, inputs, outputs, **attributes):
        return helper.make_node(op, inputs, outputs, f"model.{op}", domain="ai.edgegnn", **attributes)

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["codes"]),
        helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
        helper.make_node("Squeeze", ["shape"], ["nodes"]),
        own("CooToCsr", ["edge_index", "nodes", "nodes"], ["indptr", "col", "row", "perm"]),
        own("QSpMM", ["codes", "indptr", "col", "row", "nodes", "one", "none"], ["sums"], **_SPMM),
        own("QGemm", ["sums", "w1", "scale1", "one", "bias1", "none"], ["hidden"], **_GEMM),
        own(
            "QGemmNormFloat",
            ["hidden", "w2", "scale2", "one", "bias2", "none", "gain", "shift"],
            ["features"],
            **_NORM,
        ),
        helper.make_node("ReduceMax", ["batch"], ["last"], keepdims=1),
        helper.make_node("Add", ["last", "first"], ["graphs"]),
        own("IndexToCsr", ["batch", "graphs"], ["pool", "pool_row", "pool_perm"]),
        own("SegmentMean", ["features", "pool", "pool_row", "pool_perm", "graphs"], ["pooled"]),
        helper.make_node("DequantizeLinear", ["w3", "scale3", "zero3"], ["weight3"], axis=0),
        helper.make_node("Gemm", ["pooled", "weight3", "bias3"], ["logits"], "model.lin", transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "gin",
        [
            value("x", TensorProto.FLOAT, ["num_nodes", FEATURES]),
            value("edge_index", TensorProto.INT64, [2, "num_edges"]),
            value("batch", TensorProto.INT64, ["num_nodes"]),
        ],
        [value("logits", TensorProto.FLOAT, ["num_graphs", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in _constants(bits).items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.edgegnn", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


_WEIGHTED = {"x_scale": 0.03, "x_zero_point": 119, "y_scale": 0.2, "y_zero_point": 90}
_LEAST = {"least_sum": 0.5}
_PRODUCT = {"x_scale": 0.05, "x_zero_point": 9, "low": 0.0, "clip_high": 40.0}
_MLP = {"x_scale": 0.03, "x_zero_point": 119, "hidden_scale": 0.4, "hidden_zero_point": 2, "hidden_low": 0.0}
_AGGREGATIONS = (
    "largest",
    "mean",
    "weighted",
    "weighted_codes",
    "softmax",
    "pair",
    "pair_edges",
    "dot",
    "dot_edges",
    "mixed",
    "edge_mlp",
    "edge_product",
    "edge_codes",
    "gated",
    "gated_edges",
    "rows",
    "normalised_codes",
    "normalised",
)


def aggregations() -> onnx.ModelProto:
    """Sums by weights of floats and of codes, codes with a step a column, products of rows divided by their sums."""
    graph = ["indptr", "col", "row"]
    ops = [
        ("CooToCsr", ["edge_index", "nodes", "nodes"], [*graph, "perm"], {}),
        ("SpMMMax", ["x", *graph, "nodes"], ["largest"], {}),
        ("SpMMMean", ["x", *graph, "nodes"], ["mean"], {}),
        ("SpMMWeighted", ["x", "edge_weight", *graph, "perm", "nodes"], ["weighted"], {}),
        (
            "QSpMMWeighted",
            ["codes", "edge_weight", *graph, "perm", "nodes", "one", "none"],
            ["weighted_codes"],
            _WEIGHTED,
        ),
        ("SegmentSoftmax", ["edge_weight", "indptr", "row", "perm", "nodes"], ["softmax"], {}),
        ("PairAttention", ["block", "block", "att", *graph, "nodes"], ["pair"], {"negative_slope": 0.3}),
        (
            "PairAttentionEdges",
            ["block", "block", "att", "features", "product", *graph, "perm", "nodes"],
            ["pair_edges"],
            {},
        ),
        ("DotAttention", ["block", "block", *graph, "nodes"], ["dot"], {"scale": 0.01}),
        (
            "DotAttentionEdges",
            ["block", "block", "queries", "features", *graph, "perm", "nodes"],
            ["dot_edges", "mixed"],
            {"scale": 0.01},
        ),
        (
            "QEdgeMlpMax",
            ["x", "x", "both", "three", "three", "back", "five", "none", *graph, "nodes"],
            ["edge_mlp"],
            _MLP,
        ),
        ("EdgeProductMax", ["x", "x", "small_floats", "three", *graph, "nodes"], ["edge_product"], {"low": 0.0}),
        ("QEdgeProductMax", ["x", "x", "small", "three", "none", *graph, "nodes"], ["edge_codes"], _PRODUCT),
        ("GatedSum", ["x"] * 4 + [*graph, "nodes"], ["gated"], {}),
        (
            "GatedSumEdges",
            ["x"] * 4 + ["features", "product", "product", *graph, "perm", "nodes"],
            ["gated_edges"],
            {},
        ),
        ("QuantizeRows", ["x", "steps", "tops", "one"], ["rows"], {"signed": 1}),
        (
            "NormalizeQuantizeGemm",
            ["x", "small", "three", "one", "none", "none"],
            ["normalised_codes"],
            {**_WEIGHTED, **_LEAST},
        ),
        ("NormalizeSparseGemm", ["x", "small_floats", "three"], ["normalised"], _LEAST),
    ]
    start = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["codes"]),
        helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
        helper.make_node("Squeeze", ["shape"], ["nodes"]),
        helper.make_node("Reshape", ["x", "one_head"], ["block"]),
        helper.make_node("Unsqueeze", ["edge_weight", "first"], ["features"]),
        helper.make_node("ReduceSum", ["block", "last_axis"], ["queries"], keepdims=1),
    ]
    value = helper.make_tensor_value_info
    constants = {**_constants(), **_steps()}
    made = helper.make_graph(
        [*start, *(helper.make_node(o, i, y, domain="ai.edgegnn", **a) for o, i, y, a in ops)],
        "aggregations",
        [
            value("x", TensorProto.FLOAT, ["num_nodes", FEATURES]),
            value("edge_index", TensorProto.INT64, [2, "num_edges"]),
            value("edge_weight", TensorProto.FLOAT, ["num_edges"]),
        ],
        [value(name, TensorProto.UNDEFINED, None) for name in _AGGREGATIONS],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.edgegnn", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9)


def _steps() -> dict[str, np.ndarray]:
    steps = np.linspace(0.05, 0.4, FEATURES, dtype=np.float32)[None]
    weights = np.arange(-7, 8).reshape(FEATURES, 3)
    return {
        "steps": steps,
        "tops": np.array([[7, 1, 127, 3, 15]], np.float32),
        "small": weights.astype(np.int8),
        "small_floats": weights.astype(np.float32),
        "both": np.concatenate([weights, -weights[::-1]]).astype(np.int8),
        "back": weights.T.astype(np.int8),
        "five": np.linspace(0.1, 0.9, FEATURES, dtype=np.float32),
        "one_head": np.array([-1, 1, FEATURES]),
        "last_axis": np.array([2]),
        "att": np.linspace(-1, 2, FEATURES, dtype=np.float32)[None],
        "product": np.linspace(-2, 2, FEATURES, dtype=np.float32)[None],
        "three": np.array([0.5, 0.25, 2.0], np.float32),
    }


def aggregated(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `aggregations` gives for a graph."""
    c = {**_constants(), **_steps()}
    x, w, nodes = inputs["x"], inputs["edge_weight"], np.array(len(inputs["x"]))
    codes = np.clip(np.rint(x / c["x_scale"]) + 119, 0, 255).astype(np.uint8)
    indptr, col, row, perm = run("CooToCsr", inputs["edge_index"], nodes, nodes)
    weighted = (w, indptr, col, row, perm, nodes)
    ends, csr, listed = (x[:, None], x[:, None]), (indptr, col, row, nodes), (indptr, col, row, perm, nodes)
    features, queries = w[:, None], x.sum(1, keepdims=True)[:, None]
    found = [
        run("SpMMMax", x, indptr, col, row, nodes),
        run("SpMMMean", x, indptr, col, row, nodes),
        run("SpMMWeighted", x, *weighted),
        run("QSpMMWeighted", codes, *weighted, c["one"], c["none"], **_WEIGHTED),
        run("SegmentSoftmax", w, indptr, row, perm, nodes),
        run("PairAttention", *ends, c["att"], *csr, negative_slope=0.3),
        run("PairAttentionEdges", *ends, c["att"], features, c["product"], *listed),
        run("DotAttention", *ends, *csr, scale=0.01),
        run("DotAttentionEdges", *ends, queries, features, *listed, scale=0.01),
        run("QEdgeMlpMax", x, x, c["both"], c["three"], c["three"], c["back"], c["five"], c["none"], *csr, **_MLP),
        run("EdgeProductMax", x, x, c["small_floats"], c["three"], *csr, low=0.0),
        run("QEdgeProductMax", x, x, c["small"], c["three"], c["none"], *csr, **_PRODUCT),
        run("GatedSum", x, x, x, x, *csr),
        run("GatedSumEdges", x, x, x, x, features, c["product"], c["product"], *listed),
        run("QuantizeRows", x, c["steps"], c["tops"], c["one"], signed=1),
        run("NormalizeQuantizeGemm", x, c["small"], c["three"], c["one"], c["none"], c["none"], **_WEIGHTED, **_LEAST),
        run("NormalizeSparseGemm", x, c["small_floats"], c["three"], **_LEAST),
    ]
    return dict(zip(_AGGREGATIONS, (y for ys in found for y in ys), strict=True))


def graph(nodes: int, edges: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random features and edges, duplicates and loops among them."""
    draw = np.random.default_rng(seed)
    return {
        "x": (draw.normal(size=(nodes, FEATURES)) * draw.choice([0.1, 1.0, 30.0])).astype(np.float32),
        "edge_index": draw.integers(0, nodes, (2, edges)),
        "batch": np.zeros(nodes, np.int64),
    }


def answers(inputs: dict[str, np.ndarray], bits: tuple[int, int] = (8, 8)) -> dict[str, np.ndarray]:
    """What `gin` gives for a graph, its codes included."""
    c = _constants(bits)
    nodes = np.array(len(inputs["x"]))
    # The code of a NaN is the lowest one.
    codes = np.fmax(np.rint(inputs["x"] / c["x_scale"]) + 119, 0)
    found = {"codes": np.clip(codes, 0, 255).astype(np.uint8)}
    csr = run("CooToCsr", inputs["edge_index"], nodes, nodes)
    (found["sums"],) = run("QSpMM", found["codes"], *csr[:3], nodes, c["one"], c["none"], **_SPMM)
    (found["hidden"],) = run("QGemm", found["sums"], c["w1"], c["scale1"], c["one"], c["bias1"], c["none"], **_GEMM)
    rest = (c["w2"], c["scale2"], c["one"], c["bias2"], c["none"], c["gain"], c["shift"])
    (features,) = run("QGemmNormFloat", found["hidden"], *rest, **_NORM)
    pool = run("IndexToCsr", inputs["batch"], np.array(1))
    (pooled,) = run("SegmentMean", features, *pool, np.array(1))
    weight = c["w3"].astype(np.float32) * c["scale3"][:, None]
    found["logits"] = pooled @ weight.T + c["bias3"]
    return found
