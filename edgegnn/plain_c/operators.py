"""The table of operators that have a C form: (domain, operator) -> what writes its C code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from edgegnn.plain_c import dense, graph_operators, integer_operators, row_operators, shaping
from edgegnn.plain_c.builder import Builder, Node
from edgegnn.plain_c.elementwise import Elementwise, cast, clip, elementwise, power
from edgegnn.plain_c.graph_operators import AttentionForm, Reduction, WeightedForm
from edgegnn.plain_c.integer_operators import GemmForm, SpmmForm
from edgegnn.plain_c.row_operators import LastAxis

__all__ = ["EMITTERS", "Emitter"]

Emitter = Callable[[Builder, Node], None]

_ELEMENTWISE: Mapping[str, Elementwise] = {
    "Abs": Elementwise("({0} < 0 ? -{0} : {0})"),
    "Add": Elementwise("{0} + {1}"),
    "And": Elementwise("({0} && {1})", truth=True),
    "Div": Elementwise("{0} / {1}"),
    "Elu": Elementwise("({0} < 0.0f ? {alpha} * (exponential({0}) - 1.0f) : {0})", (("alpha", 1.0),), ("exponential",)),
    "Equal": Elementwise("({0} == {1})", truth=True),
    "Exp": Elementwise("exponential({0})", kernels=("exponential",)),
    "Greater": Elementwise("({0} > {1})", truth=True),
    "GreaterOrEqual": Elementwise("({0} >= {1})", truth=True),
    "LeakyRelu": Elementwise("({0} < 0.0f ? {alpha} * {0} : {0})", (("alpha", 0.01),)),
    "Less": Elementwise("({0} < {1})", truth=True),
    "LessOrEqual": Elementwise("({0} <= {1})", truth=True),
    "Max": Elementwise("({0} > {1} || {0} != {0} ? {0} : {1})", folds=True),
    "Min": Elementwise("({0} < {1} || {0} != {0} ? {0} : {1})", folds=True),
    "Mul": Elementwise("{0} * {1}"),
    "Neg": Elementwise("-{0}"),
    "Not": Elementwise("!{0}", truth=True),
    "Or": Elementwise("({0} || {1})", truth=True),
    "Reciprocal": Elementwise("1.0f / {0}"),
    "Relu": Elementwise("({0} < 0.0f ? 0.0f : {0})"),
    "Sigmoid": Elementwise("1.0f / (1.0f + exponential(-{0}))", kernels=("exponential",)),
    "Sqrt": Elementwise("root({0})", kernels=("root",)),
    "Sub": Elementwise("{0} - {1}"),
    "Sum": Elementwise("{0} + {1}", folds=True),
    "Tanh": Elementwise("1.0f - 2.0f / (exponential(2.0f * {0}) + 1.0f)", kernels=("exponential",)),
    "Where": Elementwise("({0} ? {1} : {2})"),
}

_STANDARD: Mapping[str, Emitter] = {
    "BatchNormalization": dense.batch_norm,
    "Cast": cast,
    "Clip": clip,
    "Concat": shaping.concat,
    "DequantizeLinear": integer_operators.dequantize_linear,
    "Gather": shaping.gather,
    "Gemm": dense.gemm,
    "Identity": shaping.identity,
    "MatMul": dense.matmul,
    "Pow": power,
    "QuantizeLinear": integer_operators.quantize_linear,
    "Expand": row_operators.expand,
    "LayerNormalization": row_operators.layer_norm,
    "MatMulInteger": row_operators.matmul_integer,
    "ReduceL2": partial(row_operators.reduce_last, LastAxis(4)),
    "ReduceMax": partial(row_operators.reduce_last, LastAxis(2)),
    "ReduceMean": partial(row_operators.reduce_last, LastAxis(1)),
    "ReduceMin": partial(row_operators.reduce_last, LastAxis(3)),
    "ReduceSum": partial(row_operators.reduce_last, LastAxis(0)),
    "Reshape": shaping.reshape,
    "Shape": shaping.shape_of,
    "Split": shaping.split,
    "Squeeze": shaping.squeeze,
    "Unsqueeze": shaping.unsqueeze,
    **{name: partial(elementwise, form) for name, form in _ELEMENTWISE.items()},
}

_OWN: Mapping[str, Emitter] = {
    "AttentionSpMM": partial(graph_operators.attention_spmm, AttentionForm()),
    "CooToCsr": graph_operators.coo_to_csr,
    "CsrDegree": graph_operators.csr_degree,
    "IndexToCsr": graph_operators.index_to_csr,
    "QAttentionSpMM": partial(graph_operators.attention_spmm, AttentionForm(codes=True, floats=False)),
    "QAttentionSpMMFloat": partial(graph_operators.attention_spmm, AttentionForm(codes=True)),
    "QGemm": partial(integer_operators.qgemm, GemmForm()),
    "QGemmFloat": partial(integer_operators.qgemm, GemmForm(floats=True)),
    "QGemmNorm": partial(integer_operators.qgemm, GemmForm(norms=True)),
    "QGemmNormFloat": partial(integer_operators.qgemm, GemmForm(floats=True, norms=True)),
    "QSpMM": partial(integer_operators.qspmm, SpmmForm()),
    "QSpMMFloat": partial(integer_operators.qspmm, SpmmForm(floats=True)),
    "QSpMMWeighted": partial(graph_operators.spmm_weighted, WeightedForm(codes=True, floats=False)),
    "QSpMMWeightedFloat": partial(graph_operators.spmm_weighted, WeightedForm(codes=True)),
    "QuantizeGemm": partial(integer_operators.qgemm, GemmForm(quantizes=True)),
    "QuantizeGemmFloat": partial(integer_operators.qgemm, GemmForm(floats=True, quantizes=True)),
    "QuantizeGemmNorm": partial(integer_operators.qgemm, GemmForm(quantizes=True, norms=True)),
    "QuantizeGemmNormFloat": partial(integer_operators.qgemm, GemmForm(floats=True, quantizes=True, norms=True)),
    "QuantizeRows": row_operators.quantize_rows,
    "SegmentSoftmax": graph_operators.segment_softmax,
    "SegmentMax": partial(graph_operators.reduce_rows, Reduction(2, segments=True)),
    "SegmentMean": partial(graph_operators.reduce_rows, Reduction(1, segments=True)),
    "SegmentMin": partial(graph_operators.reduce_rows, Reduction(3, segments=True)),
    "SegmentSum": partial(graph_operators.reduce_rows, Reduction(0, segments=True)),
    "SpMM": partial(graph_operators.reduce_rows, Reduction(0)),
    "SpMMMax": partial(graph_operators.reduce_rows, Reduction(2)),
    "SpMMMean": partial(graph_operators.reduce_rows, Reduction(1)),
    "SpMMMin": partial(graph_operators.reduce_rows, Reduction(3)),
    "SpMMWeighted": partial(graph_operators.spmm_weighted, WeightedForm()),
    "SparseGemm": dense.matmul,
}

EMITTERS: Mapping[tuple[str, str], Emitter] = {
    **{("", name): emitter for name, emitter in _STANDARD.items()},
    **{("ai.edgegnn", name): emitter for name, emitter in _OWN.items()},
}
