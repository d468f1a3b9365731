"""ONNX files as other programs write them, hand-made, and graphs for them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["FEATURES", "file_of", "graph_arrays", "message_file"]

FEATURES = 8


def file_of(nodes, inputs, outputs, constants, *, opset=17, ir_version=8):
    """A checked model.

    Args:
        nodes: of the graph.
        inputs: name -> (type of `TensorProto`, shape).
        outputs: likewise.
        constants: name -> array.
        opset: of the standard operators.
        ir_version: of the file.
    """
    values = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in given.items()]
        for given in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "foreign", *values, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def message_file(
    *, ends="edge_index", reduction="add", layout="expand", opset=17, width=16, kind=np.float32, seed=0, channels=False
):
    """One layer: rows of a product looked up at the sources, times weights of edges, reduced at the targets; a head.

    Args:
        ends: "edge_index" [2, E], "edges" [E, 2], or "src/dst": two inputs.
        reduction: of ScatterElements.
        layout: how the index is spread: "expand" (by Shape), "slice" (as PyTorch's older exporter), "elements"
            (GatherElements).
        opset: of the file.
        width: of a message.
        kind: float type of the file.
        seed: of the weights.
        channels: an edge has a weight for each channel of a message, made of `w`.
    """
    random = np.random.default_rng(seed)
    floats = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    make = helper.make_node
    inputs = {"h": (floats, ["n", FEATURES]), "w": (floats, ["e"])}
    constants = {
        "weight": random.normal(size=(FEATURES, width)).astype(kind),
        "head": random.normal(size=(width, 3)).astype(kind),
        "filter": random.normal(size=(1, width)).astype(kind),
        "bias": np.full(3, 1e-3, kind),
        "zero": np.array(0),
        "one": np.array(1),
        "last": np.array([-1]),
        "width": np.array([width]),
        "none": np.array([0, 0]),
    }
    if ends == "edge_index":
        inputs["edge_index"] = (TensorProto.INT64, [2, "e"])
        nodes = [make("Gather", ["edge_index", c], [o], axis=0) for c, o in (("zero", "src"), ("one", "dst"))]
    elif ends == "edges":
        inputs["edges"] = (TensorProto.INT64, ["e", 2])
        nodes = [make("Gather", ["edges", c], [o], axis=1) for c, o in (("zero", "src"), ("one", "dst"))]
    else:
        inputs |= {"src": (TensorProto.INT32, ["e"]), "dst": (TensorProto.INT32, ["e"])}
        nodes = []
    nodes += [
        make("MatMul", ["h", "weight"], ["product"], name="/conv/MatMul"),
        make("Unsqueeze", ["dst", "last"], ["dst_column"]),
        make("Unsqueeze", ["src", "last"], ["src_column"]),
        make("Unsqueeze", ["w", "last"], ["w_column"]),
        make("Shape", ["product"], ["size"]),
        make("ConstantOfShape", ["size"], ["start"], value=numpy_helper.from_array(np.zeros(1, kind))),
    ]
    if layout == "elements":
        nodes += [
            make("Shape", ["src"], ["edges_number"]),
            make("Concat", ["edges_number", "width"], ["message_size"], axis=0),
            make("Expand", ["src_column", "message_size"], ["src_full"]),
            make("GatherElements", ["product", "src_full"], ["rows"], axis=0),
        ]
    else:
        nodes += [make("Gather", ["product", "src"], ["rows"], axis=0)]
    nodes += [
        *([make("MatMul", ["w_column", "filter"], ["w_wide"])] if channels else []),
        make("Mul", ["rows", "w_wide" if channels else "w_column"], ["messages"]),
        make("Shape", ["messages"], ["whole"]),
        make("Expand", ["dst_column", "whole"], ["full"]),
    ]
    updates = "messages"
    if layout == "slice":
        nodes += [make("Shape", ["full"], ["end"]), make("Slice", ["messages", "none", "end"], ["updates"])]
        updates = "updates"
    nodes += [
        make(
            "ScatterElements", ["start", "full", updates], ["sums"], name="/conv/Scatter", axis=0, reduction=reduction
        ),
        make("Relu", ["sums"], ["hidden"]),
        make("MatMul", ["hidden", "head"], ["scores"], name="/head/MatMul"),
        make("Add", ["scores", "bias"], ["out"]),
    ]
    return file_of(nodes, inputs, {"out": (floats, ["n", 3])}, constants, opset=opset)


def graph_arrays(ends="edge_index", nodes=40, edges=150, seed=1):
    """Arrays of one graph for `message_file`, with classes that nothing has learnt."""
    random = np.random.default_rng(seed)
    index = random.integers(0, nodes, (2, edges))
    own = {"edge_index": {"edge_index": index}, "edges": {"edges": index.T.copy()}}
    given = own.get(ends, {"src": index[0], "dst": index[1]})
    return {
        "h": random.normal(size=(nodes, FEATURES)).astype(np.float32),
        "w": random.uniform(0.5, 1.5, edges).astype(np.float32),
        "y": random.integers(0, 3, nodes),
        **given,
    }


def save(model: onnx.ModelProto, path):
    """The path of a model that is written."""
    path.write_bytes(model.SerializeToString())
    return path
