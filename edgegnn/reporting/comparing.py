"""The same models on several devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgegnn.reporting.figures import COSTS, Cost, capital, with_spread
from edgegnn.reporting.figures_rows import devices
from edgegnn.reporting.model_points import Entry, mark, tell_apart
from edgegnn.reporting.section import Section
from edgegnn.studies.tables import StudyTable

__all__ = ["compared"]


def compared(entries: Sequence[Entry]) -> Section:
    """Figures and tables of models that were measured on two devices or more."""
    section = Section("devices", "Devices")
    timed = [e for e in entries if e.target]
    places = dict(zip(map(id, timed), tell_apart(timed), strict=True))
    names = list(dict.fromkeys(places.values()))
    if len(names) < 2:
        where = f"everything was measured on {names[0]} ({timed[0].device})" if names else "nothing was measured on one"
        section.left_out.append(f"No comparison of devices: {where}.")
        return section
    for subject in dict.fromkeys(e.subject for e in timed):
        found: dict[str, dict[str, Entry]] = {}
        for e in timed:
            if e.subject == subject:
                found.setdefault(e.name, {})[places[id(e)]] = e  # a name is of one checksum
        shared = {model: on for model, on in found.items() if len(on) > 1}
        if not shared:
            section.left_out.append(f"{subject}: no model was measured on two devices.")
            continue
        for cost in COSTS[1:]:
            _compare(section, subject, shared, names, cost)
        if any("instructions" in e.values for on in shared.values() for e in on.values()):
            cells = {m: {d: _instructions(e) for d, e in on.items()} for m, on in shared.items()}
            section.tables.append(_table(f"Instructions of one inference, {subject}", names, cells, []))
    return section


def _compare(section: Section, subject: str, shared: dict[str, dict[str, Entry]], names: list[str], cost: Cost) -> None:
    all_of = [e for on in shared.values() for e in on.values()]
    real = {
        model: {d: e for d, e in on.items() if cost.name in e.values and not e.emulated} for model, on in shared.items()
    }
    real = {model: on for model, on in real.items() if len(on) > 1}
    drawn = [e for on in real.values() for e in on.values()]
    if cost.name == "energy_gross" and len({e.energy.partition(":")[0] for e in drawn}) > 1:
        section.left_out.append(f"{subject}: no figure of energy: measured and estimated energies can't be compared.")
    elif real:
        figure = devices(f"devices-{len(section.figures) + 1}-{cost.title}", subject, real, cost)
        if len(drawn) < len(all_of):
            figure.notes.append(f"Without what is emulated, or has no {cost.title} on a second device.")
        section.figures.append(figure)
    else:
        section.left_out.append(f"{subject}: no figure of {cost.title}: no model has one on two real devices.")
    cells = {model: {d: _cell(e, cost.name, cost.text) for d, e in on.items()} for model, on in shared.items()}
    if any(cost.name in e.values for e in all_of):
        title = f"{capital(cost.title)}{' p50' * (cost.name == 'p50')} on each device, {subject}"
        section.tables.append(_table(title, names, cells, []))


def _cell(e: Entry, name: str, text: Callable[[float], str]) -> str:
    value = e.values.get(name)
    if value is None:
        return "-"
    return with_spread(value, text) + mark(e, name)


def _instructions(e: Entry) -> str:
    value = e.values.get("instructions")
    return "-" if value is None else f"{value.mean / 1e6:,.3g} million"


def _table(title: str, names: list[str], cells: dict[str, dict[str, str]], notes: list[str]) -> StudyTable:
    used = [name for name in names if any(name in on for on in cells.values())]
    return StudyTable(title, ["model", *used], [[m, *(on.get(d, "-") for d in used)] for m, on in cells.items()], notes)
