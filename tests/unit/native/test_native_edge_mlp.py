"""QEdgeMlpMax and [Q]EdgeProductMax of the native library: against numpy, over threads, with inputs that lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_ops import EMPTY, Array, csr, native, needs_library, random_edges, reference
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

pytestmark = needs_library

GRAPHS = {"empty": (0, 0), "no edges": (5, 0), "one": (1, 3), "small": (30, 70), "hub": (90, 900)}
SIZES = [(1, 1, 1), (3, 5, 7), (16, 16, 16), (17, 33, 4), (64, 64, 64), (8, 100, 20)]
NUMBERS: dict[str, Any] = {
    "x_scale": 0.03,
    "x_zero_point": 120,
    "hidden_scale": 0.02,
    "hidden_zero_point": 7,
    "hidden_low": 0.0,
    "clip_high": 5.0,
}


def given(graph: str, width: int, middle: int, out: int) -> list[Array]:
    nodes, edges = GRAPHS[graph]
    rng = np.random.default_rng(width)
    indptr, col, row, _, count = csr(random_edges(rng, nodes, edges, hub=graph == "hub"), nodes)
    ends = [rng.normal(size=(nodes, width)).astype(np.float32) for _ in range(2)]
    layers: list[Array] = []
    for rows, columns in ((2 * width, middle), (middle, out)):
        layers += [rng.integers(-128, 128, (rows, columns)).astype(np.int8)]
        layers += [rng.uniform(1e-3, 1e-2, columns).astype(np.float32), rng.normal(size=columns).astype(np.float32)]
    return [*ends, *layers, indptr, col, row, count]


@pytest.mark.parametrize("graph", GRAPHS)
def test_equals_the_reference(graph: str):
    for width, middle, out in SIZES:
        for more in ({}, {"x_low": 100, "x_high": 140, "hidden_low": -3e38}):
            inputs, numbers = given(graph, width, middle, out), {**NUMBERS, **more}
            (want,) = reference("QEdgeMlpMax", *inputs, **numbers)
            (got,) = native("QEdgeMlpMax", *inputs, **numbers)
            np.testing.assert_array_equal(got, want, err_msg=f"{width} {middle} {out}")
            np.testing.assert_array_equal(got, native("QEdgeMlpMax", *inputs, threads=2, **numbers)[0])


def test_one_bias_for_all_and_numbers_that_are_none():
    inputs = given("small", 5, 7, 3)
    inputs[4] = inputs[7] = np.array([0.25], np.float32)
    inputs[0][3, 2], inputs[0][9, 1], inputs[1][4] = np.nan, np.inf, -np.inf
    (want,) = reference("QEdgeMlpMax", *inputs, **NUMBERS)
    np.testing.assert_array_equal(native("QEdgeMlpMax", *inputs, **NUMBERS)[0], want)


@pytest.mark.parametrize(
    ("at", "lie", "text"),
    [
        (0, lambda v: v[:, 0], "source must have"),
        (1, lambda v: v[:-1], "target must have"),
        (2, lambda v: v[:-1], "product 1 has"),
        (3, lambda v: v[:-1], "scales of product 1"),
        (4, lambda v: v[:-1], "bias must have"),
        (5, lambda v: v[:-1], "product 2 has"),
        (6, lambda v: v[:-1], "scales of product 2"),
        (9, lambda v: np.where(np.arange(v.size) == 60, -5, v).astype(np.int32), r"col\[60\] = -5"),
        (8, lambda v: v[:-1], "indptr must rise"),
    ],
)
def test_inputs_that_lie(at, lie, text):
    inputs = given("small", 5, 7, 3)
    inputs[at] = lie(inputs[at])
    with pytest.raises(InvalidArgument, match=f"QEdgeMlpMax: .*{text}"):
        native("QEdgeMlpMax", *inputs, **NUMBERS)


@pytest.mark.parametrize(
    ("name", "value"), [("x_scale", 0.0), ("hidden_scale", np.nan), ("x_low", 200), ("hidden_zero_point", 256)]
)
def test_numbers_that_lie(name, value):
    numbers = {**NUMBERS, name: value, **({"x_high": 100} if name == "x_low" else {})}
    with pytest.raises(Exception, match="QEdgeMlpMax: "):
        native("QEdgeMlpMax", *given("small", 5, 7, 3), **numbers)


def test_graph_of_a_function_body():
    inputs = given("small", 5, 7, 3)
    inputs[8], inputs[10] = EMPTY, np.zeros(70, np.int32)
    with pytest.raises(InvalidArgument, match="indptr is empty and row is not"):
        native("QEdgeMlpMax", *inputs, **NUMBERS)


def product(graph: str, width: int, out: int) -> list[Array]:
    source, target, *_, indptr, col, row, count = given(graph, width, 1, 1)
    rng = np.random.default_rng(out)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((width, out), (out,))]
    return [source, target, *weights, indptr, col, row, count]


@pytest.mark.parametrize("graph", GRAPHS)
def test_float_products(graph: str):
    for width, out, _ in SIZES:
        inputs = product(graph, width, out)
        for numbers in ({"low": 0.0}, {"low": -0.3, "high": 0.4}, {}):
            (want,) = reference("EdgeProductMax", *inputs, **numbers)
            (got,) = native("EdgeProductMax", *inputs, **numbers)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)
            np.testing.assert_array_equal(got, native("EdgeProductMax", *inputs, threads=2, **numbers)[0])


@pytest.mark.parametrize(
    ("at", "lie", "text"),
    [
        (0, lambda v: v[:, 0], "source must have"),
        (1, lambda v: v[:, :-1], "target must have"),
        (2, lambda v: v[:-1], "w must have"),
        (3, lambda v: v[:-1], "bias must have"),
        (5, lambda v: np.where(np.arange(v.size) == 3, 30, v).astype(np.int32), r"col\[3\] = 30"),
    ],
)
def test_float_inputs_that_lie(at, lie, text):
    inputs = product("small", 5, 7)
    inputs[at] = lie(inputs[at])
    with pytest.raises(InvalidArgument, match=f"EdgeProductMax: .*{text}"):
        native("EdgeProductMax", *inputs)


@pytest.mark.parametrize("graph", GRAPHS)
def test_integer_products(graph: str):
    for width, middle, out in SIZES:
        source, target, *_ = given(graph, width, middle, out)
        *_, w, scale, bias, indptr, col, row, count = given(graph, max(middle, 1), width, out)
        indptr, col, row, count = given(graph, width, middle, out)[-4:]
        for numbers in (
            {"x_scale": 0.03, "x_zero_point": 120, "low": 0.0},
            {"x_scale": 0.03, "x_zero_point": 120, "low": -1.0, "high": 0.5, "clip_low": 0.1},
            {"x_scale": 0.03, "x_zero_point": 20, "x_low": 10, "x_high": 200},
        ):
            inputs = (source, target, w, scale, bias, indptr, col, row, count)
            (want,) = reference("QEdgeProductMax", *inputs, **numbers)
            (got,) = native("QEdgeProductMax", *inputs, **numbers)
            np.testing.assert_array_equal(got, want)
            np.testing.assert_array_equal(got, native("QEdgeProductMax", *inputs, threads=2, **numbers)[0])


@pytest.mark.parametrize(("name", "value"), [("low", np.nan), ("low", 5.0), ("x_scale", 0.0), ("clip_low", np.nan)])
def test_integer_numbers_that_lie(name, value):
    source, target, *_ = given("small", 5, 7, 3)
    *_, w, scale, bias, indptr, col, row, count = given("small", 7, 5, 3)
    numbers = {"x_scale": 0.1, "high": 1.0, name: value}
    with pytest.raises(Exception, match="QEdgeProductMax: "):
        native("QEdgeProductMax", source, target, w, scale, bias, indptr, col, row, count, **numbers)
