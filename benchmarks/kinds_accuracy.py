"""Accuracy of kinds of models that the zoo doesn't have.

Several types of nodes, classes of edges, values of nodes, point clouds, and a recurrent model on a generated series.

    python benchmarks/kinds_accuracy.py                         # every kind, 3 seeds, fp32 and dq-int8
    python benchmarks/kinds_accuracy.py dgcnn-digits --seeds 1

For each seed: train the model by `edgegnn.train`, then export it with each recipe (fine-tuning included). Every score
is the artifact's, on the test split, which selection never saw; splits that are drawn are another for each seed.
Results are written as they come, and a rerun goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, environment, write
from kinds import KINDS, write_data

from edgegnn import api

NAME = "kinds-accuracy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipes", nargs="*", default=["dq-int8"])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    path = RESULTS / f"{NAME}.json"
    result = json.loads(path.read_text()) if path.exists() else {"environment": environment(), "runs": []}
    for seed in range(args.seeds):
        for kind in args.kinds:
            done = {run["recipe"] for run in result["runs"] if (run["kind"], run["seed"]) == (kind, seed)}
            missing = [recipe for recipe in ["none", *args.recipes] if recipe not in done]
            if missing:
                for run in runs(kind, seed, missing):
                    result["runs"].append(run)
                    result["summary"] = summary(result["runs"])
                    write(NAME, result)
                    print(json.dumps(run), flush=True)
    print(json.dumps(result["summary"], indent=1))


def runs(name: str, seed: int, recipes: list[str]) -> list[dict[str, Any]]:
    """Train once, export with each recipe."""
    kind, made = KINDS[name], []
    with tempfile.TemporaryDirectory() as folder:
        data, model = write_data(name, Path(folder)), Path(folder) / "model.pt"
        start = time.time()
        settings = kind.settings | {"seed": seed}
        drawn = {"task": kind.task, "split": kind.split, "split_seed": seed}
        api.train(kind.factory, str(data), output=model, settings=settings, **drawn)
        seconds = time.time() - start
        for recipe in recipes:
            start = time.time()
            out = api.export(
                model,
                quant=recipe,
                output=Path(folder) / recipe,
                allow_import=True,
                settings={"seed": seed},
                max_accuracy_drop=100.0,
            )
            manifest = out.manifest
            made.append(
                {
                    "kind": name,
                    "seed": seed,
                    "recipe": recipe,
                    "metric": manifest["metric"],
                    "agreement": manifest["parity"]["agreement"],
                    "model_file": manifest["sizes"]["model_file"],
                    "fp32_model_file": manifest["sizes"]["fp32_model_file"],
                    "train_seconds": round(seconds, 1),
                    "export_seconds": round(time.time() - start, 1),
                }
            )
    return made


def summary(made: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation over seeds, for each kind and recipe."""
    rows = {}
    for kind, recipe in dict.fromkeys((run["kind"], run["recipe"]) for run in made):
        own = [run for run in made if (run["kind"], run["recipe"]) == (kind, recipe)]
        scores = [run["metric"]["artifact"] for run in own]
        rows[f"{kind} {recipe}"] = {
            "metric": KINDS[kind].metric,
            "seeds": len(own),
            "mean": statistics.mean(scores),
            "std": statistics.stdev(scores) if len(scores) > 1 else 0.0,
            "file_ratio": round(max(run["model_file"] / run["fp32_model_file"] for run in own), 3),
        }
    return rows


if __name__ == "__main__":
    main()
