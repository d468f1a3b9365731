"""What `edgegnn study run` does and leaves, with steps that only write what they are asked."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from study_example import CASE, HEAD, Quiet, Steps, study_of

from edgegnn.errors import DataError, PruneError, StudyError
from edgegnn.studies import cells, open_store, steps
from edgegnn.studies import run as run_study


@pytest.fixture
def fake(monkeypatch):
    return Steps(monkeypatch)


@pytest.fixture
def study(tmp_path):
    return study_of(tmp_path, HEAD.replace("off", "quick") + CASE)


def test_a_run_does_what_is_missing_and_each_dense_model_once(fake, study, tmp_path):
    watch = Quiet()
    summary = run_study(study, watch)
    assert [o.status for o in summary.outcomes] == ["done"] * 6
    assert sum(name.startswith("dense") for name in fake.done) == 2
    assert sum(name.startswith("timing") for name in fake.done) == 6
    assert len(fake.done) == summary.ran == 14
    # nothing is measured before all is trained and compressed
    assert [name.split()[0] for name in fake.done] == [*["dense", *["compress"] * 3] * 2, *["timing"] * 6]
    assert watch.lines[-1][1] == 0.0
    again = run_study(study, Quiet())
    assert (again.ran, len(fake.done)) == (0, 14)
    # one seed more: only what it needs
    more = study_of(tmp_path, Path(study.path).read_text().replace("[0, 1]", "[0, 1, 2]"))
    assert run_study(more, Quiet()).ran == 1 + 3 + 3
    # other windows: only what is measured
    full = study_of(tmp_path, Path(study.path).read_text().replace('"quick"', '"full"'))
    del fake.done[:]
    run_study(full, Quiet())
    assert {name.split()[0] for name in fake.done} == {"timing"}


def test_a_failed_cell_is_kept_with_its_reason_and_stops_no_other(fake, study):
    fake.errors["compress gcn cora global 0.5 seed 0"] = PruneError("this can't\nbe pruned")
    fake.errors["timing gcn cora regularized 0.5 seed 1"] = ZeroDivisionError("division")
    summary = run_study(study, Quiet())
    assert [(o.cell.label, o.reason) for o in summary.failed] == [
        ("gcn cora global 0.5 seed 0", "compressing: this can't be pruned"),
        ("gcn cora regularized 0.5 seed 1", "measuring: unexpected ZeroDivisionError: division"),
    ]
    assert len(summary.outcomes) - len(summary.failed) == 4
    assert run_study(study, Quiet()).ran == 0
    del fake.errors["compress gcn cora global 0.5 seed 0"]
    again = run_study(study, Quiet(), retry_failed=True)
    assert again.ran == 3  # compress and timing of the first, timing of the second
    assert [o.cell.label for o in again.failed] == ["gcn cora regularized 0.5 seed 1"]


def test_a_dense_model_that_fails_is_tried_once_for_all_its_cells(fake, study):
    fake.errors["dense gcn cora dense seed 0"] = DataError("no such data")
    summary = run_study(study, Quiet())
    assert [o.reason for o in summary.failed] == ["training: no such data"] * 3
    assert sum(name.startswith("dense") for name in fake.done) == 2
    assert len(fake.done) == 1 + 1 + 6


def test_ctrl_c_loses_the_running_cell_only(fake, study):
    fake.errors["timing gcn cora global 0.5 seed 0"] = KeyboardInterrupt()
    for _ in range(4):  # it never counts as a step that kills
        with pytest.raises(KeyboardInterrupt):
            run_study(study, Quiet())
    assert fake.done.count("compress gcn cora global 0.5 seed 0") == 1
    fake.errors.clear()
    assert [o.status for o in run_study(study, Quiet()).outcomes] == ["done"] * 6
    assert fake.done.count("timing gcn cora dense seed 0") == 1


def test_a_full_disk_stops_the_run_and_fails_no_cell(fake, study):
    error = StudyError("can't write")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    fake.errors["compress gcn cora global 0.5 seed 0"] = error
    with pytest.raises(StudyError, match="is full: make room, then run the same command again"):
        run_study(study, Quiet())
    fake.errors.clear()
    assert not run_study(study, Quiet()).failed


def test_a_step_that_always_ends_the_process_is_given_up(fake, study):
    key = cells(study)[1].compress_key
    with open_store(study.store_path, create=True) as store:
        assert [store.begin(key) for _ in range(2)] == [0, 1]
    summary = run_study(study, Quiet())
    assert [o.reason[:40] for o in summary.failed] == ["edgegnn was ended 2 times in the middle "]
    assert not run_study(study, Quiet(), retry_failed=True).failed


def test_what_is_gone_is_made_again_and_leftovers_go(fake, study):
    run_study(study, Quiet())
    cell = cells(study)[0]
    steps.dense_path(study, cell).unlink()
    steps.artifact_path(study, cell).rmdir()
    (study.files / ".model.pt.1234.tmp").touch()
    (study.files / ".artifact.1234.tmp").mkdir()
    assert run_study(study, Quiet()).ran == 0  # all results are there
    assert not list(study.files.glob(".*.tmp"))
    longer = study_of(study.folder, Path(study.path).read_text().replace('"quick"', '"full"'))
    del fake.done[:]
    run_study(longer, Quiet())
    assert fake.done[:3] == [f"{kind} gcn cora dense seed 0" for kind in ("dense", "compress", "timing")]


def test_what_was_compressed_outlives_a_dense_model_that_fails_later(fake, study, tmp_path):
    run_study(study, Quiet())
    for cell in cells(study):
        steps.dense_path(study, cell).unlink(missing_ok=True)
    fake.errors["dense gcn cora fine-grained 0.5 seed 0"] = DataError("gone")
    more = study_of(tmp_path, Path(study.path).read_text().replace('["global"', '["fine-grained", "global"'))
    summary = run_study(more, Quiet())
    assert [(o.cell.label, o.reason) for o in summary.failed] == [
        ("gcn cora fine-grained 0.5 seed 0", "training: gone")
    ]
    assert [o.status for o in summary.outcomes].count("done") == 7


def test_nothing_is_trained_beside_a_measurement_on_this_machine(fake, study, monkeypatch, tmp_path):
    import fcntl

    do, seen = fake.do, set()

    def watched(kind, study, cell):
        with (tmp_path / "machine.lock").open("w") as other:
            for name, how in (("train", fcntl.LOCK_SH), ("measure", fcntl.LOCK_EX)):
                try:
                    fcntl.flock(other, how | fcntl.LOCK_NB)
                    seen.add((kind, name))
                    fcntl.flock(other, fcntl.LOCK_UN)
                except BlockingIOError:
                    pass
        return do(kind, study, cell)

    monkeypatch.setattr(fake, "do", watched)
    run_study(study, Quiet())
    assert seen == {("dense", "train"), ("compress", "train")}


def test_a_result_that_is_no_number_fails_the_cell(fake, study, monkeypatch):
    do = fake.do
    monkeypatch.setattr(fake, "do", lambda *args: do(*args) | {"test": float("nan")})
    assert len(run_study(study, Quiet()).failed) == 6


def test_two_runs_of_a_study_exclude_each_other(fake, study):
    class Second(Quiet):
        def begin(self, *counts):
            with pytest.raises(StudyError, match="runs already"):
                run_study(study, Quiet())
            self.tried = True

    watch = Second()
    run_study(study, watch)
    assert watch.tried
