"""Rewrite rules that put `ai.edgegnn` ops into an exported graph: `rewrite` applies them, in the order below.

    1  normal       plain row look-ups, constants as initializers
    2  Rows         every reduction of rows by an index becomes a Segment op
    3  Degree, Mean, EdgeSoftmax            what several reductions make together
    4  RowScales, Weighted, Channels, Neighbours
                                            rows that are looked up and reduced at once: SpMM
    5  EdgeValues, PairScores, DotScores    softmax of scores of both ends at once, GATv2 and transformers
       EdgeProduct                          products of both ends' rows and their maximum
       GatedMessages                        sums of messages with a gate for each channel
       Attention, Pool                      softmax and weighted sum at once; reductions by graph
    6  ShareCsr, SelfLoops                  one CSR for all layers
    7  TransformFirst, AggregateFirst       sums where rows are narrower; BiasJoins after them
    7  scores       attention scores as one matrix product
    8  IdlePair     Q/DQ pairs of post-training quantization that no integer operator reads
       integer      where Q/DQ pairs meet products and sums over neighbours: QGemm, QSpMM, ...
       RowNormalisation                     rows divided by their sums, in the product that reads them
       EdgeMlp, QEdgeProduct                products of both ends' rows and their maximum, at once

    9  SparseInput  products of x skip its zeros, where the data says that most entries are
       OneLayout    reshapes of reshapes

Each rule is a class with a pattern, a check that declines with a reason, and a rewrite; one file holds a family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from edgegnn.exporting.rewrite import canonicalize, integer, scores
from edgegnn.exporting.rewrite.aggregate import Mean, Neighbours, Rows, Weighted
from edgegnn.exporting.rewrite.channels import Channels
from edgegnn.exporting.rewrite.csr import Degree, SelfLoops, ShareCsr
from edgegnn.exporting.rewrite.edge_attention import DotScores, EdgeValues, FeaturePair, PairScores
from edgegnn.exporting.rewrite.edge_mlp import EdgeMlp, EdgeProduct, QEdgeProduct
from edgegnn.exporting.rewrite.functions import DOMAIN, add_functions
from edgegnn.exporting.rewrite.functions_geometry import GEOMETRY
from edgegnn.exporting.rewrite.gated_sum import GatedMessages
from edgegnn.exporting.rewrite.gcn import RowScales
from edgegnn.exporting.rewrite.graph_editor import LAYER, NEAREST, REASON, RULE, Sheet, layer_path
from edgegnn.exporting.rewrite.idle_pairs import IdlePair
from edgegnn.exporting.rewrite.layouts import OneLayout
from edgegnn.exporting.rewrite.node_side import LookUpLater, SplitSums, Spread
from edgegnn.exporting.rewrite.pooling import Pool
from edgegnn.exporting.rewrite.reorder_linear import AggregateFirst, BiasJoins, TransformFirst
from edgegnn.exporting.rewrite.row_normalisation import RowNormalisation
from edgegnn.exporting.rewrite.rule import Rule, apply
from edgegnn.exporting.rewrite.softmax import Attention, EdgeSoftmax
from edgegnn.exporting.rewrite.sparse import SparseInput
from edgegnn.exporting.rewrite.split_products import QuantizeParts, SplitLinear
from edgegnn.exporting.rewrite.unify_dims import unify_sizes
from edgegnn.exporting.simplify import share_constants
from edgegnn.exporting.tracing import quiet

__all__ = ["Outcome", "Refusal", "Rewritten", "rewrite", "rewrite_proto"]

_ORDER: tuple[Rule[Any], ...] = (
    *canonicalize.RULES,
    Rows(),
    Degree(),
    Mean(),
    EdgeSoftmax(),
    QuantizeParts(),
    LookUpLater(),
    SplitLinear(),
    Spread(),
    SplitSums(),
    LookUpLater(),
    RowScales(),
    Weighted(),
    Channels(),
    Neighbours(),
    FeaturePair(),
    EdgeValues(),
    PairScores(),
    DotScores(),
    EdgeProduct(),
    GatedMessages(),
    Attention(),
    Pool(),
    ShareCsr(),
    SelfLoops(),
    TransformFirst(),
    AggregateFirst(),
    BiasJoins(),
    *scores.RULES,
)
_INTEGER: tuple[Rule[Any], ...] = (*integer.RULES, RowNormalisation(), EdgeMlp(), QEdgeProduct())


@dataclass(frozen=True)
class Outcome:
    """What became of one aggregation.

    Attributes:
        layer: path of the layer that it belongs to, "" for the model itself.
        aggregation: what it computes, in words.
        rule: the rule that put a native op in its place; None when it stayed as it was.
        reason: why none did, or why not a faster one; "" when there is nothing to say.
        nearest: the rule that came nearest and gave the reason; "" where none came near.
    """

    layer: str
    aggregation: str
    rule: str | None
    reason: str
    nearest: str = ""


@dataclass(frozen=True)
class Refusal:
    """A place beside the aggregations that a rule is about, and didn't rewrite.

    Attributes:
        layer: path of the layer, "" for the model itself.
        operator: of ONNX.
        rule: the rule that came nearest.
        reason: what kept it.
    """

    layer: str
    operator: str
    rule: str
    reason: str


@dataclass(frozen=True)
class Rewritten:
    """What became of a model's graph.

    Attributes:
        model: the graph afterwards.
        aggregations: what became of each, in the order of the graph.
        refusals: further places where a rule nearly fitted.
    """

    model: onnx.ModelProto
    aggregations: list[Outcome]
    refusals: list[Refusal]


def rewrite(
    model: ir.Model, *, sparse_input: bool = False, idle_pairs: bool = False
) -> tuple[list[Outcome], list[Refusal]]:
    """Replace the aggregations of an exported model by `ai.edgegnn` ops, in place.

    What the model computes stays the same up to the order of float sums. Functions with the standard operators for the
    ops that it uses are written into it, so that it runs without the library, too.

    Args:
        model: of opset 18 or newer, as `edgegnn.exporting.capture` makes it.
        sparse_input: most entries of the input x are zero: its products skip them.
        idle_pairs: Q/DQ pairs that no integer operator reads may go: nothing was trained with them.

    Returns:
        What became of each aggregation, in the order of the graph; and other places where a rule nearly fitted.
    """
    for identifier in [i for i in model.functions if i[0] == DOMAIN and i[1] not in GEOMETRY]:
        del model.functions[identifier]  # what a body makes has other sizes than what a kernel makes
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    model.graph.sort()  # onnxruntime quantizes without keeping the order
    with quiet():  # it logs a traceback where a type is missing, which it finds at another node
        passes.ShapeInferencePass()(model)
    unify_sizes(model.graph)
    sheet = Sheet(model)
    idle: list[Rule[Any]] = [IdlePair(), GatedMessages()] * idle_pairs  # pairs stood between its gates
    sparse = [SparseInput()] * sparse_input
    for rule in (*_ORDER, *idle, *_INTEGER, *sparse, OneLayout()):
        if isinstance(rule, FeaturePair) and not idle_pairs:
            continue
        apply(rule, sheet)
        if rule is canonicalize.RULES[-1]:
            passes.CommonSubexpressionEliminationPass()(model)
    outcomes: list[Outcome] = []
    refusals: dict[Refusal, None] = {}  # layers repeat the same
    for node in model.graph:
        outcome = _outcome(node)
        if outcome is not None:
            outcomes.append(outcome)
        elif REASON in node.metadata_props:
            marks = node.metadata_props
            refusals[Refusal(layer_path(node), node.op_type, marks.get(NEAREST, ""), marks[REASON])] = None
    _finish(sheet)
    return outcomes, list(refusals)


def rewrite_proto(model: onnx.ModelProto, *, sparse_input: bool = False, idle_pairs: bool = False) -> Rewritten:
    """`rewrite` of a copy."""
    own = ir.from_proto(model)
    outcomes, refusals = rewrite(own, sparse_input=sparse_input, idle_pairs=idle_pairs)
    proto = ir.to_proto(own)
    del proto.graph.value_info[:]  # no runtime reads it
    return Rewritten(proto, outcomes, refusals)


_WORDS = {
    "SpMM": "sum of neighbours",
    "SpMMMean": "mean of neighbours",
    "SpMMMax": "maximum of neighbours",
    "SpMMMin": "minimum of neighbours",
    "SpMMWeighted": "weighted sum of neighbours",
    "SpMMChannels": "weighted sum of neighbours",
    "AttentionSpMM": "attention over neighbours",
    "QSpMM": "integer sum of neighbours",
    "QSpMMFloat": "integer sum of neighbours",
    "QSpMMWeighted": "weighted sum of integer neighbours",
    "QSpMMWeightedFloat": "weighted sum of integer neighbours",
    "QAttentionSpMM": "attention over integer neighbours",
    "QAttentionSpMMFloat": "attention over integer neighbours",
    "SegmentSum": "sum of messages",
    "SegmentMean": "mean of messages",
    "SegmentMax": "maximum of messages",
    "SegmentMin": "minimum of messages",
    "EdgeProductMax": "maximum of products of both ends",
    **dict.fromkeys(("GatedSum", "GatedSumEdges"), "sum of gated messages"),
    **dict.fromkeys(("QEdgeMlpMax", "QEdgeProductMax"), "maximum of integer products of both ends"),
    "SegmentSoftmax": "softmax over messages",
    **dict.fromkeys(
        ("PairAttention", "PairAttentionEdges", "DotAttention", "DotAttentionEdges"), "softmax of scores of both ends"
    ),
    "CsrDegree": "number of messages",
}
_LEFT = {
    "add": "sum of messages",
    "max": "maximum of messages",
    "min": "minimum of messages",
    "mul": "product of messages",
}


def _outcome(node: ir.Node) -> Outcome | None:
    layer = (node.metadata_props.get(LAYER) or (node.name or "").rpartition("/")[0]).partition(".aggr_module")[0]
    reason, nearest = (node.metadata_props.get(mark, "") for mark in (REASON, NEAREST))
    if node.domain == DOMAIN and node.op_type in _WORDS:
        rule, words = node.metadata_props.get(RULE), _WORDS[node.op_type]
        pooled = words.replace("of messages", "over each graph").replace("over messages", "over each graph")
        return Outcome(layer, pooled if rule == "Pool" else words, rule, reason, nearest)
    how = node.attributes.get_string("reduction", "none")
    if node.op_type in {"ScatterElements", "ScatterND"} and how != "none":
        return Outcome(layer, _LEFT[how], None, reason or "scattered in a way that no rule knows", nearest)
    return None


def _finish(sheet: Sheet) -> None:
    """Functions, unique names, no marks."""
    model = sheet.model
    for step in (
        share_constants(),
        passes.CommonSubexpressionEliminationPass(),
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.NameFixPass(),
    ):
        step(model)
    used: dict[str, int] = {}
    for node in model.graph:
        for mark in (RULE, REASON, NEAREST, LAYER):
            node.metadata_props.pop(mark, None)
        name = node.name or node.op_type
        if name in used:
            stem = name.rstrip("0123456789").removesuffix("_")
            while name in used:
                used[stem] = used.get(stem, 0) + 1
                name = f"{stem}_{used[stem]}"
        used.setdefault(name, 0)
        node.name = name
    add_functions(model)
