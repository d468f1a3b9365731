"""Helpers of the test_native_* files: one-node models of `ai.edgegnn` operators, run with the native library."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from edgegnn.native import DOMAIN, VERSION, library
from edgegnn.native.reference import OPS
from edgegnn.native.reference import run as reference

__all__ = ["EMPTY", "csr", "native", "needs_library", "random_edges", "reference", "session"]

Array = npt.NDArray[Any]
EMPTY = np.zeros(0, np.int32)
_OUTPUTS = {
    "CooToCsr": ("indptr", "col", "row", "perm"),
    "IndexToCsr": ("indptr", "row", "perm"),
    "DotAttentionEdges": ("y", "mixed"),
}

needs_library = pytest.mark.skipif(
    library() is None,
    reason="the native library is not built: cmake -S edgegnn/native -B build/native && cmake --build build/native",
)


@lru_cache(maxsize=512)
def session(
    op: str, types: tuple[str, ...], attributes: tuple[tuple[str, float], ...], threads: int, outputs: int = 0
) -> onnxruntime.InferenceSession:
    """A session of one node: inputs `i0, i1, ...` of any shape, outputs of any shape."""
    assert op in OPS
    names = [f"i{i}" for i in range(len(types))]
    outs = list(_OUTPUTS.get(op, ("y",)))
    kept = outs[: outputs or len(outs)]
    node = onnx.helper.make_node(op, names, kept, domain=DOMAIN, **dict(attributes))
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(t)), None)
            for n, t in zip(names, types, strict=True)
        ],
        [onnx.helper.make_empty_tensor_value_info(n) for n in kept],
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid(DOMAIN, VERSION)],
        ir_version=9,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # Under AddressSanitizer every tensor is a piece of heap of its own, of its exact size.
    options.enable_cpu_mem_arena = "EDGEGNN_TEST_LIBRARY" not in os.environ
    options.register_custom_ops_library(os.environ.get("EDGEGNN_TEST_LIBRARY") or str(library()))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def native(op: str, *inputs: Array, threads: int = 1, outputs: int = 0, **attributes: float) -> tuple[Array, ...]:
    """Run one operator in the native library."""
    arrays = [np.asarray(a) for a in inputs]
    made = session(op, tuple(a.dtype.name for a in arrays), tuple(sorted(attributes.items())), threads, outputs)
    return tuple(made.run(None, {f"i{i}": a for i, a in enumerate(arrays)}))


def random_edges(rng: np.random.Generator, nodes: int, edges: int, *, hub: bool = False, columns: int = 0) -> Array:
    """An edge list int64 `[2, edges]`: sources below `columns` (default: nodes); for a hub, a third go to node 0."""
    if nodes == 0:
        return np.zeros((2, 0), np.int64)
    source = rng.integers(0, columns or nodes, edges)
    target = rng.integers(0, nodes, edges)
    if hub:
        target[::3] = 0
    return np.stack([source, target])


def csr(edges: Array, nodes: int, columns: int | None = None) -> tuple[Array, Array, Array, Array, Array]:
    """`indptr, col, row, perm, num_rows` of an edge list."""
    count = np.array(nodes)
    return (*reference("CooToCsr", edges, count, np.array(nodes if columns is None else columns)), count)
