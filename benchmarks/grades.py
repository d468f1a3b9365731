"""GradES against training for all epochs and against patience: time and accuracy.

    python benchmarks/grades.py --data-root DATA

For each seed and model: train on Cora from scratch; from that checkpoint fine-tune for dq-int8, and fine-tune after
half of the weights were pruned (`edgegnn train`, `compress --quant dq-int8`, `compress --prune global --sparsity 0.5`,
with their default settings). Each is done in four ways that start from the same weights with the same random numbers:

    fixed      all epochs, each validated; the epoch with the lowest validation loss is kept
    grades     --early-stop grades; one epoch in ten is validated, the best of those is kept
    patience   --early-stop patience
    half       half of the epochs, otherwise as fixed: what stopping alone is worth

Time is processor time of this process with one thread (`time.process_time`), since other programs share the machine;
the four ways take turns, seed by seed, in an order that changes. "training" leaves the time of validation out. Results
are written as they come, and a rerun goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from common import RESULTS, environment, write
from torch import nn

from edgegnn.checkpoint import Checkpoint
from edgegnn.compression.compress import prune
from edgegnn.compression.model_source import finetune_config
from edgegnn.compression.plan import PrunePlan
from edgegnn.models import build
from edgegnn.quantize import finetune, recipe
from edgegnn.tasks import Task, evaluate, load_task
from edgegnn.training import FitConfig, FitResult, fit, fit_defaults

TRAININGS = ("scratch", "dq-int8", "pruned")
WAYS = ("fixed", "grades", "patience", "half")
NAME = "grades"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["gcn", "transformer"])
    parser.add_argument("--data", default="cora")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / f"{NAME}.json"
    result = json.loads(path.read_text()) if path.exists() else {"environment": environment(), "runs": []}
    done = {(r["model"], r["training"], r["seed"], r["way"]) for r in result["runs"]}
    for seed in range(args.seeds):
        for name in args.models:
            wanted = {(name, training, seed, way) for training in TRAININGS for way in WAYS}
            if wanted <= done:
                continue
            for run in runs(name, args.data, args.data_root, seed):
                result["runs"].append(run)
                result["summary"] = summary(result["runs"])
                write(NAME, result)
                print(json.dumps({k: v for k, v in run.items() if k != "frozen"}), flush=True)
    for row in result["summary"]:
        print(json.dumps(row))


def runs(name: str, data: str, root: Path | None, seed: int) -> Iterator[dict]:
    """All ways of one model and seed, from scratch and from the trained model."""
    task = load_task(data, root=root)
    config = fit_defaults(task.spec.kind, model=name, data=task.spec.data, seed=seed)
    torch.manual_seed(seed)
    module = build(name, in_channels=task.spec.num_features, out_channels=task.spec.num_classes, kind=task.spec.kind)
    trained: dict[str, nn.Module] = {}
    for way in order(seed):
        trained[way] = copy.deepcopy(module)
        with measured() as clock:
            result = fit(trained[way], task, ways(config)[way])
        yield row(name, "scratch", seed, way, trained[way], task, result, clock)
    start = trained["fixed"]
    checkpoint = Checkpoint(start, {}, task.spec, dataclasses.asdict(config))
    config = finetune_config(checkpoint, task, {})
    for way in order(seed + 1):
        with measured() as clock:
            quantized, result = finetune(copy.deepcopy(start), task, recipe("dq-int8"), ways(config)[way])
        yield row(name, "dq-int8", seed, way, quantized, task, result, clock)
    config = finetune_config(checkpoint, task, {}, lr_share=0.1, epochs_share=0.25)
    for way in order(seed + 2):
        with measured() as clock:
            pruned = prune(copy.deepcopy(start), task, PrunePlan("global", 0.5), ways(config)[way])
        assert pruned.fit is not None
        yield row(name, "pruned", seed, way, pruned.model, task, pruned.fit, clock)


def order(seed: int) -> list[str]:
    shift = seed % len(WAYS)
    return [*WAYS[shift:], *WAYS[:shift]]


def ways(config: FitConfig) -> dict[str, FitConfig]:
    return {
        "fixed": config,
        "grades": dataclasses.replace(config, early_stop="grades"),
        "patience": dataclasses.replace(config, early_stop="patience"),
        "half": dataclasses.replace(config, epochs=config.epochs // 2),
    }


@contextlib.contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Processor seconds of what runs inside: "all", and "validation" among them."""
    from edgegnn.training import fitting

    clock = {"all": 0.0, "validation": 0.0}
    validate = fitting._validate

    def timed(*args):
        start = time.process_time()
        found = validate(*args)
        clock["validation"] += time.process_time() - start
        return found

    fitting._validate = timed
    start = time.process_time()
    try:
        yield clock
    finally:
        clock["all"] = time.process_time() - start
        fitting._validate = validate


def row(
    name: str, training: str, seed: int, way: str, model: nn.Module, task: Task, result: FitResult, clock: dict
) -> dict:
    report = result.grades
    return {
        "model": name,
        "training": training,
        "seed": seed,
        "way": way,
        "epochs": result.epochs_run,
        "kept_epoch": result.best_epoch,
        "seconds": round(clock["all"], 3),
        "training_seconds": round(clock["all"] - clock["validation"], 3),
        "val": result.val_metric,
        "test": evaluate(model, task, "test"),
        "frozen": [] if report is None else [dataclasses.asdict(f) for f in report.frozen],
    }


def summary(found: list[dict]) -> list[dict]:
    """Means over the seeds for which all four ways are there; ratios and differences are against "fixed"."""
    table = []
    for name, training in dict.fromkeys((r["model"], r["training"]) for r in found):
        own = {(r["seed"], r["way"]): r for r in found if (r["model"], r["training"]) == (name, training)}
        seeds = [s for s in sorted({s for s, _ in own}) if all((s, way) in own for way in WAYS)]
        for way in WAYS if seeds else ():
            pairs = [(own[s, way], own[s, "fixed"]) for s in seeds]
            tests = [100 * mine["test"] for mine, _ in pairs]
            differences = [100 * (mine["test"] - fixed["test"]) for mine, fixed in pairs]
            table.append(
                {
                    "model": name,
                    "training": training,
                    "way": way,
                    "seeds": len(seeds),
                    "epochs": statistics.mean(mine["epochs"] for mine, _ in pairs),
                    "time": round(sum(m["seconds"] for m, _ in pairs) / sum(f["seconds"] for _, f in pairs), 3),
                    "training_time": round(
                        sum(m["training_seconds"] for m, _ in pairs) / sum(f["training_seconds"] for _, f in pairs), 3
                    ),
                    "test_mean": round(statistics.mean(tests), 2),
                    "test_std": round(statistics.stdev(tests), 2) if len(seeds) > 1 else 0.0,
                    "difference_mean": round(statistics.mean(differences), 2),
                    "difference_std": round(statistics.stdev(differences), 2) if len(seeds) > 1 else 0.0,
                }
            )
    return table


if __name__ == "__main__":
    main()
