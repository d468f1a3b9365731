"""Points for the operators that make graphs from them, and one-op models of these, with their bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import helper

from edgegnn.exporting.rewrite.functions import OPS, function
from edgegnn.native import DOMAIN, VERSION

__all__ = ["CLOUDS", "cloud", "geometry_model"]

Array = npt.NDArray[Any]

# Points of each graph (sources, queries), coordinates, and whether they lie on a grid, where many are equally far.
CLOUDS: dict[str, tuple[list[tuple[int, int]], int, bool]] = {
    "one graph": ([(70, 70)], 3, False),
    "grid": ([(40, 40), (33, 33)], 2, True),
    "several graphs": ([(5, 4), (0, 3), (300, 270), (1, 2), (7, 0), (40, 300)], 5, False),
    "many coordinates": ([(50, 9), (31, 64)], 67, False),
    "no queries": ([(6, 0)], 3, False),
    "no points": ([(0, 0)], 3, False),
    "no sources": ([(0, 5)], 2, False),
}


def cloud(kind: str, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Sources, queries and the graphs of both."""
    rng = np.random.default_rng(seed)
    sizes, depth, grid = CLOUDS[kind]

    def points(at: int) -> tuple[Array, Array]:
        counts = [size[at] for size in sizes]
        shape = sum(counts), depth
        values = rng.integers(0, 4, shape) / 10 if grid else rng.standard_normal(shape)
        return values.astype(np.float32), np.repeat(np.arange(len(sizes)), counts)

    (x, batch_x), (y, batch_y) = points(0), points(1)
    return x, y, batch_x, batch_y


def geometry_model(op: str, inputs: dict[str, Array], attributes: dict[str, Any]) -> onnx.ModelProto:
    """A model of one operator, with its function body."""
    takes, gives = ([name.strip() for name in OPS[op][k].split(",")] for k in (1, 2))
    node = helper.make_node(op, takes, gives, domain=DOMAIN, **attributes)
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(inputs[name].dtype), [None] * inputs[name].ndim
        )
        for name in takes
    ]
    out = [helper.make_tensor_value_info(gives[0], onnx.TensorProto.INT64, None)]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, VERSION)]
    graph = helper.make_graph([node], "one", values, out)
    return helper.make_model(graph, opset_imports=opsets, functions=[ir.to_proto(function(op))], ir_version=9)
