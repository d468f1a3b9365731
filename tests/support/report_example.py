"""Sources of reports for tests, and how a page is read."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from profile_example import record
from study_example import CASE, Quiet, Steps, study_of

from edgegnn.profiling import ProfileRecord, write_record
from edgegnn.profiling.record import Latency, Metric
from edgegnn.studies import cells, open_store, outcome, run

GRID = """prune = ["global", "regularized"]
sparsities = [0.0, 0.5, 0.9]
quant = ["none", "dq-int8"]
seeds = [0, 1]
timing = "quick"
"""
HOSTILE = "<img src=x onerror=alert(1)>&\"'$x_1$\u202e.pt"


class Numbers(Steps):
    """As `Steps`, with numbers that differ from cell to cell."""

    def do(self, kind: str, study: Any, cell: Any) -> dict[str, Any]:
        found = super().do(kind, study, cell)
        eight = cell.quant != "none"
        if kind == "compress":
            found["model_file"] = int(4000 * (1 - 0.8 * cell.sparsity) * (0.3 if eight else 1))
            found |= {"test": found["test"] - 0.01 * eight, "val": found["test"], "agreement": 0.99}
        if kind == "timing":
            found |= {"p50": 1.5 - 0.5 * eight, "energy_reason": "", "load_average": 4.0, "cores": 2, "target": "x86"}
        return found


def finished_study(folder: Path, monkeypatch: Any, head: str = GRID, case: str = CASE, errors: Any = ()) -> Path:
    """A study.toml with its store, as if it had been run."""
    folder.mkdir(exist_ok=True, parents=True)
    with monkeypatch.context() as patched:
        steps = Numbers(patched)
        steps.errors.update(errors)
        study = study_of(folder, head + case)
        run(study, Quiet())
    return Path(study.path)


def outcomes_of(study: Any) -> list[Any]:
    with open_store(study.store_path, create=False) as store:
        rows = store.rows()
    return [outcome(cell, rows) for cell in cells(study)]


def profile_of(target: str, artifact: str, p50: float, value: float = 0.8, **changes: Any) -> ProfileRecord:
    latency = Latency(p50=p50, p90=p50, p99=2 * p50, min=p50, mean=p50, n=200, threads=2)
    device = msgspec.structs.replace(record().device, model=f"board of {target}", load_average=0.0)
    values: dict[str, Any] = {"metric": Metric(name="accuracy", value=value, n=1000), "device": device}
    values["model_sha256"] = hashlib.sha256(artifact.encode()).hexdigest()
    return record(target=target, artifact=artifact, recipe=artifact, latency_ms=latency, **{**values, **changes})


def write_records(folder: Path, records: list[ProfileRecord]) -> Path:
    for number, one in enumerate(records):
        place = folder / one.target
        place.mkdir(parents=True, exist_ok=True)
        write_record(one, place / f"{number}.json")
    return folder


class Page(HTMLParser):
    """A page's elements, and what has to hold of every page."""

    VOID = ("meta", "link", "img", "br", "hr", "input")

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.texts: dict[str, list[str]] = {}  # tag -> text directly inside
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)
            self.texts.setdefault(self.open[-1], []).append(" ".join(data.split()))

    def find(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def check(self) -> None:
        """Self-contained, without scripts, ids unique and all there, and usable without seeing it."""
        ids = [a["id"] for _, a in self.tags if "id" in a]
        assert len(ids) == len(set(ids))
        for tag, attributes in self.tags:
            assert tag not in ("script", "link", "img", "iframe", "object", "embed", "form", "foreignobject"), tag
            for key, value in attributes.items():
                assert not key.startswith("on"), (tag, key)
                assert key not in ("src", "srcset", "action", "data"), (tag, key)
                if key.endswith("href"):
                    assert value[:1] == "#", value
                    assert value[1:] in ids
                assert set(re.findall(r"url\(#?([^)]*)\)", value)) <= set(ids)
                if key in ("aria-labelledby", "aria-describedby"):
                    assert set(value.split()) <= set(ids)
        assert "url(" not in "".join(re.findall(r"<style>(.*?)</style>", self.html, flags=re.S))
        assert "@import" not in self.html
        headings = [int(tag[1]) for tag, _ in self.tags if tag in ("h1", "h2", "h3")]
        assert headings[0] == 1
        assert headings.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(headings))
        assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in self.find("svg"))
        assert len(self.find("caption")) == len(self.find("table"))
        assert all(cell["scope"] in ("row", "col") for cell in self.find("th"))
        assert self.find("html") == [{"lang": "en"}]
        (viewport,) = [m for m in self.find("meta") if m.get("name") == "viewport"]
        assert "width=device-width" in viewport["content"]
        # Colours are variables: nothing is black on black in the dark.
        drawn = "".join(re.findall(r"<svg.*?</svg>", self.html, flags=re.S))
        assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", drawn)
