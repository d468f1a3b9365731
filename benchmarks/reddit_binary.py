"""GIN 5x64 on REDDIT-BINARY: what Degree-Quant gains over plain QAT (papers: 2008.05000, table 3).

    python benchmarks/reddit_binary.py --recipe dq-int8 --fold 0 --epochs 50 --out runs/

Trains from scratch with the recipe of the released code (batch 128, Adam, learning rate halved four times over the run,
stratified 10-fold with shuffle seed 12345, the epoch of the lowest validation loss), saves the checkpoint, exports the
artifact and compares it with its PyTorch model on the whole test fold. The released recipe has 200 epochs.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import torch
from common import environment, write

from edgegnn.checkpoint import Checkpoint, save_checkpoint
from edgegnn.models import build
from edgegnn.quantize import add_protection, prepare, recipe
from edgegnn.tasks import collate, evaluate, load_task
from edgegnn.training import EpochLog, FitConfig, fit

# learning rate and weight decay of the released configurations (papers: 2008.05000, released REDDIT-BINARY scripts)
SETTINGS = {
    "none": (0.005, 2e-4),
    "qat-int8": (0.005, 2e-4),
    "dq-int8": (0.005, 2e-4),
    "qat-int4": (0.05, 4e-5),
    "dq-int4": (0.001, 4e-5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=SETTINGS, required=True)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--placement", choices=["inputs", "paper"], default="inputs")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--lr", type=float, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = "reddit-binary" if args.placement == "inputs" else "reddit-binary-paper-points"
    name = f"{folder}/{args.recipe}-fold{args.fold}"

    task = load_task("reddit-binary", split=f"fold:{args.fold}", seed=args.seed)
    chosen = dataclasses.replace(recipe(args.recipe), placement=args.placement)
    lr, weight_decay = SETTINGS[args.recipe]
    config = FitConfig(
        epochs=args.epochs,
        lr=args.lr or lr,
        weight_decay=weight_decay,
        batch_size=128,
        seed=args.seed,
        halve_lr_every=max(1, args.epochs // 4),
    )
    torch.manual_seed(args.seed)
    model_args = {"in_channels": 1, "out_channels": 2, "kind": "graph", "hidden": 64, "layers": 5}
    model = build("gin", **model_args)
    if chosen.trains:
        add_protection(task.graphs, chosen.protect_low, chosen.protect_high)
        example = collate([task.graphs[i] for i in task.index["train"][:8].tolist()])
        model = prepare(model, chosen, (example.x, example.edge_index, example.batch))
    result = {"environment": environment(), "recipe": chosen.to_dict(), "config": dataclasses.asdict(config)}
    result["fold"], result["epochs"] = args.fold, []
    start = time.time()

    def progress(log: EpochLog) -> None:
        result["epochs"].append(dataclasses.asdict(log))
        result["seconds"] = time.time() - start
        write(name, result)
        print(
            f"{name} {log.epoch}/{log.epochs} loss {log.train_loss:.4f} val {log.val_loss:.4f} {log.val_metric:.4f}",
            flush=True,
        )

    (Path(__file__).parent / "results" / folder).mkdir(parents=True, exist_ok=True)
    fitted = fit(model, task, config, progress=progress)
    result["best_epoch"], result["val_accuracy"] = fitted.best_epoch, fitted.val_metric
    result["test_accuracy"] = evaluate(model, task, "test")
    write(name, result)
    print(f"{name} test accuracy {result['test_accuracy']:.4f} at epoch {fitted.best_epoch}", flush=True)
    checkpoint = Checkpoint(model, {"zoo": "gin", "args": model_args}, task.spec, dataclasses.asdict(config))
    path = args.out / f"{args.recipe}-fold{args.fold}.pt"
    save_checkpoint(checkpoint, path, force=True)
    print(f"saved {path}")


if __name__ == "__main__":
    main()
