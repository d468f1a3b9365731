"""Accuracy, agreement and file size of artifacts over seeds, on one data set.

    python benchmarks/accuracy.py gcn cora --seeds 10 --recipes dq-int8 dq-int4
    python benchmarks/accuracy.py spline cora --split full --seeds 5 --recipes dq-int8
    python benchmarks/accuracy.py spline cora --split full --vary-split --seeds 5 --recipes dq-int8
    python benchmarks/accuracy.py ness cora --task link-prediction --vary-split --seeds 5 --threads 1

For each seed: train the float model, then export it with each recipe (fine-tuning included). Every number of a recipe
is measured on the artifact by onnxruntime; nothing is selected on the test split. Results are written as they come,
and a rerun goes on where it stopped. A drawn split is the same for all seeds (that of `--split-seed 0`), or another for
each with --vary-split.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from common import RESULTS, environment, write

from edgegnn import api


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--split", help="as of edgegnn train")
    parser.add_argument("--task", help="as of edgegnn train")
    parser.add_argument("--vary-split", action="store_true", help="draw the split by the seed of training")
    parser.add_argument("--recipes", nargs="*", default=["dq-int8", "dq-int4"])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = args.data.replace(":", "-").lower()
    name = "-".join(filter(None, ["accuracy", args.model, data, args.task, args.split, "splits" * args.vary_split]))
    path = RESULTS / f"{name}.json"
    result = json.loads(path.read_text()) if path.exists() else {"environment": environment(), "runs": []}
    done = {(r["seed"], r["recipe"]) for r in result["runs"]}
    for seed in range(args.seeds):
        missing = [r for r in ["none", *args.recipes] if (seed, r) not in done]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            start = time.time()
            model = Path(folder) / "model.pt"
            drawn = {"task": args.task, "split": args.split, "split_seed": seed if args.vary_split else 0}
            api.train(args.model, args.data, output=model, settings={"seed": seed}, **drawn)
            seconds = time.time() - start
            for recipe in missing:
                start = time.time()
                out = api.export(model, quant=recipe, output=Path(folder) / recipe, settings={"seed": seed})
                m = out.manifest
                run = {
                    "seed": seed,
                    "recipe": recipe,
                    "metric": m["metric"],
                    "task": m["task"],
                    "val": m["history"][-1]["val_metric"],
                    "agreement": m["parity"]["agreement"],
                    "max_abs_error": m["parity"]["max_abs_error"],
                    "sizes": m["sizes"],
                    "seconds": round(time.time() - start + (seconds if recipe == "none" else 0.0), 1),
                }
                result["runs"].append(run)
                result["summary"] = summary(result["runs"])
                write(name, result)
                print(json.dumps(run), flush=True)
    for recipe, row in result["summary"].items():
        print(recipe, json.dumps(row))


def summary(runs: list[dict]) -> dict[str, dict]:
    """Mean and standard deviation over seeds, per recipe."""
    rows = {}
    for recipe in dict.fromkeys(r["recipe"] for r in runs):
        own = [r for r in runs if r["recipe"] == recipe]
        scores = [100 * r["metric"]["artifact"] for r in own]
        more = [100 * r["metric"]["average_precision"]["artifact"] for r in own if "average_precision" in r["metric"]]
        rows[recipe] = {
            "seeds": len(own),
            "mean": round(statistics.mean(scores), 2),
            "std": round(statistics.stdev(scores), 2) if len(scores) > 1 else 0.0,
            **({"average_precision": round(statistics.mean(more), 2)} if more else {}),
            "worst_agreement": min(r["agreement"] for r in own),
            "file_ratio": round(max(r["sizes"]["model_file"] / r["sizes"]["fp32_model_file"] for r in own), 4),
            "model_file_bytes": own[0]["sizes"]["model_file"],
        }
    return rows


if __name__ == "__main__":
    main()
