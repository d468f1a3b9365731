"""Printing of `edgegnn inspect`."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from edgegnn.cli.render.bits import bits_table
from edgegnn.cli.render.summaries import _facts, _json, _percent, _print
from edgegnn.cli.render.terminal import say
from edgegnn.quantize.recipe import shown_name
from edgegnn.utils.files import size

__all__ = ["described"]


def described(facts: dict[str, Any], as_json: bool, *, explain: bool = False) -> None:
    """Result of `inspect`."""
    if as_json:
        _json(facts)
        return
    table = _facts()
    for key, value in facts.items():
        shown = shown_name(str(value)) if key == "recipe" else str(value)
        if key not in {
            "stayed_float",
            "history",
            "aggregations",
            "refusals",
            "sparsity",
            "average_bits",
            "learnt_bits",
        }:
            table.add_row(key.replace("_", " "), shown)
    for i, step in enumerate(facts.get("history", []), 1):
        how = (
            f"{step.get('method', '')} {step.get('sparsity', 0.0):g}"
            if step.get("step") == "prune"
            else shown_name(str(step.get("recipe")))
        )
        words = f"{step.get('step')} ({how}): {step.get('epochs_run')} epochs, best {step.get('best_epoch')}"
        table.add_row(f"step {i}", words)
    _print(table)
    for i, step in enumerate(facts.get("history", []), 1):
        _frozen(i, step)
    _sparsities(facts.get("sparsity", []))
    if facts.get("learnt_bits"):
        _print(bits_table(facts["learnt_bits"]))
    left = facts.get("stayed_float", [])
    if left:
        floats = Table(box=None, pad_edge=False, title="stayed float", title_justify="left")
        floats.add_column("tensor")
        floats.add_column("size", justify="right")
        floats.add_column("why")
        for entry in left:
            floats.add_row(entry["tensor"], size(entry["bytes"]), entry["why"])
        _print(floats)
    if explain:
        _aggregations(facts)


def _frozen(number: int, step: dict[str, Any]) -> None:
    """When GradES froze each matrix in a step of training, if it was at work."""
    grades = step.get("grades")
    if not grades:
        return
    title = f"step {number}: GradES froze {len(grades['frozen'])} of {grades['matrices']} matrices"
    if not grades["frozen"]:
        say(title)
        return
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("matrix")
    for column in ("epoch", f"step of {grades['planned_steps']:,}", grades["statistic"]):
        table.add_column(column, justify="right")
    for entry in grades["frozen"]:
        table.add_row(entry["tensor"], str(entry["epoch"]), f"{entry['step']:,}", f"{entry['value']:.3g}")
    _print(table)


def _sparsities(tensors: list[dict[str, Any]]) -> None:
    """How sparse each weight of a pruned model is, and which were not pruned."""
    if not tensors:
        return
    table = Table(box=None, pad_edge=False, title="pruned weights", title_justify="left")
    table.add_column("tensor")
    for column in ("shape", "zeros", "sparsity"):
        table.add_column(column, justify="right")
    for entry in tensors:
        shape = "x".join(map(str, entry["shape"]))
        table.add_row(entry["tensor"], shape, f"{entry['zeros']:,}", _percent(entry["sparsity"]))
    _print(table)


def _aggregations(facts: dict[str, Any]) -> None:
    """What became of each aggregation at export."""
    found = facts.get("aggregations")
    if not found:
        none = "it has no aggregation" if facts["kind"] == "artifact" else "rules apply at export: explain the artifact"
        say(f"no rule applied: {none}")
        return
    table = Table(box=None, pad_edge=False, title="aggregations", title_justify="left")
    for column in ("layer", "what it computes", "rule", "why not"):
        table.add_column(column)
    for entry in found:
        nearest = f"{entry['nearest']}: " if entry.get("nearest") else ""
        table.add_row(entry["layer"], entry["aggregation"], entry["rule"] or "none", nearest + entry["reason"])
    _print(table)
    if refusals := facts.get("refusals"):
        table = Table(box=None, pad_edge=False, title="other places that a rule left as they are", title_justify="left")
        for column in ("layer", "operator", "why not"):
            table.add_column(column)
        for entry in refusals:
            table.add_row(entry["layer"], entry["operator"], f"{entry['rule']}: {entry['reason']}")
        _print(table)
