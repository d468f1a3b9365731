"""`profile`: the record, the runner in its own process, and what can go wrong with it."""

from __future__ import annotations

import io
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from profile_example import BLINK, record
from rich.console import Console
from rich.table import Table
from tiny_artifact import change_samples, make_artifact, seal

from edgegnn.cli.profile import edge_counts
from edgegnn.devices import target
from edgegnn.errors import ArtifactError, TargetError, UsageError
from edgegnn.profiling import (
    measure,
    newest_artifact,
    profile,
    read_record,
    render_operators,
    render_sweep,
    write_record,
)
from edgegnn.profiling.result import Followed
from edgegnn.runtime.benchmark import bench
from edgegnn.runtime.edge_sweep import resized
from edgegnn.runtime.facts import arch
from edgegnn.runtime.manifest import seal_manifest
from edgegnn.runtime.roles import FIXED, GRAPH


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.fixture
def artifact(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


@pytest.fixture
def no_rapl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "find_reader", lambda kind: (None, f"no {kind} here"))


@pytest.fixture
def no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_choose_energy", lambda *_: ("none", None, ["no meter"], ()))


def test_profile_with_an_estimate(artifact: Path, no_rapl: None) -> None:
    told: list[str] = []
    made = profile(artifact, quick=True, plan=BLINK, threads=1, progress=told.append, operators=True, sweep=(5, 50))
    local = {"x86_64": "x86", "aarch64": "arm64"}[arch()]
    path = Path("profiles") / local / "tiny.json"
    assert read_record(path) == made
    assert [p.name for p in path.parent.iterdir()] == ["tiny.json"]
    values = json.loads(path.read_text())
    assert len(values.pop("record_sha256")) == 64
    assert values == json.loads(json.dumps(made.to_dict()))
    assert next(iter(values)) == "format"
    assert values["format"] == "edgegnn-profile/1"
    assert (values["target"], values["artifact"], values["recipe"]) == (local, "tiny", "none")
    latency = values["latency_ms"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"]
    assert (latency["n"] >= 5, latency["threads"]) == (True, 1)
    assert values["throughput_per_s"] > 0
    assert 0 < values["cpu_percent"] <= 110
    assert values["memory_bytes"]["model_file"] == (artifact / "model.onnx").stat().st_size
    assert values["memory_bytes"]["peak_delta"] > 0
    assert values["metric"] == json.loads((artifact / "manifest.json").read_text())["samples_metric"]
    assert values["agreement"] == 1.0
    assert values["native_kernels"] is False
    assert values["how"]["runner"] == "artifact"
    assert values["how"]["quick"] is True
    energy = values["energy_j"]
    assert energy["kind"] == "estimated"
    assert energy["source"].startswith("codecarbon ")
    assert energy["gross"] > 0
    assert [w["load"] for w in energy["windows"]] == [False, True, True]
    assert values["energy_reason"] == "no rapl here" if arch() == "x86_64" else "no hwmon here; no pmic here"
    words = [text.split(" (about")[0] for text in told]
    windows = ["energy, idle", "energy, window 1 of 2", "energy, window 2 of 2"]
    assert words == [
        "preparing",
        "warm-up",
        "latency",
        "operators",
        "graphs of 5 edges",
        "graphs of 50 edges",
        *windows,
    ]
    assert [(p.edges, p.p50_ms is not None, p.n >= 5, p.reason) for p in made.sweep] == [
        (5, True, True, ""),
        (50, True, True, ""),
    ]
    assert "50" in rendered(render_sweep(made))
    assert values["start_ms"]["open"] > 0 < values["start_ms"]["first"]
    model = {node.op_type for node in onnx.load(artifact / "model.onnx").graph.node}
    times = made.operators
    assert times is not None
    assert len({node.op for node in times.nodes} & model) > 2  # beside those of inlined functions
    assert all(node.bytes > 0 and not node.native for node in times.nodes)
    assert sum(node.ms for node in times.nodes) > 0 < times.copy_bytes_per_s
    text = rendered(render_operators(made))
    assert all(node.op in text for node in times.nodes)


def rendered(table: Table) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_operators_are_timed_where_they_can_be(artifact: Path) -> None:
    for name, reason in (("emulated-pi", "not a measurement"), ("cuda", "on the CPU only")):
        with pytest.raises(UsageError, match=f"{reason}.*leave --operators out"):
            profile(artifact, target=name, operators=True)
    with pytest.raises(UsageError, match="leave --sweep-edges out"):
        profile(artifact, target="emulated-pi", sweep=(10,))


def test_numbers_of_edges_to_sweep_over() -> None:
    assert edge_counts("1k:25k") == [1000, 3000, 10_000]
    assert edge_counts("20k,5,5") == [5, 20_000]
    for text in ("", "5k:1k", "1G", "0", "-3", "1k:", "1.5k"):
        with pytest.raises(UsageError, match="--sweep-edges"):
            edge_counts(text)


def test_a_graph_of_another_size_keeps_its_density() -> None:
    random = np.random.default_rng(0)
    inputs = {
        "x": random.normal(size=(10, 3)).astype(np.float32),
        "edge_index": random.integers(0, 10, (2, 30)),
        "edge_attr": random.normal(size=(30, 2)).astype(np.float32),
        "batch": np.repeat([0, 1], 5),
        "u": random.normal(size=(2, 4)).astype(np.float32),
        "scale": np.float32(2.0),
    }
    roles = {"u": GRAPH, "scale": FIXED}
    for factor, nodes, edges, graphs in ((2.5, 25, 75, 5), (0.1, 1, 3, 1)):
        found = resized(inputs, roles, factor)
        assert {name: value.shape for name, value in found.items()} == {
            "x": (nodes, 3),
            "edge_index": (2, edges),
            "edge_attr": (edges, 2),
            "batch": (nodes,),
            "u": (graphs, 4),
            "scale": (),
        }
        assert 0 <= found["edge_index"].min() <= found["edge_index"].max() < nodes
        assert sorted(set(found["batch"].tolist())) == list(range(graphs))
        assert (np.diff(found["batch"]) >= 0).all()


class Closed:
    """A reader that is there, and is let go again: the runner is to read it."""

    def close(self) -> None:
        pass


def test_energy_that_the_device_reads(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where RAPL is readable the runner reads it itself; a test machine may have none, so the runner is replaced."""
    seen: list[list[str]] = []

    def answer(command: list[str], **options: Any) -> Followed:
        seen.append(command)
        assert options["reader"] is None
        idle = {"load": False, "seconds": 1.0, "iterations": 0, "joules": 5.0}
        load = {"load": True, "seconds": 1.0, "iterations": 10, "joules": 9.0, "steps": 900.0}
        energy = {**record().to_dict()["energy_j"], "windows": [idle, load, load]}
        said = bench(artifact, plan=BLINK, threads=1, energy="none") | {"energy_j": energy, "energy_reason": ""}
        return Followed(json.dumps(said).encode(), (), "", 60.0)

    monkeypatch.setattr(measure, "find_reader", lambda kind: (Closed(), ""))
    monkeypatch.setattr(target, "arch", lambda: "x86_64")
    monkeypatch.setattr(measure, "arch", lambda: "x86_64")
    monkeypatch.setattr(measure, "follow", answer)
    made = profile(artifact, target="x86", out=None, plan=BLINK, threads=1)
    assert made.energy_j is not None
    assert (made.energy_j.gross, made.energy_j.net, made.energy_j.source) == (0.9, 0.4, "RAPL (package-0)")
    assert made.energy_reason == ""
    assert seen[0][seen[0].index("--energy") + 1] == "device"
    assert seen[0][seen[0].index("--readers") + 1] == "rapl"
    assert seen[0][:3] == [sys.executable, str(artifact / "run.pyz"), "bench"]


def test_no_energy_keeps_the_rest(artifact: Path, no_energy: None, tmp_path: Path) -> None:
    made = profile(artifact, plan=BLINK, threads=1, out=None)
    assert made.energy_j is None
    assert made.energy_reason == "no meter"
    assert not (tmp_path / "profiles").exists()


def test_a_zip_is_profiled_too(artifact: Path, no_energy: None) -> None:
    with zipfile.ZipFile("tiny.zip", "w") as archive:
        for file in artifact.iterdir():
            archive.write(file, f"tiny/{file.name}")
    assert profile("tiny.zip", plan=BLINK, threads=1, out=None).artifact == "tiny"


def test_runner_that_came_with_a_stranger_is_not_run(artifact: Path, no_energy: None, tmp_path: Path) -> None:
    (artifact / "run.pyz").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    seal(artifact)
    made = profile(artifact, plan=BLINK, threads=1, out=None)
    assert made.how.runner == "installed"
    assert not (tmp_path / "ran").exists()


def test_artifact_that_does_not_hold_gives_no_record(artifact: Path, no_energy: None, tmp_path: Path) -> None:
    change_samples(artifact, lambda a: a.update({"0000.expected": a["0000.expected"] + 1}))
    with pytest.raises(TargetError, match=r"the runner failed: the artifact doesn't hold on this machine: sample 0"):
        profile(artifact, plan=BLINK, threads=1)
    assert not (tmp_path / "profiles").exists()


def test_bad_requests(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown target"):
        profile(artifact, target="rocket")
    with pytest.raises(UsageError, match="threads"):
        profile(artifact, threads=-2)
    with pytest.raises(ArtifactError, match="there is no artifact"):
        profile("nothing")
    monkeypatch.setattr(measure, "arch", lambda: "riscv64")
    with pytest.raises(TargetError, match="this machine is riscv64"):
        profile(artifact, target="x86")


def test_place_of_the_record(artifact: Path, no_energy: None, tmp_path: Path) -> None:
    local = {"x86_64": "x86", "aarch64": "arm64"}[arch()]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TargetError, match="can't write the record"):
        profile(artifact, out=tmp_path / "file")
    place = tmp_path / "profiles" / local / "tiny.json"
    write_record(record(artifact="old"), place)
    assert profile(artifact, plan=BLINK, threads=1) == read_record(place)
    place.write_text("my notes")
    with pytest.raises(TargetError, match="is no profile record: move it"):
        profile(artifact)
    assert place.read_text() == "my notes"


def test_newest_artifact_by_the_time_in_its_manifest(artifact: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(artifact, tmp_path / "older"))
    manifest = json.loads((artifact / "manifest.json").read_text())
    seal(artifact, {**manifest, "created": "2026-03-01T00:00:00Z"})
    seal(older, {**manifest, "created": "2026-02-28T23:00:00Z"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (tmp_path / "notes.zip").write_text("no zip")
    (tmp_path / "empty").mkdir()
    assert newest_artifact() == Path("tiny")
    with zipfile.ZipFile("newer.zip", "w") as archive:
        newer = seal_manifest({**manifest, "created": "2026-04-01T00:00:00+02:00"})
        archive.writestr("manifest.json", json.dumps(newer))
    assert newest_artifact(tmp_path) == tmp_path / "newer.zip"


def test_no_artifact_here(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UsageError, match=r"no artifact in .*edgegnn export"):
            newest_artifact(folder)
