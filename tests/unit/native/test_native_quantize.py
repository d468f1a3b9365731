"""QuantizeRows of the native library: against its numpy reference, and against the standard operators it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from native_ops import Array, native, needs_library, reference
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from rewrite_example import one_op, session

pytestmark = needs_library

ONE = np.ones(1, np.float32)
WIDTHS = [*range(1, 35), 47, 48, 63, 64, 65, 100, 128, 130, 1433]


def features(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Rows of all kinds: zeros alone, few, many or no zeros, of both signs, and large numbers."""
    x = rng.normal(size=(rows, columns)) * rng.choice([1, 100, 1e30], (rows, columns), p=[0.9, 0.09, 0.01])
    x *= rng.random((rows, columns)) < rng.choice([0, 0.02, 0.5, 1], (rows, 1))
    return x.astype(np.float32)


def steps(rng: np.random.Generator, *shape: int) -> tuple[Array, Array]:
    return rng.uniform(1e-3, 2, shape).astype(np.float32), rng.choice([0, 1, 3, 7, 127], shape).astype(np.float32)


def check(x: Array, step: Array, top: Array, factor: Array = ONE, signed: int = 1) -> Array:
    (wanted,) = reference("QuantizeRows", x, step, top, factor, signed=signed)
    (one,) = native("QuantizeRows", x, step, top, factor, signed=signed)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, wanted)
    np.testing.assert_array_equal(one, native("QuantizeRows", x, step, top, factor, threads=2, signed=signed)[0])
    return one


def body(x: Array, step: Array, top: Array, factor: Array, signed: int) -> Array:
    """What stock onnxruntime makes of the function in a model."""
    inputs = {"x": x, "step": step, "top": top, "factor": factor}
    return session(one_op("QuantizeRows", inputs, {"signed": signed})).run(None, inputs)[0]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("columns", [False, True])
def test_widths(columns: bool, signed: int) -> None:
    rng = np.random.default_rng(signed)
    for width in WIDTHS:
        rows = int(rng.integers(1, 60))
        step, top = steps(rng, *((1, width) if columns else (rows, 1)))
        x = features(rng, rows, width)
        factor = rng.normal(size=(1, width)).astype(np.float32) if width % 3 else ONE
        code = check(x, step, top, factor, signed)
        np.testing.assert_array_equal(code, body(x, step, top, factor, signed))
        check(x, step[:1, :1], top, factor, signed)
        check(x, step, top[:1, :1].reshape(()), factor * 3, signed)


def test_many_rows() -> None:
    rng = np.random.default_rng(3)
    x = features(rng, 5000, 70)
    check(x, *steps(rng, 5000, 1))
    check(x, *steps(rng, 1, 70), signed=0)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_nothing_to_quantize(shape: tuple[int, int]) -> None:
    for step in (np.ones((shape[0], 1), np.float32), np.ones((1, shape[1]), np.float32)):
        assert check(np.ones(shape, np.float32), step, step * 7).shape == shape


def test_halves_round_to_even_and_quotients_are_those_of_a_division() -> None:
    rng = np.random.default_rng(4)
    assert check(np.arange(-5, 6, dtype=np.float32)[None] / 2, ONE, ONE * 127)[0].tolist() == [
        *(126, 126, 126, 127, 128, 128, 128, 129, 130, 130, 130)
    ]
    step = rng.uniform(1e-3, 10, (300, 1)).astype(np.float32)
    near = (np.arange(256, dtype=np.float32) - 128) / 2 * step
    for x in (near, np.nextafter(near, np.float32(9e9)), np.nextafter(near, np.float32(-9e9))):
        check(x, step, ONE * 127)


@pytest.mark.parametrize("signed", [0, 1])
def test_steps_and_widths_that_no_training_makes(signed: int) -> None:
    """Zero, negative, infinite, tiny and no numbers, also where x is zero."""
    odd = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, 3e38, -300, 300], np.float32)
    x = np.tile(np.r_[odd, np.zeros(21, np.float32)], (len(odd) ** 2, 1))
    step, top = (v.reshape(-1, 1) for v in np.meshgrid(odd, odd))
    check(x, step, top, signed=signed)
    check(np.ascontiguousarray(x.T), step.T, top.T, signed=signed)
    for factor in odd:
        check(x, step, top, ONE * factor, signed=signed)
        check(x, ONE, ONE * 7, np.full((1, x.shape[1]), factor, np.float32), signed=signed)


def test_a_nan_has_the_lowest_code_and_infinities_the_ends() -> None:
    x = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    assert check(x, ONE, ONE * 7).tolist() == [[121, 135, 121]]
    assert check(x, ONE, ONE * 7, signed=0).tolist() == [[0, 7, 0]]


X, ROWS, COLUMNS = np.ones((4, 3), np.float32), np.ones((4, 1), np.float32), np.ones((1, 3), np.float32)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((X[0], ONE, ONE, ONE), "x must have"),
        ((X[None], ONE, ONE, ONE), "x must have"),
        ((X, ROWS[:3], ONE, ONE), "step and top"),
        ((X, ROWS, ROWS[1:], ONE), "step and top"),
        ((X, ROWS[:, 0], ONE, ONE), "step and top"),
        ((X, X, ONE, ONE), "step and top"),
        ((X, ROWS, COLUMNS, ONE), "step and top"),
        ((X, COLUMNS, ROWS, ONE), "step and top"),
        ((X, ONE[:0], ONE, ONE), "step and top"),
        ((X, ONE, ONE, ROWS), "factor"),
        ((X, ONE, ONE, ONE[:0]), "factor"),
        ((X, ONE, ONE, COLUMNS[0]), "factor"),
    ],
)
def test_bad_shapes_are_refused(inputs: tuple[Array, ...], words: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"ai\.edgegnn\.QuantizeRows: {words}"):
        native("QuantizeRows", *inputs)
    with pytest.raises(ValueError, match="must have"):
        reference("QuantizeRows", *inputs)


def test_bad_sign_is_refused() -> None:
    with pytest.raises(Exception, match="signed = 2 must be 0 or 1"):
        native("QuantizeRows", X, ONE, ONE, ONE, signed=2)
