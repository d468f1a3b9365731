"""Structured pruning: accuracy over seeds, and how much faster the exported model is than the dense one.

    python benchmarks/structured.py                                  # GIN 5x64 on PROTEINS, 50 % of the channels
    python benchmarks/structured.py --data tu:REDDIT-BINARY --epochs 20

For each seed: train the dense model, prune its channels in each way from the same weights (the default settings of
fine-tuning), export all of them as fp32. Nothing is selected on the test split. Times are onnxruntime's on the same
test graphs, dense and pruned taking turns in one process: all graphs of a batch of 128 in one call, and one at a time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, environment, write
from tables import Goal, goals_table, ms, table
from timing import FULL, QUICK, each, take_turns

from edgegnn import api
from edgegnn.errors import EdgeGNNError
from edgegnn.exporting.samples import example_inputs
from edgegnn.runtime import make_session
from edgegnn.tasks import Task, collate, load_task

WAYS: dict[str, dict[str, Any]] = {
    "structured": {"prune": "structured"},
    "group-norm": {"prune": "regularized", "variant": "group-norm"},
    "growing": {"prune": "regularized", "variant": "growing"},
}
MAY_LOSE, AT_MOST = 2.0, 0.7  # points of accuracy; share of the dense latency
Runs = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gin")
    parser.add_argument("--data", default="tu:PROTEINS")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--epochs", type=int, help="of the dense training (default: the model's own)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="fewer turns; for trying out")
    parser.add_argument("--report", action="store_true", help="print the tables of what is there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    key = f"{args.model} {args.data.removeprefix('tu:')} {args.sparsity:g}"
    name = "quick/structured" if args.quick else "structured"
    path = RESULTS / f"{name}.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    entry = results.setdefault(key, {"environment": environment(), "epochs": args.epochs, "runs": []})
    task = load_task(args.data)
    for seed in range(0 if args.report else args.seeds):
        done = {(r["seed"], r["way"]) for r in entry["runs"]}
        missing = [way for way in ("dense", *args.ways) if (seed, way) not in done]
        if not missing:
            continue
        with tempfile.TemporaryDirectory(prefix="edgegnn-benchmark-") as folder:
            entry["runs"] += run_seed(args, task, seed, missing, Path(folder))
        entry["summary"] = summary(entry["runs"])
        write(name, results)
    for title, entry in results.items():
        report(title, entry["runs"])


def run_seed(args: argparse.Namespace, task: Task, seed: int, ways: list[str], folder: Path) -> Runs:
    """Train, prune, export and time the models of one seed."""
    dense = folder / "dense.pt"
    trained = api.train(args.model, args.data, output=dense, settings={"seed": seed, "epochs": args.epochs})
    files, metrics, facts = {"dense": dense}, {"dense": trained.metrics}, {}
    for way in ways:
        if way == "dense":
            continue
        files[way] = folder / f"{way}.pt"
        try:
            small = api.compress(
                dense, **WAYS[way], sparsity=args.sparsity, output=files[way], settings={"seed": seed}
            ).checkpoint
        except EdgeGNNError as error:
            print(f"{way}: {error}", flush=True)
            del files[way]
            continue
        metrics[way], facts[way] = small.metrics, small.pruning
    for name, file in files.items():
        api.export(file, output=folder / name)
    timings = measure(task, {name: folder / name for name in files}, args)
    runs = []
    for way in (way for way in files if way in ways):
        model = folder / way / "model.onnx"
        run = {"seed": seed, "way": way, "metrics": metrics[way], "bytes": model.stat().st_size, **timings[way]}
        for kind in ("batch", "single"):  # dense is timed again beside every pruned model
            run[f"{kind}_ratio"] = timings[way][kind]["median_ms"] / timings["dense"][kind]["median_ms"]
        if way in facts:
            run |= {k: facts[way][k] for k in ("parameters", "multiply_adds")}
        print(json.dumps(run), flush=True)
        runs.append(run)
    return runs


def measure(task: Task, artifacts: dict[str, Path], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Times of every artifact on the same test graphs."""
    names = ("x", "edge_index", "batch") if task.spec.kind == "graph" else ("x", "edge_index")
    plan = QUICK if args.quick else FULL
    sessions = {name: make_session(str(path / "model.onnx"), threads=args.threads) for name, path in artifacts.items()}
    graphs = [task.graphs[i] for i in task.index["test"].tolist()] if task.spec.kind == "graph" else task.graphs
    single = [example_inputs(names, graph) for graph in graphs[:128]]
    batch = example_inputs(names, collate(graphs[:128])) if task.spec.kind == "graph" else single[0]
    first = {name: session.run(None, batch)[0] for name, session in sessions.items()}
    assert all(np.isfinite(out).all() for out in first.values())
    together = take_turns({n: lambda s=s: s.run(None, batch) for n, s in sessions.items()}, plan)
    alone = each({n: [lambda s=s, g=g: s.run(None, g) for g in single] for n, s in sessions.items()}, plan)
    return {n: {"batch": together[n].to_dict(), "single": alone[n].to_dict()} for n in sessions}


def summary(runs: Runs) -> dict[str, dict[str, Any]]:
    """Means over seeds; a latency ratio is the median over seeds of pruned / dense in the same run."""
    dense = {r["seed"]: r for r in runs if r["way"] == "dense"}
    rows: dict[str, dict[str, Any]] = {}
    for way in dict.fromkeys(r["way"] for r in runs):
        own = [r for r in runs if r["way"] == way]
        tests = [100 * r["metrics"]["test"] for r in own]
        lost = [100 * (r["metrics"]["test"] - dense[r["seed"]]["metrics"]["test"]) for r in own]
        row = {
            "seeds": len(own),
            "test_mean": round(statistics.mean(tests), 2),
            "test_std": round(statistics.stdev(tests), 2) if len(tests) > 1 else 0.0,
            "against_dense": round(statistics.mean(lost), 2),
            "bytes": own[0]["bytes"],
        }
        for kind in ("batch", "single"):
            row[f"{kind}_ms"] = statistics.median(r[kind]["median_ms"] for r in own)
            row[f"{kind}_ratio"] = round(statistics.median(r[f"{kind}_ratio"] for r in own), 3)
        rows[way] = row
    return rows


def report(name: str, runs: Runs) -> None:
    rows = summary(runs)
    cells = [
        [
            way,
            f"{r['test_mean']:.2f} ± {r['test_std']:.2f}",
            f"{r['against_dense']:+.2f}",
            ms(r["batch_ms"]),
            f"{r['batch_ratio']:.2f}x",
            ms(r["single_ms"]),
            f"{r['single_ratio']:.2f}x",
            f"{r['bytes']:,}",
        ]
        for way, r in rows.items()
    ]
    head = ("", "test %", "points", "batch ms", "of dense", "one graph ms", "of dense", "file bytes")
    print(f"\n{name}, {max(r['seeds'] for r in rows.values())} seeds\n\n{table(head, cells)}\n")
    ways = [way for way in rows if way != "dense"]
    print(
        goals_table(
            [
                goal
                for way in ways
                for goal in (
                    Goal(f"{way}, batch", "dense", 1 / rows[way]["batch_ratio"], 1 / AT_MOST),
                    Goal(f"{way}, one graph", "dense", 1 / rows[way]["single_ratio"], 1 / AT_MOST),
                )
            ]
        )
    )
    for way in ways:
        reached = "reached" if rows[way]["against_dense"] >= -MAY_LOSE else "**missed**"
        print(f"{way}: {rows[way]['against_dense']:+.2f} points against dense, at most -{MAY_LOSE:g} wanted: {reached}")


if __name__ == "__main__":
    main()
