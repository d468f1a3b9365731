"""Bodies of the integer ops: codes in, exact sums, one epilogue, codes or float out.

Codes are centred with Cast and Sub rather than DequantizeLinear, which onnxruntime moves about and pairs with its
neighbours; sums of centred codes are whole numbers that float32 holds exactly up to 2**24. Products are MatMulInteger.
"""

from __future__ import annotations

from edgegnn.exporting.rewrite.bodies import (
    CENTRED,
    OF_ROWS,
    SPMM,
    WIDTH,
    attention,
    clipped,
    codes,
    quantized,
    scaled_sum,
    total,
    weighted,
)

__all__ = ["INTEGER"]

_IN = "x_scale, x_zero_point: int = 0"
_CLIP = "clip_low: float = -3.4028235e38, clip_high: float = 3.4028235e38"
_NORMED = "normed_low: float = -3.4028235e38, normed_high: float = 3.4028235e38"
_OUT = "y_scale, y_zero_point: int = 0"
_CSR = "indptr, col, row, num_rows"


def _ending(quantize: bool, value: str) -> str:
    return quantized(value, "y") if quantize else clipped(value, "y")


# Sums over neighbours ------------------------------------------------------------

# `self_weight` times the destination's own row, which is row i of x: only where it is asked for, x may have fewer rows.
_OWN = """
  own_weight = Constant <value_float: float = @self_weight> ()
  has_own = Cast <to = 9> (own_weight)
  with_own = If (has_own) <
    then_branch = owned () => (o) {
      first = Constant <value_ints = [0]> ()
      own_rows = Slice (centred, first, count, first)
      own = Mul (own_rows, own_weight)
      o = Add (sums, own)
    },
    else_branch = alone () => (a) {
      a = Identity (sums)
    }
  >
"""


def _qspmm(quantize: bool) -> tuple[str, str, str, str]:
    body = (
        CENTRED
        + SPMM.replace("Gather <axis = 0> (x, col)", "Gather <axis = 0> (centred, col)")
        + total("messages", "sums")
        + _OWN
        + scaled_sum("with_own", "v")
        + _ending(quantize, "v")
    )
    attributes = f"{_IN}, self_weight: float = 0.0, {WIDTH}, {_CLIP}" + (f", {_OUT}" if quantize else "")
    return attributes, f"x, {_CSR}, row_scale, bias", "y", body


def _flat(quantize: bool, body: str) -> str:
    """Ends a body whose `flat` is [R, heads * features] with the shape `size`."""
    ending = quantized("v", "flat_y") if quantize else clipped("v", "flat_y")
    return f"{body}{ending}  y = Reshape <allowzero = 1> (flat_y, size)\n"


# Kernels round weights to 16 significant bits, so that products with codes are exact; so does this (Veltkamp's split).
_ROUNDED = """
  split = Constant <value_float = 257.0> ()
  more = Mul (w, split)
  over = Sub (more, w)
  w_rounded = Sub (more, over)
"""


def _qspmm_weighted(quantize: bool) -> tuple[str, str, str, str]:
    body = CENTRED + _ROUNDED + weighted("centred", "w_rounded")
    body += "  flat = Flatten <axis = 1> (sums)\n" + scaled_sum("flat", "v")
    attributes = f"{_IN}, {_CLIP}" + (f", {_OUT}" if quantize else "")
    inputs = "x, w, indptr, col, row, perm, num_rows, row_scale, bias"
    return attributes, inputs, "y", _flat(quantize, body)


def _qattention(quantize: bool) -> tuple[str, str, str, str]:
    body = (
        CENTRED
        + attention("centred")
        + """
  flat = Flatten <axis = 1> (mixed)
  x_scale = Constant <value_float: float = @x_scale> ()
  scaled = Mul (flat, x_scale)
  v = Add (scaled, bias)
"""
    )
    attributes = f"{_IN}, negative_slope: float = 0.2, {_CLIP}" + (f", {_OUT}" if quantize else "")
    return attributes, f"x, a_src, a_dst, {_CSR}, bias", "y", _flat(quantize, body)


# Products ------------------------------------------------------------

_GEMM_INPUTS = "x, w, w_scale, row_scale, bias, addend"
# On x86 without VNNI, onnxruntime adds products of uint8 with int8 in pairs of 16 bits, which overflow; with uint8 they
# fit. The weights are constant, so that onnxruntime converts them once, when it loads the model.
# The reshape keeps it from fusing an int8 `x` with them into MatMulIntegerToFloat, which has no such kernel.
_PRODUCT = """
  w_wide = Cast <to = 6> (w)
  w_middle = Constant <value = int32 {128}> ()
  w_raised = Add (w_wide, w_middle)
  w_codes = Cast <to = 2> (w_raised)
  w_zero = Constant <value = uint8 {128}> ()
  product = MatMulInteger (codes, w_codes, zero, w_zero)
  exact = Cast <to = 1> (product)
  x_scale = Constant <value_float: float = @x_scale> ()
  column_scale = Mul (w_scale, x_scale)
  flat_shape = Constant <value = int64[1] {-1}> ()
  by_column = Reshape (column_scale, flat_shape)
  scaled = Mul (exact, by_column)
"""
_PRODUCT_END = (
    OF_ROWS
    + """
  biased = Add (of_rows, bias)
  v = Add (biased, addend)
"""
)


# A batch norm with `gain` and `shift`: one pass, where a product and a sum would be two.
_NORM = """
  nought = Sub (gain, gain)
  unit = Constant <value_float = 1.0> ()
  ones = Add (nought, unit)
  y_normed = BatchNormalization <epsilon = 0.0> (v_clipped, gain, shift, nought, ones)
  normed_least = Constant <value_float: float = @normed_low> ()
  normed_most = Constant <value_float: float = @normed_high> ()
  y_limited = Clip (y_normed, normed_least, normed_most)
"""


def _product_end(quantize: bool, norm: bool) -> str:
    if not norm:
        return _PRODUCT_END + _ending(quantize, "v")
    normed = _PRODUCT_END + clipped("v", "v_clipped") + _NORM
    if not quantize:
        return normed + "  y = Identity (y_limited)\n"
    return normed + codes("y_limited", "y")


def _qgemm(quantize: bool, norm: bool = False) -> tuple[str, str, str, str]:
    given = """
  zero_integer = Constant <value_int: int = @x_zero_point> ()
  zero = CastLike (zero_integer, x)
  codes = Identity (x)
"""
    body = given + _PRODUCT + _product_end(quantize, norm)
    attributes = f"{_IN}, {_CLIP}" + (f", {_NORMED}" if norm else "") + (f", {_OUT}" if quantize else "")
    return attributes, _GEMM_INPUTS + (", gain, shift" if norm else ""), "y", body


# Rows of x divided by their sums. The kernels add in another order: a sum may differ in its last bit.
_NORMALIZED = """
  least = Constant <value_float: float = @least_sum> ()
  columns = Constant <value = int64[1] {-1}> ()
  sums = ReduceSum <keepdims = 1> (x, columns)
  divisors = Max (sums, least)
  normalized = Div (x, divisors)
"""
_LEAST = "least_sum: float = 1.0"


def _quantize_gemm(quantize: bool, norm: bool = False, normalize: bool = False) -> tuple[str, str, str, str]:
    source = "normalized" if normalize else "x"
    made = f"""
  zero_integer = Constant <value_int: int = @x_zero_point> ()
  zero = Cast <to = 2> (zero_integer)
  step = Constant <value_float: float = @x_scale> ()
  all_codes = QuantizeLinear ({source}, step, zero)
  low_integer = Constant <value_int: int = @x_low> ()
  low = Cast <to = 2> (low_integer)
  high_integer = Constant <value_int: int = @x_high> ()
  high = Cast <to = 2> (high_integer)
  codes = Clip (all_codes, low, high)
"""
    body = (_NORMALIZED if normalize else "") + made + _PRODUCT + _product_end(quantize, norm)
    attributes = f"{_IN}, x_low: int = 0, x_high: int = 255, {_CLIP}" + (f", {_OUT}" if quantize else "")
    attributes += (f", {_NORMED}" if norm else "") + (f", {_LEAST}" if normalize else "")
    return attributes, _GEMM_INPUTS + (", gain, shift" if norm else ""), "y", body


# Codes ------------------------------------------------------------

_QUANTIZE_ROWS = """
  sign_integer = Constant <value_int: int = @signed> ()
  sign = Cast <to = 1> (sign_integer)
  product = Mul (x, factor)
  scaled = Div (product, step)
  reach = Mul (top, sign)
  low = Neg (reach)
  below = Min (scaled, top)
  inside = Max (below, low)
  one = Constant <value_float = 1.0> ()
  centre = Constant <value_float = 128.0> ()
  zero_float = Mul (sign, centre)
  zero = Cast <to = 2> (zero_float)
  y = QuantizeLinear (inside, one, zero)
"""


# name -> (attributes with their defaults, inputs, outputs, body)
INTEGER: dict[str, tuple[str, str, str, str]] = {
    "QSpMM": _qspmm(True),
    "QSpMMFloat": _qspmm(False),
    "QSpMMWeighted": _qspmm_weighted(True),
    "QSpMMWeightedFloat": _qspmm_weighted(False),
    "QAttentionSpMM": _qattention(True),
    "QAttentionSpMMFloat": _qattention(False),
    "QGemm": _qgemm(True),
    "QGemmFloat": _qgemm(False),
    "QuantizeGemm": _quantize_gemm(True),
    "QuantizeGemmFloat": _quantize_gemm(False),
    "QGemmNorm": _qgemm(True, norm=True),
    "QGemmNormFloat": _qgemm(False, norm=True),
    "QuantizeGemmNorm": _quantize_gemm(True, norm=True),
    "QuantizeGemmNormFloat": _quantize_gemm(False, norm=True),
    **{
        f"NormalizeQuantizeGemm{'Norm' if norm else ''}{'' if quantize else 'Float'}": _quantize_gemm(
            quantize, norm, True
        )
        for norm in (False, True)
        for quantize in (True, False)
    },
    "QuantizeRows": ("signed: int = 0", "x, step, top, factor", "y", _QUANTIZE_ROWS),
    "SparseGemm": ("", "x, w, bias", "y", "  y = Gemm (x, w, bias)\n"),
    "NormalizeSparseGemm": (_LEAST, "x, w, bias", "y", _NORMALIZED + "  y = Gemm (normalized, w, bias)\n"),
}
