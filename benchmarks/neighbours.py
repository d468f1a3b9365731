"""k nearest neighbours: the native operator, its function body, and PyTorch's cdist and topk.

    python benchmarks/neighbours.py [--threads 2] [--quick]

Every graph of a batch has as many points, so that PyTorch can do all at once, which it can't in general. Before it is
timed each contender has to find neighbours that are as far: to the bit for the operator and its body, and within
1e-3 for PyTorch, whose distances are rounded otherwise. Writes results/neighbours.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from common import environment, write
from one_op import DOMAIN, make_session, native
from onnx import helper
from timing import FULL, QUICK, take_turns

from edgegnn.exporting.rewrite.functions import function
from edgegnn.native import reference

Array = npt.NDArray[Any]

# graphs, points of each, coordinates, k
CASES = [(1, 1024, 3, 20), (1, 1024, 64, 20), (8, 1024, 3, 20), (8, 1024, 64, 20), (64, 20, 3, 6), (1, 8192, 3, 16)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few turns: no numbers to keep")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for graphs, points, depth, k in CASES:
        x = np.random.default_rng(0).standard_normal((graphs * points, depth)).astype(np.float32)
        batch = np.repeat(np.arange(graphs), points)
        calls = contenders(x, batch, graphs, k, args.threads)
        timings = take_turns(calls, QUICK if args.quick else FULL)
        row = {"graphs": graphs, "points": points, "coordinates": depth, "k": k, "threads": args.threads}
        rows.append(row | {name: timing.to_dict() for name, timing in timings.items()})
        print(row, {name: timing.median_ms for name, timing in timings.items()}, flush=True)
    if not args.quick:
        write("neighbours", {"environment": environment(), "rows": rows})


def contenders(x: Array, batch: Array, graphs: int, k: int, threads: int) -> dict[str, Callable[[], object]]:
    """Calls that find the k nearest points of each point, all of them checked."""
    inputs = {"x": x, "y": x, "batch_x": batch, "batch_y": batch}
    (want,) = reference.run("Knn", *inputs.values(), k=k)
    kernel = native("Knn", inputs, [(np.int64, want.shape)], threads, k=k)
    body = make_session(_with_body(k, x.shape[1]), threads)
    clouds = torch.from_numpy(x).view(graphs, -1, x.shape[1])

    def eager() -> torch.Tensor:
        return torch.cdist(clouds, clouds).topk(k, dim=2, largest=False).indices

    kernel.call()
    assert np.array_equal(kernel.outputs()[0], want)
    assert np.array_equal(body.run(None, inputs)[0], want)
    first = np.arange(graphs)[:, None, None] * clouds.shape[1]
    found = (eager().numpy() + first).reshape(-1)
    far = [np.linalg.norm((x[near] - x[want[1]]).astype(np.float64), axis=1) for near in (found, want[0])]
    np.testing.assert_allclose(far[0], far[1], atol=1e-3)
    return {"native": kernel.call, "body": lambda: body.run(None, inputs), "cdist and topk": eager}


def _with_body(k: int, depth: int) -> bytes:
    node = helper.make_node("Knn", ["x", "y", "batch_x", "batch_y"], ["edges"], domain=DOMAIN, k=k)
    points = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, depth]) for name in ("x", "y")]
    batches = [helper.make_tensor_value_info(f"batch_{n}", onnx.TensorProto.INT64, [None]) for n in ("x", "y")]
    edges = helper.make_tensor_value_info("edges", onnx.TensorProto.INT64, [2, None])
    graph = helper.make_graph([node], "knn", [*points, *batches], [edges])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    functions = [ir.to_proto(function("Knn"))]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9).SerializeToString()


if __name__ == "__main__":
    main()
