"""A study's tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
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
# Letters that find room side by side in a column of text, and those that the space between two columns takes.
_ROOM, _BETWEEN = 74, 2


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
    r"""`table` environments with the rules of the booktabs package (`\usepackage{booktabs}`).

    A table that is wider than the text of a page is split: each part has the first columns, and some of the others.
    """
    labels: list[str] = []
    parts = [r"% needs \usepackage{booktabs}"]
    for table in found:
        label = _label(table.title, labels)
        labels.append(label)
        chunks = _parts(table)
        notes = "".join(f" {_escaped(_sentence(note[:1].upper() + note[1:]))}" for note in table.said)
        for number, chosen in enumerate(chunks, 1):
            part = f", part {number} of {len(chunks)}" * (len(chunks) > 1)
            rows = [[row[i] for i in chosen] for row in (table.columns, *table.rows)]
            lines = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in rows]
            parts.append(
                "\n".join(
                    [
                        r"\begin{table}",
                        r"\centering\small",
                        rf"\caption{{{_escaped(table.title)}{part}.{notes if number == 1 else ''}}}",
                        rf"\label{{{label}{f'-{number}' * (number > 1)}}}",
                        r"\medskip",
                        rf"\begin{{tabular}}{{{'l' * table.keys}{'r' * (len(chosen) - table.keys)}}}",
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


def _parts(table: StudyTable) -> list[list[int]]:
    """Numbers of the columns of each part, the first ones in all of them; one part where all find room."""
    widths = [max(map(len, cells)) + _BETWEEN for cells in zip(table.columns, *table.rows, strict=True)]
    keys = list(range(table.keys))
    room = _ROOM - sum(widths[: table.keys])
    parts: list[list[int]] = [[]]
    for column in range(table.keys, len(widths)):
        if parts[-1] and sum(widths[i] for i in parts[-1]) + widths[column] > room:
            parts.append([])
        parts[-1].append(column)
    return [keys + part for part in parts]


def _label(title: str, taken: Sequence[str]) -> str:
    """A label that no other table has: "tab:pruned-models-gcn-on-cora"."""
    name = f"tab:{'-'.join(re.findall('[a-z0-9]+', title.lower()))}"
    return name if name not in taken else f"{name}-again-{len(taken)}"


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
