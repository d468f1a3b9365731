"""`edgegnn study table`, of results that are known."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from command_line import run
from study_example import CASE, HEAD, Quiet, Steps, store_rows, study_of

from edgegnn.errors import DataError, PruneError
from edgegnn.studies import cells, groups, outcome, tables
from edgegnn.studies import run as run_study


@pytest.fixture
def fake(monkeypatch):
    return Steps(monkeypatch)


@pytest.fixture
def study(tmp_path):
    return study_of(tmp_path, HEAD.replace("off", "quick") + CASE)


@pytest.fixture
def tabled(fake, study, tmp_path, capsys, monkeypatch):
    """Outputs of `study table`, of a study with a failed cell."""
    fake.errors["compress gcn cora regularized 0.5 seed 0"] = PruneError("it | fails")
    fake.errors["compress gcn cora regularized 0.5 seed 1"] = PruneError("it | fails")
    run_study(study, Quiet())

    def table(*options: str) -> str:
        code, out, err = run(capsys, monkeypatch, "study", "table", study.path, *options)
        assert (code, err) == (0, "")
        return out

    return table


def test_the_tables_as_text(tabled):
    out = tabled()
    assert "Test accuracy (%) against sparsity, GCN on Cora" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "0 81.00 ± 1.41 81.00 ± 1.41" in lines  # 80 and 82: the dense model is that of every method
    assert "0.5 76.00 ± 1.41 failed" in lines
    assert any(line.startswith("fp32 81.00 ± 1.41 4.0 5.0 1.500") and line.endswith("82.2 [1]") for line in lines)
    assert "[1] MixQ logs: GCN 2x128, 10 runs" in out
    assert "failed: gcn cora regularized 0.5 seed 0: compressing: it | fails" in out
    assert "energy ~ estimated: a model; machine" in out
    assert "~2 ± 0" in out
    assert "short windows (quick)" in out


def test_the_tables_as_markdown_and_latex(tabled):
    markdown = tabled("--format", "markdown")
    assert "| sparsity | global | regularized |\n| --- | ---: | ---: |\n| 0 | 81.00 ± 1.41 | 81.00 ± 1.41 |" in markdown
    latex = tabled("--format", "latex")
    assert (
        latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == len(re.findall(r"\\label\{(.*)\}", latex))
    )
    assert len(set(re.findall(r"\\label\{(.*)\}", latex))) == latex.count(r"\label{")
    assert r"\label{tab:pruned-models-gcn-on-cora-2}" in latex  # in parts, each with its first columns
    heads = re.findall(r"\\toprule\n(.*) \\\\\n", latex)
    assert sum(head.startswith("pruning & recipe & ") for head in heads) == latex.count(
        "Pruned models, GCN on Cora, part"
    )
    assert max(len(head.replace(r"\%", "%").replace(" & ", "  ")) for head in heads) < 80
    assert "model file, kB" in latex
    assert re.search(r"\d kB", latex) is None  # the unit stands in the heading
    assert r"0.5 & 76.00 $\pm$ 1.41 & failed \\" in latex
    assert r"test accuracy, \%" in latex


def test_the_tables_as_csv_and_json(tabled):
    rows = list(csv.DictReader(tabled("--format", "csv").splitlines()))
    assert [(r["prune"], r["sparsity"], r["done"], r["failed"]) for r in rows] == [
        ("", "0.0", "2", "0"),
        ("global", "0.5", "2", "0"),
        ("regularized", "0.5", "0", "2"),
    ]
    assert float(rows[0]["test_mean"]) == pytest.approx(0.81)
    assert float(rows[0]["published"]) == pytest.approx(0.822)
    assert rows[2]["test_mean"] == ""
    found = json.loads(tabled("--json"))["groups"]
    assert found[1]["values"]["test"] == {
        "mean": pytest.approx(0.76),
        "std": pytest.approx(0.0141421, rel=1e-4),
        "n": 2,
    }
    assert found[0]["energy_kind"] == "estimated"
    assert found[2]["failed"][0]["reason"] == "compressing: it | fails"


def test_cells_that_have_not_run_are_said_to_be_missing(fake, study, tmp_path, capsys, monkeypatch):
    run_study(study, Quiet())
    more = study_of(tmp_path, Path(study.path).read_text().replace("[0, 1]", "[0, 1, 2]"))
    code, out, err = run(capsys, monkeypatch, "study", "table", more.path)
    assert (code, err) == (0, "")
    assert "81.00 ± 1.41 (n=2)" in out
    assert "not run yet (1 cell)" in out


def test_groups_that_differ_in_how_they_were_made_have_different_names(fake, tmp_path):
    case = CASE + 'prune = ["global"]\nquant = ["none", "dq-int8"]\n'
    text = HEAD + case + "[case.finetune]\nepochs = 3\n" + case + 'schedule = "gradual"\n' + case
    study = study_of(tmp_path, text + CASE + "[case.settings]\nlr = 0.1\n")
    run_study(study, Quiet())
    rows = store_rows(study)
    found = groups([outcome(cell, rows) for cell in cells(study)])
    names = [(g.subject, g.how, g.sparsity, g.quant) for g in found]
    assert len(set(names)) == len(names)
    one, other = "gcn on cora (settings default)", "gcn on cora (settings lr 0.1)"
    assert {g.subject for g in found} == {one, other}
    dense = [g.how for g in found if g.subject == one and g.prune is None and g.quant == "dq-int8"]
    assert dense == ["(fine-tuning: epochs 3)", "(fine-tuning: default)"]
    pruned = [g.how for g in found if g.subject == one and g.prune and g.quant == "none"]
    assert pruned == ["global (fine-tuning: epochs 3)", "global gradual", "global (fine-tuning: default)"]
    accuracy = next(t for t in tables([outcome(cell, rows) for cell in cells(study)]) if t.rows)
    assert accuracy.columns == ["sparsity", *pruned]


def test_energies_of_different_sources_are_not_averaged(fake, study):
    run_study(study, Quiet())
    rows = store_rows(study)
    outcomes = [outcome(cell, rows) for cell in cells(study)]
    assert groups(outcomes)[0].values("energy_gross") == [0.002, 0.002]
    outcomes[0].timing["energy_source"] = "a meter"
    assert groups(outcomes)[0].values("energy_gross") == []


def test_a_cell_that_could_not_be_measured_still_has_its_accuracy(fake, study, capsys, monkeypatch):
    fake.errors["timing gcn cora global 0.5 seed 0"] = DataError("no device")
    run_study(study, Quiet())
    code, out, err = run(capsys, monkeypatch, "study", "table", study.path, "--json")
    assert (code, err) == (0, "")
    group = json.loads(out)["groups"][1]
    assert (group["values"]["test"]["n"], group["values"]["p50"]["n"]) == (2, 1)
    assert group["failed"] == [{"seed": 0, "reason": "measuring: no device"}]


def test_a_busy_machine_is_told(fake, study, monkeypatch):
    do = fake.do
    monkeypatch.setattr(fake, "do", lambda kind, *args: do(kind, *args) | {"cores": 2, "load_average": 5.25})
    run_study(study, Quiet())
    rows = store_rows(study)
    accuracy, metrics, _ = tables([outcome(cell, rows) for cell in cells(study)])
    note = "the machine had other work (load average up to 5.2): times and energies suffer"
    assert note in metrics.said
    assert note not in accuracy.said
