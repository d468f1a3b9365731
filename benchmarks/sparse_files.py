"""How many bytes do zeros cost: in checkpoints, in artifacts, and in other ways to carry them in an ONNX file?

    python benchmarks/sparse_files.py

A GCN of 1433 x 128 x 7 (Cora's size) with random weights, of which the smallest over both layers are zero. Real bytes
of the checkpoint and of model.onnx; a quantized checkpoint holds the codes of its weights. Then a matrix of its first
layer's size alone, carried in each way, with the processor time to make a session (the best of 9) and that of one
product with 500 rows (median of 50), on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from common import environment, write
from onnx import TensorProto, helper, numpy_helper
from tables import table

from edgegnn.checkpoint import Checkpoint, save_checkpoint
from edgegnn.checkpoint.sparse_state import encode_state, state_layouts, weight_grids
from edgegnn.exporting.capture import capture
from edgegnn.exporting.pack_zeros import pack_zeros
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.models import build
from edgegnn.prune import magnitude_masks
from edgegnn.quantize import QuantModel, prepare, recipe

SPARSITIES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
ARGS = {"in_channels": 1433, "out_channels": 7, "hidden": 128, "layers": 2, "kind": "node"}
ROWS, TIMES = 500, 50
Matrix = npt.NDArray[Any]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    files = [sizes(s, quant) for quant in (None, "qat-int8", "qat-int4") for s in SPARSITIES]
    dense = next(f for f in files if f["sparsity"] == 0 and f["values"] == "float32")
    head = ["values", "zeros", "checkpoint", "of dense", "layout of the first weight", "model.onnx", "of dense"]
    rows = [
        [
            f["values"],
            f"{f['sparsity']:.0%}",
            f["checkpoint"],
            f"{f['checkpoint'] / dense['checkpoint']:.3f}x",
            f["layout"],
            f["artifact"],
            f"{f['artifact'] / dense['artifact']:.3f}x",
        ]
        for f in files
    ]
    print(table(head, rows), "\n")
    carried = [
        {
            "values": np.dtype(dtype).name,
            "sparsity": s,
            "carrier": name,
            **measure(make(first_weight(s, dtype))),
        }
        for dtype in (np.float32, np.int8)
        for s in (0.5, 0.9)
        for name, make in CARRIERS.items()
    ]
    head = ["values", "zeros", "carrier", "bytes", "in a .zip", "load, CPU ms", "run, CPU ms"]
    cells = [[*list(c.values())[:5], f"{c['load_cpu_ms']:.2f}", f"{c['run_cpu_ms']:.2f}"] for c in carried]
    print(table(head, cells, left=3))
    print("wrote", write("sparse-files", {"environment": environment(), "files": files, "carriers": carried}))


# A whole model ------------------------------------------------------------


def sizes(sparsity: float, quant: str | None) -> dict[str, Any]:
    """Bytes of the checkpoint and of model.onnx at a sparsity."""
    torch.manual_seed(0)
    model: torch.nn.Module = build("gcn", **ARGS).eval()
    weights = {name: p.detach() for name, p in model.named_parameters() if p.dim() > 1}
    if sparsity:
        magnitude_masks(weights, sparsity, "global").apply(model)
    inputs = {"x": torch.rand(50, 1433), "edge_index": torch.randint(50, (2, 200))}
    if quant is not None:
        model = prepare(model, recipe(quant), list(inputs.values())).train()
        model(*inputs.values())
        model.eval()
    pruning = {"method": "global", "sparsity": sparsity} if sparsity or quant else None
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Checkpoint(model, {"zoo": "gcn", "args": ARGS}, pruning=pruning), path := Path(folder) / "m.pt")
        checkpoint = path.stat().st_size
    grids = weight_grids(model) if isinstance(model, QuantModel) else {}
    layouts = state_layouts(encode_state(model.state_dict(), grids))
    layout, values, _ = next(v for k, v in layouts.items() if k.endswith(next(iter(weights))))
    artifact = pack_zeros(rewrite_proto(capture(model, inputs, kind="node")).model)
    return {
        "values": "float32" if quant is None else quant.removeprefix("qat-"),
        "sparsity": sparsity,
        "checkpoint": checkpoint,
        "layout": f"{layout}, {values}" if pruning else "state_dict",
        "artifact": artifact.ByteSize(),
    }


# One matrix, in many ways ------------------------------------------------------------


def first_weight(sparsity: float, dtype: type) -> Matrix:
    """The matrix [1433, 128]; codes of the same numbers for int8."""
    w = np.random.default_rng(0).normal(size=(1433, 128)).astype(np.float32)
    w[np.abs(w) <= np.quantile(np.abs(w), sparsity)] = 0
    return w if dtype == np.float32 else np.round(w / np.abs(w).max() * 127).astype(np.int8)


def product(
    w: Matrix,
    constants: list[onnx.TensorProto],
    sparse: list[onnx.SparseTensorProto] | None = None,
    nodes: list[onnx.NodeProto] | None = None,
) -> onnx.ModelProto:
    """A float matrix times the constant "w"."""
    steps = [*(nodes or []), helper.make_node("MatMul", ["x", "w"], ["y"])]
    if w.dtype == np.int8:
        scale = numpy_helper.from_array(np.float32(0.01), "scale")
        steps[-1:] = [
            helper.make_node("DequantizeLinear", ["w", "scale"], ["v"]),
            helper.make_node("MatMul", ["x", "v"], ["y"]),
        ]
        constants = [*constants, scale]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in zip("xy", w.shape, strict=True)
    )
    graph = helper.make_graph(steps, "product", [x], [y], constants, sparse_initializer=sparse or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def dense(w: Matrix) -> onnx.ModelProto:
    """As it is."""
    return product(w, [numpy_helper.from_array(w, "w")])


def sparse_initializer(w: Matrix, index: type = np.int64) -> onnx.ModelProto:
    """ONNX's own sparse constants, with the index of each value in the flattened matrix."""
    at = np.flatnonzero(w)
    values = numpy_helper.from_array(w.reshape(-1)[at], "w")
    places = numpy_helper.from_array(at.astype(index), "w_indices")
    return product(w, [], [helper.make_sparse_tensor(values, places, list(w.shape))])


def nonzero(w: Matrix) -> onnx.ModelProto:
    """A bitmask that NonZero turns into positions, which onnxruntime does not fold."""
    flat = w.reshape(-1)
    constants = {
        "mask": np.packbits(flat != 0, bitorder="little").reshape(-1, 1),
        "weight": 1 << np.arange(8, dtype=np.uint8),
        "down": np.array([-1]),
        "size": np.array([flat.size]),
        "zero": np.zeros(1, w.dtype),
        "values": flat[flat != 0],
        "shape": np.array(w.shape),
    }
    nodes = [
        helper.make_node(kind, inputs, [output])
        for kind, inputs, output in (
            ("BitwiseAnd", ["mask", "weight"], "hit"),
            ("Reshape", ["hit", "down"], "bits"),
            ("NonZero", ["bits"], "row"),
            ("Transpose", ["row"], "index"),
            ("Expand", ["zero", "size"], "zeros"),
            ("ScatterND", ["zeros", "index", "values"], "flat"),
            ("Reshape", ["flat", "shape"], "w"),
        )
    ]
    return product(w, [numpy_helper.from_array(v, k) for k, v in constants.items()], None, nodes)


CARRIERS: dict[str, Callable[[Matrix], onnx.ModelProto]] = {
    "dense": dense,
    "functions (pack_zeros)": lambda w: pack_zeros(dense(w)),
    "in the graph, by NonZero": nonzero,
    "sparse_initializer": sparse_initializer,
    "sparse_initializer, int32": lambda w: sparse_initializer(w, np.int32),
}


def measure(model: onnx.ModelProto) -> dict[str, Any]:
    """Bytes of a file, deflated too, and what onnxruntime makes of it."""
    content = model.SerializeToString()
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    x = np.random.default_rng(1).random((ROWS, 1433), np.float32)
    loads, runs = [], []
    for _ in range(9):
        start = time.process_time()
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        loads.append(time.process_time() - start)
    for _ in range(TIMES):
        start = time.process_time()
        session.run(None, {"x": x})
        runs.append(time.process_time() - start)
    return {
        "bytes": len(content),
        "zip_bytes": len(zlib.compress(content, 9)),
        "load_cpu_ms": 1e3 * min(loads),
        "run_cpu_ms": 1e3 * statistics.median(runs),
    }


if __name__ == "__main__":
    main()
