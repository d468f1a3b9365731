"""C code of the operators on codes: QSpMM, QGemm and their variants, QuantizeLinear, DequantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.product_rows import by_two, padded, weight_table
from edgegnn.plain_c.qdq_gemm import replaces
from edgegnn.plain_c.rows import at_least, columns_of, rows_of
from edgegnn.plain_c.steps import find_steps
from edgegnn.plain_c.values import Dim, count, fixed

__all__ = ["GemmForm", "SpmmForm", "code_record", "dequantize_linear", "qgemm", "qspmm", "quantize_linear", "vector"]

Array = npt.NDArray[np.generic]
_END = 2**16 - 1  # the column of the entry behind the last one
_LOWEST, _HIGHEST = -3.4028234663852886e38, 3.4028234663852886e38


@dataclass(frozen=True)
class SpmmForm:
    """A variant of QSpMM: whether it gives floats in place of codes."""

    floats: bool = False


@dataclass(frozen=True)
class GemmForm:
    """A variant of QGemm.

    Attributes:
        floats: gives floats in place of codes.
        quantizes: takes floats, and makes their codes.
        normalizes: divides each row of floats by its sum first.
        norms: has a batch norm behind its clip.
    """

    floats: bool = False
    quantizes: bool = False
    normalizes: bool = False
    norms: bool = False


def qspmm(form: SpmmForm, builder: Builder, node: Node) -> None:
    """QSpMM and QSpMMFloat."""
    x = builder.tensor(node, 0)
    csr, _ = rows_of(builder, node, 1, 4)
    if x.ctype != "uint8_t":
        raise node.refuse("its codes are signed")
    rows, width = x.shape[0], x.width
    at_least(builder, node, csr.rows, rows)
    columns = columns_of(builder, node, 2, csr, rows)
    attributes = node.attributes
    record = builder.record(
        "aggregate",
        "qspmm_t",
        f"{{{_f(attributes['x_scale'])}, {_f(attributes.get('self_weight', 0.0))}, "
        f"{int(attributes.get('x_zero_point', 0))}, {code_record(node)}}}",
    )
    row_scale, row_step = vector(builder, node, 5, rows)
    bias, bias_step = vector(builder, node, 6, fixed(width))
    arguments = (
        f"&{record}, {rows.text}, {width}, {x.name}, {csr.indptr}, {columns}, {row_scale}, {row_step}, "
        f"{bias}, {bias_step}"
    )
    if form.floats:
        builder.kernels.add("qspmm_floats")
        y = builder.result(node.outputs[0], "float", x.shape)
        builder.step(f"qspmm_floats({arguments}, {y.name});")
        return
    builder.kernels.add("qspmm_codes")
    y = builder.result(node.outputs[0], "uint8_t", x.shape, takes_over=x)
    scratch = builder.buffer("scratch", "uint8_t", count((rows, fixed(4))))
    builder.step(f"qspmm_codes({arguments}, {y.name}, {scratch.name});")


def qgemm(form: GemmForm, builder: Builder, node: Node) -> None:
    """QGemm, [Normalize]QuantizeGemm and their variants; row by row, so that a result may lie over its input."""
    x = builder.tensor(node, 0)
    if len(x.shape) != 2:
        raise node.refuse("it takes a matrix in C")
    rows, depth = x.shape
    if not form.quantizes and x.ctype != "uint8_t":
        raise node.refuse("its codes are signed")
    width = builder.constant(node, 1).shape[1]
    if depth.fixed != builder.constant(node, 1).shape[0]:
        raise node.refuse("its input and its weights don't match")
    length = padded(builder.constant(node, 1).shape[0])
    row = builder.buffer("row", "int16_t", fixed(2 * length))
    row_scale, step = vector(builder, node, 3, rows)
    addend = _addend(builder, node, rows, width)
    start = f"{row.name} + j * {length}, {x.name} + (i + j) * {depth.text}, {depth.text}"
    if form.quantizes:
        kernel = "widen_normalised" if form.normalizes else "widen_floats"
        builder.kernels.add(kernel)
        least = f", {_f(node.attributes.get('least_sum', 1.0))}" if form.normalizes else ""
        codes = builder.record("codes", "code_t", _input_code(node))
        widen = f"{kernel}({start}{least}, &{codes});"
    else:
        builder.kernels.add("widen_codes")
        widen = f"widen_codes({start}, {int(node.attributes.get('x_zero_point', 0))});"
    steps = _steps(form, builder, node, addend)
    if steps:
        builder.kernels.add("qgemm_steps")
        y = builder.result(node.outputs[0], "uint8_t", (rows, fixed(width)), takes_over=x)
        builder.step(by_two(rows, widen, f"qgemm_steps(&{steps}, {row.name}, pair, {y.name} + i * {width});"))
        return
    layer = _layer(form, builder, node)
    scale = f"{row_scale} + i * {step}, {step}" if step != "0" else f"{row_scale}, 0"
    kernel = "qgemm_floats" if form.floats else "qgemm_codes"
    builder.kernels.add(kernel)
    head = f"{kernel}(&{layer}, {row.name}, pair, {scale}, {addend}"
    if form.floats and _pooled(builder, node, rows, width, widen, head):
        return
    y = builder.result(node.outputs[0], "float" if form.floats else "uint8_t", (rows, fixed(width)), takes_over=x)
    builder.step(by_two(rows, widen, f"{head}, {y.name} + i * {width});"))


def _pooled(builder: Builder, node: Node, rows: Dim, width: int, widen: str, head: str) -> bool:
    """Sum up the rows as they come, where nothing but the pooling of the whole graph reads them."""
    uses = builder.uses.get(node.outputs[0], [])
    if node.outputs[0] in builder.outputs or len(uses) != 1 or uses[0].op not in ("SegmentSum", "SegmentMean"):
        return False
    pool = uses[0]
    if not builder.pools_whole_graph(pool):
        return False
    two = builder.buffer("two_rows", "float", fixed(2 * width))
    y = builder.result(pool.outputs[0], "float", (fixed(1), fixed(width)))
    add = f"for (size_t j = 0; j < pair * {width}; ++j) {y.name}[j % {width}] = {y.name}[j % {width}] + {two.name}[j];"
    mean = (
        f"for (size_t j = 0; j < {width}; ++j) {y.name}[j] = {y.name}[j] / (float)({rows.text} > 0 ? {rows.text} : 1);"
    )
    builder.step(
        f"for (size_t j = 0; j < {width}; ++j) {y.name}[j] = 0.0f;\n"
        f"{by_two(rows, widen, f'{head}, {two.name});')[:-2]}\n  {add}\n}}"
        + (f"\n{mean}" if pool.op == "SegmentMean" else "")
    )
    builder.fused.add(pool.outputs[0])
    return True


def _steps(form: GemmForm, builder: Builder, node: Node, addend: str) -> str:
    """The constant structure of a product without floats; "" where there is none."""
    row_scale, bias = builder.tensor(node, 3).constant, builder.constant(node, 4).astype(np.float32).reshape(-1, 1)
    columns, name = builder.constant(node, 1).T, _hint(node)
    if form.floats or addend != "NULL" or row_scale is None or np.unique(row_scale).size != 1:
        return ""
    if bias.size not in (1, len(columns)) or len(columns) >= _END:
        return ""
    factor = np.float32(node.attributes["x_scale"]) * builder.constant(node, 2).astype(np.float32).reshape(-1, 1)
    norm = [builder.constant(node, place).astype(np.float32).reshape(-1, 1) for place in (6, 7) if form.norms]
    before = np.array(_clip(node), np.float32)
    low, high = _last_clip(form, node)
    scale, zero = np.float32(node.attributes.get("y_scale", 1.0)), int(node.attributes.get("y_zero_point", 0))
    least, most = (np.float32(bound) for bound in _code_bounds(low, high, float(scale), (0, 255), zero))
    one = np.float32(row_scale.reshape(-1)[0])

    def code_of(sums: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        v = sums.astype(np.float32) * factor * one + bias  # each operation rounds, as it does in C
        if norm:
            v = np.clip(v, before[0], before[1]) * norm[0] + norm[1]
        return np.rint(np.clip(v / scale, least, most)).astype(np.int64) + zero

    numbers: list[npt.NDArray[np.float32]] = [factor, bias, np.array([one]), *norm]
    if not all(np.isfinite(a).all() for a in numbers):
        return ""
    x_zero = int(node.attributes.get("x_zero_point", 0))
    ends = np.array([node.attributes.get("x_low", 0), node.attributes.get("x_high", 255)], np.int64) - x_zero
    inner = columns.astype(np.int64)[:, :, None] * ends
    with np.errstate(over="ignore"):
        found = find_steps(
            code_of, inner.min(2).sum(1), inner.max(2).sum(1), int(np.rint(least)) + zero, int(np.rint(most)) + zero
        )
    if found is None:
        return ""
    listed = ", ".join(f"{{{number}, {column}, {code}}}" for column, number, code in (*found.rare, (_END, 0, 0)))
    weights = weight_table(builder, f"{name}_weight", columns)
    tables = (
        builder.table(f"{name}_multiplier", found.multiplier.astype(np.int32), "int32_t"),
        builder.table(f"{name}_offset", found.offset, "int64_t"),
        builder.table(f"{name}_ends", found.ends.astype(np.uint8), "uint8_t"),
        builder.record(f"{name}_rare", "rare_t", f"{{{listed}}}", len(found.rare) + 1),
    )
    text = f"{{{weights.sizes}, {', '.join(tables)}}}"
    return builder.record(name, "qsteps_t", text)


def _hint(node: Node) -> str:
    """What the tables of an operator are called: its layer."""
    return node.name.rsplit("/", 1)[0].rsplit("model.", 1)[-1]


def _layer(form: GemmForm, builder: Builder, node: Node) -> str:
    """The constant structure of a matrix product."""
    weight = builder.constant(node, 1)
    width = weight.shape[1]
    hint = _hint(node)
    weights = weight_table(builder, f"{hint}_weight", weight.T)
    x_scale = np.float32(node.attributes["x_scale"])
    factors = _filled(x_scale * builder.constant(node, 2).astype(np.float32).reshape(-1), width)
    factor = builder.table(f"{hint}_factor", factors, "float")
    bias = builder.constant(node, 4)
    if bias.size not in (1, width):
        raise node.refuse("its bias has neither one element nor one a column")
    gain = shift = "NULL"
    before = (_LOWEST, _HIGHEST)
    if form.norms:
        before = _clip(node)
        gain, shift = (
            builder.table(f"{hint}_{name}", _filled(builder.constant(node, place), width), "float")
            for name, place in (("gain", 6), ("shift", 7))
        )
    low, high = _last_clip(form, node)
    text = (
        f"{{{weights.sizes}, {factor}, {builder.table(f'{hint}_bias', bias, 'float')}, "
        f"{0 if bias.size == 1 else 1}, NULL, {gain}, {shift}, {_f(before[0])}, {_f(before[1])}, "
        f"{code_record(node, low, high)}}}"
    )
    return builder.record(hint, "qgemm_t", text)


def _filled(values: Array, width: int) -> Array:
    return np.broadcast_to(values, (width,)).copy()


def _addend(builder: Builder, node: Node, rows: Dim, width: int) -> str:
    value = builder.tensor(node, 5)
    if value.constant is not None and value.constant.size == 1:
        number = value.constant.reshape(-1)
        return "NULL" if number[0] == 0 else builder.table("addend", _filled(number, width), "float")
    at_least(builder, node, value.elements, count((rows, fixed(width))))
    return f"{pointer(builder, 'addend', value)} + i * {width}"


def vector(builder: Builder, node: Node, place: int, number: Dim) -> tuple[str, str]:
    """A pointer to one number for all or to `number` of them, and the step from number to number."""
    value = builder.tensor(node, place)
    if value.elements.fixed != 1:
        at_least(builder, node, value.elements, number)
    return pointer(builder, node.inputs[place], value), "0" if value.elements.fixed == 1 else "1"


def _clip(node: Node) -> tuple[float, float]:
    return node.attributes.get("clip_low", _LOWEST), node.attributes.get("clip_high", _HIGHEST)


def _last_clip(form: GemmForm, node: Node) -> tuple[float, float]:
    """The limits behind the norm, where there is one."""
    if not form.norms:
        return _clip(node)
    return node.attributes.get("normed_low", _LOWEST), node.attributes.get("normed_high", _HIGHEST)


def code_record(node: Node, low: float | None = None, high: float | None = None) -> str:
    """The `code_t` of an operator's output; of floats only its bounds matter."""
    own_low, own_high = _clip(node)
    zero = int(node.attributes.get("y_zero_point", 0))
    scale = float(node.attributes.get("y_scale", 1.0))
    return _code_literal(own_low if low is None else low, own_high if high is None else high, scale, (0, 255), zero)


def _code_literal(low: float, high: float, scale: float, ends: tuple[int, int], zero: int) -> str:
    """A `code_t` as C text.

    Numbers are divided by `scale` before they are kept in bounds: division keeps their order, so that it comes to the
    same as bounds on the numbers themselves.

    Args:
        low: the least number.
        high: the largest one.
        scale: of the codes.
        ends: the least and the largest code.
        zero: the code of 0.
    """
    least, most = _code_bounds(low, high, scale, ends, zero)
    return f"{{{_f(low)}, {_f(high)}, {_f(scale)}, {_f(least)}, {_f(most)}, {zero}}}"


def _code_bounds(low: float, high: float, scale: float, ends: tuple[int, int], zero: int) -> tuple[float, float]:
    """The bounds of a number that is divided by the scale of its codes already."""
    with np.errstate(over="ignore"):
        inner = [np.float32(bound) / np.float32(scale) for bound in (low, high)]
    least, most = (float(np.clip(bound, ends[0] - zero, ends[1] - zero)) for bound in inner)
    return least, most


def _input_code(node: Node) -> str:
    zero = int(node.attributes.get("x_zero_point", 0))
    low, high = int(node.attributes.get("x_low", 0)), int(node.attributes.get("x_high", 255))
    return _code_literal(_LOWEST, _HIGHEST, float(node.attributes["x_scale"]), (low, high), zero)


def quantize_linear(builder: Builder, node: Node) -> None:
    """QuantizeLinear to uint8, one scale for all."""
    x, scale = builder.tensor(node, 0), builder.constant(node, 1)
    zero = builder.constant(node, 2) if len(node.inputs) > 2 else np.zeros((), np.uint8)
    if scale.size != 1 or zero.dtype != np.uint8:
        raise node.refuse("only uint8 codes with one scale have one")
    number = int(zero.reshape(-1)[0])
    literal = _code_literal(_LOWEST, _HIGHEST, float(scale.reshape(-1)[0]), (0, 255), number)
    record = builder.record("codes", "code_t", literal)
    builder.kernels.add("code")
    y = builder.result(node.outputs[0], "uint8_t", x.shape)
    builder.loop(count(x.shape), f"{y.name}[i] = to_code({x.name}[i], &{record});")


def dequantize_linear(builder: Builder, node: Node) -> None:
    """DequantizeLinear of codes that depend on the graph, one scale for all."""
    x, scale = builder.tensor(node, 0), builder.constant(node, 1)
    if replaces(builder, node):
        return
    zero = int(builder.constant(node, 2).reshape(-1)[0]) if len(node.inputs) > 2 else 0
    if scale.size != 1 or x.ctype not in ("uint8_t", "int8_t"):
        raise node.refuse("only 8-bit codes with one scale have one")
    y = builder.result(node.outputs[0], "float", x.shape)
    value = f"(float)((int32_t){x.name}[i] - {zero})" if zero else f"(float){x.name}[i]"
    builder.loop(count(x.shape), f"{y.name}[i] = {value} * {_f(scale.reshape(-1)[0])};")


def _f(value: float) -> str:
    return float_literal(float(value))
