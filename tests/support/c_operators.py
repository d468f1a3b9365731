"""ONNX graphs of single operators that have a C form."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["operators", "points", "windows"]

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


# Name of an output -> operator, its inputs, attributes, and its sizes behind the first.
WINDOWS = {
    "padded": ("Conv", ["series", "w3", "bias"], {"pads": [1, 1]}, [2, 12]),
    "strided": ("Conv", ["series", "grouped"], {"strides": [2], "dilations": [2], "group": 2}, [4, 4]),
    "uneven": ("Conv", ["image", "w23", "bias"], {"pads": [1, 0, 0, 2], "strides": [1, 2]}, [2, 3, 2]),
    "maxima": ("MaxPool", ["series"], {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}, [2, 6]),
    "means": ("AveragePool", ["image"], {"kernel_shape": [2, 2], "pads": [0, 1, 1, 0]}, [2, 3, 4]),
    "whole": ("GlobalAveragePool", ["series"], {}, [2, 1]),
    "pairs": ("Einsum", ["series", "series"], {"equation": "nci,ncj->nij"}, [12, 12]),
    "norms": ("Einsum", ["image", "image"], {"equation": "nabc,nabc->n"}, []),
    "implied": ("Einsum", ["image", "image"], {"equation": "nabc,mabc"}, ["num_nodes"]),
}


def windows() -> onnx.ModelProto:
    """Convolutions, pools and Einsum of `x` [num_nodes, 24]: a series [2, 12] of each node, and an image [2, 3, 4]."""
    draw = np.random.default_rng(4)
    shapes = {"w3": (2, 2, 3), "grouped": (4, 1, 3), "w23": (2, 2, 2, 3), "bias": (2,), "along": (3, 2, 1, 3)}
    given = [numpy_helper.from_array(draw.normal(size=s).astype(np.float32), name) for name, s in shapes.items()]
    sizes = {"a_series": [0, 2, 12], "an_image": [0, 2, 3, 4], "first": [0]}
    given += [numpy_helper.from_array(np.array(v, np.int64), name) for name, v in sizes.items()]
    op, value = helper.make_node, helper.make_tensor_value_info
    nodes = [op("Reshape", ["x", "a_series"], ["series"]), op("Reshape", ["x", "an_image"], ["image"])]
    # The nodes as an axis of one image, along which nothing moves.
    nodes += [op("Transpose", ["series"], ["turned"], perm=[1, 0, 2]), op("Unsqueeze", ["turned", "first"], ["all"])]
    nodes.append(op("Conv", ["all", "along"], ["across"], "across"))
    nodes += [op(kind, inputs, [name], name, **more) for name, (kind, inputs, more, _) in WINDOWS.items()]
    outputs = [value("across", TensorProto.FLOAT, [1, 3, "num_nodes", 10])]
    outputs += [value(name, TensorProto.FLOAT, ["num_nodes", *tail]) for name, (*_, tail) in WINDOWS.items()]
    made = helper.make_graph(nodes, "windows", [value("x", TensorProto.FLOAT, ["num_nodes", 24])], outputs, given)
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
