"""`study run --ray`: what travels to workers and back, addresses that don't answer, and a real cluster of two nodes."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest
import torch
from command_line import community_graph
from study_example import Quiet, store_rows, study_of

import edgegnn
from edgegnn.errors import StudyError, UsageError
from edgegnn.quantize import recipe
from edgegnn.studies import Step, cells, cluster, local, steps
from edgegnn.studies import run as run_study
from edgegnn.utils import extras

TINY = """
prune = ["global"]
sparsities = {sparsities}
quant = ["mine.json"]
seeds = {seeds}
timing = "off"
[[case]]
models = ["gcn"]
data = ["data.pt"]
[case.architecture]
hidden = 8
[case.settings]
epochs = {epochs}
[case.finetune]
epochs = {epochs}
"""


def tiny(folder: Path, epochs: int = 3, sparsities: str = "[0.0, 0.5]", seeds: str = "[0, 1]"):
    folder.mkdir(exist_ok=True)
    torch.save(community_graph(), folder / "data.pt")
    (folder / "mine.json").write_text(json.dumps({**recipe("dq-int8").to_dict(), "name": "mine"}))
    return study_of(folder, TINY.format(epochs=epochs, sparsities=sparsities, seeds=seeds))


def parcel(study, step, files=()):
    return cluster.Parcel(study, step, edgegnn.__version__, list(files))


# What travels -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_gives_what_a_local_run_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    study = tiny(tmp_path / "study", sparsities="[0.5]", seeds="[0]")
    try:
        found = run_study(study, Quiet()).outcomes[-1]
        there = {p.name for p in study.files.iterdir() if found.cell.compress_key in p.name}
        assert len(there) == 2  # checkpoint and artifact
        # The driver's folder moves away: a worker has only what it is sent.
        sent = [Path(study.path).with_name(name).read_bytes() for name in ("data.pt", "mine.json")]
        paths = [str(study.folder / name) for name in ("data.pt", "mine.json")]
        study.folder.rename(tmp_path / "away")
        dense, made = cluster.work(parcel(study, Step("dense", found.cell), paths), None, *sent)
        assert dense.result | {"train_seconds": 0} == found.dense | {"train_seconds": 0}
        step = Step("compress", found.cell)
        ended, files = cluster.work(parcel(study, step, paths), made["checkpoint"], *sent)
        assert ended.reason == ""
        assert ended.result | {"train_seconds": 0} == found.compress | {"train_seconds": 0}
    finally:
        torch.set_num_threads(before)
    study.files.mkdir(parents=True)
    cluster.unpack(study, step, files)
    assert {p.name for p in study.files.iterdir()} == there
    manifest = json.loads((steps.artifact_path(study, found.cell) / "manifest.json").read_text())
    assert (manifest["task"]["data"], manifest["command"]) == (paths[0], "edgegnn study run")


def test_a_worker_with_another_edgegnn_says_so_and_does_nothing(tmp_path):
    study = tiny(tmp_path)
    old = dataclasses.replace(parcel(study, Step("dense", cells(study)[0])), version="0.0.1")
    ended, files = cluster.work(old, None)
    assert "of the Ray cluster has edgegnn" in ended.reason
    assert "install edgegnn 0.0.1 there" in ended.reason
    assert not files


@pytest.mark.parametrize("name", ["../evil", "/evil", "model.onnx", "evil"])
def test_an_artifact_that_is_none_is_not_unpacked(tmp_path, name):
    study = tiny(tmp_path)
    study.files.mkdir()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr(name, "x")
    step = Step("compress", cells(study)[0])
    before = sorted(tmp_path.rglob("*"))

    def keep():
        cluster.unpack(study, step, {"artifact": packed.getvalue()})
        return {}

    assert local.attempt("compress", study.files, keep).reason.startswith("compressing: ")
    assert sorted(tmp_path.rglob("*")) == before


# Addresses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":1", "host:0", "host:65536", "http://host:1", "ray://", "a b:1"]
)
def test_what_is_no_address(address):
    with pytest.raises(UsageError, match="is no address of a Ray cluster: say HOST:PORT, ray://HOST:PORT, or auto"):
        cluster.check_address(address)


@pytest.mark.parametrize("address", ["auto", "host:6379", "10.0.0.1:6379", "[::1]:6379", "ray://host:10001"])
def test_what_is_an_address(address):
    cluster.check_address(address)


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_where_nothing_or_something_else_listens(tmp_path, monkeypatch, prefix):
    monkeypatch.setattr(cluster, "_ANSWER", 0.5)
    study = tiny(tmp_path)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"{prefix}127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(
            StudyError, match=rf"no Ray cluster at {address} \(Connection refused\): give the HOST:PORT"
        ):
            run_study(study, Quiet(), ray=address)
        server.listen()
        with pytest.raises(StudyError, match=f"what listens at {address} is no Ray cluster"):
            run_study(study, Quiet(), ray=address)
    assert store_rows(study) == {}


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'edgegnn\[cluster\]'"):
        run_study(tiny(tmp_path), Quiet(), ray="127.0.0.1:1")


# The real thing -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_nodes():
    """Address of a cluster of two nodes with one CPU each, and the process of the second one's raylet."""
    command = [sys.executable, str(Path(__file__).parents[2] / "support" / "ray_cluster.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address, raylet = process.stdout.readline().split()
        yield address, int(raylet)
        process.stdin.close()
        process.wait(60)


def start(study, address):
    """`edgegnn study run --ray`, one thread each."""
    # A job in the background, and what it starts, would ignore Ctrl-C.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; import edgegnn.cli.start; edgegnn.cli.start.main()"
    command = [sys.executable, "-c", code, "study", "run", study.path, "--ray", address, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_line(process, beginning):
    for line in process.stderr:
        if line.startswith(beginning):
            return
    raise AssertionError(f"no line {beginning!r}")


def at_work(raylet):
    """Whether a node is doing a step."""
    for child in psutil.Process(raylet).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end meanwhile
            if child.name().startswith("ray::work"):
                return True
    return False


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_study_goes_through_the_loss_of_a_node(two_nodes, tmp_path):
    address, raylet = two_nodes
    # Names of one length: a checkpoint holds the path of its data, and sizes are compared below.
    study = tiny(tmp_path / "cluster", epochs=30)
    local_run = tiny(tmp_path / "machine", epochs=30)

    # Ctrl-C: what ended stays, and what runs on the cluster is stopped.
    with start(study, address) as process:
        until_line(process, "[1/4]")
        until(lambda: at_work(raylet))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "of 4 cells are done; the same command goes on from there" in err
    assert "Traceback" not in err
    until(lambda: not at_work(raylet))
    before = store_rows(study)
    assert 2 <= len(before) < 6

    # A node dies in the middle of a step.
    with start(study, address) as process:
        until_line(process, "4 cells, ")
        until(lambda: at_work(raylet))
        os.kill(raylet, signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    summary = json.loads(out)
    assert (summary["done"], summary["failed"], summary["steps_run"]) == (4, [], 6 - len(before))
    assert all(line.startswith("[") for line in err.splitlines()), err  # nothing from Ray

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_study(local_run, Quiet())
    finally:
        torch.set_num_threads(threads)
    there, here = store_rows(study), store_rows(local_run)
    assert there.keys() == here.keys()
    for key, row in there.items():
        other = {"train_seconds": 0, "data": ""}  # the data's path is that of the study
        assert row.result | other == here[key].result | other
    assert {p.name for p in study.files.iterdir()} == {p.name for p in local_run.files.iterdir()}
