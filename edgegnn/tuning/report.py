"""What a search found, as front.json has it, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgegnn.exporting.artifact import versions
from edgegnn.runtime.metrics import LOWER_IS_BETTER, metric_text
from edgegnn.tasks import TaskSpec
from edgegnn.tuning.budget import Clock
from edgegnn.tuning.candidate import Job
from edgegnn.tuning.choose import front
from edgegnn.tuning.store import FRONT, Record

__all__ = ["FORMAT", "contents", "drop_text", "nothing_found", "rule"]

FORMAT = "edgegnn-tune/1"
_INNER = ("excess", "epoch_seconds", "rest_seconds")  # what only the search needs


def contents(
    job: Job,
    spec: TaskSpec,
    records: Sequence[Record],
    winner: Record | None,
    *,
    clock: Clock,
    interrupted: bool,
    epochs: dict[str, int],
    command: str | None,
    recipe: str | None,
    test: dict[str, Any] | None,
) -> dict[str, Any]:
    """The content of front.json.

    Returns:
        "format", "target", "minimize", "metric", "max_drop" (in the metric's unit: a share, not points), "rule" (in
        words), "float" {val, n}, "seed", "epochs" {full, short, default}, "budget_minutes", "seconds", "interrupted",
        "data" {data, kind, split, seed}, "candidates" (see `candidate.py`; each also with "number", "label",
        "preset", "settings", "epochs" and "front"), "winner" (number or None), "command", "recipe" (of the winner,
        where it has no name), "test" {float, winner, n, caveat} (the one look at the test split) and "versions".
    """
    on_front = {r["number"] for r in front(records, job.minimize)}
    candidates = [{k: v for k, v in r.items() if k not in _INNER} | {"front": r["number"] in on_front} for r in records]
    return {
        "format": FORMAT,
        "target": job.target.name,
        "minimize": job.minimize,
        "metric": job.judge.metric,
        "max_drop": job.allowed,
        "rule": rule(job.judge.metric, job.allowed, job.judge.rows),
        "float": {"val": job.judge.val, "n": job.judge.rows},
        "seed": job.seed,
        "epochs": epochs,
        "budget_minutes": round(clock.budget / 60, 3),
        "seconds": round(clock.spent, 1),
        "interrupted": interrupted,
        "data": {key: getattr(spec, key) for key in ("data", "kind", "split", "seed")},
        "candidates": candidates,
        "winner": None if winner is None else winner["number"],
        "command": command,
        "recipe": recipe,
        "test": test,
        "versions": versions(),
    }


def rule(metric: str, allowed: float, rows: int) -> str:
    """Which candidates count, in words."""
    return (
        f"{metric} on validation (n = {rows}) at most {drop_text(metric, allowed)} worse than the float model's; its "
        f"standard error, but no more than {drop_text(metric, allowed / 2)}, is kept as a margin"
    )


def drop_text(metric: str, drop: float) -> str:
    """A drop for people: points, or an error in the units of the data."""
    if metric in LOWER_IS_BETTER:
        return f"{drop:.4g}"
    return f"{100 * drop + 0.0:.4g} point{'' if abs(drop) == 0.01 else 's'}"


def nothing_found(content: dict[str, Any], folder: Path) -> str:
    """Why there is no winner, and what to do."""
    made = [c for c in content["candidates"] if c["status"] == "done" and c["preset"] != "none"]
    more = f"--budget above {content['budget_minutes']:g}"
    if not made:
        large = [c for c in content["candidates"] if "over" in c]
        if large:
            nearest = min(large, key=lambda c: float(c["over"]))
            found = f"{nearest['label']} comes nearest, {nearest['reason']}"
            return (
                f"nothing that was tried fits {content['target']}: {found}; search on with {more}, or lower the limits"
            )
        failed = [c["reason"] for c in content["candidates"] if c["status"] != "done"]
        why = f": {failed[-1]}" if failed else ""
        return f"no candidate was finished in {content['seconds'] / 60:.1f} minutes{why}; give more time with {more}"
    metric = content["metric"]
    if not any(c["within"] for c in made):
        nearest = min(made, key=lambda c: c["drop"])
        found = f"{nearest['label']} comes nearest, {drop_text(metric, nearest['drop'])} worse"
        allowed = drop_text(metric, content["max_drop"])
        return (
            f"nothing that was tried stays within {allowed} of {metric_text(metric, content['float']['val'])} with its "
            f"margin: {found}; allow more with --max-accuracy-drop, or search on with {more} ({folder / FRONT} has all)"
        )
    if content["minimize"] in ("size", "flash"):
        return (
            f"nothing that was tried and stays within {drop_text(metric, content['max_drop'])} is smaller than the "
            f"float model's own artifact: search on with {more}, if the model is not small already ({folder / FRONT})"
        )
    reasons = (c.get("measure_reason") or c.get("energy_reason") for c in made if c["within"])
    why = next(filter(None, reasons), "the budget was used")
    return f"no candidate could be measured on {content['target']}: {why}; try --minimize size"
