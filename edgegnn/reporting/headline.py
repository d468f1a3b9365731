"""What a report says first: from the dense float model to a compressed one, in a large number for each axis."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgegnn.quantize.recipe import shown_name
from edgegnn.reporting.choice import chosen
from edgegnn.reporting.figures import COSTS, Cost, metric_words, shown
from edgegnn.reporting.model_points import Entry, deviation, lower_is_better, mark

__all__ = ["Headline", "Step", "of_records", "of_study"]

_GAINS = {"model_file": ("smaller", "larger"), "p50": ("faster", "slower"), "energy_gross": ("less", "more")}


@dataclass(frozen=True)
class Step:
    """What became of one axis.

    Attributes:
        axis: in words.
        large: the large number: "3.8x", "-0.2".
        spread: "± 0.1", one standard deviation; "" where none is known.
        words: behind the number: "smaller", "points".
        before: of the dense model.
        after: of the compressed one.
        share: after / before, for a bar.
        unsure: the change is smaller than its spread, or than what two runs differ by.
        worse: it is a loss, and a sure one.
    """

    axis: str
    large: str
    spread: str
    words: str
    before: str
    after: str
    share: float
    unsure: bool
    worse: bool

    @property
    def doubt(self) -> str:
        """The spread, and whether the change is lost in it."""
        lost = "within its spread" if self.spread else "runs differ by as much"
        return f"{self.spread} ({lost})".lstrip() if self.unsure else self.spread


@dataclass(frozen=True)
class Headline:
    """A compressed model beside its dense one.

    Attributes:
        subject: what both are of.
        before: the dense model: "fp32".
        after: the compressed one: "dq-int8, global 0.5".
        device: where times and energy are from; "" where nothing was measured.
        steps: size, latency, the metric, and energy where both have one.
        why: why this model, in a sentence.
        caveats: in words, for a picture that stands alone.
    """

    subject: str
    before: str
    after: str
    device: str
    steps: tuple[Step, ...]
    why: str
    caveats: tuple[str, ...]


def of_study(subject: str, found: Sequence[Entry]) -> Headline | None:
    """Of the models that validation data let pass, the one that gains most; None where that is none.

    Args:
        subject: what the entries are of.
        found: entries of one subject.
    """
    picks = [e for _, e in chosen(found)]
    if len(picks) < 2:
        return None
    dense, others = picks[0], picks[1:]
    best = max(others, key=lambda e: _gain(dense, e))
    seeds = max(value.n for value in best.values.values())
    spread = f"; ± one standard deviation over {seeds} seeds" if seeds > 1 else ""
    why = f"Of models that lose at most 1 point on validation data, the one that gains most in size and speed{spread}."
    return _headline(subject, dense, best, why)


def of_records(entries: Sequence[Entry]) -> list[Headline]:
    """Of each subject with one float model on a device: that model, and the smallest one that is quantized."""
    made = []
    for subject in dict.fromkeys(e.subject for e in entries if e.artifact):
        for place in dict.fromkeys((e.target, e.device) for e in entries if e.subject == subject):
            here = [e for e in entries if e.subject == subject and (e.target, e.device) == place and "test" in e.values]
            dense = [e for e in here if e.quant == "none"]
            others = [e for e in here if e.quant != "none"]
            if len(dense) != 1 or not others or dense[0].emulated:
                continue
            best = min(others, key=lambda e: e.values["model_file"].mean)
            spread = "; ± one standard deviation over processes" if dense[0].values["p50"].std is not None else ""
            made.append(_headline(subject, dense[0], best, f"The smallest of the quantized models{spread}."))
            break
    return made


def _gain(dense: Entry, e: Entry) -> float:
    names = [n for n in ("model_file", "p50") if n in dense.values and n in e.values and not e.emulated]
    return sum(math.log(dense.values[n].mean / e.values[n].mean) for n in names)


def _headline(subject: str, dense: Entry, best: Entry, why: str) -> Headline:
    steps = []
    for cost in COSTS[:2]:
        if _comparable(dense, best, cost):
            steps.append(_ratio(dense, best, cost))
    steps.append(_metric(dense, best))
    if _comparable(dense, best, COSTS[2]):
        steps.append(_ratio(dense, best, COSTS[2]))
    pruned = f"{best.how} {best.sparsity:g}" if best.how else ""
    timed = any(step.axis != COSTS[0].words for step in steps if step.axis in [cost.words for cost in COSTS])
    caveats = []
    if timed and (dense.quick or best.quick):
        caveats.append("* short windows")
    if timed and (dense.load_average or best.load_average):
        caveats.append("‡ busy machine")
    if any(step.axis == COSTS[2].words for step in steps) and best.energy.startswith("estimated"):
        caveats.append("~ energy estimated by a model")
    return Headline(
        subject,
        "fp32",
        ", ".join(filter(None, [shown_name(best.quant), pruned])),
        best.device if timed else "",
        tuple(steps),
        why,
        tuple(caveats),
    )


def _comparable(dense: Entry, best: Entry, cost: Cost) -> bool:
    if cost.name not in dense.values or cost.name not in best.values:
        return False
    if cost.timed and (dense.emulated or best.emulated):
        return False
    return cost.name != "energy_gross" or dense.energy == best.energy


def _ratio(dense: Entry, best: Entry, cost: Cost) -> Step:
    old, new = dense.values[cost.name], best.values[cost.name]
    better = new.mean <= old.mean
    high, low = (old, new) if better else (new, old)
    ratio = high.mean / low.mean
    common = [seed for seed in high.by_seed if seed in low.by_seed]
    spread = None
    if len(common) > 1:  # measured side by side, seed by seed
        spread = statistics.stdev(high.by_seed[seed] / low.by_seed[seed] for seed in common)
    elif high.std is not None or low.std is not None:
        spread = ratio * math.hypot((high.std or 0.0) / high.mean, (low.std or 0.0) / low.mean)
    alike = abs(old.mean - new.mean) <= math.hypot(deviation(dense, cost.name), deviation(best, cost.name))
    unsure = alike if spread is None else ratio - 1 <= spread
    exact = spread is not None and spread < 0.02 * ratio and not cost.timed
    return Step(
        axis=cost.words,
        large=_times(ratio),
        spread="" if spread is None or exact else f"± {_times(spread, ratio).removesuffix('x')}",
        words=_GAINS[cost.name][0 if better else 1] if old.mean != new.mean else "as before",
        before=cost.text(old.mean),
        after=cost.text(new.mean) + mark(best, cost.name),
        share=new.mean / old.mean,
        unsure=unsure,
        worse=not better and not unsure,
    )


def _metric(dense: Entry, best: Entry) -> Step:
    old, new = dense.values["test"], best.values["test"]
    lower = lower_is_better([dense])
    scale = 100 / old.mean if lower else 100.0
    common = [seed for seed in old.by_seed if seed in new.by_seed]
    change, spread = scale * (new.mean - old.mean), None
    if len(common) > 1:
        spread = statistics.stdev(scale * (new.by_seed[seed] - old.by_seed[seed]) for seed in common)
    unsure = change == 0 if spread is None else abs(change) <= spread
    return Step(
        axis=metric_words(dense.metric),
        large=f"{change:+.1f}".replace("-", "\N{MINUS SIGN}"),
        spread="" if spread is None else f"± {spread:.1f}",
        words="%" if lower else "points",
        before=shown(dense, old.mean),
        after=shown(best, new.mean),
        share=new.mean / old.mean,
        unsure=unsure,
        worse=(change > 0 if lower else change < 0) and not unsure,
    )


def _times(value: float, like: float | None = None) -> str:
    """A ratio with as many digits as people read, or as `like` has."""
    digits = 0 if (like or value) >= 9.95 else 1
    return f"{value:.{digits if value >= 0.05 or digits else 1}f}x"
