"""Simplify what the exporter wrote by passes that keep every value as it is, however small a constant.

onnxscript's own optimizer compares constants within 1e-8: it takes `x + 1e-9` for `x + 0`. It also joins clips that
don't overlap (to [0, 1], then to [2, 3]), and gives two limits of one tensor the same name. What runs here:

    folding      what depends on constants alone, by operators whose results are the same everywhere (IEEE 754), and
                 by functions of one number within their last digit
    _EXACT       onnxscript's rules that move no number (shapes, casts); a zero bias that goes, and a batch norm that
                 becomes part of the weights before it
    neutral      x * 1, x / 1, x - 0 and integer x + 0, compared bit by bit; a float x + 0 stays, since it makes 0 of -0
    sharing      equal expressions and equal constants, compared bit by bit

`keep_small_shares` is about onnxruntime: its Sigmoid is 0 below -18, where PyTorch's has a logarithm.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript import optimizer
from onnxscript.rewriter import RewritePass, pattern
from onnxscript.rewriter.rules import common

__all__ = ["keep_small_shares", "share_constants", "simplify"]

# By name: a version of onnxscript without one of them does without it, and rules that are new wait for a proof.
_EXACT = (
    "two_reshapes_matmul_reshape_rule",
    "one_reshape_matmul_reshape_rule",
    "cast_constant_of_shape_rule",
    "cast_constant_of_shape_without_value_rule",
    "collapse_slice_rule",
    "collapse_slice2_rule",
    "materialize_reshape_shape_rule",
    "successive_relu_rule",
    "cast_cast_rule",
    "no_op_cast_rule",
    "no_op_expand_rule",
    "reshape_reshape_rule",
    "no_op_transpose_rule",
    "transpose_transpose_rule",
    "unsqueeze_unsqueeze_rule",
    "squeeze_reshape_1d_rule",
    "no_op_dynamic_scatter_nd_rule",
    "no_op_static_scatter_nd_rule",
    "fuse_batchnorm_into_gemm_rule",
    "remove_optional_bias_from_gemm_rule",
)
# The number that leaves the other operand as it is; x + (-0.0) is x for every x, and x + 0.0 is not for x = -0.0.
_NEUTRAL = {"Mul": 1.0, "Div": 1.0, "Sub": 0.0, "Add": -0.0}
_FOLDED = {
    *("Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Concat", "ConstantOfShape", "Cos", "Div", "Equal"),
    *("Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Greater"),
    *("GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mul", "Neg", "Not", "Or"),
    *("Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round"),
    *("Sigmoid", "Sign", "Sin", "Slice", "Softmax", "Softplus", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile"),
    *("Transpose", "Trilu", "Unsqueeze", "Where", "Xor"),
}
_ROUNDS = 2
_LARGEST = 2**31  # elements of an initializer up to which equal ones are shared


def simplify(model: ir.Model) -> None:
    """Simplify a model in place; what it computes stays the same."""
    passes.InlinePass()(model)
    for _ in range(_ROUNDS):
        changed = optimizer.fold_constants(model, onnx_shape_inference=True, should_fold=_foldable).modified
        changed |= _rules()(model).modified
        changed |= _drop_neutral(model.graph)
        for step in (
            passes.RemoveUnusedNodesPass(),
            passes.RemoveUnusedFunctionsPass(),
            passes.RemoveUnusedOpsetsPass(),
        ):
            changed |= step(model).modified
        if not changed:
            break
    for last in (
        passes.RemoveUnusedNodesPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        share_constants(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        last(model)


def share_constants() -> ir.passes.InPlacePass:
    """A pass that stores equal constants once: of the same type, shape and bytes, whatever their size."""
    return passes.DeduplicateInitializersPass(_LARGEST)


@cache
def _rules() -> RewritePass:
    known = (getattr(common, name, None) for name in _EXACT)
    return RewritePass(pattern.RewriteRuleSet([rule for rule in known if rule is not None]))


def _foldable(node: ir.Node) -> bool | None:
    """None leaves it to onnxscript's limits of size; a runtime folds the rest when it loads the file."""
    return None if node.op_type in _FOLDED else False


def _drop_neutral(graph: ir.Graph) -> bool:
    """Remove multiplications by 1 and additions of 0, where the result keeps its shape and all of its bits."""
    found = False
    for node in list(graph):
        neutral = _NEUTRAL.get(node.op_type)
        if neutral is None or node.domain or len(node.inputs) != 2:
            continue
        for at in (1, 0) if node.op_type in {"Mul", "Add"} else (1,):
            kept = node.inputs[1 - at]
            if kept is not None and _is_all(node.inputs[at], neutral) and _covers(kept, node.inputs[at]):
                new = ir.node("Identity", [kept])
                new.outputs[0].type, new.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
                new.metadata_props.update(node.metadata_props)
                ir.convenience.replace_nodes_and_values(graph, node, [node], [new], node.outputs, new.outputs)
                found = True
                break
    return found


def _is_all(value: ir.Value | None, number: float) -> bool:
    """Whether a constant is `number` in every element, bit by bit."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.size != 1:
        return False
    element = tensor.numpy()
    if number == 0 and np.issubdtype(element.dtype, np.integer):
        return bool((element == 0).all())
    return element.tobytes() == np.full_like(element, number).tobytes()


def _covers(kept: ir.Value, constant: ir.Value | None) -> bool:
    """Whether one number leaves the shape of the other operand as it is."""
    rank = 0 if kept.shape is None else len(kept.shape)
    return constant is not None and constant.shape is not None and len(constant.shape) <= rank


# What onnxruntime computes too coarsely ------------------------------------------------------------

_PASS_ON = {
    *("Add", "Clip", "Concat", "Expand", "Flatten", "Gather", "Identity", "Max", "Min", "Mul", "Neg", "ReduceMean"),
    *("ReduceProd", "ReduceSum", "Reshape", "Slice", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
}


def keep_small_shares(graph: ir.Graph) -> None:
    """Write sigmoid(x) as 1 / (1 + exp(-x)) where small values of it count: below a logarithm, a root or a division.

    onnxruntime's Sigmoid is right to 3e-8, which is all of it for x < -18.
    """
    for node in list(graph):
        if node.op_type != "Sigmoid" or node.domain or not _magnified(node.outputs[0], set()):
            continue
        (x,), (old,) = node.inputs, node.outputs
        one = ir.Value(name=f"{old.name}.one", const_value=ir.tensor(np.float32(1)), shape=ir.Shape([]))
        one.dtype = ir.DataType.FLOAT
        graph.register_initializer(one)
        turned = ir.node("Neg", [x])
        power = ir.node("Exp", turned.outputs)
        total = ir.node("Add", [*power.outputs, one])
        share = ir.node("Div", [one, *total.outputs])
        new = [turned, power, total, share]
        for made in new:
            made.metadata_props.update(node.metadata_props)
            made.outputs[0].type, made.outputs[0].shape = old.type, old.shape
        ir.convenience.replace_nodes_and_values(graph, node, [node], new, [old], share.outputs)


def _magnified(value: ir.Value, seen: set[ir.Value]) -> bool:
    """Whether the relative error of a value matters to what is computed from it."""
    seen.add(value)
    for use in value.uses():
        kind = use.node.op_type
        if kind in {"Log", "Reciprocal", "Sqrt", "Pow"} or (kind == "Div" and use.idx == 1):
            return True
        if (kind in _PASS_ON or kind == "Div") and any(
            out not in seen and _magnified(out, seen) for out in use.node.outputs
        ):
            return True
    return False
