"""Sessions with and without the native library, and one-op models, for the tests of the rewrite rules."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper

from edgegnn.exporting.rewrite.functions import DOMAIN, OPS, function
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.native import library

WAYS = ["stock", "library"]


def session(model, way="stock", threads=1):
    """An inference session; None where `way` needs the library and it lacks an op of the model (or is not built)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    if way == "library":
        path = library()
        if path is None or not native_ops() >= {n.op_type for n in model.graph.node if n.domain == DOMAIN}:
            return None
        options.register_custom_ops_library(str(path))
    return ort.InferenceSession(
        unsigned_weights(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def native_ops():
    """Names of the ops that the built library holds."""
    path = library()
    if path is None:
        return set()
    buffer = ctypes.create_string_buffer(10_000)
    ctypes.CDLL(str(path)).edgegnn_op_names(buffer, ctypes.c_size_t(len(buffer)))
    return set(buffer.value.decode().split())


def names(op):
    """Inputs and outputs of an op."""
    return [[n.strip() for n in OPS[op][k].split(",")] for k in (1, 2)]


def one_op(op, inputs, attributes=None, csr=None):
    """A model of one op; behind CooToCsr or IndexToCsr where `csr` names it, whose outputs the op takes by name.

    Args:
        op: name of the op.
        inputs: name -> array, of the model: those of the op that are not the csr's, and `edge_index` or `index`.
        attributes: of the op.
        csr: "CooToCsr" or "IndexToCsr" or None.
    """
    nodes = []
    for name, given in ((csr, {}), (op, attributes or {})):
        if name is not None:
            takes, gives = names(name)
            nodes.append(helper.make_node(name, takes, gives, domain=DOMAIN, **given))
    value = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), [None] * v.ndim)
        for k, v in inputs.items()
    ]
    graphs = {"indptr", "col", "row", "perm"}
    quantized = op.startswith(("Q", "NormalizeQ")) and not op.endswith(("Float", "Max"))
    result = onnx.TensorProto.UINT8 if quantized else onnx.TensorProto.FLOAT
    out = [
        helper.make_tensor_value_info(k, onnx.TensorProto.INT32 if k in graphs else result, None) for k in names(op)[1]
    ]
    graph = helper.make_graph(nodes, "one", value, out)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    functions = [ir.to_proto(function(name)) for name in (csr, op) if name is not None]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)


GRAPHS = {  # nodes, edges
    "some": (13, 40),
    "many": (60, 700),
    "no edges": (9, 0),
    "one node": (1, 1),
    "sparse": (40, 11),
}


def edges(kind, seed=0):
    """Number of nodes and a random edge list, int64 [2, E], with duplicates, self loops and isolated nodes."""
    nodes, count = GRAPHS[kind]
    rng = np.random.default_rng(seed)
    index = rng.integers(0, nodes, (2, count))
    if count > 10:
        index[:, 5:9] = index[:, :4]
        index[1, 3:6] = index[0, 3:6]
    return nodes, index
