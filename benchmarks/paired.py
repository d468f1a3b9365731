"""Recipes against floats, seed by seed: accuracy on one split with differences of the same seed and their interval.

    python benchmarks/paired.py --models gcn gat sage gin --data cora citeseer --seeds 10
    python benchmarks/paired.py --table

For each model, data set and seed: train the float model, then make an artifact with each recipe from it. "fp32,
longer" is the float model trained on for as many epochs, at the same rate, as the recipes that train: without it,
a recipe would be given credit for its extra epochs. Every accuracy is the artifact's, run by onnxruntime on the
test split; nothing is selected on that split. Rows are written as they come, and a rerun goes on where it stopped.
`--table` prints `results/paired.md` from the rows that there are.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from common import RESULTS, environment, write
from scipy.stats import t as student
from tables import table

from edgegnn import api
from edgegnn.checkpoint import Checkpoint, history_step
from edgegnn.compression.model_source import finetune_config
from edgegnn.errors import EdgeGNNError
from edgegnn.tasks import load_task
from edgegnn.training import fit

NAME = "paired"
FLOAT, LONGER = "fp32", "fp32, longer"
RECIPES = ("dynamic-int8", "static-int8", "qat-int8", "dq-int8", "qat-int4", "dq-int4", "a2q")
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Row:
    """One artifact of one seed.

    Attributes:
        val, test: accuracy of the PyTorch model on the validation split, of the artifact on the test split; in percent.
        extra_epochs: of training after those of the float model.
        file_bytes: of model.onnx.
        agreement: share of test predictions that equal the PyTorch model's.
        refused: why `export` wrote no artifact (a model whose answers no longer depend on its input, say); "" where it
            did. Such a row has no accuracy, and its seed is in no mean.
    """

    model: str
    data: str
    seed: int
    recipe: str
    val: float
    test: float
    extra_epochs: int
    file_bytes: int
    agreement: float
    seconds: float
    refused: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["gcn", "gat", "sage", "gin"])
    parser.add_argument("--data", nargs="+", default=["cora", "citeseer"])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only write the table")
    args = parser.parse_args()
    path = RESULTS / f"{NAME}.json"
    result = json.loads(path.read_text()) if path.exists() else {"environment": environment(), "rows": []}
    rows = [Row(**row) for row in result["rows"]]
    torch.set_num_threads(args.threads)
    for seed in [] if args.table else range(args.seeds):
        for data in args.data:
            for model in args.models:
                done = {row.recipe for row in rows if (row.model, row.data, row.seed) == (model, data, seed)}
                for row in run(model, data, seed, [r for r in (FLOAT, LONGER, *args.recipes) if r not in done]):
                    rows.append(row)
                    result["rows"].append(dataclasses.asdict(row))
                    write(NAME, result)
                    print(json.dumps(dataclasses.asdict(row)), flush=True)
    text = tables(rows)
    (RESULTS / f"{NAME}.md").write_text(text)
    print(text)


def run(model: str, data: str, seed: int, recipes: Sequence[str]) -> Iterable[Row]:
    """Train a float model and make the artifacts of `recipes` from it, one at a time."""
    if not recipes:
        return
    with tempfile.TemporaryDirectory() as folder:
        floats = Path(folder) / "model.pt"
        api.train(model, data, output=floats, settings={"seed": seed})
        for recipe in recipes:
            start = time.time()
            source: Path | Checkpoint = trained_on(floats, data, seed) if recipe == LONGER else floats
            quant = "none" if recipe in (FLOAT, LONGER) else recipe
            settings = {"seed": seed}
            try:
                out = api.export(
                    source, quant=quant, output=Path(folder) / recipe, settings=settings, max_accuracy_drop=100.0
                )
            except EdgeGNNError as error:
                seconds = round(time.time() - start, 1)
                yield Row(model, data, seed, recipe, 0.0, 0.0, 0, 0, 0.0, seconds, " ".join(str(error).split()))
                continue
            manifest = out.manifest
            steps = manifest["history"]
            yield Row(
                model,
                data,
                seed,
                recipe,
                round(100 * steps[-1]["val_metric"], 3),
                round(100 * manifest["metric"]["artifact"], 3),
                sum(int(step["epochs_run"]) for step in steps[1:]),
                manifest["sizes"]["model_file"],
                manifest["parity"]["agreement"],
                round(time.time() - start, 1),
            )


def trained_on(floats: Path, data: str, seed: int) -> Checkpoint:
    """The float model after as many more epochs as a recipe that trains gets, at its learning rate."""
    checkpoint = api.load(floats)
    task = load_task(data, seed=0)
    config = finetune_config(checkpoint, task, {"seed": seed})
    result = fit(checkpoint.model, task, config)
    step = history_step("finetune", config, result)
    return dataclasses.replace(checkpoint, history=[*checkpoint.history, step])


def tables(rows: Sequence[Row]) -> str:
    """A table of each data set: accuracy, and the difference to both float models of the same seed."""
    parts = []
    for data in dict.fromkeys(row.data for row in rows):
        own = [row for row in rows if row.data == data]
        head = ["model", "recipe", "seeds", "test", "less fp32", "less fp32, longer", "extra epochs", "file"]
        lines = [line for model in dict.fromkeys(row.model for row in own) for line in lines_of(model, own)]
        parts.append(f"### {data}\n\n{table(head, lines, left=2)}\n")
    about = (
        f"Test accuracy of the artifact in percent, mean ± standard deviation over the seeds; differences to the float "
        f"model of the same seed, in points, with their {CONFIDENCE:.0%} interval (Student's t). Bold: the interval "
        "leaves out 0.\n"
    )
    return "\n".join([about, *parts])


def lines_of(model: str, rows: Sequence[Row]) -> list[list[str]]:
    by_recipe: dict[str, dict[int, Row]] = {}
    refused: Counter[str] = Counter()
    for row in rows:
        if row.model == model:
            refused[row.recipe] += bool(row.refused)
            runs = by_recipe.setdefault(row.recipe, {})
            if not row.refused:
                runs[row.seed] = row
    lines = []
    for recipe, runs in by_recipe.items():
        tests = [row.test for row in runs.values()]
        number = f"{len(tests)}, {refused[recipe]} refused" if refused[recipe] else str(len(tests))
        if not tests:
            lines.append([model, recipe, number, *[""] * 5])
            continue
        spread = f" ± {statistics.stdev(tests):.2f}" if len(tests) > 1 else ""
        floats = by_recipe.get(FLOAT, {})
        sizes = [row.file_bytes / floats[seed].file_bytes for seed, row in runs.items() if seed in floats]
        lines.append(
            [
                model,
                recipe,
                number,
                f"{statistics.mean(tests):.2f}{spread}",
                "" if recipe == FLOAT else difference(runs, floats),
                "" if recipe in (FLOAT, LONGER) else difference(runs, by_recipe.get(LONGER, {})),
                f"{statistics.mean(row.extra_epochs for row in runs.values()):.0f}",
                f"{statistics.mean(sizes):.3f}x" if sizes else "",
            ]
        )
    return lines


def difference(runs: Mapping[int, Row], against: Mapping[int, Row]) -> str:
    """Mean difference over the seeds that both have, and half the width of its interval."""
    each = [row.test - against[seed].test for seed, row in runs.items() if seed in against]
    if len(each) < 2:
        return ""
    half = student.ppf((1 + CONFIDENCE) / 2, len(each) - 1) * statistics.stdev(each) / len(each) ** 0.5
    mean = statistics.mean(each)
    text = f"{mean:+.2f} ± {half:.2f}"
    return f"**{text}**" if abs(mean) > half else text


if __name__ == "__main__":
    main()
