"""A study's models of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_example import CASE, HEAD, Steps, study_of

from edgegnn.errors import StudyError, UsageError
from edgegnn.studies import cells, run
from edgegnn.studies.running import Quiet

OWN = """
[models.mine]
factory = "mymodels:build"
args = { hidden = 6 }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mymodels.py").write_text("raise SystemExit('imported')\n")


def test_a_study_imports_what_the_user_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(tmp_path, HEAD + OWN + CASE.replace('"gcn"', '"gcn", "mine"'))
    with pytest.raises(UsageError, match="importing mymodels:build: allow it with --allow-import"):
        run(study, Quiet())
    done = Steps(monkeypatch)
    assert not run(study, Quiet(), allow_import=True).failed
    assert any("mine" in step for step in done.done)


def test_the_factory_determines_the_model(tmp_path: Path) -> None:
    mine = CASE.replace('"gcn"', '"mine"')
    plain = {cell.dense_key for cell in cells(study_of(tmp_path, HEAD + CASE))}
    assert plain == {cell.dense_key for cell in cells(study_of(tmp_path, HEAD + OWN + CASE))}
    first = {cell.dense_key for cell in cells(study_of(tmp_path, HEAD + OWN + mine))}
    other = {cell.dense_key for cell in cells(study_of(tmp_path, HEAD + OWN.replace("6", "7") + mine))}
    Path("mymodels.py").write_text("changed = True\n")
    assert not first & other


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (OWN.replace("mine", "gcn"), "line 7.*gcn is a model of the zoo"),
        (OWN.replace(":build", ""), "not of the form package.module:function"),
        (OWN.replace("mymodels:", "nowhere:"), "there is no module nowhere"),
        (OWN.replace("args", "arguments"), "unknown key 'models.arguments'; known are factory, args"),
    ],
)
def test_mistakes_name_the_line(own: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message):
        run(study_of(tmp_path, HEAD + own + CASE), Quiet(), allow_import=True)
