"""The tables of a study: accuracy against sparsity per method, and every metric per quantizer and per pruned model."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from edgegnn.errors import StudyError, first_line
from edgegnn.profiling.record import WITHOUT_KERNELS
from edgegnn.quantize.recipe import shown_name
from edgegnn.runtime.metrics import LOWER_IS_BETTER
from edgegnn.studies.running import Outcome
from edgegnn.tasks import catalog
from edgegnn.utils.files import read_toml, size

__all__ = ["COLUMNS", "Group", "Published", "StudyTable", "check_outcomes", "groups", "published", "tables"]


def check_outcomes(outcomes: Sequence[Outcome], store: Path) -> None:
    """See that the results of a store are what its tables are made of: it may be a stranger's.

    Args:
        outcomes: of the study's cells.
        store: the file that they come from.

    Raises:
        StudyError: something is missing, or of another type.
    """
    try:
        tables(outcomes)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        raise StudyError(f"{store} is damaged, or of another edgegnn: it lacks something ({what})") from error


_ABBREVIATED = 5  # letters of a model's name that is an abbreviation: gcn, hgpsl


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published or logged value of a dense model.

    Attributes:
        model: of the zoo.
        data: names of the data set, lower case.
        quant: recipe.
        metric: its name.
        value: percent.
        std: percent; None where it isn't known.
        split: it is comparable with; None: any.
        note: who made it, and how.
    """

    model: str
    data: list[str]
    quant: str
    metric: str
    value: float
    note: str
    std: float | None = None
    split: str | None = None


@dataclass(frozen=True)
class Group:
    """The cells that differ in their seed only.

    Attributes:
        subject: "model on data", and what else sets it apart in the study.
        model: of the zoo.
        data: as study.toml names it.
        prune: method, None for the dense model.
        how: the method with its schedule or variant; also how it was fine-tuned, where that sets groups apart.
        sparsity: share that goes.
        quant: recipe.
        done: cells that ended well.
        failed: cells that failed.
        missing: cells that have not run, or were not measured yet.
    """

    subject: str
    model: str
    data: str
    prune: str | None
    how: str
    sparsity: float
    quant: str
    done: tuple[Outcome, ...]
    failed: tuple[Outcome, ...]
    missing: tuple[Outcome, ...]

    @property
    def title(self) -> str:
        """The subject with the names of model and data as they are written in a title: "GCN on Cora"."""
        named, known = self.subject, f"{self.model} on {self.data}"
        if not named.startswith(known):
            return named
        model = self.model.upper() if len(self.model) <= _ABBREVIATED else self.model.capitalize()
        model = model if self.model.isalpha() else self.model  # a factory of the user's
        return f"{model} on {catalog.title(self.data)}{named.removeprefix(known)}"

    @property
    def seeds(self) -> int:
        """Number of cells."""
        return len(self.done) + len(self.failed) + len(self.missing)

    @property
    def known(self) -> tuple[Outcome, ...]:
        """Cells with an accuracy: also those that are not measured yet, or could not be."""
        return tuple(o for o in (*self.done, *self.failed, *self.missing) if o.compress)

    @property
    def unmeasured(self) -> int:
        """Number of cells with an accuracy that are not measured yet."""
        return sum(bool(o.compress) for o in self.missing)

    @property
    def metric(self) -> str:
        """Name of the task metric; "" where nothing ended."""
        return next((o.compress["metric"] for o in self.known), "")

    @property
    def split(self) -> str:
        """Of the data, by the dense model's task."""
        return next((o.dense.get("split", "") for o in self.known), "")

    def values(self, name: str) -> list[float]:
        """One value for each seed that has it; none where seeds have energies of different sources."""
        return list(self.by_seed(name).values())

    def by_seed(self, name: str) -> dict[int, float]:
        """The same, with the seeds."""
        if name.startswith("energy") and len({o.timing["energy_source"] for o in self._timed}) > 1:
            return {}
        found = {o.cell.dense["seed"]: _value(o, name) for o in self.known}
        return {seed: float(v) for seed, v in found.items() if v is not None}

    @property
    def estimated(self) -> bool:
        """The energy is a model's, not a meter's."""
        return any(o.timing["energy_kind"] == "estimated" for o in self._timed)

    @property
    def published(self) -> list[Published]:
        """Values of others beside this one's."""
        if self.prune is not None:
            return []
        names = {self.data.lower(), *(str(o.dense.get("data", "")).lower() for o in self.known)}
        return [
            p
            for p in published()
            if (p.model, p.quant) == (self.model, self.quant)
            and names & set(p.data)
            and p.split in (None, self.split)
            and (p.metric == self.metric or any(p.metric in o.compress["more"] for o in self.known))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values: mean, standard deviation and number of every column."""
        columns = {}
        for name in [*COLUMNS, *self.more]:
            values = self.values(name)
            if values:
                columns[name] = {"mean": statistics.fmean(values), "std": _std(values), "n": len(values)}
        return {
            "subject": self.subject,
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "prune": self.prune,
            "how": self.how,
            "sparsity": self.sparsity,
            "quant": self.quant,
            "metric": self.metric,
            "seeds": self.seeds,
            "done": len(self.done),
            "missing": len(self.missing),
            "unmeasured": self.unmeasured,
            "failed": [{"seed": o.cell.dense["seed"], "reason": o.reason} for o in self.failed],
            "energy_kind": "estimated" if self.estimated else next((o.timing["energy_kind"] for o in self._timed), ""),
            "values": columns,
            "published": [msgspec.to_builtins(p) for p in self.published],
        }

    @property
    def more(self) -> list[str]:
        """Names of metrics beside the task's own."""
        return list(dict.fromkeys(name for o in self.known for name in o.compress["more"]))

    @property
    def _timed(self) -> list[Outcome]:
        return [o for o in self.known if o.timing]


@dataclass(frozen=True)
class StudyTable:
    """A table as text.

    Attributes:
        title: what it shows.
        columns: headings, with the unit of all that stands below.
        rows: cells, as many as headings.
        notes: below it.
        caveats: below these: what a report says once for all its tables.
        keys: first columns, which say what a row is of.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]
    caveats: list[str] = field(default_factory=list)
    keys: int = 1

    @property
    def said(self) -> list[str]:
        """All that stands below it."""
        return [*self.notes, *self.caveats]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _milliseconds(value: float) -> str:
    return f"{value:.3f}"


# Column -> heading, how its mean and standard deviation are written.
COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "test": ("test", _percent),
    "model_file": ("model file", size),  # sizes: in one unit where they stand in a column
    "checkpoint": ("checkpoint", size),
    "p50": ("p50, ms", _milliseconds),
    "p99": ("p99, ms", _milliseconds),
    "energy_gross": ("energy, mJ", lambda v: f"{1000 * v:.3g}"),
    "cpu_percent": ("CPU, %", lambda v: f"{v:.0f}"),
    "peak_delta": ("peak memory", size),
    "train_seconds": ("training, s", lambda v: f"{v:.1f}"),
}


_SIZES = ("model_file", "checkpoint", "peak_delta")
_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


@cache
def published() -> list[Published]:
    """The values in published.toml."""
    _, values = read_toml(Path(__file__).parent / "published.toml", StudyError)
    return msgspec.convert(values["value"], list[Published])


def groups(outcomes: Iterable[Outcome]) -> list[Group]:
    """Put the cells together that differ in their seed only, in the order of the study."""
    found: dict[str, list[Outcome]] = {}
    for o in outcomes:
        spec = o.cell.compress | {"dense": {**o.cell.dense, "seed": None}}
        found.setdefault(json.dumps(spec, sort_keys=True), []).append(o)
    subjects = _subjects([same[0] for same in found.values()])
    made = [_group(subjects, same) for same in found.values()]
    places = [(g.subject, g.how, g.sparsity, g.quant) for g in made]
    return [
        g if places.count(place) == 1 else replace(g, how=f"{g.how} ({_finetuned(same[0])})".lstrip())
        for g, place, same in zip(made, places, found.values(), strict=True)
    ]


def tables(outcomes: Sequence[Outcome]) -> list[StudyTable]:
    """All tables of a study: for each model on its data, those that there are cells for."""
    made = []
    found = groups(outcomes)
    for subject in dict.fromkeys(group.subject for group in found):
        of_subject = [group for group in found if group.subject == subject]
        title = of_subject[0].title
        dense = [g for g in of_subject if g.prune is None]
        pruned = [g for g in of_subject if g.prune is not None]
        for quant in dict.fromkeys(g.quant for g in pruned):
            made.append(_against_sparsity(title, quant, [g for g in of_subject if g.quant == quant]))
        if dense:
            made.append(_metrics(f"The dense model per quantizer, {title}", dense))
        if pruned:
            base = [g for g in dense if g.quant == "none"]
            made.append(_metrics(f"Pruned models, {title}", base + pruned))
    return made


def _group(subjects: dict[str, str], same: list[Outcome]) -> Group:
    cell = same[0].cell
    by_status = {s: tuple(o for o in same if o.status == s) for s in ("done", "failed", "missing")}
    return Group(
        subjects[_subject_key(same[0])],
        cell.dense["model"],
        cell.dense["data"],
        cell.prune,
        " ".join([cell.prune, *(str(cell.more[k]) for k in ("schedule", "variant") if k in cell.more)])
        if cell.prune
        else "",
        cell.sparsity,
        cell.quant,
        by_status["done"],
        by_status["failed"],
        by_status["missing"],
    )


def _finetuned(o: Outcome) -> str:
    return f"fine-tuning: {_words(o.cell.finetune)}"


def _subjects(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """A name for each dense model; settings are named where two have the same model and data."""
    specs = {_subject_key(o): o.cell.dense for o in outcomes}
    names: dict[str, str] = {}
    for key, spec in specs.items():
        name = f"{spec['model']} on {spec['data']}"
        rivals = [s for s in specs.values() if (s["model"], s["data"]) == (spec["model"], spec["data"])]
        differs = [k for k in spec if k != "seed" and any(s[k] != spec[k] for s in rivals)]
        words = ", ".join(f"{k.replace('_', ' ')} {_words(spec[k])}" for k in differs)
        names[key] = f"{name} ({words})" if words else name
    return names


def _subject_key(o: Outcome) -> str:
    return json.dumps({**o.cell.dense, "seed": None}, sort_keys=True)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{k} {v}" for k, v in value.items()) or "default"
    return "default" if value is None else str(value)


def _against_sparsity(subject: str, quant: str, found: Sequence[Group]) -> StudyTable:
    methods = list(dict.fromkeys(g.how for g in found if g.prune is not None))
    by_place = {(g.how, g.sparsity): g for g in found if g.prune is not None}
    # Of a recipe that was fine-tuned in several ways there is no single dense model to start the curves.
    dense = next((g for g in found if g.prune is None), None) if sum(g.prune is None for g in found) == 1 else None
    rows = []
    for sparsity in sorted({g.sparsity for g in found}):
        here = [by_place.get((m, sparsity)) if sparsity else dense for m in methods]
        rows.append([f"{sparsity:g}", *("" if g is None else _cell(g, "test", found) for g in here)])
    recipe = "" if quant == "none" else f", {quant}"
    return StudyTable(
        f"{_metric_title(found)} against sparsity, {subject}{recipe}",
        ["sparsity", *methods],
        rows,
        *_notes(found, timed=False),
    )


def _metrics(title: str, found: Sequence[Group]) -> StudyTable:
    """One row a group, one column a metric that any of them has."""
    more = list(dict.fromkeys(name for g in found for name in g.more))
    names = [n for n in ["test", *more, *list(COLUMNS)[1:]] if any(g.values(n) for g in found)] or ["test"]
    pruned = any(g.prune for g in found)
    others = [g.published for g in found]
    notes: list[str] = []
    rows = []
    for group, theirs in zip(found, others, strict=True):
        row = [f"{group.how} {group.sparsity:g}" if group.prune else "dense"] * pruned
        recipe = shown_name(group.quant)
        row.append(recipe if group.prune or not group.how else f"{recipe} {group.how}")
        row += [_cell(group, name, found) for name in names]
        if any(others):
            row.append("; ".join(_published_words(p, group.metric, notes) for p in theirs))
        rows.append(row)
    headings = [_heading(name, found) for name in names]
    columns = ["pruning"] * pruned + ["recipe", *headings] + ["published"] * any(others)
    marks = [f"[{i}] {note}" for i, note in enumerate(notes, 1)]
    said, caveats = _notes(found, timed=True)
    return StudyTable(title, columns, rows, marks + said, caveats, keys=1 + pruned)


def _heading(name: str, found: Sequence[Group]) -> str:
    if name == "test":
        return _metric_words(found)
    unit = f", {_unit(name, found)[0]}" if name in _SIZES else ""
    return COLUMNS[name][0] + unit if name in COLUMNS else f"test {name.replace('_', ' ')}, %"


def _unit(name: str, found: Sequence[Group]) -> tuple[str, float]:
    """The unit of a column of sizes, and how many bytes it has: the largest one in which none of them is below 1."""
    least = min((statistics.fmean(values) for g in found if (values := g.values(name))), default=0.0)
    return next(((unit, count) for unit, count in _UNITS if least >= count), ("B", 1.0))


def _metric_title(found: Sequence[Group]) -> str:
    words, _, unit = _metric_words(found).partition(", ")
    return f"{words[:1].upper()}{words[1:]}{f' ({unit})' if unit else ''}"


def _metric_words(found: Sequence[Group]) -> str:
    metric = next((g.metric for g in found if g.metric), "metric")
    return f"test {metric}" if metric in LOWER_IS_BETTER else f"test {metric.replace('_', ' ')}, %"


def _cell(group: Group, name: str, found: Sequence[Group]) -> str:
    """Mean ± standard deviation, in the unit of its column, or why there is none."""
    values = group.values(name)
    if not values:
        return "failed" if group.failed and not group.missing else "..." if group.missing else "-"
    show = COLUMNS[name][1] if name in COLUMNS else _percent
    if name in _SIZES:
        unit, count = _unit(name, found)
        show = lambda value: f"{value / count:,.{1 if unit != 'B' else 0}f}"  # noqa: E731 - as the others
    if name == "test" and group.metric in LOWER_IS_BETTER:
        show = "{:.4g}".format
    text = "~" * (name.startswith("energy") and group.estimated) + show(statistics.fmean(values))
    spread = _std(values)
    exact = name in ("model_file", "checkpoint") and spread == 0.0
    text += f" ± {show(spread)}" if spread is not None and not exact else ""
    return text + (f" (n={len(values)})" if len(values) < group.seeds else "")


def _published_words(entry: Published, metric: str, notes: list[str]) -> str:
    if entry.note not in notes:
        notes.append(entry.note)
    spread = f" ± {entry.std:g}" if entry.std is not None else ""
    name = "" if entry.metric == metric else f"{entry.metric.replace('_', ' ')} "
    return f"{name}{entry.value:g}{spread} [{notes.index(entry.note) + 1}]"


def _notes(found: Sequence[Group], *, timed: bool) -> tuple[list[str], list[str]]:
    """Notes and caveats."""
    seeds = {g.seeds for g in found}
    notes = [f"mean ± standard deviation over {max(seeds)} seeds"] if max(seeds) > 1 else ["a single seed: no spread"]
    splits = list(dict.fromkeys(g.split for g in found if g.split))
    rows = list(dict.fromkeys(o.compress["n"] for g in found for o in g.known))
    if splits:
        counts = f", {' or '.join(f'{n:,}' for n in rows)} test rows" if rows else ""
        notes.append(f"{', '.join(splits)} split{counts}; the epoch is chosen on validation data")
    measured = [o.timing for g in found for o in g.known if o.timing] if timed else []
    notes += dict.fromkeys(f"energy measured: {t['energy_source']}" for t in measured if t["energy_kind"] == "measured")
    caveats = list(
        dict.fromkeys(f"energy ~ estimated: {t['energy_source']}" for t in measured if t["energy_kind"] == "estimated")
    )
    notes += dict.fromkeys(f"no energy: {t['energy_reason']}" for t in measured if not t["energy_kind"])
    notes += dict.fromkeys(
        f"measured on {t['device']}, {t['threads']} thread{'s' * (t['threads'] != 1)}"
        + (f"; emulated: {t['emulated']}" if t["emulated"] else "")
        for t in measured
    )
    if any(t["quick"] for t in measured):
        caveats.append("measured with short windows (quick): not for a report")
    notes += [WITHOUT_KERNELS] * any(t.get("without_kernels") for t in measured)
    # The study's own training just before keeps at most every core busy.
    busy = [t["load_average"] for t in measured if (t.get("load_average") or 0) > t.get("cores", 0) + 0.5]
    if busy:
        caveats.append(f"the machine had other work (load average up to {max(busy):.1f}): times and energies suffer")
    unmeasured = sum(g.unmeasured for g in found) if timed else 0
    missing = sum(len(g.missing) - g.unmeasured for g in found)
    for number, what in ((missing, "...: not run yet"), (unmeasured, "not measured yet")):
        if number:
            notes.append(f"{what} ({number} cell{'s' * (number > 1)}): `edgegnn study run` does what is missing")
    for group in found:
        for o in group.failed:
            notes.append(f"failed: {o.cell.label}: {o.reason}")
    return notes, caveats


def _value(o: Outcome, name: str) -> float | None:
    if name == "train_seconds" and not o.cell.prune and o.cell.quant in ("none", "dynamic-int8", "static-int8"):
        return o.dense.get("train_seconds")
    for result in (o.compress, o.timing, o.compress.get("more", {})):
        if name in result:
            value: float | None = result[name]
            return value
    return None


def _std(values: Sequence[float]) -> float | None:
    """Of the sample; None for one value."""
    return statistics.stdev(values) if len(values) > 1 else None
