"""Is an INT8 artifact ever slower than the fp32 artifact of the same model?

    python benchmarks/int8_against_fp32.py                             # every model; about 15 minutes on 2 cores
    python benchmarks/int8_against_fp32.py --quick --models GAT PNA    # fewer turns
    python benchmarks/int8_against_fp32.py --files FOLDER              # keep the artifacts, use those that are there

Each model is exported once a recipe, from a random graph of Cora's size (a2q trains widths for its nodes) or from 64
small graphs. Artifacts of one model run the same inputs, in one process, in turns. A ratio above 1: INT8 is faster.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from common import environment, write
from edge_models import MODELS, EdgeModel, inputs_of, make_graph
from tables import table, times
from timing import QUICK, Plan, take_turns
from torch_geometric.data import Data
from workers import Row, Rows, finder, ratio, run_workers, say, unquiet

from edgegnn import api, runtime
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import EdgeGNNError

PLAN = Plan(runs=7, seconds=0.05, patience=3.0)
RECIPES = ("none", "dq-int8", "static-int8", "a2q")
CORA = (2708, 10556)
SIZES = {
    "one graph": (30, 64, 1),
    "batch of 128": (128 * 30, 128 * 64, 128),
    "Cora": (*CORA, 1),
    "20k/200k": (20_000, 200_000, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES[1:], default=list(RECIPES[1:]), metavar="RECIPE")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--quick", action="store_true", help="fewer turns; the result is marked")
    parser.add_argument("--files", type=Path, help="folder of the artifacts, kept; default: a temporary one")
    parser.add_argument("--worker", nargs=2, metavar=("THREADS", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    recipes = ("none", *args.recipes)
    if args.worker:
        out, plan = Rows(Path(args.worker[1])), QUICK if args.quick else PLAN
        for name in args.models:
            for size in SIZES:
                out.add(measure(MODELS[name], size, args.files, recipes, int(args.worker[0]), plan))
        return
    with nullcontext(args.files) if args.files else tempfile.TemporaryDirectory(prefix="edgegnn-benchmark-") as folder:
        notes = {n: make_artifacts(MODELS[n], Path(folder), recipes) for n in args.models}
        flags = [
            "--files",
            str(folder),
            "--models",
            *args.models,
            "--recipes",
            *args.recipes,
            *["--quick"] * args.quick,
        ]
        rows = run_workers(args.threads, flags)
    result = {
        "environment": environment(),
        "quick": args.quick,
        "quiet": not unquiet(rows),
        "rows": rows,
        "notes": notes,
    }
    print(report(rows, args.threads, notes))
    print(f"\nwritten to {write('quick/' * args.quick + 'int8-against-fp32', result)}")


def artifact_of(model: EdgeModel, recipe: str, folder: Path) -> Path:
    """Where the artifact is."""
    return folder / f"{model.name.replace(' ', '-')}-{recipe}"


def make_artifacts(model: EdgeModel, folder: Path, recipes: tuple[str, ...]) -> dict[str, str]:
    """Export a model with each recipe; why it fails, by recipe."""
    notes = {}
    folder.mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        path = artifact_of(model, recipe, folder)
        if path.exists():
            continue
        try:
            with tempfile.TemporaryDirectory(prefix="edgegnn-benchmark-") as data:
                _export(model, recipe, path, Path(data) / "data.pt")
            say(f"{model.name}: {recipe} made")
        except EdgeGNNError as error:
            notes[recipe] = " ".join(str(error).split())[:300]
            say(f"{model.name}: {recipe}: {notes[recipe]}")
    return notes


def _export(model: EdgeModel, recipe: str, path: Path, file: Path) -> None:
    torch.manual_seed(0)
    built = model.build().eval()
    graphs = _data(model)
    for graph in graphs:
        with torch.inference_mode():
            labels = built(**inputs_of(graph, model)).argmax(1)
        graph.y = labels
        if "batch" in model.more:  # collating makes it
            del graph.batch
    if model.task == "node":
        part = torch.arange(CORA[0]) % 3
        graphs[0].train_mask, graphs[0].val_mask, graphs[0].test_mask = part == 0, part == 1, part == 2
    torch.save(graphs[0] if model.task == "node" else graphs, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api.export(
            Checkpoint(built, {"factory": "models:build", "args": {}}),
            quant=recipe,
            data=str(file),
            output=path,
            settings={"epochs": 2, "lr": 1e-4},
            min_agreement=0.5,
            max_accuracy_drop=100,
        )


def _data(model: EdgeModel) -> list[Data]:
    if model.task == "node":
        return [make_graph(*CORA, seed=1, model=model)]
    return [make_graph(30, 64, seed=i, model=model) for i in range(64)]


def measure(model: EdgeModel, size: str, folder: Path, recipes: tuple[str, ...], threads: int, plan: Plan) -> list[Row]:
    """Time all artifacts of a model on one input."""
    nodes, edges, graphs = SIZES[size]
    inputs = {k: v.numpy() for k, v in inputs_of(make_graph(nodes, edges, 7, model, graphs), model).items()}
    calls: dict[str, Callable[[], object]] = {}
    rows: dict[str, Row] = {}
    for recipe in recipes:
        path = artifact_of(model, recipe, folder)
        row = rows[recipe] = {"model": model.name, "size": size, "threads": threads, "recipe": recipe}
        if not path.exists():
            row["missing"] = "not exported"
            continue
        session = runtime.make_session(path / "model.onnx", threads=threads)
        taken = {i.name for i in session.get_inputs()}
        given = {k: v for k, v in inputs.items() if k in taken}
        try:
            session.run(None, given)
        except Exception as error:
            row["missing"] = " ".join(str(error).split())[:200]
            continue
        calls[recipe] = _call(session, given)
    for recipe, timing in take_turns(calls, plan).items():
        rows[recipe] |= timing.to_dict()
    say(f"{model.name}, {size}: " + ", ".join(f"{r} {row.get('median_ms', '-')}" for r, row in rows.items()))
    return list(rows.values())


def _call(session: Any, inputs: dict[str, Any]) -> Callable[[], object]:
    return lambda: session.run(None, inputs)


def report(rows: list[Row], threads: list[int], notes: dict[str, dict[str, str]]) -> str:
    """A table a thread count: how many times faster than fp32."""
    find, parts = finder(rows), []
    models, recipes = (list(dict.fromkeys(r[key] for r in rows)) for key in ("model", "recipe"))
    for count in threads:
        lines, losses = [], []
        for model in models:
            for recipe in recipes[1:]:
                cells = []
                for size in SIZES:
                    where = {"model": model, "size": size, "threads": count}
                    fp32, int8 = find(recipe="none", **where), find(recipe=recipe, **where)
                    found = ratio(fp32, int8)
                    cells.append(times(found) if found is None or found >= 1 else f"**{times(found)}**")
                    if found is not None and found < 1:
                        losses.append(found)
                lines.append([model, recipe, *cells])
        parts.append(f"\n## {count} threads: times as fast as our fp32 artifact\n\n")
        parts.append(table(["model", "recipe", *SIZES], lines, left=2))
        parts.append(f"\n\nslower than fp32: {len(losses)} cells, worst {times(min(losses, default=None))}\n")
    missing = [f"* {model}, {recipe}: {why}" for model, each in notes.items() for recipe, why in each.items()]
    return "\n".join(["".join(parts), *missing, *unquiet(rows)])


if __name__ == "__main__":
    main()
