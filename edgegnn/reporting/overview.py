"""The first part of the page: the headlines, what validation data would choose, and what to know of all numbers."""

from __future__ import annotations

from collections.abc import Sequence

from edgegnn.reporting import headline
from edgegnn.reporting.choice import chosen
from edgegnn.reporting.figures import COSTS, metric_words, shown, with_spread
from edgegnn.reporting.model_points import Entry, caveats, mark
from edgegnn.reporting.section import Section
from edgegnn.studies.tables import StudyTable

__all__ = ["glance"]


def glance(studies: dict[str, list[Entry]], entries: Sequence[Entry]) -> Section:
    """Headlines, a table for each subject of a study, and every caveat of the page, once.

    Args:
        studies: entries by their subject.
        entries: these, and those of records.
    """
    section = Section("glance", "At a glance")
    for subject, found in studies.items():
        made = headline.of_study(subject, found)
        section.headlines += [made] if made is not None else []
        picks = chosen(found)
        if picks:
            section.tables.append(_table(subject, found, picks))
        else:
            section.left_out.append(f"{subject}: no dense float model has ended to compare with.")
    section.headlines += headline.of_records(entries)
    if section.tables:
        section.below.append(
            "In the table: the dense model, and what validation data choose among models that lose at most 1 point "
            "there (1 % of an error); test data only report it."
        )
    said = caveats(entries)
    if said:
        section.words.append(("What to know of these numbers", said))
    return section


def _table(subject: str, found: Sequence[Entry], picks: Sequence[tuple[str, Entry]]) -> StudyTable:
    columns = [cost for cost in COSTS if any(cost.name in e.values for _, e in picks)]
    rows = []
    for why, e in picks:
        test = e.values["test"]
        text = shown(e, test.mean)
        if test.std is not None:
            number, space, unit = text.partition(" ")
            text = f"{number} ± {shown(e, test.std).partition(' ')[0]}{space}{unit}"
        row = [e.name, why, text]
        for cost in columns:
            value = e.values.get(cost.name)
            row.append("-" if value is None else with_spread(value, cost.text) + mark(e, cost.name))
        rows.append(row)
    metric = metric_words(next(e.metric for e in found if e.metric))
    return StudyTable(subject, ["model", "chosen as", f"test {metric}", *(cost.words for cost in columns)], rows, [])
