"""What all figures of a report have in common, and the curves over sparsity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgegnn.reporting.drawing import Drawn, canvas, save
from edgegnn.reporting.model_points import Entry, Value, lower_is_better, plain
from edgegnn.reporting.palette import MUTED, marker_of
from edgegnn.runtime.metrics import LOWER_IS_BETTER
from edgegnn.utils.files import size

__all__ = [
    "COSTS",
    "Cost",
    "Figure",
    "capital",
    "metric_label",
    "metric_words",
    "number_axis",
    "shares_axis",
    "shown",
    "sparsity_curves",
    "with_spread",
]


@dataclass(frozen=True)
class Figure:
    """A figure with its words.

    Attributes:
        name: of its files, and of the ids in the page.
        title: heading.
        description: what is to be seen, for those who don't see it.
        drawn: the picture.
        points: what is marked in it, in order ("1: ...").
        notes: sentences below it.
        data: what `--json` gives.
    """

    name: str
    title: str
    description: str
    drawn: Drawn
    points: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What accuracy is paid with.

    Attributes:
        name: in `Entry.values`.
        title: in a word.
        words: in a title: "Accuracy against file size".
        axis: label of its axis.
        text: a value for people.
        factor: from the value's unit to the axis's.
        timed: only a device that is not emulated can tell it.
    """

    name: str
    title: str
    words: str
    axis: str
    text: Callable[[float], str]
    factor: float
    timed: bool


def joules(value: float) -> str:
    """Energy in units people read."""
    for scale, unit in ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} nJ"


COSTS = (
    Cost("model_file", "size", "file size", "model file, kB", size, 1e-3, False),
    Cost("p50", "latency", "latency", "latency p50, ms", lambda v: f"{v:.3g} ms", 1.0, True),
    Cost("energy_gross", "energy", "energy", "energy per inference, mJ", joules, 1e3, True),
)


def metric_words(name: str) -> str:
    """A metric as it stands in a sentence: abbreviations in capitals."""
    words = (name or "metric").split("_")
    return " ".join(word.upper() if word in _ABBREVIATED else word for word in words)


def metric_label(entries: Sequence[Entry]) -> str:
    """The metric in words, with its unit."""
    name = next((e.metric for e in entries if e.metric), "")
    split = "" if any(e.artifact for e in entries) else "test "  # records have the graphs in the artifact
    return f"{split}{metric_words(name)}{' (lower is better)' if name in LOWER_IS_BETTER else ', %'}"


def with_spread(value: Value, text: Callable[[float], str]) -> str:
    """A value with its standard deviation in one unit: "6.9 ± 0.24 ms"."""
    number, space, unit = text(value.mean).partition(" ")
    if not value.std or not value.mean:
        return f"{number}{space}{unit}"
    return f"{number} ± {value.std * float(number) / value.mean:.2g}{space}{unit}"


def capital(words: str) -> str:
    """Words at the begin of a title."""
    return words[:1].upper() + words[1:]


def shown(entry: Entry, value: float) -> str:
    """A metric's value."""
    return f"{value:.4g}" if entry.metric in LOWER_IS_BETTER else f"{100 * value:.1f} %"


def sparsity_curves(name: str, subject: str, entries: Sequence[Entry], column: str, label: str, scale: float) -> Figure:
    """A number against sparsity, a line for each method, with a band of one standard deviation over seeds.

    Args:
        name: of the figure.
        subject: what the entries are of.
        entries: pruned models of one recipe, and the dense one that all curves start from.
        column: in `Entry.values`.
        label: of the axis.
        scale: from the value's unit to the axis's.
    """
    known = [e for e in entries if column in e.values]
    dense = [e for e in known if not e.how]
    start = [(0.0, dense[0].values[column])] if len(dense) == 1 else []  # several: fine-tuned in several ways
    lines: dict[str, list[tuple[float, Value]]] = {
        how: start + sorted(((e.sparsity, e.values[column]) for e in known if e.how == how), key=lambda point: point[0])
        for how in dict.fromkeys(e.how for e in known if e.how)
    }
    banded = any(v.std is not None for line in lines.values() for _, v in line)
    with canvas(3.1 + 0.19 * ((len(lines) + 2) // 2)) as (figure, axes):
        for number, (method, line) in enumerate(lines.items(), 1):
            colour, marker = marker_of(number)
            xs = [100 * x for x, _ in line]
            ys = [v.mean * scale for _, v in line]
            low = [(v.mean - (v.std or 0.0)) * scale for _, v in line]
            high = [(v.mean + (v.std or 0.0)) * scale for _, v in line]
            if banded:
                axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(
                xs, ys, marker=marker, color=colour, linestyle=_LINES[number % len(_LINES)], label=plain(method, 26)
            )
        if start:
            axes.axhline(start[0][1].mean * scale, color=MUTED, linewidth=1, linestyle=":", label="dense")
        axes.set_xlabel("sparsity, %")
        axes.set_ylabel(label)
        if column != "test":
            axes.set_ylim(bottom=0)
        elif not lower_is_better(known):
            shares_axis(axes)
        figure.legend(loc="outside lower center", ncols=2, handlelength=2.6, columnspacing=1.2)
        title = f"{capital(label.split(',')[0].removeprefix('test '))} against sparsity, {subject}"
        description = "; ".join(
            f"{method}: " + ", ".join(f"{x:.0%} {v.mean * scale:.4g}" for x, v in line)
            for method, line in lines.items()
        )
        drawn = save(figure, name, title, f"{label}. {description}.")
    notes = [] if banded else ["A single seed: no band."]
    data = {m: [{"sparsity": x, "mean": v.mean, "std": v.std, "n": v.n} for x, v in line] for m, line in lines.items()}
    return Figure(name, title, description, drawn, notes=notes, data={"subject": subject, column: data})


def shares_axis(axes: Any) -> None:
    """Let an axis of percentages end where they do; a marker at 100 % stays whole."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.06 * high), min(high, 100 + 0.06 * (100 - low)))


_LINES = ("-", "--", "-.", ":")
_ABBREVIATED = ("roc", "auc", "mae", "rmse")


def number_axis(axes: Any, values: Sequence[float]) -> None:
    """A logarithmic x axis where values span more than a factor of five, with numbers people read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(values), max(values)
    if low <= 0 or high / low < 5:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_xscale("log")
    subs = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
