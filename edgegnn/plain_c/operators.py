"""The table of operators that have a C form: (domain, operator) -> what writes its C code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from edgegnn.plain_c import (
    dense,
    edge_attention,
    edge_mlp,
    gated_sum,
    graph_operators,
    indexing,
    integer_operators,
    moving,
    points,
    recurrent,
    row_operators,
    shaping,
)
from edgegnn.plain_c.builder import Builder, Node
from edgegnn.plain_c.convolutions import POOLS, convolution, pool
from edgegnn.plain_c.einsum import einsum
from edgegnn.plain_c.elementwise import Elementwise, cast, clip, elementwise, power
from edgegnn.plain_c.graph_operators import AttentionForm, Reduction, WeightedForm
from edgegnn.plain_c.integer_operators import GemmForm, SpmmForm
from edgegnn.plain_c.reductions import REDUCTIONS, reduce, softmax

__all__ = ["EMITTERS", "Emitter"]

Emitter = Callable[[Builder, Node], None]

_ELEMENTWISE: Mapping[str, Elementwise] = {
    "Abs": Elementwise("({0} < 0 ? -{0} : {0})"),
    "Add": Elementwise("{0} + {1}"),
    "And": Elementwise("({0} && {1})", truth=True),
    "Atan": Elementwise("arctangent({0})", kernels=("arctangent",)),
    "Ceil": Elementwise("whole({0}, 1)", kernels=("whole",)),
    "Celu": Elementwise(
        "({0} < 0.0f ? {alpha} * (exponential({0} / {alpha}) - 1.0f) : {0})", (("alpha", 1.0),), ("exponential",)
    ),
    "Cos": Elementwise("sine({0}, 1)", kernels=("sine",)),
    "Div": Elementwise("{0} / {1}", whole="({1} == 0 ? 0 : {0} / {1})"),
    "Elu": Elementwise("({0} < 0.0f ? {alpha} * (exponential({0}) - 1.0f) : {0})", (("alpha", 1.0),), ("exponential",)),
    "Equal": Elementwise("({0} == {1})", truth=True),
    "Erf": Elementwise("error_function({0})", kernels=("error_function",)),
    "Exp": Elementwise("exponential({0})", kernels=("exponential",)),
    "Floor": Elementwise("whole({0}, 0)", kernels=("whole",)),
    "Greater": Elementwise("({0} > {1})", truth=True),
    "GreaterOrEqual": Elementwise("({0} >= {1})", truth=True),
    "HardSigmoid": Elementwise(
        "larger(0.0f, {alpha} * {0} + {beta} > 1.0f ? 1.0f : {alpha} * {0} + {beta})",
        (("alpha", 0.2), ("beta", 0.5)),
        ("larger",),
    ),
    "IsInf": Elementwise("({0} == INFINITY || {0} == -INFINITY)", truth=True),
    "IsNaN": Elementwise("({0} != {0})", truth=True),
    "LeakyRelu": Elementwise("({0} < 0.0f ? {alpha} * {0} : {0})", (("alpha", 0.01),)),
    "Less": Elementwise("({0} < {1})", truth=True),
    "LessOrEqual": Elementwise("({0} <= {1})", truth=True),
    "Log": Elementwise("natural_log({0})", kernels=("natural_log",)),
    "Max": Elementwise("({0} > {1} || {0} != {0} ? {0} : {1})", folds=True, whole="({0} > {1} ? {0} : {1})"),
    "Min": Elementwise("({0} < {1} || {0} != {0} ? {0} : {1})", folds=True, whole="({0} < {1} ? {0} : {1})"),
    "Mod": Elementwise(
        "{0} - {1} * whole({0} / {1}, 0)", whole="remainder_of({0}, {1})", kernels=("remainder_of", "whole")
    ),
    "Mul": Elementwise("{0} * {1}"),
    "Neg": Elementwise("-{0}"),
    "Not": Elementwise("!{0}", truth=True),
    "Or": Elementwise("({0} || {1})", truth=True),
    "PRelu": Elementwise("({0} < 0.0f ? {1} * {0} : {0})"),
    "Reciprocal": Elementwise("1.0f / {0}"),
    "Relu": Elementwise("({0} < 0.0f ? 0.0f : {0})"),
    "Round": Elementwise("whole({0}, 2)", kernels=("whole",)),
    "Selu": Elementwise(
        "{gamma} * ({0} < 0.0f ? {alpha} * (exponential({0}) - 1.0f) : {0})",
        (("alpha", 1.67326319), ("gamma", 1.05070102)),
        ("exponential",),
    ),
    "Sigmoid": Elementwise("sigmoid({0})", kernels=("sigmoid",)),
    "Sign": Elementwise("({0} > 0 ? 1 : {0} < 0 ? -1 : {0})"),
    "Sin": Elementwise("sine({0}, 0)", kernels=("sine",)),
    "Softplus": Elementwise(
        "({0} > 0.0f ? {0} + natural_log(exponential(-{0}) + 1.0f) : natural_log(exponential({0}) + 1.0f))",
        kernels=("exponential", "natural_log"),
    ),
    "Softsign": Elementwise("{0} / (1.0f + ({0} < 0.0f ? -{0} : {0}))"),
    "Sqrt": Elementwise("root({0})", kernels=("root",)),
    "Sub": Elementwise("{0} - {1}"),
    "Sum": Elementwise("{0} + {1}", folds=True),
    "Tanh": Elementwise("hyperbolic_tangent({0})", kernels=("hyperbolic_tangent",)),
    "Where": Elementwise("({0} ? {1} : {2})"),
}

_STANDARD: Mapping[str, Emitter] = {
    "BatchNormalization": dense.batch_norm,
    "Cast": cast,
    "Clip": clip,
    "Concat": moving.concat,
    "ConstantOfShape": moving.constant_of_shape,
    "Conv": convolution,
    "CumSum": indexing.cumulative_sum,
    "DequantizeLinear": integer_operators.dequantize_linear,
    "Gather": indexing.gather,
    "GatherElements": indexing.gather_elements,
    "GatherND": indexing.gather_nd,
    "Gemm": dense.gemm,
    "Identity": shaping.identity,
    "MatMul": dense.matmul,
    "Pow": power,
    "QuantizeLinear": integer_operators.quantize_linear,
    "Einsum": einsum,
    "Expand": row_operators.expand,
    "LayerNormalization": row_operators.layer_norm,
    "GRU": recurrent.gru,
    "LSTM": recurrent.lstm,
    "LogSoftmax": softmax,
    "MatMulInteger": row_operators.matmul_integer,
    "NonZero": moving.nonzero,
    "Range": moving.whole_range,
    "Reshape": shaping.reshape,
    "ScatterElements": indexing.scatter_elements,
    "ScatterND": indexing.scatter_nd,
    "Shape": shaping.shape_of,
    "Slice": moving.slice_of,
    "Softmax": softmax,
    "Split": shaping.split,
    "Squeeze": shaping.squeeze,
    "Tile": moving.tile,
    "TopK": indexing.top_k,
    "Transpose": moving.transpose,
    "Unsqueeze": shaping.unsqueeze,
    **dict.fromkeys(POOLS, pool),
    **dict.fromkeys(REDUCTIONS, reduce),
    **{name: partial(elementwise, form) for name, form in _ELEMENTWISE.items()},
}

_OWN: Mapping[str, Emitter] = {
    "AttentionSpMM": partial(graph_operators.attention_spmm, AttentionForm()),
    "CooToCsr": graph_operators.coo_to_csr,
    "CsrDegree": graph_operators.csr_degree,
    "DotAttention": partial(edge_attention.dot_attention, False),
    "DotAttentionEdges": partial(edge_attention.dot_attention, True),
    "EdgeProductMax": partial(edge_mlp.edge_product, False),
    "FarthestPoints": points.farthest_points,
    "GatedSum": partial(gated_sum.gated_sum, False),
    "GatedSumEdges": partial(gated_sum.gated_sum, True),
    "IndexToCsr": graph_operators.index_to_csr,
    "Knn": points.knn,
    "PairAttention": partial(edge_attention.pair_attention, False),
    "PairAttentionEdges": partial(edge_attention.pair_attention, True),
    "QAttentionSpMM": partial(graph_operators.attention_spmm, AttentionForm(codes=True, floats=False)),
    "QAttentionSpMMFloat": partial(graph_operators.attention_spmm, AttentionForm(codes=True)),
    "QEdgeMlpMax": edge_mlp.edge_mlp,
    "QEdgeProductMax": partial(edge_mlp.edge_product, True),
    "QGemm": partial(integer_operators.qgemm, GemmForm()),
    "QGemmFloat": partial(integer_operators.qgemm, GemmForm(floats=True)),
    "QGemmNorm": partial(integer_operators.qgemm, GemmForm(norms=True)),
    "QGemmNormFloat": partial(integer_operators.qgemm, GemmForm(floats=True, norms=True)),
    "QSpMM": partial(integer_operators.qspmm, SpmmForm()),
    "QSpMMFloat": partial(integer_operators.qspmm, SpmmForm(floats=True)),
    "QSpMMWeighted": partial(graph_operators.spmm_weighted, WeightedForm(codes=True, floats=False)),
    "QSpMMWeightedFloat": partial(graph_operators.spmm_weighted, WeightedForm(codes=True)),
    **{
        f"{'Normalize' if normalizes else ''}QuantizeGemm{'Norm' if norms else ''}{'Float' if floats else ''}": partial(
            integer_operators.qgemm, GemmForm(floats=floats, quantizes=True, normalizes=normalizes, norms=norms)
        )
        for normalizes in (False, True)
        for norms in (False, True)
        for floats in (False, True)
    },
    "QuantizeRows": row_operators.quantize_rows,
    "Radius": points.radius,
    "SegmentSoftmax": graph_operators.segment_softmax,
    "SegmentMax": partial(graph_operators.reduce_rows, Reduction(2, segments=True)),
    "SegmentMean": partial(graph_operators.reduce_rows, Reduction(1, segments=True)),
    "SegmentMin": partial(graph_operators.reduce_rows, Reduction(3, segments=True)),
    "SegmentSum": partial(graph_operators.reduce_rows, Reduction(0, segments=True)),
    "SpMM": partial(graph_operators.reduce_rows, Reduction(0)),
    "SpMMMax": partial(graph_operators.reduce_rows, Reduction(2)),
    "SpMMMean": partial(graph_operators.reduce_rows, Reduction(1)),
    "SpMMMin": partial(graph_operators.reduce_rows, Reduction(3)),
    "SpMMChannels": graph_operators.spmm_channels,
    "SpMMWeighted": partial(graph_operators.spmm_weighted, WeightedForm()),
    "NormalizeSparseGemm": dense.normalised_matmul,
    "SparseGemm": dense.matmul,
}

EMITTERS: Mapping[tuple[str, str], Emitter] = {
    **{("", name): emitter for name, emitter in _STANDARD.items()},
    **{("ai.edgegnn", name): emitter for name, emitter in _OWN.items()},
}
