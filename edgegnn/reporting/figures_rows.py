"""Figures with a row for each thing: layers of a model, models on several devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgegnn.reporting.drawing import canvas, save
from edgegnn.reporting.figures import Cost, Figure, capital, metric_words, number_axis
from edgegnn.reporting.layers import Studied, losses, trials_of
from edgegnn.reporting.model_points import Entry, Value, plain
from edgegnn.reporting.palette import MUTED, marker_of
from edgegnn.runtime.metrics import LOWER_IS_BETTER

__all__ = ["devices", "layers"]

_MOST = 24  # rows that can be read; the table below has all


def layers(name: str, studied: Studied, *, changed: bool) -> Figure | None:
    """What changing one layer costs; the most sensitive ones where there are many. None where the metric is undefined.

    Args:
        name: of the figure.
        studied: the model.
        changed: show the share of predictions that change, not the loss of the metric.
    """
    hows = trials_of(studied)
    scale = 100.0 if changed or studied.metric not in LOWER_IS_BETTER else 1.0
    found: dict[str, dict[str, Value]] = {}
    for layer in studied.results[0].layers:
        for how in hows:
            pair = losses(studied, layer.name, how)
            value = None if pair is None else pair[1] if changed else pair[0]
            if value is not None:
                found.setdefault(layer.name, {})[how] = value
    if not found:
        return None
    chosen = list(found)
    if len(chosen) > _MOST:
        worst = sorted(chosen, key=lambda layer: -max(v.mean for v in found[layer].values()))[:_MOST]
        chosen = [layer for layer in chosen if layer in worst]
    metric = metric_words(studied.metric)
    label = (
        "predictions that change, %"
        if changed
        else f"loss of validation {metric}" + (", points" if scale == 100 else "")
    )
    rows = {
        _row(studied, layer): {how: (v.mean * scale, (v.std or 0.0) * scale) for how, v in found[layer].items()}
        for layer in chosen
    }
    what = "Predictions that change" if changed else f"Loss of validation {metric}"
    title = f"{what}, by layer, {studied.label}"
    description = "; ".join(
        f"{layer}: " + ", ".join(f"{how} {x:.3g}" for how, (x, _) in values.items()) for layer, values in rows.items()
    )
    drawn = _rows(name, title, f"{label}. {description}.", label, rows, hows, zero=True, logarithmic=False)
    notes = [f"The {_MOST} most sensitive of {len(found)} layers."] if len(found) > _MOST else []
    if len(studied.results) > 1:
        notes.append(f"Mean over {len(studied.results)} seeds; line: ± one standard deviation.")
    return Figure(name, title, description, drawn, notes=notes, data={"model": studied.label, "layers": rows})


def _row(studied: Studied, layer: str) -> str:
    """A layer's name, with a remark where only the rows that neighbours read are quantized."""
    parts = next(one.parts for one in studied.results[0].layers if one.name == layer)
    return f"{layer} messages" if parts == ["message"] else layer or "(the model)"


def devices(name: str, subject: str, found: dict[str, dict[str, Entry]], cost: Cost) -> Figure:
    """A cost of each model on each device.

    Args:
        name: of the figure.
        subject: what the models are of.
        found: model -> device -> entry with the cost.
        cost: what is shown.
    """
    chosen = dict(list(found.items())[:_MOST])
    rows = {
        model: {
            d: (e.values[cost.name].mean * cost.factor, (e.values[cost.name].std or 0.0) * cost.factor)
            for d, e in on.items()
        }
        for model, on in chosen.items()
    }
    columns = list(dict.fromkeys(d for on in chosen.values() for d in on))
    title = f"{capital(cost.title)} on each device, {subject}"
    description = "; ".join(
        f"{model}: " + ", ".join(f"{d} {x:.3g}" for d, (x, _) in values.items()) for model, values in rows.items()
    )
    drawn = _rows(name, title, f"{cost.axis}. {description}.", cost.axis, rows, columns, zero=False, logarithmic=True)
    notes = [f"The first {_MOST} of {len(found)} models."] if len(found) > _MOST else []
    return Figure(
        name, title, description, drawn, notes=notes, data={"subject": subject, "cost": cost.name, "rows": rows}
    )


def _rows(
    name: str,
    title: str,
    description: str,
    label: str,
    rows: dict[str, dict[str, tuple[float, float]]],
    series: Sequence[str],
    *,
    zero: bool,
    logarithmic: bool,
) -> Any:
    with canvas(1.25 + 0.3 * len(rows) + 0.19 * ((len(series) + 1) // 2)) as (figure, axes):
        if zero:
            axes.axvline(0, color=MUTED, linewidth=1)
        for number, one in enumerate(series):
            colour, marker = marker_of(number)
            for place, values in enumerate(rows.values()):
                if one not in values:
                    continue
                x, spread = values[one]
                if spread:
                    axes.errorbar(x, place, xerr=spread, color=colour, alpha=0.45, linewidth=1, zorder=2)
                axes.plot(x, place, marker, color=colour, zorder=3)
            axes.plot([], [], marker, color=colour, label=plain(one, 28))
        axes.set_yticks(range(len(rows)), [plain(row, 22) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(label)
        if logarithmic:
            number_axis(axes, [x for values in rows.values() for x, _ in values.values()])
        figure.legend(loc="outside lower center", ncols=2, handletextpad=0.3, columnspacing=1.2)
        return save(figure, name, title, description)
