"""Models of many layers: our artifacts against every other way to run them on this machine, in one run.

    python benchmarks/int8_against_fp32.py --files FOLDER     # makes our artifacts
    python benchmarks/peers.py --files FOLDER                 # 20,000 nodes, 200,000 edges; about 20 minutes on 2 cores
    python benchmarks/peers.py --files FOLDER --models GINE GATv2 --quick

Run it with a Python that has the peers (`pip install openvino`); a peer that isn't installed, fails, or computes
something else has a row that says why. Results are compared with eager PyTorch before they are timed: ours INT8, whose
weights were fine-tuned, by its own parity (`export` refuses an artifact that differs from its PyTorch model).

    PyG eager          the module, inference mode
    torch.compile      inductor
    plain export       torch.onnx.export(dynamo=True), onnxruntime
    quantize_static    of that file (onnxruntime.quantization, QDQ)
    OpenVINO fp32      that file, computed in float32
    OpenVINO           that file, as it computes by default (bf16 where the processor has it)
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_peers as peers
import numpy as np
import numpy.typing as npt
import torch
from common import environment, write
from edge_models import MODELS, EdgeModel, inputs_of, make_graph
from int8_against_fp32 import artifact_of
from one_op import make_session
from tables import ms, table, times
from timing import QUICK, Plan, take_turns
from torch import Tensor, nn
from workers import Row, Rows, finder, ratio, run_workers, say, unquiet

from edgegnn import runtime

Array = npt.NDArray[Any]
Call = Callable[[], Any]

EAGER, COMPILE, PLAIN, STATIC = "PyG eager", "torch.compile", "plain export", "quantize_static"
OPENVINO, OPENVINO_DEFAULT = "OpenVINO fp32", "OpenVINO"
FP32, INT8 = "ours fp32", "ours INT8"
PEERS = (EAGER, COMPILE, PLAIN, STATIC, OPENVINO, OPENVINO_DEFAULT)
CONTENDERS = (*PEERS, FP32, INT8)
SIZE = (20_000, 200_000)
PLAN = Plan(runs=5, seconds=0.1, slow_runs=3, patience=3.0)
_ROUNDS_CODES = (STATIC, OPENVINO_DEFAULT)  # whose numbers are meant to be coarser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="CONTENDER")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--quick", action="store_true", help="fewer turns; the result is marked")
    parser.add_argument("--files", type=Path, required=True, help="folder of our artifacts (int8_against_fp32.py)")
    parser.add_argument("--worker", nargs=2, metavar=("THREADS", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        out = Rows(Path(args.worker[1]))
        for name in args.models:
            out.add(measure(MODELS[name], args.files, args.only, int(args.worker[0]), QUICK if args.quick else PLAN))
        return
    flags = ["--files", str(args.files), "--models", *args.models, "--only", *args.only]
    rows = run_workers(args.threads, [*flags, *["--quick"] * args.quick])
    about = {"environment": environment(), "size": SIZE, "quick": args.quick, "quiet": not unquiet(rows)}
    print(report(rows, args.threads))
    print(f"\nwritten to {write('quick/' * args.quick + 'peers', {**about, 'rows': rows})}")


def measure(model: EdgeModel, files: Path, only: list[str], threads: int, plan: Plan) -> list[Row]:
    """Compare and time all ways to run one model; a row each, also for those that can't."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    module, inputs = model.build().eval(), inputs_of(make_graph(*SIZE, 7, model), model)
    with torch.inference_mode():
        want = module(**inputs).numpy()
    calls: dict[str, Call] = {}
    rows: dict[str, Row] = {n: {"model": model.name, "threads": threads, "contender": n} for n in only}
    with tempfile.TemporaryDirectory(prefix="edgegnn-benchmark-") as folder:
        for name in only:
            start = time.perf_counter()
            try:
                call = _contender(name, model, module, inputs, files, Path(folder), threads)
                rows[name]["relative_error"] = error = _error(np.asarray(call()), want)
                if name != INT8 and error > (0.5 if name in _ROUNDS_CODES else 1e-3):
                    raise ValueError(f"it computes something else: relative error {error:.3g}")
                calls[name] = call
            except Exception as failure:
                rows[name]["missing"] = f"{type(failure).__name__}: {_plain_text(failure)}"
            rows[name]["ready_s"] = round(time.perf_counter() - start, 1)
    for name, timing in take_turns(calls, plan).items():
        rows[name] |= timing.to_dict()
    say(f"{model.name}: " + ", ".join(f"{n} {ms(row.get('median_ms')) or row['missing']}" for n, row in rows.items()))
    return list(rows.values())


def _contender(
    name: str,
    model: EdgeModel,
    module: nn.Module,
    inputs: dict[str, Tensor],
    files: Path,
    folder: Path,
    threads: int,
) -> Call:
    if name in (EAGER, COMPILE):
        run = peers.eager(module) if name == EAGER else peers.compiled(module, dynamic=False)
        return lambda: run(inputs)
    arrays = peers.as_numpy(inputs)
    if name in (FP32, INT8):
        file = artifact_of(model, "none" if name == FP32 else "dq-int8", files) / "model.onnx"
        return _call(runtime.make_session(file, threads=threads), arrays)
    plain = folder / "plain.onnx"
    if not plain.exists():
        peers.plain_export(module, inputs, plain)
    if name == PLAIN:
        return _call(make_session(str(plain), threads), arrays)
    if name == STATIC:
        small = peers.as_numpy(inputs_of(make_graph(500, 5000, 3, model), model))
        peers.static_int8(plain, folder / "static.onnx", [small])
        return _call(make_session(str(folder / "static.onnx"), threads), arrays)
    return peers.openvino(plain, arrays, threads, exact=name == OPENVINO)


def _call(session: Any, inputs: dict[str, Array]) -> Call:
    names = {value.name for value in session.get_inputs()}
    given = {name: value for name, value in inputs.items() if name in names}
    return lambda: session.run(None, given)[0]


def _plain_text(failure: Exception) -> str:
    """The first words of a message, without its colours."""
    return " ".join(re.sub("\x1b\\[[0-9;]*m", "", str(failure)).split())[:100]


def _error(got: Array, want: Array) -> float:
    if got.shape != want.shape:
        raise ValueError(f"logits of shape {got.shape}, not {want.shape}")
    return float(f"{np.sqrt(((got - want) ** 2).mean()) / want.std():.3g}")


def report(rows: list[Row], threads: list[int]) -> str:
    """Times, and how many times faster INT8 is, a table a thread count."""
    find, parts = finder(rows), []
    models, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "contender"))
    for count in threads:
        lines, ratios = [], []
        for model in models:
            found = {n: find(model=model, threads=count, contender=n) for n in names}
            lines.append([model, *(ms(found[n]) for n in names)])
            ratios.append([model, *(times(ratio(found[n], found.get(INT8))) for n in names if n != INT8)])
        parts.append(f"\n## Median ms, {count} threads, {SIZE[0]:,} nodes, {SIZE[1]:,} edges\n\n")
        parts.append(table(["model", *names], lines))
        parts.append("\n\n## How many times faster INT8 is\n\n")
        parts.append(table(["model", *(n for n in names if n != INT8)], ratios))
    missing = dict.fromkeys(f"* {r['model']}, {r['contender']}: {r['missing']}" for r in rows if "missing" in r)
    return "\n".join(["".join(parts), "", *missing, *unquiet(rows)])


if __name__ == "__main__":
    main()
