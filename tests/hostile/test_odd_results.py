"""A study's store with results that no step gives: `study table` and `report` say so in one line."""

from pathlib import Path

import pytest
from command_line import run
from report_example import finished_study

from edgegnn.errors import UsageError
from edgegnn.quantize import recipe
from edgegnn.studies.store import Row, open_store


@pytest.mark.parametrize(
    "result",
    [{"test": "high"}, {"metric": 3, "test": [1]}, {"metric": "accuracy", "test": 0.5, "more": []}],
)
@pytest.mark.parametrize("args", [["study", "table"], ["study", "table", "--json"], ["report", "study.toml"]])
def test_results_that_no_step_gives(tmp_path, capsys, monkeypatch, result, args):
    monkeypatch.chdir(tmp_path)
    finished_study(tmp_path, monkeypatch)
    with open_store(Path("study.db"), create=False) as store:
        for key in list(store.rows())[3:]:
            store.end(key, "compress", {}, Row("done", "", result, 1.0))
    code, out, err = run(capsys, monkeypatch, *args)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "study.db is damaged, or of another edgegnn" in err


def test_a_recipe_that_is_nested_without_end(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match="can't read the recipe file"):
        recipe(str(tmp_path / "deep.json"))
