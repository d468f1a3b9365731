"""Random models, each exported with one recipe: is the artifact right, is the model refused clearly, or is it wrong?

    python tests/proof/random_models.py --count 2000 --seed 0 --output FILE

writes one JSON line a model and recipe, goes on where FILE ends, and leaves a script of each failure in a folder beside
FILE; `--shrink SEED` makes one as small as it gets.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.path.append(str(Path(__file__).parents[1] / "support"))

import torch
from random_check import check
from random_spec import Spec, build, describe, draw, draw_data, label
from traced_once import traced_once

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.errors import EdgeGNNError
from edgegnn.exporting import pipeline

RIGHT, REFUSED, WRONG, CRASHED, SLOW, UNFIT = "right", "refused", "wrong", "crashed", "slow", "unfit"
FAILURES = (WRONG, CRASHED, SLOW)
_SECONDS = 240
TOGETHER = ("none", "static-int8", "dynamic-int8")
_PER_PROCESS = 60  # torch.export keeps memory


@dataclass(frozen=True)
class Outcome:
    """What became of one model.

    Attributes:
        kind: RIGHT, REFUSED by an EdgeGNNError, WRONG, CRASHED, SLOW; or UNFIT: the float model itself is no model.
        message: of the error.
        found: what `random_check.Checked` says.
    """

    kind: str
    message: str = ""
    found: dict[str, Any] | None = None


def run(spec: Spec, traced: dict[str, bytes] | None = None) -> Outcome:
    """Build, export and check a model.

    Args:
        spec: what to try.
        traced: of the same model's runs with other recipes that don't train, see `traced_once`.
    """
    try:
        graphs = draw_data(spec)
        model = build(spec, graphs).eval()
        label(spec, model, graphs)
        if not all(torch.isfinite(graph.y).all() for graph in graphs) or _constant(spec, graphs):
            return Outcome(UNFIT, "outputs that are not finite, or the same for every graph")
    except Exception as error:
        return Outcome(UNFIT, f"{type(error).__name__}: {error}")
    together = nullcontext() if traced is None else traced_once(traced)
    with tempfile.TemporaryDirectory(prefix="edgegnn-random-") as folder, together:
        return _exported(spec, model, graphs, Path(folder))


def _constant(spec: Spec, graphs: list[Any]) -> bool:
    """Whether the classes are too few or rare for a split."""
    if spec.target == "values":
        return False
    counts = torch.cat([graph.y for graph in graphs]).bincount(minlength=2)
    return int((counts >= 4).sum()) < 2 or bool(((counts > 0) & (counts < 4)).any() and spec.task == "graph")


def _exported(spec: Spec, model: torch.nn.Module, graphs: list[Any], folder: Path) -> Outcome:
    torch.save(graphs[0] if spec.task == "node" else graphs, folder / "data.pt")
    seen = []

    def spy(checkpoint: Any, *args: Any, **options: Any) -> Any:
        seen.append(checkpoint.model)
        return real(checkpoint, *args, **options)

    real = pipeline.export_checkpoint
    try:
        with patch.object(pipeline, "export_checkpoint", spy), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = api.export(
                Checkpoint(model, {"factory": "models:build", "args": {}}),
                quant=spec.recipe,
                data=str(folder / "data.pt"),
                task="graph-regression" if spec.target == "values" else None,
                output=folder / "artifact",
                settings={"epochs": 1, "lr": 1e-4, "batch_size": 16},
            )
            (exported,) = seen
            quantized = exported.eval() if hasattr(exported, "recipe") else None
            # A fine-tuned model is compared with itself before; the float model must not have been changed by it.
            found = check(spec, model, quantized, graphs, result.path)
    except EdgeGNNError as error:
        return Outcome(REFUSED if "bug" not in str(error) else CRASHED, f"{type(error).__name__}: {error}")
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return Outcome(CRASHED, f"{type(error).__name__} in {where}: {error}")
    return Outcome(WRONG if found.problem else RIGHT, found.problem, vars(found))


# Shrinking ------------------------------------------------------------


def smaller(spec: Spec) -> Iterator[Spec]:
    """Simpler variants, the simplest first."""
    for i in range(len(spec.layers) if len(spec.layers) > 1 else 0):
        yield replace(spec, layers=spec.layers[:i] + spec.layers[i + 1 :])
    usual = Spec(spec.seed, spec.recipe, spec.layers)
    for name in ("pool", "virtual", "jump", "head", "first", "readout", "features", "scale", "target", "width"):
        if getattr(spec, name) != getattr(usual, name):
            yield replace(spec, **{name: getattr(usual, name)})
    for i, layer in enumerate(spec.layers):
        for other in (replace(layer, norm=""), replace(layer, activation="relu"), replace(layer, skip=False)):
            if other != layer:
                yield replace(spec, layers=(*spec.layers[:i], other, *spec.layers[i + 1 :]))
    if spec.recipe not in ("none", "static-int8"):
        yield replace(spec, recipe="none")


def shrink(spec: Spec, kind: str, most: int = 25) -> Spec:
    """A simpler spec of which the same becomes, after at most so many tries."""
    tries = 0
    found = True
    while found and tries < most:
        found = False
        for candidate in smaller(spec):
            tries += 1
            if tries > most:
                break
            try:
                same = limited(candidate).kind == kind
            except Exception:
                same = False
            if same:
                spec, found = candidate, True
                break
    return spec


def write_script(spec: Spec, outcome: Outcome, folder: Path) -> None:
    """A script that shows a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f'"""{outcome.kind}: {outcome.message[:300]}"""'.replace("\\", "/"),
        "from random_models import run",
        "from random_spec import Layer, Spec",
        "",
        f"SPEC = {spec!r}",
        "",
        'if __name__ == "__main__":  # PYTHONPATH=tests/proof:tests/support',
        "    print(run(SPEC))",
        "",
    ]
    (folder / f"seed_{spec.seed}_{spec.recipe.replace('-', '_')}.py").write_text("\n".join(lines), encoding="utf-8")


# The long run ------------------------------------------------------------


def limited(spec: Spec, traced: dict[str, bytes] | None = None) -> Outcome:
    """`run`, for so long at most."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {_SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    try:
        outcome = run(spec, traced)
    except TimeoutError as error:
        return Outcome(SLOW, str(error))
    finally:
        signal.alarm(0)
    return Outcome(SLOW, outcome.message) if "TimeoutError" in outcome.message else outcome


def row(spec: Spec, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """A line of the results."""
    found = outcome.found or {}
    return {
        "seed": spec.seed,
        "recipe": spec.recipe,
        "outcome": outcome.kind,
        "message": outcome.message[:400],
        "seconds": round(seconds, 1),
        **{k: round(v, 1) if isinstance(v, float) else v for k, v in found.items() if k != "problem"},
        "commit": _commit(),
        "spec": describe(spec),
    }


@cache
def _commit() -> str:
    """Which sources these are; "" outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def work(seeds: range, output: Path) -> None:
    """Try models, a line for each recipe; those that don't train share a model."""
    for seed in seeds:
        _now(output).write_text(str(seed))
        first, traced = draw(seed), {}
        together = [replace(first, recipe=name) for name in TOGETHER] if first.recipe in TOGETHER else [first]
        for spec in together:
            start = time.process_time()
            outcome = limited(spec, traced)
            if outcome.kind in FAILURES:
                write_script(spec, outcome, output.with_suffix(""))
            with output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row(spec, outcome, time.process_time() - start)) + "\n")
        _now(output).unlink()


def _now(output: Path) -> Path:
    return output.with_suffix(".now")


def read(output: Path) -> list[dict[str, Any]]:
    """The lines so far."""
    return [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []


def main() -> None:
    """Start processes for a few models each, until all are done; a process that dies is a failure of its model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first model; the others follow")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shrink", type=int, metavar="SEED", help="make the script of a failure in FILE smaller")
    parser.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return work(range(*args.worker), args.output)
    if args.shrink is not None:
        bad = next(r for r in read(args.output) if r["seed"] == args.shrink and r["outcome"] in FAILURES)
        spec = shrink(draw(args.shrink, bad["recipe"]), bad["outcome"])
        write_script(spec, run(spec), args.output.with_suffix(""))
        return print(spec)
    end = args.seed + args.count
    while True:
        rows = read(args.output)
        first = max((r["seed"] + 1 for r in rows), default=args.seed)
        if first >= end:
            break
        span = [str(first), str(min(end, first + _PER_PROCESS))]
        code = subprocess.run(
            [sys.executable, __file__, "--output", str(args.output), "--worker", *span], check=False
        ).returncode
        if code and not _now(args.output).exists():
            sys.exit("the worker can't start")
        if code:
            seed = int(_now(args.output).read_text())
            died = Outcome(CRASHED, f"the process died ({code})")
            with args.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row(draw(seed), died, 0)) + "\n")
            write_script(draw(seed), died, args.output.with_suffix(""))
    counts: dict[str, int] = {}
    for each in read(args.output):
        counts[each["outcome"]] = counts.get(each["outcome"], 0) + 1
    print(", ".join(f"{v} {k}" for k, v in sorted(counts.items())))
    sys.exit(any(counts.get(kind) for kind in FAILURES))


if __name__ == "__main__":
    main()
