"""Every layer of PyG: does a small model with it export, and how much of its outputs does quantization leave?

    python benchmarks/layers_audit.py

goes on where results/layers.json ends, and writes results/layers.md from it. A model's weights are random, its labels
what it predicts; dq-int8 fine-tunes for three epochs. Signal-to-noise is of the artifact's outputs on all graphs of
the data against the float model before anything was changed; the larger difference of the two sessions (with the native
library, and stock onnxruntime) counts.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, environment, write
from layer_cases import CASES, LEFT_OUT, LONGEST, Case, not_listed
from torch import nn
from torch_geometric.data import Batch, Data
from workers import say

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import EdgeGNNError
from edgegnn.runtime import make_session, open_artifact

RECIPES = ("none", "static-int8", "dq-int8")
FEATURES, EDGE_FEATURES = 10, 4


def data(case: Case) -> list[Data]:
    """Random graphs with isolated nodes, duplicate edges and self loops."""
    random = torch.Generator().manual_seed(0)
    sizes = [150] if case.task == "node" else [3 + i % (LONGEST - 2) for i in range(120)]
    graphs = []
    for nodes in sizes:
        edges = 3 * nodes
        graph = Data(
            x=torch.randn(nodes, FEATURES, generator=random),
            edge_index=torch.randint(nodes, (2, edges), generator=random),
        )
        if case.edge_attr:
            graph.edge_attr = torch.rand(edges, EDGE_FEATURES, generator=random)
        graphs.append(graph)
    return graphs


def inputs(case: Case, graphs: list[Data]) -> dict[str, torch.Tensor]:
    """All graphs in one batch."""
    batch = Batch.from_data_list(graphs)
    names = ["x", "edge_index", *["edge_attr"] * case.edge_attr, *["batch"] * (case.task == "graph")]
    return {name: batch[name] for name in names}


def model(case: Case, graphs: list[Data]) -> nn.Module:
    """The model in eval mode, with outputs of mean 0 and deviation 2, and its predictions as the graphs' labels."""
    torch.manual_seed(0)
    built = case.build()
    with torch.no_grad():
        args = inputs(case, graphs)
        built(**args)  # lazy layers, running statistics
        out = built.eval()(**args)
        built.head.weight.mul_((2 / out.std(dim=0))[:, None])
        built.head.bias.sub_(out.mean(dim=0)).mul_(2 / out.std(dim=0))
        labels = built(**args).argmax(dim=1)
    if case.task == "node":
        graphs[0].y = labels
        part = torch.arange(len(labels)) % 3
        graphs[0].train_mask, graphs[0].val_mask, graphs[0].test_mask = part == 0, part == 1, part == 2
    else:
        for graph, label in zip(graphs, labels, strict=True):
            graph.y = label.view(1)
    return built


def audit(case: Case, recipe: str) -> dict[str, Any]:
    """One row of the table."""
    start = time.process_time()
    found: dict[str, Any] = {"kind": case.kind, "name": case.name, "recipe": recipe}
    try:
        graphs = data(case)
        built = model(case, graphs)
        plain = copy.deepcopy(built)
    except Exception as error:
        return {**found, "outcome": "PyTorch", "why": _line(error)}
    with tempfile.TemporaryDirectory(prefix="edgegnn-layers-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "data.pt"
        torch.save(graphs[0] if case.task == "node" else graphs, file)
        try:
            result = api.export(
                Checkpoint(built, {"factory": "models:build", "args": {}}),
                quant=recipe,
                data=str(file),
                output=Path(folder) / "artifact",
                settings={"epochs": 3, "lr": 1e-4, "batch_size": 32},
            )
            found |= {"outcome": "exported", **_compared(case, graphs, plain, result.path)}
        except EdgeGNNError as error:
            found |= {"outcome": "refused", "why": _line(error)}
        except Exception as error:
            found |= {"outcome": "failed", "why": f"{type(error).__name__}: {_line(error)}"}
    return {**found, "cpu_s": round(time.process_time() - start, 1)}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].replace(tempfile.gettempdir(), "")


def _compared(case: Case, graphs: list[Data], plain: nn.Module, path: Path) -> dict[str, Any]:
    """Signal-to-noise and agreement of an artifact."""
    artifact = open_artifact(path)
    taken = [spec.name for spec in artifact.manifest.inputs]
    groups = [graphs] if case.task == "node" or "batch" in taken else [[graph] for graph in graphs]
    args = [inputs(case, group) for group in groups]
    with torch.no_grad():
        want = np.concatenate([plain(**each).numpy() for each in args])
    worst = want
    for native in (True, False):
        session = make_session(artifact, threads=1, native=native)
        given = [{k: v.numpy() for k, v in each.items() if k in taken} for each in args]
        got = np.concatenate([session.run(None, each)[0] for each in given])
        worst = got if np.abs(got - want).sum() >= np.abs(worst - want).sum() else worst
    noise, signal = float(((worst - want) ** 2).sum()), float(((want - want.mean(axis=0)) ** 2).sum())
    return {
        "runtime": artifact.manifest.runtime,
        "decibels": round(min(140.0, 10 * math.log10(signal / noise)) if noise else 140.0, 1),
        "agreement": round(float((worst.argmax(1) == want.argmax(1)).mean()), 4),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown: signal-to-noise in dB, or why there is none."""
    cells = {(r["kind"], r["name"], r["recipe"]): r for r in rows}
    counts = {outcome: sum(r["outcome"] == outcome for r in rows) for outcome in ("exported", "refused", "failed")}
    lines = [
        "# Every layer of PyG",
        "",
        f"Written by `benchmarks/layers_audit.py`, which says how: {', '.join(f'{n} {o}' for o, n in counts.items())},",
        f"{len(CASES) * len(RECIPES) - len(rows)} not run yet (empty cells).",
        "Signal-to-noise of the artifact's outputs in dB (140: equal), against the float model.",
        "",
        f"| layer | {' | '.join(RECIPES)} |",
        f"| --- |{' ---: |' * len(RECIPES)}",
    ]
    notes = []
    for case in CASES:
        found = []
        for recipe in RECIPES:
            row = cells.get((case.kind, case.name, recipe))
            if row is None or row["outcome"] != "exported":
                found.append("" if row is None else row["outcome"])
                if row is not None:
                    notes.append(f"* {case.name}, {recipe}: {row['why']}")
            else:
                found.append(f"{row['decibels']:.0f}" + " (TorchScript)" * (row["runtime"] != "onnxruntime"))
        lines.append(f"| {case.kind}: {case.name} | {' | '.join(found)} |")
    left = [f"* {kind}: {name}: {why}" for (kind, name), why in LEFT_OUT.items()]
    return "\n".join([*lines, "", "## Refused", "", *notes, "", "## In no model", "", *left, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these layers, again")
    parser.add_argument("--table", action="store_true", help="run nothing; write the table of what is there")
    args = parser.parse_args()
    assert not not_listed(), f"not listed: {not_listed()}"
    file = RESULTS / "layers.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    rows = [row for row in rows if row["name"] not in (args.only or ())]
    done = {(row["kind"], row["name"], row["recipe"]) for row in rows}
    for case in CASES if not args.table else ():
        for recipe in RECIPES:
            if (case.kind, case.name, recipe) in done or (args.only and case.name not in args.only):
                continue
            rows.append(audit(case, recipe))
            say(json.dumps(rows[-1]))
            write("layers", {"environment": environment(), "rows": rows})
    (RESULTS / "layers.md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
