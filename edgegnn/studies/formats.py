"""A study's tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from edgegnn.studies.tables import COLUMNS, Group, StudyTable

__all__ = ["as_csv", "as_latex", "as_markdown"]

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "µ": r"$\mu$",
    "<": r"$<$",
    ">": r"$>$",
}


def as_markdown(found: Sequence[StudyTable]) -> str:
    """GitHub's tables, with titles above and notes below."""
    parts = []
    for table in found:
        rows = [[_piped(cell) for cell in row] for row in (table.columns, *table.rows)]
        rule = ["---", *["---:"] * (len(table.columns) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:])]
        parts.append("\n".join([f"**{table.title}**", "", *lines, "", *(f"- {note}" for note in table.said)]))
    return "\n\n".join(parts)


def as_latex(found: Sequence[StudyTable]) -> str:
    r"""`table` environments with the rules of the booktabs package (`\usepackage{booktabs}`)."""
    parts = []
    for table in found:
        lines = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in (table.columns, *table.rows)]
        notes = " ".join(_escaped(_sentence(note)) for note in table.said)
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_escaped(table.title)}. {notes}}}",
                    rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
                    r"\toprule",
                    lines[0],
                    r"\midrule",
                    *lines[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts)


def as_csv(found: Sequence[Group]) -> str:
    """One row a group of seeds, numbers in base units (share, bytes, ms, J, s): for a program, not for eyes."""
    more = list(dict.fromkeys(name for group in found for name in group.more))
    names = [*COLUMNS, *more]
    head = [
        "subject",
        "model",
        "data",
        "split",
        "prune",
        "how",
        "sparsity",
        "quant",
        "metric",
        "seeds",
        "done",
        "failed",
    ]
    head += [f"{name}_{part}" for name in names for part in ("mean", "std")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, "energy_kind", "published", "published_std", "published_note"])
    for group in found:
        values = group.to_dict()
        row: list[Any] = [values[key] for key in head[:11]] + [len(group.failed)]
        for name in names:
            column = values["values"].get(name, {})
            row += [column.get("mean"), column.get("std")]
        theirs = next((p for p in group.published if p.metric == group.metric), None)
        row += [values["energy_kind"]] + (
            [theirs.value / 100, theirs.std and theirs.std / 100, theirs.note] if theirs else [None] * 3
        )
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue().rstrip("\n")


def _piped(text: str) -> str:
    return text.replace("|", "\\|")


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
