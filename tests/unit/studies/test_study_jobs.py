"""`study run` with several steps at a time: which may begin when, and what becomes of processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
from command_line import EDGEGNN, community_graph, run
from study_example import CASE, HEAD, Quiet, Steps, store_rows, study_of

from edgegnn.errors import DataError, UsageError
from edgegnn.profiling import machine_lock
from edgegnn.studies import Step, cells, local, outcome, running
from edgegnn.studies import run as run_study


class Backwards:
    """Takes three steps at a time, and ends the last one first."""

    slots = width = 3

    def __init__(self, study, *_):
        self.study, self.taken, self.log, self.closed = study, [], [], False
        self.stop_after = 1000

    def begin(self, step):
        self.taken.append(step)
        self.log.append(("begin", step.kind, step.key))
        assert len(self.taken) <= self.slots

    def wait(self, seconds=1000):
        if self.stop_after == 0 and seconds:
            raise KeyboardInterrupt
        self.stop_after -= 1
        step = self.taken.pop()
        ended = local.perform(self.study, step, machine_lock.lock_path())
        self.log.append(("end", step.kind, step.key))
        return [(step, ended)]

    def close(self):
        self.closed = True


@pytest.fixture
def fake(monkeypatch):
    return Steps(monkeypatch)


@pytest.fixture
def study(tmp_path):
    return study_of(tmp_path, HEAD.replace("off", "quick") + CASE)


@pytest.fixture
def backwards(monkeypatch, study):
    executor = Backwards(study)
    monkeypatch.setattr(running, "Processes", lambda *_: executor)
    return executor


def test_a_compression_waits_for_its_dense_model_and_a_measurement_for_all(fake, study, backwards):
    summary = run_study(study, Quiet(), jobs=3)
    assert [o.status for o in summary.outcomes] == ["done"] * 6
    assert sorted(fake.done) == sorted({*fake.done})
    for cell in cells(study):
        order = [
            backwards.log.index(entry)
            for entry in (
                ("end", "dense", cell.dense_key),
                ("begin", "compress", cell.compress_key),
                ("end", "compress", cell.compress_key),
            )
        ]
        assert order == sorted(order)
    assert backwards.log[:2] == [("begin", "dense", key) for key in dict.fromkeys(c.dense_key for c in cells(study))]
    assert [name.split()[0] for name in fake.done[8:]] == ["timing"] * 6  # here, when the executor has nothing to do
    assert backwards.closed


def test_what_needs_a_dense_model_that_failed_never_begins(fake, study, backwards):
    fake.errors["dense gcn cora dense seed 1"] = DataError("gone")
    watch = Quiet()
    summary = run_study(study, watch, jobs=3)
    assert [o.reason for o in summary.failed] == ["training: gone"] * 3
    assert sum(kind == "compress" for _, kind, _ in backwards.log) == 2 * 3
    assert sum(o.status == "failed" for o, _ in watch.lines) == 3


def test_ctrl_c_ends_what_runs_and_keeps_what_ended(fake, study, backwards):
    backwards.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        run_study(study, Quiet(), jobs=3)
    assert backwards.closed
    rows = store_rows(study)
    assert len(rows) == 3 + 1  # one ended when the study was stopped
    assert run_study(study, Quiet()).ran == 14 - 4


def test_a_study_that_was_not_measured_yet_has_its_accuracies(fake, study, backwards, capsys, monkeypatch):
    fake.errors["timing gcn cora dense seed 0"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_study(study, Quiet(), jobs=3)
    assert {outcome(cell, store_rows(study)).status for cell in cells(study)} == {"missing"}
    code, out, err = run(capsys, monkeypatch, "study", "table", study.path)
    assert (code, err) == (0, "")
    assert "81.00 ± 1.41" in out
    assert "p50" not in out
    assert "not measured yet (2 cells): `edgegnn study run` does what is missing" in out
    assert "not run yet" not in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "--jobs must be 1 or more"),
        ({"jobs": 2, "ray": "a:1"}, "leave one of them out"),
        ({"ray": "nowhere"}, "'nowhere' is no address of a Ray cluster: say HOST:PORT"),
    ],
)
def test_options_that_make_no_sense(fake, study, options, message):
    with pytest.raises(UsageError, match=message):
        run_study(study, Quiet(), **options)
    assert not study.store_path.exists()


# The real thing -----------------------------------------------------------------------------------------------------

TINY = """
prune = ["global"]
sparsities = [0.0, 0.6]
timing = "off"
[[case]]
models = ["gcn"]
data = ["data.pt"]
[case.architecture]
hidden = 8
[case.settings]
epochs = {epochs}
[case.finetune]
epochs = 2
"""


def tiny(folder: Path, epochs: int = 3):
    folder.mkdir(exist_ok=True)
    torch.save(community_graph(), folder / "data.pt")
    return study_of(folder, TINY.format(epochs=epochs))


@pytest.mark.slow
def test_processes_give_what_one_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(local.os, "cpu_count", lambda: 1)  # so many threads decide the last digits
    before = torch.get_num_threads()
    one, two = tiny(tmp_path / "one"), tiny(tmp_path / "two")
    torch.set_num_threads(1)
    try:
        serial = run_study(one, Quiet())
    finally:
        torch.set_num_threads(before)
    parallel = run_study(two, Quiet(), jobs=2)
    assert [o.status for o in parallel.outcomes] == ["done"] * 2
    for mine, theirs in zip(parallel.outcomes, serial.outcomes, strict=True):
        assert mine.compress | {"train_seconds": 0} == theirs.compress | {"train_seconds": 0}
    assert {p.name for p in two.files.iterdir()} == {p.name for p in one.files.iterdir()}


@pytest.mark.slow
def test_a_process_that_is_killed_takes_no_other_step_along(tmp_path):
    study = tiny(tmp_path)
    step = Step("dense", cells(study)[0])
    processes = local.Processes(study, 1)

    def kill() -> None:
        processes._workers[0].process.kill()

    try:
        processes.begin(step)
        kill()
        ((same, ended),) = processes.wait()  # done again, in a new process
        assert (same, ended.reason) == (step, "")
        processes.begin(step)
        kill()
        ((_, ended),) = processes.wait()
        assert ended.reason.startswith("its process was ended 2 times in the middle of it (out of memory?)")
        processes.begin(Step("compress", cells(study)[0]))
        ((_, ended),) = processes.wait()
        assert ended.reason == ""
    finally:
        processes.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(tmp_path, how):
    study = tiny(tmp_path, epochs=10**6)
    command = [*EDGEGNN, "study", "run", study.path, "--jobs", "2"]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("2 cells, 0 of them done")
        while not (children := psutil.Process(process.pid).children()):
            time.sleep(0.05)
        time.sleep(2)
        children = psutil.Process(process.pid).children()
        process.send_signal(how)
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert not psutil.wait_procs(children, timeout=60)[1]
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "stopped: 0 of 2 cells are done; the same command goes on from there" in err
        assert [p.name for p in study.files.iterdir()] == [".lock"]
