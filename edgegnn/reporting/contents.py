"""What a report says: sections with words, figures and tables, in the order of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgegnn.compression.model_source import DataSource, ModelSource
from edgegnn.profiling.footprint import Footprint
from edgegnn.profiling.record import ProfileRecord
from edgegnn.profiling.table import notes, rows
from edgegnn.reporting import layers, microcontrollers, operators, sweep
from edgegnn.reporting.comparing import compared
from edgegnn.reporting.figures import COSTS, Cost, Figure, metric_label, sparsity_curves
from edgegnn.reporting.figures_rows import layers as layers_figure
from edgegnn.reporting.headline import Headline
from edgegnn.reporting.layers import Studied
from edgegnn.reporting.model_points import Entry, lacking, of_records, of_study, plain
from edgegnn.reporting.overview import glance
from edgegnn.reporting.pareto import pareto
from edgegnn.reporting.protocol import protocol
from edgegnn.reporting.section import Section
from edgegnn.reporting.sources import Sources
from edgegnn.runtime.metrics import LOWER_IS_BETTER
from edgegnn.studies import tables
from edgegnn.studies.tables import StudyTable

__all__ = ["Contents", "contents"]


@dataclass(frozen=True)
class Contents:
    """A report before it is written.

    Attributes:
        title: of the page.
        sections: in order; none is empty.
        left_out: sentences: what isn't there, and why.
    """

    title: str
    sections: list[Section]
    left_out: list[str]

    @property
    def figures(self) -> list[Figure]:
        """All of them."""
        return [figure for section in self.sections for figure in section.figures]

    @property
    def headlines(self) -> list[Headline]:
        """All of them."""
        return [headline for section in self.sections for headline in section.headlines]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values: what the figures show, and what was left out."""
        return {
            "title": self.title,
            "headlines": [asdict(headline) for headline in self.headlines],
            "figures": [{"name": f.name, "title": f.title, "notes": f.notes, **f.data} for f in self.figures],
            "tables": [t.title for section in self.sections for t in section.tables],
            "left_out": self.left_out,
        }


def contents(
    sources: Sources,
    title: str = "",
    *,
    sensitivity: bool = False,
    source: ModelSource = ModelSource(),  # noqa: B008 - frozen
    data: DataSource = DataSource(),  # noqa: B008 - frozen
    status: Callable[[str], None] = lambda _: None,
) -> Contents:
    """Put a report together.

    Args:
        sources: what it is made from.
        title: of the page; "": what it is about.
        sensitivity: measure the layers of the studies' dense models.
        source: how checkpoints are opened.
        data: the data of checkpoints; without a name their own.
        status: called with what is being done.

    Raises:
        EdgeGNNError: a checkpoint can't be opened or measured.
    """
    studies = _apart([of_study(loaded.outcomes) for loaded in sources.studies], sources)
    of_studies = [e for found in studies.values() for e in found]
    records = [record for _, record in sources.records]
    entries = of_studies + of_records(records)
    studied = [layers.of_checkpoint(path, source, data, status) for path in sources.checkpoints]
    missing: list[str] = []
    for loaded in sources.studies if sensitivity else ():
        more, lacks = layers.of_study(loaded, data.data_root, status)
        studied, missing = studied + more, missing + lacks
    status("drawing")
    sections = []
    if entries:
        sections += [glance(studies, entries), _pareto(entries)]
    if studies:
        sections.append(_sparsity(studies, [text for loaded in sources.studies for text in lacking(loaded.outcomes)]))
    sections.append(_layers(studied, missing, asked=sensitivity or bool(sources.checkpoints)))
    if entries:
        sections.append(compared(entries))
    weighed = [record for _, record in sources.footprints]
    parts = (operators.section(records), sweep.section(records), microcontrollers.section(weighed))
    sections += [found for found in parts if found is not None]
    if entries:
        sections.append(_tables(sources, records))
        sections.append(Section("protocol", "How this was measured", words=protocol(sources)))
    left_out = list(dict.fromkeys(text for section in sections for text in section.left_out))
    if left_out:
        sections.append(Section("not-shown", "Not shown, and why", words=[("", left_out)]))
    sections.append(Section("sources", "Sources", words=[("", _sources(sources))]))
    shown = [section for section in sections if not section.empty]
    return Contents(plain(title) or _title(entries, studied, weighed), shown, left_out)


def _pareto(entries: Sequence[Entry]) -> Section:
    section = Section("pareto", "Accuracy against size, latency and energy")
    order = list(dict.fromkeys(e.series for e in sorted(entries, key=lambda e: e.quant != "none")))
    for subject, metric in dict.fromkeys((e.subject, e.metric) for e in entries):
        of_subject = [e for e in entries if (e.subject, e.metric) == (subject, metric) and "test" in e.values]
        # A size is the model's on any device; times and energies are compared on one device only.
        devices = list(dict.fromkeys((e.target, e.device) for e in of_subject))
        once = list({(e.checksum, e.name): e for e in reversed(of_subject)}.values())[::-1]
        for place, device in enumerate(devices):
            on_device = [e for e in of_subject if (e.target, e.device) == device]
            where = f"{subject}, on {device[0]}" if len(devices) > 1 else subject
            for cost in COSTS:
                if not cost.timed and place:
                    continue
                asked = on_device if cost.timed else once
                _pareto_figure(section, where if cost.timed else subject, asked, cost, order)
    if section.figures:
        section.about.append(
            "Filled and numbered: on the Pareto front, which nothing clearly beats. Bars: ± one standard deviation; a "
            "difference counts where it is larger than the bars of both together, and between times that were measured "
            "once where it is above 5 %. The front shows what was reached on test data; to choose a model by it would "
            "be selection on them."
        )
    return section


def _pareto_figure(section: Section, where: str, asked: Sequence[Entry], cost: Cost, order: Sequence[str]) -> None:
    usable = [e for e in asked if cost.name in e.values and not (cost.timed and e.emulated)]
    if len({e.energy for e in usable}) > 1 and cost.name == "energy_gross":
        section.left_out.append(f"{where}: no plot of energy: energies of different sources can't be compared.")
        return
    if len(usable) < 2:
        section.left_out.append(f"{where}: no plot of {cost.title}: {_why_none(asked, usable, cost)}.")
        return
    figure = pareto(f"pareto-{len(section.figures) + 1}-{cost.title}", where, usable, cost, order)
    if len(usable) < len(asked):
        figure.notes.append(f"{len(asked) - len(usable)} of {len(asked)} models have no {cost.title} of this kind.")
    section.figures.append(figure)


def _why_none(asked: Sequence[Entry], usable: Sequence[Entry], cost: Cost) -> str:
    if cost.timed and any(e.emulated for e in asked):
        return "on an emulated device a time is no measurement"
    reasons = [e.energy_reason for e in asked if e.energy_reason]
    if cost.name == "energy_gross" and reasons and not usable:
        return f"none was measured ({reasons[0]})"
    if not usable and cost.timed:
        return "nothing was measured"
    return "it needs two models with a metric"


def _apart(found: list[list[Entry]], sources: Sources) -> dict[str, list[Entry]]:
    """Entries of each subject of each study; a subject that several studies have is named with its study."""
    subjects = [subject for entries in found for subject in dict.fromkeys(e.subject for e in entries)]
    apart: dict[str, list[Entry]] = {}
    for loaded, entries in zip(sources.studies, found, strict=True):
        for e in entries:
            name = e.subject if subjects.count(e.subject) == 1 else f"{e.subject} ({plain(loaded.study.path)})"
            apart.setdefault(name, []).append(e)
    return apart


def _sparsity(studies: dict[str, list[Entry]], lacks: list[str]) -> Section:
    section = Section("sparsity", "Sparsity")
    for subject, entries in studies.items():
        for quant in dict.fromkeys(e.quant for e in entries if e.how):
            chosen = [e for e in entries if e.quant == quant]
            of = subject if quant == "none" else f"{subject}, {quant}"
            scale = 1.0 if chosen[0].metric in LOWER_IS_BETTER else 100.0
            columns = [
                ("test", metric_label(chosen), scale),
                ("model_file", "model file, kB", 1e-3),
                ("p50", "latency p50, ms", 1.0),
            ]
            if any(e.emulated for e in chosen):
                section.left_out.append(f"{of}: no latency: on an emulated device a time is no measurement.")
                columns.pop()
            for column, label, factor in columns:
                if not any(e.how and column in e.values for e in chosen):
                    section.left_out.append(f"{of}: no curve of {label.split(',')[0]}: it was not measured.")
                    continue
                name = f"sparsity-{len(section.figures) + 1}-{column.replace('_', '-')}"
                figure = sparsity_curves(name, of, chosen, column, label, factor)
                section.figures.append(figure)
    if not section.figures:
        section.left_out.append("No sparsity curves: no pruned model is among the sources.")
    elif any(value.std is not None for entries in studies.values() for e in entries for value in e.values.values()):
        section.about.append("Lines: mean over seeds; bands: ± one standard deviation.")
    if lacks:
        section.left_out.append(f"Without a result: {'; '.join(lacks)}.")
    return section


def _layers(studied: Sequence[Studied], missing: list[str], *, asked: bool) -> Section:
    section = Section("layers", "Which layers are sensitive", left_out=list(missing))
    if studied:
        section.about.append(
            "One layer at a time was quantized (weights, and what it reads) or pruned (its smallest weights), "
            "everything else left as it is, without training, and judged on validation data. Training makes up for "
            "much of it: this is an order of layers, not what a recipe loses."
        )
    for one in studied:
        for changed in (False, True):
            figure = layers_figure(f"layers-{len(section.figures) + 1}", one, changed=changed)
            if figure is None:
                section.left_out.append(f"{one.label}: validation labels don't define {one.metric}: no loss of it.")
            else:
                section.figures.append(figure)
        section.tables.append(layers.table(one))
    if not asked:
        section.left_out.append(
            "Sensitivity of layers was not measured: name a checkpoint as a source, or give a study with --sensitivity."
        )
    return section


def _tables(sources: Sources, records: Sequence[ProfileRecord]) -> Section:
    """All numbers; what several tables would say below themselves is said once, below all."""
    made = [t for loaded in sources.studies for t in tables(loaded.outcomes)] + _record_tables(records)
    counts = Counter(note for table in made for note in table.notes)
    shared = [note for note, n in counts.items() if n > 1]
    own = [replace(table, notes=[note for note in table.notes if counts[note] == 1]) for table in made]
    words = [("Of these tables", shared)] if shared else []
    return Section("tables", "Tables", tables=own, words=words)


def _record_tables(records: Sequence[ProfileRecord]) -> list[StudyTable]:
    """A table for each metric, a row for each record."""
    made = []
    for metric in dict.fromkeys(r.metric.name if r.metric is not None else "" for r in records):
        same = [r for r in records if (r.metric.name if r.metric is not None else "") == metric]
        columns = rows(same)
        title = f"Profile records, {metric.replace('_', ' ')}" if metric else "Profile records without a metric"
        lines = [
            [plain(r.artifact), plain(r.target), *(plain(cells[number]) for _, cells, _ in columns)]
            for number, r in enumerate(same)
        ]
        head = ["artifact", "target", *(label.strip() for label, _, _ in columns)]
        made.append(StudyTable(title, head, lines, [plain(note) for note in notes(same, caveats=False)]))
    return made


def _sources(sources: Sources) -> list[str]:
    said = [f"{s.study.path}: a study of {len(s.outcomes)} cells" for s in sources.studies]
    said += [f"{path}: {r.artifact} on {r.target}, measured {r.created[:10]}" for path, r in sources.records]
    said += [f"{path}: {r.artifact} on {r.target}, weighed {r.created[:10]}" for path, r in sources.footprints]
    said += [f"{path}: a checkpoint" for path in sources.checkpoints]
    if sources.passed_over:
        said.append(f"passed over, no profile records: {', '.join(map(str, sources.passed_over))}")
    return [plain(text) for text in said]


def _title(entries: Sequence[Entry], studied: Sequence[Studied], weighed: Sequence[Footprint]) -> str:
    of_studies = list(dict.fromkeys(e.subject for e in entries if not e.artifact))
    subjects = of_studies or [one.label for one in studied if not entries]
    if not subjects and not entries:
        boards = list(dict.fromkeys(plain(record.target) for record in weighed))
        subjects = [f"{len(weighed)} measurement{'s' * (len(weighed) > 1)} on {board}" for board in boards[:1]]
        subjects += boards[1:]
    if not subjects:
        targets = list(dict.fromkeys(e.target for e in entries))
        subjects = [f"{len(entries)} measurement{'s' * (len(entries) > 1)} on {', '.join(targets[:3])}"]
        return f"{subjects[0]}{f' and {len(targets) - 3} more' if len(targets) > 3 else ''}"
    return ", ".join(subjects[:3]) + (f" and {len(subjects) - 3} more" if len(subjects) > 3 else "")
