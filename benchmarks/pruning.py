"""Accuracy and file size of pruned models over seeds, on one data set.

    python benchmarks/pruning.py gcn cora
    python benchmarks/pruning.py gin tu:PROTEINS

For each seed: train the dense model, then prune it in each way, from the same weights and with the default settings of
fine-tuning. Nothing is selected on the test split. Every setting has a file of its own under `results/pruning/`, which
is written as results come; a rerun goes on where it stopped, and `--report` prints the table of what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, environment, write
from tables import table

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import PruneError


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row: how to prune, and how many points it may cost (None: it is shown as it is)."""

    prune: str
    sparsity: float
    schedule: str = "one-shot"
    finetune: bool = True
    quant: str | None = None
    may_lose: float | None = None

    @property
    def name(self) -> str:
        extras = ["gradual"] * (self.schedule == "gradual") + ["no-finetune"] * (not self.finetune)
        return "-".join([self.prune, f"{self.sparsity:g}", *extras, *([self.quant] if self.quant else [])])


def settings(data: str) -> list[Setting]:
    """The rows of a data set, the most important ones first."""
    cora = data == "cora"
    first = [Setting(method, 0.5, may_lose=0.5) for method in ("fine-grained", "global", "regularized")]
    if cora:
        first += [Setting("global", 0.9, may_lose=3.0), Setting("global", 0.5, quant="dq-int8", may_lose=1.0)]
    first += [Setting("regularized", s, may_lose=0.5 if s <= 0.5 else None) for s in (0.3, 0.7, 0.8, 0.9, 0.95)]
    rest = [Setting(method, s) for s in (0.7, 0.8, 0.9, 0.95) for method in ("fine-grained", "global")]
    rest += [Setting("global", 0.9, schedule="gradual")]
    rest += [Setting("global", s, finetune=False) for s in (0.5, 0.9)]
    return first + [s for s in rest if (s.prune, s.sparsity, s.schedule, s.finetune) not in {_key(f) for f in first}]


def _key(setting: Setting) -> tuple[str, float, str, bool]:
    return setting.prune, setting.sparsity, setting.schedule, setting.finetune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", type=Path, help="keep the dense models here, and take them from here")
    parser.add_argument("--report", action="store_true", help="only print the table of what has been measured")
    args = parser.parse_args()
    prefix = f"pruning/{args.model}-{args.data.replace(':', '-').lower()}"
    if not args.report:
        torch.set_num_threads(args.threads)
        with tempfile.TemporaryDirectory() as folder:
            for setting in [None, *settings(args.data)]:
                run(args, setting, prefix, args.models or Path(folder))
    print(report(prefix, args.data))


def run(args: argparse.Namespace, setting: Setting | None, prefix: str, folder: Path) -> None:
    """Every seed of one setting that is missing; None is the dense model."""
    name = f"{prefix}-{setting.name if setting else 'dense'}"
    path = RESULTS / f"{name}.json"
    result = json.loads(path.read_text()) if path.exists() else {"environment": environment(), "runs": []}
    result["setting"] = dataclasses.asdict(setting) if setting else None
    done = {r["seed"] for r in result["runs"]}
    for seed in range(args.seeds):
        if seed in done:
            continue
        model = dense(args, seed, folder)
        start = time.time()
        entry = {"seed": seed, **(measured(model, setting, seed, folder) if setting else shipped(model, folder))}
        entry["seconds"] = round(time.time() - start, 1)
        result["runs"].append(entry)
        write(name, result)
        print(name, json.dumps(entry), flush=True)


def dense(args: argparse.Namespace, seed: int, folder: Path) -> Checkpoint:
    """The dense model of a seed."""
    path = folder / f"{args.model}-{args.data.replace(':', '-').lower()}-{seed}.pt"
    if path.exists():
        return api.load(path)
    return api.train(args.model, args.data, output=path, settings={"seed": seed})


def measured(model: Checkpoint, setting: Setting, seed: int, folder: Path) -> dict[str, Any]:
    """One pruned model: its row, and of a quantized one what the artifact gives."""
    try:
        small = api.compress(
            model,
            prune=setting.prune,
            sparsity=setting.sparsity,
            schedule=setting.schedule,
            finetune=setting.finetune,
            quant=setting.quant,
            settings={"seed": seed},
        )
    except PruneError as error:
        return {"error": str(error)}
    row = small.row | {"training": small.checkpoint.history[-1]["settings"]}
    return row if setting.quant is None else row | shipped(small.checkpoint, folder)


def shipped(model: Checkpoint, folder: Path) -> dict[str, Any]:
    """Accuracy of a model and of its artifact, and the artifact's size."""
    m = api.export(model, output=folder / "artifact", force=True).manifest
    return {
        **model.metrics,
        "artifact_test": m["metric"]["artifact"],
        "agreement": m["parity"]["agreement"],
        "model_file": m["sizes"]["model_file"],
    }


def report(prefix: str, data: str) -> str:
    """The table: mean and standard deviation over seeds, and paired differences from the dense model."""
    full = _runs(prefix, "dense")
    if not full:
        return "nothing measured yet"
    rows = []
    for setting in settings(data):
        runs = _runs(prefix, setting.name)
        pairs = [(runs[s], full[s]) for s in sorted(runs) if s in full and "error" not in runs[s]]
        failed = sum("error" in r for r in runs.values())
        if not pairs:
            rows.append([setting.name, str(len(runs)), *[""] * 5, "would empty a layer" if failed else ""])
            continue
        key = "artifact_test" if setting.quant else "test"
        loss = [100 * (small[key] - big[key]) for small, big in pairs]
        val = [100 * (small["val"] - big["val"]) for small, big in pairs]
        size = max(s["model_file"] / b["model_file"] for s, b in pairs) if setting.quant else None
        mean = statistics.mean(loss)
        verdict = "" if setting.may_lose is None else f">= -{setting.may_lose:g}: "
        verdict += "" if setting.may_lose is None else ("reached" if mean >= -setting.may_lose else "**missed**")
        rows.append(
            [
                setting.name,
                str(len(pairs)) + (f" ({failed} can't)" if failed else ""),
                _spread(100 * s[key] for s, _ in pairs),
                f"{statistics.mean(val):+.2f}",
                f"{mean:+.2f}",
                f"{statistics.mean(s['achieved'] for s, _ in pairs):.3f}",
                "" if size is None else f"{size:.3f}x",
                verdict,
            ]
        )
    head = ["setting", "seeds", "test %", "val, points", "test, points", "sparsity", "artifact file", "to reach"]
    top = f"dense: test {_spread(100 * r['test'] for r in full.values())} %, {len(full)} seeds"
    return f"{top}\n\n{table(head, rows)}\n\npoints: against the dense model of the same seed"


def _runs(prefix: str, name: str) -> dict[int, dict[str, Any]]:
    path = RESULTS / f"{prefix}-{name}.json"
    return {r["seed"]: r for r in json.loads(path.read_text())["runs"]} if path.exists() else {}


def _spread(values: Iterator[float]) -> str:
    found = list(values)
    return f"{statistics.mean(found):.2f} ± {statistics.stdev(found) if len(found) > 1 else 0.0:.2f}"


if __name__ == "__main__":
    main()
