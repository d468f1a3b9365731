"""The first table of the page: the dense model, and what validation data would choose instead."""

from __future__ import annotations

from collections.abc import Sequence

from edgegnn.reporting.figures import COSTS, shown
from edgegnn.reporting.model_points import Entry, lower_is_better, mark, marks_explained
from edgegnn.reporting.section import Section
from edgegnn.studies.tables import StudyTable

__all__ = ["chosen", "glance"]

_POINT = 0.01  # of a share; of an error: of its dense value


def glance(studies: dict[str, list[Entry]]) -> Section:
    """A table for each subject of a study that has a dense float model."""
    section = Section("glance", "At a glance")
    for subject, found in studies.items():
        picks = chosen(found)
        if not picks:
            section.left_out.append(f"{subject}: no dense float model has ended to compare with.")
            continue
        columns = [cost for cost in COSTS if any(cost.name in e.values for _, e in picks)]
        rows = []
        for why, e in picks:
            test = e.values["test"]
            spread = f" ± {shown(e, test.std)}" if test.std is not None else ""
            row = [why, e.name, shown(e, test.mean) + spread]
            for cost in columns:
                value = e.values.get(cost.name)
                row.append("-" if value is None else cost.text(value.mean) + mark(e, cost.name))
            rows.append(row)
        metric = next(e.metric for e in found if e.metric).replace("_", " ")
        head = ["", "model", f"test {metric}", *(cost.title for cost in columns)]
        section.tables.append(StudyTable(subject, head, rows, marks_explained(e for _, e in picks)))
    section.about.append(
        "The dense model, and what validation data choose among models that lose at most 1 point there (1 % of an "
        "error); test data only report it."
    )
    return section


def chosen(found: Sequence[Entry]) -> list[tuple[str, Entry]]:
    """The dense float model, and the smallest, fastest and most frugal ones that validation data let pass.

    Args:
        found: entries of one subject.

    Returns:
        Pairs of reason and entry, the dense model first; [] where there is none.
    """
    dense = next((e for e in found if not e.how and e.quant == "none" and "test" in e.values), None)
    if dense is None:
        return []
    picks = [("dense", dense)]
    if "val" not in dense.values:
        return picks
    base = dense.values["val"].mean
    sign = -1.0 if lower_is_better(found) else 1.0
    least = sign * base - _POINT * (base if sign < 0 else 1.0)
    near = [e for e in found if "val" in e.values and sign * e.values["val"].mean >= least]
    for cost, why in zip(COSTS, ("smallest", "fastest", "least energy"), strict=True):
        usable = [e for e in near if cost.name in e.values and not (cost.timed and e.emulated)]
        if len({e.energy for e in usable}) > 1 and cost.name == "energy_gross":
            continue
        best = min(usable, key=lambda e: e.values[cost.name].mean, default=dense)
        if best is not dense:
            picks.append((why, best))
    merged: dict[str, tuple[list[str], Entry]] = {}
    for why, e in picks:
        merged.setdefault(e.name, ([], e))[0].append(why)
    return [(", ".join(reasons), e) for reasons, e in merged.values()]
