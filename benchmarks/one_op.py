"""One operator as an ONNX model, run with inputs and outputs bound: nothing but the operator is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

from edgegnn.runtime import find_library

DOMAIN = "ai.edgegnn"
Array = npt.NDArray[Any]
Shape = Sequence[int]


class MissingOp(Exception):
    """The native library is not there, or lacks the operator."""


@dataclass(frozen=True)
class Bound:
    """A session with its inputs and outputs in place.

    Attributes:
        call: one inference.
        outputs: reads what the last call computed.
    """

    call: Callable[[], object]
    outputs: Callable[[], list[Array]]


def native(
    op: str,
    inputs: Mapping[str, Array],
    outputs: Sequence[tuple[Any, Shape]],
    threads: int,
    **attributes: Any,
) -> Bound:
    """An `ai.edgegnn` operator.

    Args:
        op: its name.
        inputs: in order; all of them are graph inputs.
        outputs: dtype and shape of each.
        threads: of the session.
        attributes: of the node.

    Raises:
        MissingOp: no library, or no such operator in it.
    """
    library = find_library()
    if library is None:
        raise MissingOp("the native library is not built")
    results = [f"out{i}" for i in range(len(outputs))]
    node = helper.make_node(op, list(inputs), results, domain=DOMAIN, **attributes)
    return bound([node], inputs, dict(zip(results, outputs, strict=True)), threads, library=library)


def scatter(x: Array, edge_index: Array, nodes: int, threads: int) -> Bound:
    """What a plain export aggregates with: Gather, and ScatterElements(add) into zeros, on an edge list."""
    width = x.shape[1]
    chain = [
        helper.make_node("Split", ["edge_index"], ["src2", "dst2"], axis=0, num_outputs=2),
        helper.make_node("Squeeze", ["src2", "first"], ["src"]),
        helper.make_node("Squeeze", ["dst2", "first"], ["dst"]),
        helper.make_node("Unsqueeze", ["dst", "second"], ["dst_column"]),
        helper.make_node("Gather", ["x", "src"], ["message"], axis=0),
        helper.make_node("Shape", ["message"], ["message_shape"]),
        helper.make_node("Expand", ["dst_column", "message_shape"], ["index"]),
        helper.make_node("ScatterElements", ["zeros", "index", "message"], ["out"], axis=0, reduction="add"),
    ]
    constants = {
        "first": np.array([0]),
        "second": np.array([1]),
        "zeros": np.zeros((nodes, width), np.float32),
    }
    inputs = {"x": x, "edge_index": edge_index}
    return bound(chain, inputs, {"out": (np.float32, (nodes, width))}, threads, constants=constants)


def bound(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    outputs: Mapping[str, tuple[Any, Shape]],
    threads: int,
    *,
    constants: Mapping[str, Array] | None = None,
    library: Path | None = None,
) -> Bound:
    """Make a model of some nodes, load it, and bind arrays to it.

    Raises:
        MissingOp: onnxruntime does not know an operator.
    """
    graph = helper.make_graph(
        list(nodes),
        "bench",
        [helper.make_tensor_value_info(k, _type(v.dtype), [None] * v.ndim) for k, v in inputs.items()],
        [helper.make_tensor_value_info(k, _type(t), [None] * len(s)) for k, (t, s) in outputs.items()],
        [onnx.numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    try:
        session = make_session(model.SerializeToString(), threads, library)
    except Exception as error:
        if "not a registered" in str(error) or "No Op registered" in str(error) or "NOT_IMPLEMENTED" in str(error):
            raise MissingOp(str(error).splitlines()[0][:200]) from error
        raise
    return bind(session, inputs, outputs)


def make_session(model: bytes | str, threads: int, library: Path | None = None) -> onnxruntime.InferenceSession:
    """A CPU session with onnxruntime's defaults but for the number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if library is not None:
        options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bind(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, Array], outputs: Mapping[str, tuple[Any, Shape]]
) -> Bound:
    """Bind arrays to a session; outputs are allocated here, once."""
    binding = session.io_binding()
    given = {k: onnxruntime.OrtValue.ortvalue_from_numpy(v) for k, v in inputs.items()}
    taken = {k: onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(s), t) for k, (t, s) in outputs.items()}
    for name, value in given.items():
        binding.bind_ortvalue_input(name, value)
    for name, value in taken.items():
        binding.bind_ortvalue_output(name, value)
    held = (session, given)  # the binding does not keep them alive

    def call() -> object:
        return held[0].run_with_iobinding(binding)

    return Bound(call, lambda: [value.numpy() for value in taken.values()])


def _type(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))) or TensorProto.UNDEFINED
