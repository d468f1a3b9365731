"""Knn, Radius and FarthestPoints while exporting: operators of `edgegnn.tasks.points` become those of `ai.edgegnn`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnxscript.values import Op, Opset

from edgegnn.exporting.rewrite.functions import DOMAIN, VERSION

__all__ = ["point_table"]

_INT, _FLOAT = onnx.defs.OpSchema.AttrType.INT, onnx.defs.OpSchema.AttrType.FLOAT
_POINTS, _GRAPHS = "tensor(float)", "tensor(int64)"


def _operator(name: str, inputs: dict[str, str], output: str, attributes: dict[str, Any]) -> Op:
    formal = onnx.defs.OpSchema.FormalParameter
    schema = onnx.defs.OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[formal(key, kind) for key, kind in inputs.items()],
        outputs=[formal(output, _GRAPHS)],
        attributes=[onnx.defs.OpSchema.Attribute(key, kind) for key, kind in attributes.items()],
    )
    return Op(Opset(DOMAIN, VERSION), name, schema)


def point_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the exporter translates them; nothing where no model has used one yet."""
    if not hasattr(torch.ops.edgegnn, "farthest_points"):
        return {}
    pairs = {"x": _POINTS, "y": _POINTS, "batch_x": _GRAPHS, "batch_y": _GRAPHS}
    knn = _operator("Knn", pairs, "edge_index", {"k": _INT, "loop": _INT})
    radius = _operator(
        "Radius", pairs, "edge_index", {"squared_radius": _FLOAT, "max_num_neighbors": _INT, "loop": _INT}
    )
    farthest = _operator("FarthestPoints", {"x": _POINTS, "batch": _GRAPHS}, "index", {"ratio": _FLOAT})

    def to_knn(x, y, batch_x, batch_y, k: int, loop: bool):  # type: ignore[no-untyped-def]
        return knn(x, y, batch_x, batch_y, k=k, loop=int(loop))

    def to_radius(x, y, batch_x, batch_y, squared_radius: float, most: int, loop: bool):  # type: ignore[no-untyped-def]
        limits = {"squared_radius": squared_radius, "max_num_neighbors": most}
        return radius(x, y, batch_x, batch_y, loop=int(loop), **limits)

    def to_farthest(x, batch, ratio: float, random_start: bool):  # type: ignore[no-untyped-def]
        return farthest(x, batch, ratio=ratio)

    return {
        torch.ops.edgegnn.knn.default: to_knn,
        torch.ops.edgegnn.radius.default: to_radius,
        torch.ops.edgegnn.farthest_points.default: to_farthest,
    }
