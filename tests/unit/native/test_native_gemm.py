"""Matrix products of the native library, QGemm, QuantizeGemm and SparseGemm, against their numpy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from native_ops import native, needs_library, reference

from edgegnn.native import DOMAIN, VERSION, library

Array = npt.NDArray[Any]
pytestmark = needs_library

ONE = np.ones(1, np.float32)
NONE = np.zeros(1, np.float32)
SHAPES = [
    *[(m, 9, 20) for m in range(1, 30)],
    *[(5, k, 17) for k in [*range(20), 31, 32, 33, 63, 64, 65, 100, 127, 300]],
    *[(7, 10, n) for n in [*range(1, 36), 47, 48, 49, 63, 64, 65, 79, 80, 81, 96, 127, 128, 129, 200, 300]],
    (60, 1433, 64),
    (200, 100, 64),
    (0, 4, 4),
    (4, 4, 0),
    (1, 1, 1),
]
# Few different ones: each is a session of its own.
SETS: tuple[dict[str, float], ...] = (
    {"x_scale": 0.031, "x_zero_point": 0, "y_scale": 0.7, "y_zero_point": 0, "clip_low": 0.0, "clip_high": 99.0},
    {"x_scale": 0.0123, "x_zero_point": 77, "y_scale": 1.17, "y_zero_point": 131},
    {"x_scale": 0.0017, "x_zero_point": 127, "y_scale": 0.11, "y_zero_point": 255},
)


def random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


def check(op: str, *inputs: Array, **attributes: float) -> Array:
    """Run both output types on one and two threads: equal to the bit."""
    for name in (op, op + "Float"):
        given = attributes if name == op else {k: v for k, v in attributes.items() if not k.startswith("y_")}
        (wanted,) = reference(name, *inputs, **given)
        (one,) = native(name, *inputs, **given)
        assert one.dtype == wanted.dtype
        np.testing.assert_array_equal(one, wanted)
        np.testing.assert_array_equal(one, native(name, *inputs, threads=2, **given)[0])
    return native(op, *inputs, **attributes)[0]


def rest(rng: np.random.Generator, m: int, n: int) -> tuple[Array, Array, Array, Array]:
    """w_scale, row_scale, bias, addend: of one element now and then."""
    w_scale = rng.uniform(0.001, 0.1, n).astype(np.float32)
    row_scale = rng.uniform(-1, 1, m).astype(np.float32) if rng.random() < 0.5 else ONE
    bias = rng.normal(size=n).astype(np.float32) if rng.random() < 0.5 else NONE
    addend = [NONE, ONE * 3, rng.normal(size=(m, n)).astype(np.float32)][rng.integers(3)]
    return w_scale, row_scale, bias, addend


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_qgemm(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for i, (m, k, n) in enumerate(SHAPES):
        x, w = random(rng, (m, k), dtype), random(rng, (k, n), "int8")
        check("QGemm", x, w, *rest(rng, m, n), **SETS[i % 3])


@pytest.mark.parametrize(
    ("dtype", "zero_point"), [("uint8", 0), ("uint8", 128), ("uint8", 255), ("int8", -128), ("int8", 5)]
)
def test_zeros_of_codes_are_skipped(dtype: str, zero_point: int) -> None:
    """Rows of no, few, many and only other codes: deep enough for a look at them."""
    rng = np.random.default_rng(8)
    for m, k, n in ((1, 256, 1), (30, 256, 64), (7, 300, 130), (50, 319, 17), (26, 1433, 33), (5, 255, 9)):
        x, w = random(rng, (m, k), dtype), random(rng, (k, n), "int8")
        x[rng.random((m, k)) >= rng.choice([0, 0.02, 0.12, 0.14, 0.5, 1], (m, 1))] = zero_point
        check("QGemm", x, w, *rest(rng, m, n), **{**SETS[0], "x_zero_point": zero_point})


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
def test_norm_behind_the_clip(dtype: str) -> None:
    rng = np.random.default_rng(7)
    for i, (m, k, n) in enumerate(SHAPES[::3]):
        x = sparse(rng, m, k) if dtype == "float32" else random(rng, (m, k), dtype)
        w = random(rng, (k, n), "int8")
        gain, shift = rng.normal(size=(2, n)).astype(np.float32) * 2
        attributes = SETS[i % 3] | {"clip_low": 0.0, "clip_high": [3.4e38, 5.0][i % 2]}
        attributes |= [{}, {"normed_low": -0.7, "normed_high": 1.2}, {"normed_low": 0.0}][i // 2 % 3]
        for op in ("QuantizeGemmNorm", "NormalizeQuantizeGemmNorm") if dtype == "float32" else ("QGemmNorm",):
            check(op, x, w, *rest(rng, m, n), gain, shift, **attributes)


@pytest.mark.parametrize("short", ["gain", "shift"])
def test_norm_of_another_width(short: str) -> None:
    size = {"gain": 5, "shift": 5, short: 1}
    vectors = [np.ones(size[k], np.float32) for k in ("gain", "shift")]
    x, w = np.ones((3, 4), np.uint8), np.ones((4, 5), np.int8)
    with pytest.raises(Exception, match=r"gain and shift must have N = 5 elements"):
        native("QGemmNorm", x, w, np.ones(5, np.float32), ONE, NONE, NONE, *vectors, x_scale=1.0, y_scale=1.0)


def sparse(rng: np.random.Generator, m: int, k: int) -> Array:
    """Rows of all kinds: no, few, many and only nonzeros, some of them large, negative zeros."""
    share = rng.choice([0, 0.02, 0.1, 0.13, 0.5, 1], m)
    x = rng.normal(size=(m, k)) * rng.choice([1, 100], (m, k), p=[0.95, 0.05])
    x[rng.random((m, k)) >= share[:, None]] = 0
    x[rng.random((m, k)) < 0.01] *= -1
    return x.astype(np.float32)


def test_quantize_gemm() -> None:
    rng = np.random.default_rng(1)
    for i, (m, k, n) in enumerate(SHAPES):
        x, w = sparse(rng, m, k), random(rng, (k, n), "int8")
        check("QuantizeGemm", x, w, *rest(rng, m, n), **SETS[i % 3])
        check("NormalizeQuantizeGemm", x, w, *rest(rng, m, n), least_sum=[1.0, 0.01, 30.0][i % 3], **SETS[i % 3])


@pytest.mark.parametrize(("low", "high", "zero_point"), [(0, 15, 0), (0, 15, 8), (10, 20, 3), (7, 7, 7), (1, 255, 0)])
def test_quantize_gemm_of_fewer_codes(low: int, high: int, zero_point: int) -> None:
    rng = np.random.default_rng(2)
    x, w = sparse(rng, 50, 200), random(rng, (200, 33), "int8")
    codes = {"x_low": low, "x_high": high, "x_zero_point": zero_point, "x_scale": 0.1}
    check("QuantizeGemm", x, w, *rest(rng, 50, 33), y_scale=2.0, y_zero_point=100, **codes)


def test_quantize_gemm_rounds_as_quantize_linear_does() -> None:
    rng = np.random.default_rng(3)
    x = np.arange(-300, 301, dtype=np.float32).reshape(-1, 1) / 2
    w = np.ones((1, 1), np.int8)
    check("QuantizeGemm", x, w, ONE, ONE, NONE, NONE, x_scale=1.0, x_zero_point=100, y_scale=1.0, y_zero_point=100)
    for _ in range(5):
        scale = np.float32(rng.uniform(0.001, 10))
        near = (np.arange(600, dtype=np.float32) - 300) / 2 * scale
        x = np.concatenate([near, np.nextafter(near, np.float32(9e9)), np.nextafter(near, np.float32(-9e9))])[:, None]
        check("QuantizeGemm", x, w, ONE, ONE, NONE, NONE, x_scale=float(scale), x_zero_point=120, y_scale=float(scale))


def test_not_a_number_and_infinities() -> None:
    x = np.zeros((4, 40), np.float32)
    x[:3, 5] = np.nan, np.inf, -np.inf
    for rows in (x, np.repeat(x[:, 5:6], 40, 1)):
        w = np.ones((40, 5), np.int8)
        inputs = [rows, w, np.ones(5, np.float32), ONE, NONE, NONE]
        for op in ("QuantizeGemm", "NormalizeQuantizeGemm"):
            check(op, *inputs, x_scale=0.1, x_zero_point=9, y_scale=8.0)
    for op in ("SparseGemm", "NormalizeSparseGemm"):
        native(op, x, np.ones((40, 5), np.float32), NONE)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("weight", [-128, 127])
def test_extremes_do_not_overflow(dtype: str, weight: int) -> None:
    limits = np.iinfo(dtype)
    w = np.full((65_536, 3), weight, np.int8)
    for code in (limits.min, limits.max):
        for zero_point in (limits.min, limits.max):
            x = np.full((3, 65_536), code, dtype)
            attributes = {"x_scale": 1.0, "x_zero_point": int(zero_point), "y_scale": 1e7, "y_zero_point": 128}
            check("QGemm", x, w, np.ones(3, np.float32), ONE, NONE, NONE, **attributes)


def test_sparse_gemm() -> None:
    rng = np.random.default_rng(4)
    for m, k, n in SHAPES:
        x, w = sparse(rng, m, k), rng.normal(size=(k, n)).astype(np.float32)
        bias = rng.normal(size=n).astype(np.float32) if n % 3 and n else NONE
        (y,) = native("SparseGemm", x, w, bias)
        wanted = x.astype(np.float64) @ w + bias
        bound = np.abs(x.astype(np.float64)) @ np.abs(w) + 1
        assert (np.abs(y - wanted) <= 1e-6 * bound).all()
        np.testing.assert_array_equal(y, native("SparseGemm", x, w, bias, threads=2)[0])


def test_sparse_gemm_of_normalised_rows() -> None:
    rng = np.random.default_rng(8)
    for m, k, n in SHAPES:
        x, w = np.abs(sparse(rng, m, k)), rng.normal(size=(k, n)).astype(np.float32)
        (y,) = native("NormalizeSparseGemm", x, w, ONE, least_sum=0.5)
        rows = x / np.maximum(x.sum(1, keepdims=True, dtype=np.float64), 0.5)
        assert (np.abs(y - (rows @ w + 1)) <= 2e-6 * (rows @ np.abs(w) + 1)).all()


@pytest.mark.parametrize("op", ["QGemm", "QuantizeGemm", "SparseGemm", "NormalizeSparseGemm"])
def test_constant_weights(op: str) -> None:
    """Weights that are an initializer are packed once; the result is the same."""
    rng = np.random.default_rng(5)
    x = sparse(rng, 40, 70) if op != "QGemm" else random(rng, (40, 70), "uint8")
    if op.endswith("SparseGemm"):
        inputs, attributes = [x, rng.normal(size=(70, 21)).astype(np.float32), ONE], {}
    else:
        inputs, attributes = [x, random(rng, (70, 21), "int8"), *rest(rng, 40, 21)], SETS[1]
    (wanted,) = native(op, *inputs, **attributes)
    names = [f"i{i}" for i in range(len(inputs))]
    info = [onnx.helper.make_tensor_value_info("i0", onnx.helper.np_dtype_to_tensor_dtype(x.dtype), None)]
    constants = [onnx.numpy_helper.from_array(a, n) for a, n in zip(inputs[1:], names[1:], strict=True)]
    node = onnx.helper.make_node(op, names, ["y"], domain=DOMAIN, **attributes)
    graph = onnx.helper.make_graph([node], "g", info, [onnx.helper.make_empty_tensor_value_info("y")], constants)
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid(DOMAIN, VERSION)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library()))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for _ in range(2):
        np.testing.assert_array_equal(session.run(None, {"i0": x})[0], wanted)
    np.testing.assert_array_equal(session.run(None, {"i0": x[:0]})[0], wanted[:0])


@pytest.mark.parametrize("op", ["QGemm", "QuantizeGemm", "NormalizeQuantizeGemm"])
def test_bad_input_is_refused(op: str) -> None:
    x = np.ones((3, 8), np.uint8 if op == "QGemm" else np.float32)
    w = np.ones((8, 5), np.int8)
    five = np.ones(5, np.float32)
    good = [x, w, five, ONE, NONE, NONE]
    attributes = {"x_scale": 0.1, "y_scale": 0.1}
    native(op, *good, **attributes)
    two = np.ones(2, np.float32)
    wrong: list[tuple[int, Array]] = [
        (0, x[0]),
        (0, x[:, :7]),
        (1, w[0]),
        (2, ONE),
        (2, two),
        (3, two),
        (4, two),
        (5, two),
        (5, np.ones((3, 4), np.float32)),
        (5, five[:0]),
    ]
    for at, value in wrong:
        with pytest.raises(Exception, match=rf"ai\.edgegnn\.{op}: "):
            native(op, *good[:at], value, *good[at + 1 :], **attributes)
    big = [np.zeros((1, 65_537), x.dtype), np.zeros((65_537, 1), np.int8), ONE, ONE, NONE, NONE]
    with pytest.raises(Exception, match="65,536"):
        native(op, *big, **attributes)
    for bad in ({"x_scale": 0.0}, {"x_zero_point": 256}, {"y_scale": -1.0}, {"y_zero_point": 256}):
        with pytest.raises(Exception, match=rf"ai\.edgegnn\.{op}: {next(iter(bad))}"):
            native(op, *good, **(attributes | bad))
    if op == "NormalizeQuantizeGemm":
        for least in (0.0, -1.0, float("nan"), 1e31):
            with pytest.raises(Exception, match="least_sum"):
                native(op, *good, least_sum=least, **attributes)
    if op != "QGemm":
        for bad in ({"x_low": -1}, {"x_high": 256}, {"x_low": 9, "x_high": 8}):
            with pytest.raises(Exception, match="x_low"):
                native(op, *good, **(attributes | bad))


def test_sparse_gemm_refuses_bad_shapes() -> None:
    x, w = np.ones((3, 8), np.float32), np.ones((8, 5), np.float32)
    for bad in ((x[0], w, NONE), (x, w[0], NONE), (x, w[:7], NONE), (x, w, np.ones(2, np.float32))):
        with pytest.raises(Exception, match=r"ai\.edgegnn\.SparseGemm: "):
            native("SparseGemm", *bad)
        with pytest.raises(Exception, match=r"ai\.edgegnn\.NormalizeSparseGemm: "):
            native("NormalizeSparseGemm", *bad)
