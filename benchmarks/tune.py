"""`edgegnn tune` against every preset recipe: the size of the model file within a point of accuracy.

    python benchmarks/tune.py                       # GCN 2x128 on Cora, 15 minutes
    python benchmarks/tune.py gin tu:PROTEINS --minutes 30

Train the float model, export it with each preset recipe (its own default fine-tuning), then search. The search
chooses on the validation split alone; test accuracies are reported, nothing is chosen by them. The budget is wall time;
where others use the machine, the process time says how much of it the search had.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna
import torch
from common import environment, write
from tables import table

from edgegnn import api
from edgegnn.errors import EdgeGNNError
from edgegnn.quantize import RECIPES
from edgegnn.tuning import tune


class Times:
    """Wall time, and processor time of this process and of those it started, since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), self._used()

    @staticmethod
    def _used() -> float:
        found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in found)

    def to_dict(self) -> dict[str, float]:
        return {
            "wall_seconds": round(time.monotonic() - self._wall, 1),
            "process_seconds": round(self._used() - self._cpu, 1),
        }


class Lines:
    """Prints a line for each candidate."""

    def begin(self, *_: Any) -> None: ...

    def candidate(self, *_: Any) -> None: ...

    def epoch(self, *_: Any) -> None: ...

    def status(self, *_: Any) -> None: ...

    def ended(self, record: dict[str, Any], winner: dict[str, Any] | None) -> None:
        kept = ("number", "label", "epochs", "status", "reason", "val", "drop", "drop_error", "bytes", "seconds")
        print(json.dumps({k: record[k] for k in kept if k in record}), flush=True)


def preset(folder: Path, name: str, seed: int, val: float) -> dict[str, Any]:
    """One preset recipe, as `edgegnn export --quant NAME` makes it."""
    times = Times()
    try:
        found = api.export(folder / "model.pt", quant=name, output=folder / name, settings={"seed": seed})
    except EdgeGNNError as error:
        return {"recipe": name, "failed": str(error), **times.to_dict()}
    manifest = found.manifest
    step = manifest["history"][-1]
    trained = step["step"] == "quantize"
    return {
        "recipe": name,
        "bytes": manifest["sizes"]["model_file"],
        "val": step["val_metric"] if trained else None,
        "val_drop_points": round(100 * (val - step["val_metric"]), 2) if trained else None,
        "test": manifest["metric"]["artifact"],
        **times.to_dict(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="gcn")
    parser.add_argument("data", nargs="?", default="cora")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--max-drop", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default="x86")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dense = api.train(args.model, args.data, output=folder / "model.pt", settings={"seed": args.seed})
        presets = []
        for recipe in RECIPES:
            presets.append(preset(folder, recipe, args.seed, dense.metrics["val"]))
            print(json.dumps(presets[-1]), flush=True)
        times = Times()
        found = tune(
            folder / "model.pt",
            target=args.target,
            minimize="size",
            max_drop=args.max_drop,
            budget=args.minutes,
            output=folder / "tuned",
            seed=args.seed,
            watch=Lines(),
        )
        took = times.to_dict()
    # By hand it starts from a file of the user's, not from where this one lay.
    command = found.front["command"].replace(str(folder / "model.pt"), "model.pt").replace(f"{folder}/", "")
    winner = {key: value for key, value in found.winner.items() if key not in ("epoch_seconds", "rest_seconds")}
    smallest = min((p for p in presets if "bytes" in p), key=lambda p: p["bytes"])
    search = {key: found.front[key] for key in ("rule", "float", "epochs", "budget_minutes", "seconds", "seed", "test")}
    write(
        "tune" if (args.model, args.data) == ("gcn", "cora") else f"tune-{args.model}-{args.data.replace(':', '-')}",
        {
            "environment": environment(),
            "optuna": optuna.__version__,
            "model": args.model,
            "data": args.data,
            "seeds": [args.seed],
            "dense": dense.metrics,
            "presets": presets,
            "search": {**search, **took, "command": command, "candidates": found.front["candidates"]},
            "winner": winner,
            "smallest_preset": smallest["recipe"],
            "bytes_of_smallest_preset": round(winner["bytes"] / smallest["bytes"], 4),
        },
    )
    rows = [[p["recipe"], f"{p['bytes']:,}", f"{100 * p['test']:.2f}"] for p in presets if "bytes" in p]
    rows.append([f"tune: {winner['label']}", f"{winner['bytes']:,}", f"{100 * found.front['test']['winner']:.2f}"])
    print(f"\n{table(('recipe', 'bytes', 'test %'), rows)}\n")
    print(f"{winner['bytes'] / smallest['bytes']:.3f}x of {smallest['recipe']}, the smallest preset; {took}")


if __name__ == "__main__":
    main()
