"""ONNX graphs of single operators that have a C form."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["operators", "points"]

ELEMENTS = {
    **{op: {} for op in ("Abs", "Atan", "Ceil", "Cos", "Erf", "Exp", "Floor", "Neg", "Relu", "Round", "Sigmoid")},
    **{op: {} for op in ("Sign", "Sin", "Softplus", "Softsign", "Tanh", "Identity")},
    "Celu": {"alpha": 0.7},
    "Elu": {"alpha": 1.3},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "LeakyRelu": {"alpha": 0.2},
    "Selu": {},
}
# Name of an output -> its operator, inputs beside x, attributes, and how many axes its answer has.
WHOLE = {
    "column_sums": ("ReduceSum", ["first"], {}, 2),
    "column_maxima": ("ReduceMax", ["first"], {}, 2),
    "column_means": ("ReduceMean", ["first"], {"keepdims": 0}, 1),
    "sums": ("ReduceSum", ["both"], {}, 2),
    "softmax": ("Softmax", [], {"axis": 0}, 2),
    "log_softmax": ("LogSoftmax", [], {"axis": 1}, 2),
    "running": ("CumSum", ["zero"], {"exclusive": 1}, 2),
    "transposed": ("Transpose", [], {"perm": [1, 0]}, 2),
    "backwards": ("Slice", ["minus", "far", "first", "minus"], {}, 2),
    "skipped": ("Slice", ["first", "end", "second", "two"], {}, 2),
    "twice": ("Tile", ["repeats"], {}, 2),
    "powers": ("Pow", ["exponents"], {}, 2),
    "chosen": ("Gather", ["last"], {"axis": 0}, 2),
}


def operators() -> onnx.ModelProto:
    """Operators of one matrix `x` [num_nodes, 4], each an output."""
    nodes = [helper.make_node(op, ["x"], [op.lower()], op, **more) for op, more in ELEMENTS.items()]
    nodes += [helper.make_node(op, ["x", *rest], [out], out, **more) for out, (op, rest, more, _) in WHOLE.items()]
    nodes += [
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("Log", ["size"], ["log"], "log"),
        helper.make_node("Greater", ["x", "none"], ["positive"]),
        helper.make_node("NonZero", ["positive"], ["places"]),
        helper.make_node("Transpose", ["places"], ["rows"], perm=[1, 0]),
        helper.make_node("GatherND", ["x", "rows"], ["found"]),
        helper.make_node("ScatterND", ["x", "rows", "found"], ["written"], reduction="add"),
        helper.make_node("TopK", ["x", "two"], ["largest", "at"], axis=1),
        helper.make_node("Cast", ["at"], ["largest_at"], to=TensorProto.FLOAT),
        helper.make_node("GatherElements", ["x", "at"], ["looked_up"], axis=1),
    ]
    integers = {"zero": 0, "first": [0], "second": [1], "both": [0, 1], "minus": [-1], "two": [2], "far": [-(2**62)]}
    integers |= {"end": [2**62], "repeats": [1, 2], "last": [-1, 0]}
    given = [numpy_helper.from_array(np.array(v, np.int64), name) for name, v in integers.items()]
    given += [
        numpy_helper.from_array(np.array(v, np.float32), n) for n, v in {"none": 0, "exponents": [2, 3, 0, -1]}.items()
    ]
    ranks = {**dict.fromkeys([op.lower() for op in ELEMENTS], 2), **{out: form[3] for out, form in WHOLE.items()}}
    ranks |= dict.fromkeys(["log", "written", "largest", "largest_at", "looked_up"], 2)
    value = helper.make_tensor_value_info
    outputs = [value(name, TensorProto.FLOAT, [f"{name}{i}" for i in range(rank)]) for name, rank in ranks.items()]
    made = helper.make_graph(nodes, "operators", [value("x", TensorProto.FLOAT, ["num_nodes", 4])], outputs, given)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def points() -> onnx.ModelProto:
    """Graphs that are made of points `pos` [num_nodes, 2]."""
    value, op = helper.make_tensor_value_info, helper.make_node
    ties = {"domain": "ai.edgegnn"}
    nodes = [
        op("FarthestPoints", ["pos", "batch"], ["kept"], ratio=0.4, **ties),
        op("Gather", ["pos", "kept"], ["some"], axis=0),
        op("Gather", ["batch", "kept"], ["its_batch"], axis=0),
        op("Knn", ["pos", "pos", "batch", "batch"], ["near"], k=3, loop=0, **ties),
        op("Knn", ["some", "pos", "its_batch", "batch"], ["nearest"], k=2, loop=1, **ties),
        op(
            "Radius", ["pos", "some", "batch", "its_batch"], ["within"], squared_radius=1.5, max_num_neighbors=4, **ties
        ),
    ]
    for name in ("near", "nearest", "within"):  # edges as a sum, which depends on their order and number
        nodes += [op("Cast", [name], [f"{name}_float"], to=1), op("CumSum", [f"{name}_float", "one"], [f"{name}_sums"])]
        nodes += [op("ReduceSum", [f"{name}_sums", "last"], [f"{name}_out"])]
    given = [numpy_helper.from_array(np.array(v, np.int64), name) for name, v in (("one", 1), ("last", [1]))]
    inputs = [value("pos", TensorProto.FLOAT, ["num_nodes", 2]), value("batch", TensorProto.INT64, ["num_nodes"])]
    outputs = [value(f"{name}_out", TensorProto.FLOAT, [2, 1]) for name in ("near", "nearest", "within")]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.edgegnn", 1)]
    made = helper.make_graph(nodes, "points", inputs, outputs, given)
    return helper.make_model(made, opset_imports=opsets, ir_version=9)
