"""Whole models: our artifacts against every way to run a PyG model on a CPU today.

    python benchmarks/models.py                               # all models; about 30 minutes on 2 cores
    python benchmarks/models.py --quick --cases gcn-cora      # one model, fewer turns
    python benchmarks/models.py --files FOLDER                # keep the exported files, and use those that are there

Every contender runs the same graphs with the same weights (ours INT8: fine-tuned for two epochs), in one process,
taking turns; on the large graph, those that need gigabytes run alone. Before it is timed its logits are compared with
eager PyTorch's (ours INT8: with those of the PyTorch model that it was exported from); one that computes something else
is left out. ONNX models, ours too, are run as a user does, `session.run` on numpy arrays.

    PyG eager          the module, inference mode
    torch.compile      inductor
    torch CSR          aggregations as products with torch CSR matrices that are made beforehand
    plain export       torch.onnx.export(dynamo=True), onnxruntime
    quantize_dynamic   of that file (onnxruntime.quantization, preprocessed)
    quantize_static    of that file (QDQ, MinMax, uint8 activations, int8 weights)
    ours               `edgegnn export`, with and without the graph in the file, with our kernels and without ("stock")
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import model_peers as peers
import numpy as np
import numpy.typing as npt
import torch
from common import environment, write
from model_cases import CASES, Case, artifact_name, load_inputs, logits, prepare
from one_op import DOMAIN, make_session
from tables import Goal, goals_table, ms, table, times
from timing import FULL, QUICK, each, take_turns
from torch import Tensor, nn
from workers import Row, Rows, finder, ratio, run_workers, say, unquiet

from edgegnn import runtime
from edgegnn.checkpoint import load_checkpoint
from edgegnn.runtime.session import has_native_ops

EAGER, COMPILE, CSR = "PyG eager", "torch.compile", "torch CSR"
PLAIN, DYNAMIC, STATIC = "plain export", "quantize_dynamic", "quantize_static"
FP32, FP32_CONSTANT, FP32_STOCK = "ours fp32", "ours fp32, constant", "ours fp32, stock"
INT8, INT8_CONSTANT, INT8_STOCK = "ours INT8", "ours INT8, constant", "ours INT8, stock"
PEERS = (EAGER, COMPILE, CSR, PLAIN, DYNAMIC, STATIC)
OURS = (FP32, FP32_CONSTANT, INT8, INT8_CONSTANT, FP32_STOCK, INT8_STOCK)
HEAVY = (PLAIN, DYNAMIC, STATIC, FP32_STOCK, INT8_STOCK)  # they expand messages and indices: 3 GB on the large graph
OURS_INT8 = (INT8, INT8_CONSTANT, INT8_STOCK)

Run = Callable[[Mapping[str, Any]], Any]
Array = npt.NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--only", nargs="+", metavar="CONTENDER", help=f"of {', '.join((*PEERS, *OURS))}")
    parser.add_argument("--quick", action="store_true", help="fewer turns; the result is marked")
    parser.add_argument("--files", type=Path, help="folder of the prepared files, kept; default: a temporary one")
    parser.add_argument("--worker", nargs=2, metavar=("THREADS", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    only = tuple(args.only or (*PEERS, *OURS))
    if args.worker:
        out = Rows(Path(args.worker[1]))
        for name in args.cases:
            out.add(measure(CASES[name], args.files / name, int(args.worker[0]), only, quick=args.quick))
        return
    with nullcontext(args.files) if args.files else tempfile.TemporaryDirectory(prefix="edgegnn-benchmark-") as folder:
        for name in args.cases:
            prepare(CASES[name], Path(folder) / name)
        flags = ["--files", str(folder), "--cases", *args.cases, "--only", *only, *["--quick"] * args.quick]
        rows = run_workers(args.threads, flags)
    threads = max(args.threads)
    result = {
        "environment": environment(),
        "threads": args.threads,
        "quick": args.quick,
        "quiet": not unquiet(rows),
        "goals": [vars(g) for g in goals(rows, threads)],
        "rows": rows,
    }
    print(report(rows, args.threads))
    print(f"\nwritten to {write('quick/' * args.quick + 'models', result)}")


# Contenders ------------------------------------------------------------


def contender(name: str, case: Case, folder: Path, threads: int) -> Run:
    """How to run one graph: a mapping of tensors (PyTorch) or of arrays to logits.

    Raises:
        Exception: it is not there; the message says why.
    """
    if name in (EAGER, COMPILE, CSR):
        model = load_checkpoint(folder / "float.pt").model
        assert isinstance(model, nn.Module)
        if name == EAGER:
            return peers.eager(model)
        if name == COMPILE:
            return peers.compiled(model, dynamic=case.each)
        if case.each:
            raise NotImplementedError("the graph is another one every time")
        return peers.csr(model, load_inputs(folder)[0])
    if name in (PLAIN, DYNAMIC, STATIC):
        file = folder / {PLAIN: "plain.onnx", DYNAMIC: "dynamic.onnx", STATIC: "static.onnx"}[name]
        _there(file)
        return _session_run(make_session(str(file), threads))
    return ours(name, case, folder, threads)


def ours(name: str, case: Case, folder: Path, threads: int) -> Run:
    """Our artifact: fp32 or INT8, the graph an input or inside, with the native library or on stock onnxruntime."""
    constant, stock = name in (FP32_CONSTANT, INT8_CONSTANT), name in (FP32_STOCK, INT8_STOCK)
    if constant and not case.one_graph:
        raise NotImplementedError("the graph is another one every time")
    artifact = folder / artifact_name("fp32" if name in (FP32, FP32_CONSTANT, FP32_STOCK) else "int8", constant)
    _there(artifact)
    session = runtime.make_session(artifact / "model.onnx", threads=threads, native=not stock)
    if not stock and not runtime.native_kernels(session):
        built = has_native_ops(artifact / "model.onnx")
        raise NotImplementedError("the native library is not built" if built else f"no {DOMAIN} operator in the file")
    return _session_run(session)


def _there(file: Path) -> None:
    if not file.exists():
        notes = json.loads((file.parent / "notes.json").read_text())
        raise FileNotFoundError(notes.get(file.name, f"{file.name} was not made"))


def _session_run(session: Any) -> Run:
    names = {i.name for i in session.get_inputs()}
    output = [session.get_outputs()[0].name]

    def run(inputs: Mapping[str, Array]) -> Array:
        return session.run(output, inputs)[0]  # type: ignore[no-any-return]

    run.names = names  # type: ignore[attr-defined]
    return run


# Measuring ------------------------------------------------------------


def measure(case: Case, folder: Path, threads: int, only: tuple[str, ...], *, quick: bool) -> list[Row]:
    """Compare and time the contenders of one case; a row each, also for those that are not there or wrong."""
    torch.set_num_threads(threads)
    graphs = load_inputs(folder)
    want = {file: logits(folder / file, graphs) for file in ("float.pt", "int8.pt")}
    rows: dict[str, Row] = {n: {"case": case.name, "threads": threads, "contender": n} for n in only}
    plan = QUICK if quick else FULL
    alone = [[n] for n in only if n in HEAVY] if case.data == "large" else []
    for group in ([n for n in only if [n] not in alone], *alone):
        calls: dict[str, list[Callable[[], object]]] = {}
        for name in group:
            try:
                calls[name] = _checked(name, case, folder, threads, graphs, want, rows[name])
            except Exception as failure:
                rows[name]["missing"] = f"{type(failure).__name__}: {' '.join(str(failure).split())[:300]}"
                say(f"{case.name}: {name}: {rows[name]['missing']}")
        timings = each(calls, plan) if case.each else take_turns({n: c[0] for n, c in calls.items()}, plan)
        for name, timing in timings.items():
            rows[name] |= timing.to_dict()
        say(f"{case.name}, {threads} threads: " + ", ".join(f"{n} {ms(rows[n]['median_ms'])}" for n in timings))
    return list(rows.values())


def _checked(
    name: str,
    case: Case,
    folder: Path,
    threads: int,
    graphs: list[dict[str, Tensor]],
    want: dict[str, list[Array]],
    row: Row,
) -> list[Callable[[], object]]:
    """A call for each graph, when they compute what they have to."""
    run = contender(name, case, folder, threads)
    calls = [_call(run, graph) for graph in graphs]
    reference = want["int8.pt" if name in OURS_INT8 else "float.pt"]
    row |= (closeness := _closeness([np.asarray(call()) for call in calls], reference))
    if closeness["relative_error"] > (0.5 if name in (DYNAMIC, STATIC) else 0.1 if name in OURS_INT8 else 1e-3):
        raise ValueError(f"it computes something else: {closeness}")
    return calls


def _call(run: Run, graph: dict[str, Tensor]) -> Callable[[], object]:
    names = getattr(run, "names", None)
    inputs: Mapping[str, Any] = graph
    if names is not None:
        inputs = {k: v for k, v in peers.as_numpy(graph).items() if k in names}
    return lambda: run(inputs)


def _closeness(got: list[Array], want: list[Array]) -> dict[str, float]:
    """How far logits are from eager PyTorch's; the relative error is the root mean square over the deviation."""
    a, b = np.concatenate(got).astype(np.float64), np.concatenate(want).astype(np.float64)
    if a.shape != b.shape:
        raise ValueError(f"logits of shape {a.shape}, not {b.shape}")
    return {
        "max_abs_error": float(f"{np.abs(a - b).max():.3g}"),
        "relative_error": float(f"{np.sqrt(((a - b) ** 2).mean()) / b.std():.3g}"),
        "agreement": float(f"{(a.argmax(1) == b.argmax(1)).mean():.4f}"),
    }


# Reporting ------------------------------------------------------------


def goals(rows: list[Row], threads: int) -> list[Goal]:
    """The ratios that were set for this project."""
    find = finder(rows)
    found = []

    def add(case: str, what: str, against: str, goal: float) -> None:
        if any(r["case"] == case for r in rows):
            own, peer = (find(case=case, threads=threads, contender=c) for c in (what, against))
            found.append(Goal(f"{CASES[case].title}: {what}", against, ratio(peer, own), goal))

    for case in ("sage-100k", "gcn-100k"):
        add(case, INT8, EAGER, 20)
        add(case, INT8_CONSTANT, EAGER, 40)
        add(case, INT8, PLAIN, 120)
        add(case, INT8_CONSTANT, PLAIN, 240)
        add(case, INT8_CONSTANT, FP32_CONSTANT, 2.5)
    for case in ("gcn-cora", "gat-cora"):
        for what in (INT8, INT8_CONSTANT):
            add(case, what, EAGER, 5)
            add(case, what, PLAIN, 10)
    add("gin-one", INT8, EAGER, 8)
    add("gin-one", INT8, PLAIN, 5)
    add("gin-batch", INT8, EAGER, 5)
    add("gin-batch", INT8, PLAIN, 10)
    for case in CASES:
        add(case, FP32_STOCK, PLAIN, 0.95)  # no slower, give or take the noise
    return found


def report(rows: list[Row], threads: list[int]) -> str:
    """All tables."""
    parts = []
    for count in threads:
        parts.append(f"\n## Whole models, median ms, {count} threads\n\n{_times_table(rows, count)}")
    count = max(threads)
    parts.append(f"\n## How many times faster than\n\n{_ratio_table(rows, count)}")
    parts.append(f"\n## Logits against PyTorch's: relative error / agreement\n\n{_error_table(rows, count)}")
    parts.append(f"\n## To reach, {count} threads\n\n{goals_table(goals(rows, count))}")
    missing = dict.fromkeys(f"{r['case']}, {r['contender']}: {r['missing']}" for r in rows if "missing" in r)
    if missing:
        parts.append("\nEmpty cells:\n" + "\n".join(f"* {m}" for m in missing))
    return "\n".join([*unquiet(rows), *parts, *unquiet(rows)])


def _shown(rows: list[Row]) -> tuple[list[Case], list[str]]:
    return [CASES[n] for n in dict.fromkeys(r["case"] for r in rows)], list(dict.fromkeys(r["contender"] for r in rows))


def _times_table(rows: list[Row], threads: int) -> str:
    find, (cases, names) = finder(rows), _shown(rows)
    lines = []
    for case in cases:
        own = [r for r in rows if r["case"] == case.name and r["threads"] == threads and "load" in r]
        others = [r["others"] for r in own if r["others"] is not None]
        load = f"{own[0]['load']:.1f} / {100 * max(others):.0f} %" if others else ""
        values = [ms(find(case=case.name, threads=threads, contender=n)) for n in names]
        lines.append([case.title, load, *values])
    return table(["model", "load / others", *names], lines)


def _ratio_table(rows: list[Row], threads: int) -> str:
    find, (cases, names) = finder(rows), _shown(rows)
    peers_, own = [n for n in names if n in PEERS], [n for n in names if n in OURS]
    lines = []
    for case in cases:
        found = {n: find(case=case.name, threads=threads, contender=n) for n in names}
        lines += [[case.title, n, *(times(ratio(found[p], found[n])) for p in peers_)] for n in own if found[n]]
    return table(["model", "", *peers_], lines, left=2)


def _error_table(rows: list[Row], threads: int) -> str:
    cases, names = _shown(rows)
    lines = []
    for case in cases:
        line = [case.title]
        for name in names:
            where = {"case": case.name, "threads": threads, "contender": name}
            error, agreement = (finder(rows, k)(**where) for k in ("relative_error", "agreement"))
            line.append("" if error is None or agreement is None else f"{error:.1g} / {100 * agreement:.1f} %")
        lines.append(line)
    return table(["model", *names], lines)


if __name__ == "__main__":
    main()
