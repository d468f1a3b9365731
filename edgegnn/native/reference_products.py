"""Integer products in plain numpy, and products of rows that are mostly zeros; of rows of both ends of an edge, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.native.reference_rows import in_range, reduce, rows_of

__all__ = [
    "HIGHEST",
    "LOWEST",
    "centred",
    "finish",
    "normalize_quantize_gemm",
    "normalize_sparse_gemm",
    "one_or",
    "per_row",
    "qedge_mlp_max",
    "qedge_product_max",
    "qgemm",
    "quantize_gemm",
    "quantize_rows",
    "sparse_gemm",
]

Array = npt.NDArray[Any]
LOWEST, HIGHEST = -3.4028235e38, 3.4028235e38


def one_or(values: Array, size: int, name: str) -> Array:
    """A vector of one element or of `size`, float32."""
    if values.shape not in ((1,), (size,)):
        raise ValueError(f"{name} must have 1 or {size} elements")
    return values.astype(np.float32)


def finish(v: Array, clip_low: float, clip_high: float, y_scale: float | None, y_zero_point: int) -> Array:
    """Clip, and quantize as QuantizeLinear does when a scale is given. `v` is float32."""
    if y_scale is not None:  # a byte can't be NaN
        v = np.where(np.isnan(v), np.float32(clip_low), v)
    v = np.minimum(np.maximum(v, np.float32(clip_low)), np.float32(clip_high)).astype(np.float32)
    if y_scale is None:
        return v
    # float32 holds every code and rounding is to even; beyond the codes only the sign matters.
    return np.clip(np.rint(v / np.float32(y_scale)) + np.float32(y_zero_point), 0, 255).astype(np.uint8)


def per_row(values: Array, ndim: int) -> Array:
    """A vector by row, shaped to multiply a tensor."""
    return values.reshape(-1, *[1] * (ndim - 1))


def centred(x: Array, zero_point: int) -> Array:
    """Codes less their zero point."""
    return x.astype(np.int64) - int(zero_point)


def qgemm(
    x: Array,
    w: Array,
    w_scale: Array,
    row_scale: Array,
    bias: Array,
    addend: Array,
    gain: Array | None = None,
    shift: Array | None = None,
    *,
    x_scale: float,
    x_zero_point: int = 0,
    clip_low: float = LOWEST,
    clip_high: float = HIGHEST,
    normed_low: float = LOWEST,
    normed_high: float = HIGHEST,
    y_scale: float | None = None,
    y_zero_point: int = 0,
) -> tuple[Array]:
    """Codes `[M, K]` times int8 weights `[K, N]`, exact in integers, then scales, bias, addend, clip (norm, clip)."""
    (rows, depth), width = x.shape, w.shape[1]
    if w.shape[0] != depth or w_scale.shape != (width,):
        raise ValueError("w must have the shape [K, N] and w_scale [N]")
    v = (centred(x, x_zero_point) @ w.astype(np.int64)).astype(np.float32)
    v = v * (np.float32(x_scale) * w_scale.astype(np.float32))  # one factor a column
    v = v * per_row(one_or(row_scale, rows, "row_scale"), 2) + one_or(bias, width, "bias")
    if addend.shape not in ((1,), (rows, width)):
        raise ValueError("addend must have the shape [M, N] or [1]")
    v = v + addend.astype(np.float32)
    if gain is not None and shift is not None:
        v = np.minimum(np.maximum(v, np.float32(clip_low)), np.float32(clip_high))
        v = v * one_or(gain, width, "gain") + one_or(shift, width, "shift")
        clip_low, clip_high = normed_low, normed_high
    return (finish(v, clip_low, clip_high, y_scale, y_zero_point),)


def quantize_gemm(x: Array, *rest: Array, x_low: int = 0, x_high: int = 255, **attributes: Any) -> tuple[Array]:
    """QGemm of float32 x `[M, K]`, quantized to uint8 codes in [x_low, x_high] on the way."""
    scale, zero_point = np.float32(attributes["x_scale"]), np.float32(attributes.get("x_zero_point", 0))
    codes = np.clip(np.fmax(np.rint(x / scale) + zero_point, x_low), x_low, x_high).astype(np.uint8)  # NaN: x_low
    return qgemm(codes, *rest, **attributes)


def qedge_mlp_max(
    source: Array,
    target: Array,
    w: Array,
    w_scale: Array,
    bias: Array,
    w2: Array,
    w2_scale: Array,
    bias2: Array,
    indptr: Array,
    col: Array,
    row: Array,
    num_rows: Array,
    *,
    hidden_scale: float,
    hidden_zero_point: int = 0,
    hidden_low: float = LOWEST,
    hidden_high: float = HIGHEST,
    clip_low: float = LOWEST,
    clip_high: float = HIGHEST,
    **codes: Any,
) -> tuple[Array]:
    """The maximum by row of two integer products of `[target[row], source[col] - target[row]]`, `[R, N]`."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    if source.ndim != 2 or target.shape != (count, source.shape[1]):
        raise ValueError("source must have the shape [C, F] and target [R, F]")
    in_range(col, source.shape[0], "col")
    ends = np.concatenate([target[index], source[col] - target[index]], axis=1)
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    codes |= {"y_scale": hidden_scale, "y_zero_point": hidden_zero_point}
    (h,) = quantize_gemm(ends, w, w_scale, one, bias, none, **codes, clip_low=hidden_low, clip_high=hidden_high)
    second: dict[str, Any] = {"x_scale": hidden_scale, "x_zero_point": hidden_zero_point}
    (v,) = qgemm(h, w2, w2_scale, one, bias2, none, clip_low=clip_low, clip_high=clip_high, **second)
    return (reduce(v, index, count, "max"),)


def qedge_product_max(
    source: Array,
    target: Array,
    w: Array,
    w_scale: Array,
    bias: Array,
    indptr: Array,
    col: Array,
    row: Array,
    num_rows: Array,
    *,
    low: float = LOWEST,
    high: float = HIGHEST,
    **attributes: Any,
) -> tuple[Array]:
    """The maximum by row of the integer product of `source[col] + target[row]`, clipped: `[R, N]`."""
    index, count = rows_of(indptr, row, num_rows, col.size)
    if source.ndim != 2 or target.shape != (count, source.shape[1]):
        raise ValueError("source must have the shape [C, F] and target [R, F]")
    in_range(col, source.shape[0], "col")
    ends = np.minimum(np.maximum(source[col] + target[index], np.float32(low)), np.float32(high))
    one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
    (v,) = quantize_gemm(ends, w, w_scale, one, bias, none, **attributes)
    return (reduce(v, index, count, "max"),)


def _divisors(x: Array, least_sum: float) -> Array:
    """The sum of each row of x `[M, K]`, or `least_sum` where that is less, as a column; in the kernels' order."""
    if x.ndim != 2:
        raise ValueError("x must have the shape [M, K]")
    parts = np.zeros((16, len(x)), np.float32)
    for k in range(x.shape[1]):
        parts[k % 16] += x[:, k]
    while len(parts) > 1:
        parts = parts[: len(parts) // 2] + parts[len(parts) // 2 :]
    return np.maximum(parts[0], np.float32(least_sum))[:, None]


def normalize_quantize_gemm(x: Array, *rest: Array, least_sum: float = 1.0, **attributes: Any) -> tuple[Array]:
    """QuantizeGemm of rows that are divided by their sums, or by `least_sum` where that is less."""
    return quantize_gemm((x / _divisors(x, least_sum)).astype(np.float32), *rest, **attributes)


def normalize_sparse_gemm(x: Array, w: Array, bias: Array, least_sum: float = 1.0) -> tuple[Array]:
    """SparseGemm of rows that are divided by their sums, or by `least_sum` where a sum is less."""
    return ((x @ w / _divisors(x, least_sum) + one_or(bias, w.shape[1], "bias")).astype(np.float32),)


def quantize_rows(x: Array, step: Array, top: Array, factor: Array, signed: int = 0) -> tuple[Array]:
    """Codes of float32 x `[R, K]`: x * factor / step within [-top, top] (signed, about 128) or [0, top], as uint8.

    `step` and `top` are `[R, 1]` or `[1, K]`, both the same, or have one element; `factor` is `[1, K]` or has one.
    """
    if x.ndim != 2 or signed not in (0, 1):
        raise ValueError("x must have the shape [R, K], and signed be 0 or 1")
    by_row, by_column = (len(x), 1), (1, x.shape[1])
    shapes = {v.shape for v in (step, top) if v.size != 1}
    if len(shapes) > 1 or not shapes <= {by_row, by_column} or (factor.size != 1 and factor.shape != by_column):
        raise ValueError("step and top must have the shape [R, 1] or [1, K], both the same, factor [1, K]; or one")
    one = (1, 1)
    step, top, factor = (v.reshape(one) if v.size == 1 else v for v in (step, top, factor))
    low = -top if signed else np.zeros_like(top)
    v = np.maximum(np.minimum(x * factor / step, top), low)
    v = np.where(np.isnan(v), low, v)
    v = np.where(np.isnan(v), np.float32(-128 * signed), v)  # a NaN as the top, too
    return (np.clip(np.rint(v) + np.float32(128 * signed), 0, 255).astype(np.uint8),)


def sparse_gemm(x: Array, w: Array, bias: Array) -> tuple[Array]:
    """Matrix product x `[M, K]` @ w `[K, N]` + bias, float32."""
    return ((x @ w + one_or(bias, w.shape[1], "bias")).astype(np.float32),)
