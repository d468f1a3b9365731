"""A2Q: accuracy and bits of artifacts over seeds, and the bits of nodes against their in-degree.

    python benchmarks/a2q.py gcn cora --seeds 5
    python benchmarks/a2q.py gin tu:PROTEINS --seeds 3 --epochs 30

For each seed: train the float model, fine-tune it with A2Q, export both. Every accuracy is the artifact's, run by
onnxruntime; the epoch is chosen on validation. Results are written as they come, and a rerun goes on where it stopped.
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
from torch_geometric.utils import degree

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.quantize import QuantModel
from edgegnn.tasks import load_task

CLASSES = ((0, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 10**9))  # of in-degree


def main() -> None:
    """Run what is missing, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipe", default="a2q", help='such as "a2q:target_bits=3"')
    parser.add_argument("--epochs", type=int, help="of fine-tuning (default: as edgegnn export)")
    parser.add_argument("--lr", type=float, help="of fine-tuning (default: as edgegnn export)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name = "-".join(["a2q", args.model, args.data.replace(":", "-").lower(), *args.recipe.split(":")[1:]])
    path = RESULTS / f"{name}.json"
    result = json.loads(path.read_text()) if path.exists() else {"environment": environment(), "runs": []}
    done = {run["seed"] for run in result["runs"]}
    for seed in range(args.seeds):
        if seed not in done:
            result["runs"].append(run(args, seed))
            result["summary"] = summary(result["runs"])
            write(name, result)
            print(json.dumps({k: v for k, v in result["runs"][-1].items() if k != "points"}), flush=True)
    print(json.dumps(result["summary"]))


def run(args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One seed: the float artifact and the A2Q artifact."""
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.pt"
        api.train(args.model, args.data, output=model, settings={"seed": seed})
        plain = api.export(model, output=Path(folder) / "float").manifest
        settings = {"seed": seed, "epochs": args.epochs, "lr": args.lr}
        small = api.compress(model, quant=args.recipe, settings=settings).checkpoint
        learnt = api.export(small, output=Path(folder) / "a2q").manifest
    return {
        "seed": seed,
        "recipe": learnt["recipe_config"],
        "settings": small.history[-1]["settings"],
        "best_epoch": small.history[-1]["best_epoch"],
        "validation": small.metrics["val"],
        "fp32": plain["metric"],
        "a2q": learnt["metric"],
        "agreement": learnt["parity"]["agreement"],
        "max_abs_error": learnt["parity"]["max_abs_error"],
        "average_bits": {key: round(learnt["average_bits"][key], 4) for key in ("rows", "values")},
        "points": learnt["learnt_bits"],
        "by_in_degree": by_in_degree(small, args.data),
        "integer_operators": learnt["integer_operators"],
        "sizes": learnt["sizes"],
        "seconds": round(time.time() - start, 1),
    }


def by_in_degree(checkpoint: Checkpoint, data: str) -> dict[str, list[dict[str, Any]]]:
    """Point -> mean bits of the nodes of each class of in-degree; {} for groups, whose nodes are never the same."""
    model = checkpoint.model
    if not isinstance(model, QuantModel) or model.fixed_nodes is None:
        return {}
    graph = load_task(data).graphs[0]
    found = degree(graph.edge_index[1], graph.num_nodes)
    rows = {}
    for name in model.learnt_bits():
        bits = model.point(name).stored_bits()
        rows[name] = [
            {
                "from": low,
                "to": min(high, int(found.max())),
                "nodes": int(own.sum()),
                "bits": round(float(bits[own].mean()), 3),
            }
            for low, high in CLASSES
            if bool((own := (found >= low) & (found <= high)).any())
        ]
    return rows


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    scores = {kind: [100 * r[kind]["artifact"] for r in runs] for kind in ("fp32", "a2q")}
    spread = {k: round(statistics.stdev(v), 2) if len(v) > 1 else 0.0 for k, v in scores.items()}
    return {
        "seeds": len(runs),
        **{kind: {"mean": round(statistics.mean(v), 2), "std": spread[kind]} for kind, v in scores.items()},
        "points_below_fp32": round(statistics.mean(scores["fp32"]) - statistics.mean(scores["a2q"]), 2),
        **{f"bits_of_{k}": round(statistics.mean(r["average_bits"][k] for r in runs), 3) for k in ("rows", "values")},
        "worst_agreement": min(r["agreement"] for r in runs),
        "file_ratio": round(max(r["sizes"]["model_file"] / r["sizes"]["fp32_model_file"] for r in runs), 4),
        "model_file_bytes": runs[0]["sizes"]["model_file"],
    }


if __name__ == "__main__":
    main()
