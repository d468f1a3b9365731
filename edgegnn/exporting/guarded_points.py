"""What the runtime's range guard compares a graph with: quantization points, and sizes, of the user's own graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgegnn.exporting.samples import example_inputs
from edgegnn.manifest import GraphSizes
from edgegnn.manifest import RangePoint as Guarded
from edgegnn.runtime.extent import extent_of
from edgegnn.runtime.ranges import RangePoint, guarded_model
from edgegnn.runtime.session import make_session
from edgegnn.tasks import Task, example_graph

__all__ = ["extent_facts", "range_facts", "range_points"]

Array = npt.NDArray[np.generic]
_CODES = {"uint8": (0, 255), "int8": (-128, 127), "uint4": (0, 15), "int4": (-8, 7)}


def range_facts(model: onnx.ModelProto, file: str, graphs: Iterable[Mapping[str, Array]]) -> list[Guarded]:
    """The points of a finished model as the manifest lists them, with the most that calibration's graphs lose at each.

    Args:
        model: as it is shipped.
        file: its name in the artifact.
        graphs: inputs of the graphs that were calibrated on.
    """
    points = [replace(point, file=file) for point in range_points(model)]
    if not points:
        return []
    session: Any = make_session(guarded_model(model.SerializeToString(), points))
    names, tensors = [value.name for value in model.graph.input], [point.tensor for point in points]
    runs = (session.run(tensors, {name: graph[name] for name in names}) for graph in graphs)
    found = [[p.measure(values) for p, values in zip(points, arrays, strict=True)] for arrays in runs]
    most = np.max(found, axis=0) if found else np.zeros((len(points), 2))
    measured = [replace(p, share=float(m[0]), row=float(m[1])) for p, m in zip(points, most, strict=True)]
    return [Guarded(**asdict(point)) for point in measured]


def extent_facts(task: Task, names: Sequence[str]) -> GraphSizes:
    """The sizes of the graphs of training and validation, as the manifest gives them.

    Args:
        task: the data.
        names: inputs of the model.
    """
    graphs = [example_graph(task, 1)]
    if task.many:
        graphs = [task.graphs[i] for split in ("train", "val") for i in task.index[split].tolist()]
    found = [extent_of(example_inputs(names, graph), task.roles) for graph in graphs]
    values = {name: max(each.values[name] for each in found) for name in found[0].values}
    nodes, degree = max(each.nodes for each in found), max(each.degree for each in found)
    return GraphSizes(nodes=nodes, degree=degree, values=values)


def range_points(model: onnx.ModelProto) -> list[RangePoint]:
    """The points of a model with one scale each: QuantizeLinear, and operators of ours that read or write codes."""
    constants = {i.name: i for i in model.graph.initializer}
    made = {name for node in model.graph.node for name in node.output}
    visible = (made | {v.name for v in model.graph.input}) - {v.name for v in model.graph.output}
    found: dict[str, RangePoint] = {}
    for node in model.graph.node:
        for point in (_quantize_linear(node, constants), _read_values(node), _written_codes(node)):
            if point is not None and point.tensor in visible and (point.low, point.high) != (None, None):
                found.setdefault(point.tensor, point)
    return list(found.values())


def _quantize_linear(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> RangePoint | None:
    if node.op_type != "QuantizeLinear" or node.domain or not set(node.input[1:]) <= set(constants):
        return None
    scale = numpy_helper.to_array(constants[node.input[1]])
    if scale.size != 1 or len(node.input) < 3:
        return None
    zero = constants[node.input[2]]
    name = onnx.TensorProto.DataType.Name(zero.data_type).lower()
    if name not in _CODES:
        return None
    low, high = _CODES[name]
    return _of_values(node.input[0], float(scale.reshape(())), _integer(zero), low, high)


def _read_values(node: onnx.NodeProto) -> RangePoint | None:
    """QuantizeGemm takes floats and rounds them on the way, NormalizeQuantizeGemm divides their rows first.

    Of QEdgeMlpMax, which rounds rows of the targets and their differences to the sources, the rows can be looked at.
    """
    edges = node.op_type == "QEdgeMlpMax"
    if not node.domain or ("QuantizeGemm" not in node.op_type and not edges):
        return None
    own = _attributes(node)
    low, high = int(own.get("x_low", 0)), int(own.get("x_high", 255))
    point = _of_values(node.input[int(edges)], float(own["x_scale"]), int(own.get("x_zero_point", 0)), low, high)
    return replace(point, least_sum=float(own.get("least_sum", 0.0)))


def _written_codes(node: onnx.NodeProto) -> RangePoint | None:
    own = _attributes(node)
    if "y_scale" not in own or not node.domain:
        return None
    scale, zero = float(own["y_scale"]), int(own.get("y_zero_point", 0))
    limits = ("normed_low", "normed_high") if "normed_low" in own else ("clip_low", "clip_high")  # the last ones
    ends = (own.get(limit, default) / scale + zero for limit, default in zip(limits, (-np.inf, np.inf), strict=True))
    low, high = (int(np.rint(np.clip(end, 0, 255))) for end in ends)
    return RangePoint(node.output[0], None if low == zero else low, None if high == zero else high, zero)


def _of_values(tensor: str, scale: float, zero: int, low: int, high: int) -> RangePoint:
    """Values that round to the last code, or would to one beyond it. The end that is zero is a ReLU's: not an end."""
    lower, upper = (low + 0.5 - zero) * scale, (high - 0.5 - zero) * scale
    return RangePoint(tensor, None if low == zero else lower, None if high == zero else upper)


def _integer(tensor: onnx.TensorProto) -> int:
    return int(np.asarray(numpy_helper.to_array(tensor)).astype(np.int64).reshape(-1)[0])


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
