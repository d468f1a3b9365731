"""Knn, Radius and FarthestPoints: function bodies and kernels find what numpy finds, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from native_ops import native, needs_library
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from point_clouds import CLOUDS, cloud, geometry_model
from rewrite_example import WAYS, session
from sweep import spread

from edgegnn.native import reference

CASES = [
    ("Knn", {"k": 5}),
    ("Knn", {"k": 5, "loop": 0}),
    ("Knn", {"k": 400}),
    ("Radius", {"squared_radius": 1.5, "max_num_neighbors": 1000}),
    ("Radius", {"squared_radius": 0.02, "max_num_neighbors": 3, "loop": 0}),
    ("FarthestPoints", {"ratio": 0.3}),
    ("FarthestPoints", {"ratio": 1.0}),
]


def _inputs(op, kind):
    x, y, batch_x, batch_y = cloud(kind)
    if op == "FarthestPoints":
        return {"x": x, "batch": batch_x}
    return {"x": x, "y": y, "batch_x": batch_x, "batch_y": batch_y}


@pytest.mark.parametrize(("case", "way"), spread(CASES, list(WAYS)))
def test_as_in_numpy(case, way):
    op, attributes = case
    for kind in CLOUDS:
        inputs = _inputs(op, kind)
        (want,) = reference.run(op, *inputs.values(), **attributes)
        model = geometry_model(op, inputs, attributes)
        for threads in (1, 2):
            run = session(model, way, threads)
            if run is None:
                pytest.skip("the library is not built")
            (got,) = run.run(None, inputs)
            assert got.dtype == np.int64, kind
            np.testing.assert_array_equal(got, want, err_msg=kind)


def test_equally_far_points_come_in_order():
    square = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [0, 0]], np.float32)
    batch = np.zeros(6, np.int64)
    (edges,) = reference.run("Knn", square, square[:1], batch, batch[:1], k=4)
    assert edges.tolist() == [[0, 5, 1, 2], [0, 0, 0, 0]]
    (edges,) = reference.run("Radius", square, square[:1], batch, batch[:1], squared_radius=1.0, max_num_neighbors=9)
    assert edges.tolist() == [[0, 5], [0, 0]]  # strictly within
    (index,) = reference.run("FarthestPoints", square, batch, ratio=0.5)
    assert index.tolist() == [0, 1, 2]


def test_huge_distances_are_equal():
    x = np.array([[3e38], [-3e38], [0], [1]], np.float32)
    inputs = {"x": x, "y": x[:1], "batch_x": np.array([0, 0, 0, 1]), "batch_y": np.array([0])}
    (want,) = reference.run("Knn", *inputs.values(), k=4)
    assert want.tolist() == [[0, 1, 2], [0, 0, 0]]
    for way in WAYS:
        run = session(geometry_model("Knn", inputs, {"k": 4}), way)
        if run is not None:
            np.testing.assert_array_equal(run.run(None, inputs)[0], want)


@needs_library
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": np.full((6, 3), np.nan, np.float32)}, "x has NaN or infinity at point 0"),
        ({"y": np.full((0, 2), 1, np.float32), "batch_y": np.zeros(0, np.int64)}, "same number of coordinates"),
        ({"y": np.zeros(3, np.float32)}, "shape"),
        ({"batch_x": np.array([0, 0, 1, 1, 0, 2])}, r"batch_x\[4\] = 0: graphs must be numbered in rising order"),
        ({"batch_x": np.array([-1, 0, 1, 1, 1, 2])}, r"batch_x\[0\] = -1"),
        ({"batch_y": np.array([0, 2**31])}, r"batch_y\[1\] = 2147483648"),
        ({"batch_y": np.array([0])}, "one number for each point"),
    ],
)
def test_bad_input(change, text):
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    inputs = {"x": x, "y": x[:2], "batch_x": np.zeros(6, np.int64), "batch_y": np.zeros(2, np.int64), **change}
    with pytest.raises(InvalidArgument, match=f"Knn: .*{text}"):
        native("Knn", *inputs.values(), k=2)
    with pytest.raises(ValueError):  # noqa: PT011
        reference.run("Knn", *inputs.values(), k=2)


@needs_library
@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Knn", {"k": 0}),
        ("Knn", {"k": 1, "loop": 2}),
        ("Radius", {"squared_radius": -1.0, "max_num_neighbors": 1}),
        ("Radius", {"squared_radius": 1.0, "max_num_neighbors": 0}),
        ("FarthestPoints", {"ratio": 0.0}),
        ("FarthestPoints", {"ratio": 1.5}),
    ],
)
def test_bad_attributes(op, attributes):
    inputs = _inputs(op, "one graph")
    with pytest.raises(Exception, match=rf"{op}: .*{'|'.join(attributes)}"):
        native(op, *inputs.values(), **attributes)
    with pytest.raises(ValueError):  # noqa: PT011
        reference.run(op, *inputs.values(), **attributes)
