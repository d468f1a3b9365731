"""Integer operators where Q/DQ pairs and products or sums over neighbours meet.

ONNX Runtime fuses nothing into an operator that it doesn't know, so the export puts the integer operator itself:

    FourBitCodes         4-bit activation codes -> the same codes in bytes, limited by a Clip
    IntegerProduct       DQ(x) times DQ(weight) -> QGemm
                         (a number for each row of x, learnt steps, goes behind the product)
    IntegerSum           SpMM or SpMMMean of DQ(x) -> QSpMM; rows scaled, the node's own row added (GIN)
    IntegerWeightedSum   SpMMWeighted of DQ(x) -> QSpMMWeighted
    IntegerAttention     AttentionSpMM of DQ(x) -> QAttentionSpMM
    LearntCodes          Div by learnt steps, limits and QuantizeLinear -> QuantizeRows
    FloatInput           QuantizeLinear and QGemm -> QuantizeGemm, which skips the zeros of x

A number for each column of the rows (learnt steps) goes behind the sum, as one float product a row.

What follows goes into the epilogue of the operator as far as it fits (`epilogue.py`): row scales,
batch norm, bias, another summand, ReLU, and the QuantizeLinear of the next operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgegnn.exporting.qdq import constant
from edgegnn.exporting.rewrite.codes import Codes, dequantized_weight, known_numbers, scaled_codes
from edgegnn.exporting.rewrite.epilogue import Epilogue, absorb
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import LAYER, RULE, Sheet, array, layer_path, made_by, rank, tail_of
from edgegnn.exporting.rewrite.learnt_codes import LearntCodes
from edgegnn.exporting.rewrite.rule import Miss, Rule

__all__ = ["RULES"]

_FOUR_BITS = {ir.DataType.UINT4: (0, 15), ir.DataType.INT4: (-8, 7)}


# Four bits ------------------------------------------------------------


class FourBitCodes(Rule[ir.Node]):
    """Codes of 4 bits are numbers from 0 to 15 in a byte; kernels read bytes."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> ir.Node | Miss | None:
        """A QuantizeLinear to 4 bits that only DequantizeLinears read."""
        if node.op_type != "QuantizeLinear" or node.outputs[0].dtype not in _FOUR_BITS:
            return None
        readers = [use.node.op_type for use in node.outputs[0].uses()]
        others = sorted(set(readers) - {"DequantizeLinear"})
        if others or not readers:
            return Miss(f"codes of 4 bits are read by {others[0] if others else 'nothing in the graph'}")
        if not all((a := array(v)) is not None and a.size == 1 for v in node.inputs[1:]):
            return Miss("codes of 4 bits have several scales, or one that is computed")
        return node

    def rewrite(self, node: ir.Node, sheet: Sheet) -> None:
        """The same values: a Clip in front, the zero point moved up where codes are signed."""
        x, codes = node.inputs[0], node.outputs[0]
        assert x is not None
        assert codes.dtype is not None
        low, high = _FOUR_BITS[codes.dtype]
        scale, zero = (array(v) for v in node.inputs[1:3])
        assert scale is not None
        assert zero is not None
        s, z = np.float32(scale.flat[0]), int(zero.flat[0])
        limits = [sheet.floats(np.float32((c - z) * s)) for c in (low, high)]
        clipped = sheet.make("Clip", [x, *limits], at=node, like=x)
        moved = _byte(sheet, z - low)
        one = sheet.floats(s)
        new = sheet.make("QuantizeLinear", [clipped, one, moved], at=node, dtype=ir.DataType.UINT8, shape=_sizes(codes))
        _named_after(new, node)
        for use in list(codes.uses()):
            reader = use.node
            back = sheet.make("DequantizeLinear", [new, one, moved], at=reader, like=reader.outputs[0])
            _named_after(back, reader)
            sheet.replace(reader.outputs[0], back)


def _named_after(value: ir.Value, node: ir.Node) -> None:
    made = value.producer()
    assert made is not None
    made.name = node.name


# Products ------------------------------------------------------------


@dataclass(frozen=True)
class _Product:
    node: ir.Node
    x: Codes
    codes: ir.Value  # of the weight
    transposed: bool
    weight: npt.NDArray[Any]  # [K, N]
    scale: npt.NDArray[np.float32]  # [N]
    bias: npt.NDArray[np.float32] | None


class IntegerProduct(Rule[_Product]):
    """A Gemm or MatMul of dequantized tensors becomes QGemm."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Product | Miss | None:
        """DQ(x) [M, K] times DQ(weight), the weight a constant with zero point 0 and one scale a column (or one)."""
        if node.op_type not in {"Gemm", "MatMul"} or node.domain:
            return None
        x, dequantize = scaled_codes(node.inputs[0]), dequantized_weight(node.inputs[1])
        if x is None or dequantize is None or dequantize.inputs[0] is None:
            return _half_quantized(node, x, dequantize)
        if rank(node.inputs[0]) != 2:
            return Miss(f"{node.op_type} of codes: its rows are no matrix")
        if x.columns is not None:
            return Miss(f"{node.op_type} of codes: its rows have a learnt step for each column")
        codes, scale = dequantize.inputs[0], array(dequantize.inputs[1])
        tensor = ir.convenience.get_const_tensor(codes)
        zero = array(dequantize.inputs[2]) if len(dequantize.inputs) > 2 else None
        if tensor is None or scale is None:
            return Miss("the weight's codes, or their scale, are computed at run time")
        if zero is not None and zero.astype(np.int32).any():
            return Miss("the weight's codes have a zero point that is not 0")
        w = tensor.numpy()
        axis = dequantize.attributes.get_int("axis", 1)
        transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
        if w.ndim != 2 or tensor.dtype not in {ir.DataType.INT8, ir.DataType.INT4}:
            return Miss(
                f"the weight's codes are {tensor.dtype.name.lower()}{list(w.shape)}: int8 and int4 matrices are known"
            )
        columns = w.shape[0 if transposed else 1]
        if scale.size > 1 and axis % 2 != (0 if transposed else 1):
            return Miss("the weight has a scale for each row, not for each column of the product")
        if node.op_type == "Gemm" and (
            node.attributes.get_int("transA", 0) == 1
            or node.attributes.get_float("alpha", 1.0) != 1.0
            or node.attributes.get_float("beta", 1.0) != 1.0
        ):
            return Miss("Gemm of codes with alpha, beta or transA")
        bias = None
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            bias = known_numbers(node.inputs[2])
            if bias is None or bias.size not in (1, columns):
                return Miss("the bias is not one number for each column, known at export")
            bias = np.broadcast_to(bias.reshape(-1), (columns,)).astype(np.float32)
        scales = np.broadcast_to(scale.reshape(-1), (columns,)).astype(np.float32)
        return _Product(node, x, codes, transposed, w.T if transposed else w, scales, bias)

    def rewrite(self, found: _Product, sheet: Sheet) -> None:
        """QGemm with all of the epilogue that fits."""
        fit = Epilogue(found.scale.size, factor=found.scale, bias=found.bias, per_column=True, takes_summand=True)
        fit.row_scales += () if found.x.rows is None else (found.x.rows,)
        end = absorb(found.node.outputs[0], fit)
        at = end.producer()
        assert at is not None
        inputs = [
            found.x.value,
            _weight(sheet, found, at),
            sheet.floats(fit.factor),
            fit.row_scale_input(sheet, at),
            fit.bias_input(sheet),
            sheet.floats([0.0]) if fit.summand is None else fit.summand,
        ]
        if fit.norm is not None:
            inputs += [sheet.floats(v) for v in fit.norm]
        _put(
            sheet,
            "QGemm" if fit.norm is None else "QGemmNorm",
            inputs,
            found.x,
            fit,
            {},
            found.node,
            end,
            found.scale.shape,
        )


def _half_quantized(node: ir.Node, x: Codes | None, weight: ir.Node | None) -> Miss | None:
    """Why a product with one quantized side stays in float; None where no side is quantized."""
    if x is not None and weight is None:
        return Miss(f"{node.op_type} of codes: what they are multiplied by is no quantized weight")
    if x is None and weight is not None:
        several = made_by(node.inputs[0], "DequantizeLinear") is not None
        rows = "have several scales, or constant codes" if several else "are not quantized"
        return Miss(f"{node.op_type} with a quantized weight: the rows in front of it {rows}")
    return None


def _weight(sheet: Sheet, found: _Product, at: ir.Node) -> ir.Value:
    """The weight's codes as int8 [K, N]; 4-bit ones stay packed in the file, and are cast when it is loaded."""

    def make() -> ir.Value:
        codes = found.codes
        if _one_reader(codes):
            sheet.graph.initializers.pop(str(codes.name), None)  # its name is free for the one that takes its place
        value = constant(sheet.graph, str(codes.name), found.weight, codes.dtype)
        if codes.dtype == ir.DataType.INT8:
            return value
        return sheet.make("Cast", [value], {"to": ir.DataType.INT8.value}, at=at, like=value, dtype=ir.DataType.INT8)

    return sheet.once(("weight", found.codes, found.transposed), make)[0]


def _one_reader(codes: ir.Value) -> bool:
    """Whether one product alone reads a weight, through its DequantizeLinear and the Max behind that."""
    value = codes
    while len(value.uses()) == 1:
        (use,) = value.uses()
        if use.node.op_type not in {"DequantizeLinear", "Max"}:
            return True
        value = use.node.outputs[0]
    return not value.uses()


def _put(
    sheet: Sheet,
    kind: str,
    inputs: list[ir.Value],
    x: Codes,
    fit: Epilogue,
    attributes: dict[str, Any],
    origin: ir.Node,
    end: ir.Value,
    tail: tuple[int, ...],
) -> None:
    """The integer operator, with rows of the sizes `tail`, in the place of everything from `origin` up to `end`."""
    at = end.producer()
    assert at is not None
    scale = x.scale if fit.per_column else x.scale * float(fit.factor)
    attributes = {"x_scale": scale, "x_zero_point": x.zero_point, **attributes}
    attributes |= {"clip_low": fit.clip_low, "clip_high": fit.clip_high}
    if fit.norm is not None:
        attributes |= {"normed_low": fit.normed_low, "normed_high": fit.normed_high}
    dtype = ir.DataType.FLOAT
    if fit.quantize is None:
        kind += "Float"
    else:
        dtype = ir.DataType.UINT8
        attributes |= {"y_scale": fit.quantize[0], "y_zero_point": fit.quantize[1]}
    first = None if end.shape is None else end.shape[0]
    new = sheet.make(kind, inputs, attributes, at=at, dtype=dtype, shape=[first, *tail], domain=DOMAIN)
    made = new.producer()
    assert made is not None
    made.metadata_props[RULE] = _RULE_OF.get(kind.removesuffix("Float"), "")
    made.metadata_props[LAYER] = layer_path(origin)
    made.name = f"{layer_path(origin)}/{kind}".lstrip("/")
    if fit.late is not None:
        new = sheet.make("Mul", [new, sheet.floats(fit.late.reshape(1, *tail))], at=at, like=new)
    if (wanted := tail_of(end)) not in (None, tail):
        new = sheet.shaped(new, wanted or (), at)
    if fit.quantize is None or end.dtype == ir.DataType.UINT8:
        sheet.replace(end, new)
        return
    zero = _byte(sheet, fit.quantize[1])  # signed codes become unsigned ones
    for use in list(end.uses()):
        reader = use.node
        back = sheet.make("DequantizeLinear", [new, reader.inputs[1], zero], at=reader, like=reader.outputs[0])
        _named_after(back, reader)
        sheet.replace(reader.outputs[0], back)


_RULE_OF = {"QSpMM": "IntegerSum", "QSpMMWeighted": "IntegerWeightedSum", "QAttentionSpMM": "IntegerAttention"}


class FloatInput(Rule[ir.Node]):
    """QGemm of codes that a QuantizeLinear makes for it alone becomes QuantizeGemm, which skips zeros of x."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> ir.Node | Miss | None:
        """Codes in bytes, of one scale, that nothing else reads."""
        if node.domain != DOMAIN or not node.op_type.startswith("QGemm"):
            return None
        codes = node.inputs[0]
        quantize = made_by(codes, "QuantizeLinear")
        if quantize is None or quantize.domain or codes is None:
            return None
        if codes.dtype != ir.DataType.UINT8:
            return Miss("the product reads codes with a sign: zeros are skipped in codes without")
        return node if len(codes.uses()) == 1 else Miss("other nodes read the codes of the product's rows, too")

    def rewrite(self, node: ir.Node, sheet: Sheet) -> ir.Value:
        """The limits of narrower codes become attributes."""
        quantize = made_by(node.inputs[0], "QuantizeLinear")
        assert quantize is not None
        source, limits = quantize.inputs[0], {"x_low": 0, "x_high": 255}
        scale, zero = node.attributes.get_float("x_scale"), node.attributes.get_int("x_zero_point")
        clip = made_by(source, "Clip")
        ends = [] if clip is None else [array(v) for v in clip.inputs[1:]]
        if clip is not None and len(ends) == 2 and all(e is not None and e.size == 1 for e in ends):
            low, high = (round(float(e.flat[0]) / scale) + zero for e in ends)  # type: ignore[union-attr]
            limits, source = {"x_low": max(0, low), "x_high": min(255, high)}, clip.inputs[0]
        kind = node.op_type.replace("QGemm", "QuantizeGemm")
        attributes = {**{k: v.value for k, v in node.attributes.items()}, **limits}
        return sheet.make(kind, [source, *node.inputs[1:]], attributes, at=node, like=node.outputs[0], domain=DOMAIN)


# Sums over neighbours ------------------------------------------------------------


@dataclass(frozen=True)
class _Sum:
    node: ir.Node
    x: Codes
    dequantized: ir.Value
    tail: tuple[int, ...]  # of the rows as the operator reads them


def _sum_of(node: ir.Node, sheet: Sheet, *kinds: str) -> _Sum | Miss | None:
    """A sum over neighbours whose rows are codes; in a quantized model, why they are none."""
    if node.domain != DOMAIN or node.op_type not in kinds or node.inputs[0] is None:
        return None
    rows, tail = node.inputs[0], tail_of(node.inputs[0])
    layout = made_by(rows, "Reshape", "Unsqueeze", "Squeeze")
    while layout is not None and layout.inputs[0] is not None:  # heads are another layout of the same rows
        rows, layout = layout.inputs[0], made_by(layout.inputs[0], "Reshape", "Unsqueeze", "Squeeze")
    x, own = scaled_codes(rows), tail_of(rows)
    if x is None:
        if not any(each.op_type.startswith(("DequantizeLinear", "QGemm")) for each in sheet.graph):
            return None  # a float model
        several = made_by(rows, "DequantizeLinear") is not None
        return Miss(f"the rows that are summed {'have several scales' if several else 'are not quantized'}")
    if x.rows is not None:
        return Miss("the rows that are summed have a learnt step each: codes of different steps can't be added up")
    if tail is None or own is None or np.prod(own) != np.prod(tail):
        return Miss("the width of the rows that are summed is not known")
    return _Sum(node, x, rows, tail)


class IntegerSum(Rule[_Sum]):
    """SpMM or SpMMMean of dequantized rows becomes QSpMM."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Sum | Miss | None:
        """Rows of one scale, as a matrix."""
        found = _sum_of(node, sheet, "SpMM", "SpMMMean")
        if isinstance(found, _Sum) and len(found.tail) != 1:
            return Miss("the rows that are summed are no vectors: the integer sum takes a matrix")
        return found

    def rewrite(self, found: _Sum, sheet: Sheet) -> None:
        """A mean is a sum whose rows are scaled by 1 / degree."""
        node = found.node
        graph = [v for v in node.inputs[1:] if v is not None]
        mean = node.op_type == "SpMMMean"
        fit = Epilogue(found.tail[0], own_rows=None if mean else found.dequantized, late=found.x.columns)
        if mean:
            fit.row_scales = (_reciprocal_degree(sheet, graph, node),)
        end = absorb(node.outputs[0], fit)
        at = end.producer()
        assert at is not None
        x = sheet.shaped(found.x.value, found.tail, at)
        inputs = [x, *graph, fit.row_scale_input(sheet, at), fit.bias_input(sheet)]
        _put(sheet, "QSpMM", inputs, found.x, fit, {"self_weight": fit.self_weight}, node, end, found.tail)


def _reciprocal_degree(sheet: Sheet, graph: list[ir.Value], at: ir.Node) -> ir.Value:
    indptr, _, row, rows = graph

    def make() -> ir.Value:
        degree = sheet.make(
            "CsrDegree", [indptr, row, rows], at=at, dtype=ir.DataType.FLOAT, shape=[None], domain=DOMAIN
        )
        least = sheet.make("Max", [degree, sheet.floats(1.0)], at=at, like=degree)
        # not Reciprocal, which onnxruntime rounds another way on Arm than on x86
        return sheet.make("Div", [sheet.floats(1.0), least], at=at, like=degree)

    return sheet.once(("1/degree", indptr, row), make)[0]


class IntegerWeightedSum(Rule[_Sum]):
    """SpMMWeighted of dequantized rows becomes QSpMMWeighted."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Sum | Miss | None:
        """Rows of one scale."""
        return _sum_of(node, sheet, "SpMMWeighted")

    def rewrite(self, found: _Sum, sheet: Sheet) -> None:
        """The weights stay float, their products with codes are added up in float."""
        _put_heads(found, sheet, "QSpMMWeighted", {}, scaled=True)


class IntegerAttention(Rule[_Sum]):
    """AttentionSpMM of dequantized rows becomes QAttentionSpMM."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Sum | Miss | None:
        """Rows of one scale."""
        return _sum_of(node, sheet, "AttentionSpMM")

    def rewrite(self, found: _Sum, sheet: Sheet) -> None:
        """Scores and softmax stay float."""
        slope = {"negative_slope": found.node.attributes.get_float("negative_slope", 0.2)}
        _put_heads(found, sheet, "QAttentionSpMM", slope, scaled=False)


def _put_heads(found: _Sum, sheet: Sheet, kind: str, attributes: dict[str, Any], *, scaled: bool) -> None:
    node = found.node
    fit = Epilogue(int(np.prod(found.tail)), takes_row_scale=scaled, late=found.x.columns)
    end = absorb(node.outputs[0], fit)
    at = end.producer()
    assert at is not None
    inputs = [sheet.shaped(found.x.value, found.tail, at), *(v for v in node.inputs[1:] if v is not None)]
    inputs += [fit.row_scale_input(sheet, at)] * scaled + [fit.bias_input(sheet)]
    _put(sheet, kind, inputs, found.x, fit, attributes, node, end, found.tail)


def _sizes(value: ir.Value) -> list[Any] | None:
    return None if value.shape is None else list(value.shape)


def _byte(sheet: Sheet, value: int) -> ir.Value:
    return sheet.constant(np.asarray(value, np.uint8))


RULES: tuple[Rule[Any], ...] = (
    FourBitCodes(),
    IntegerProduct(),
    IntegerSum(),
    IntegerWeightedSum(),
    IntegerAttention(),
    LearntCodes(),
    FloatInput(),
)
