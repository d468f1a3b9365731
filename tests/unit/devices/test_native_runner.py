"""Devices without Python: a static program compiled here, brought there over SSH (an SSH server on loopback)."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from c_artifact import make_c_artifact
from loopback_sshd import Loopback, cmdline
from tiny_artifact import make_artifact, seal

from edgegnn.devices import load_target
from edgegnn.devices.native_runner import build_runner
from edgegnn.devices.native_runner.shell import Box
from edgegnn.devices.ship import rollback, ship
from edgegnn.devices.transport.ssh import Address
from edgegnn.errors import ArtifactError, TargetError
from edgegnn.plain_c.cross import linux_compiler
from edgegnn.profiling import profile, read_record
from edgegnn.runtime import open_artifact
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.facts import arch

SHORT = Plan(True, warmup_runs=2, warmup_seconds=0.0, runs=8, seconds=0.05, windows=1, window_seconds=0.05)
LONG = Plan(True, warmup_runs=2, warmup_seconds=0.0, runs=8, seconds=60.0)
TOOLS = "sh cat mkdir rm find chmod wc tr uname df tail id kill ln ls sort mv readlink expr"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_c_artifact(tmp_path_factory.mktemp("native") / "gin")


@pytest.fixture(scope="module")
def program(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner for this machine."""
    path = tmp_path_factory.mktemp("native") / "runner"
    path.write_bytes(build_runner(open_artifact(artifact), arch()).content)
    path.chmod(0o755)
    return path


@pytest.fixture
def box(board: Loopback) -> Loopback:
    """The SSH server as a device whose PATH has no Python."""
    tools = board.fakes / "bin"
    tools.mkdir()
    for name in TOOLS.split():
        (tools / name).symlink_to(shutil.which(name) or name)
    board.login(f'export PATH={tools} XDG_DATA_HOME={board.data}; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    board.target(python="")
    return board


def run(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False, timeout=60)


def test_the_program_proves_and_measures_itself(program: Path) -> None:
    proven = run(program, "verify")
    assert proven.returncode == 0, proven.stderr
    assert "3 graphs, 3 of 3 predictions as expected" in proven.stdout
    measured = run(program, "bench", "--quick", "--seconds", "0", "--warmup-seconds", "0")
    assert "latency    p50" in measured.stdout
    for wrong in (["nothing"], ["bench", "--seconds"], ["bench", "--foo", "1"]):
        assert run(program, *wrong).returncode == 2


def test_the_program_predicts(program: Path, artifact: Path, tmp_path: Path) -> None:
    with np.load(artifact / "samples.npz") as file:
        graph = {name: file[f"0000.{name}"] for name in ("x", "edge_index", "batch")}
        expected = file["0000.expected"]
    np.savez(tmp_path / "graph.npz", **graph)
    said = run(program, "predict", tmp_path / "graph.npz").stdout
    assert np.allclose([float(v) for v in said.split(":")[1].split()], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edge_index": np.full((2, 3), 99)}, "an index of a node is out of range"),
        ({"x": np.zeros((33, 5), np.float32)}, "the graph has 33 nodes, this runner was made for 32 at most"),
        ({"x": np.zeros((4, 6), np.float32)}, "x: its size 1 is 6, the model takes 5"),
        ({"x": np.zeros((4, 5), "U3")}, "an array has a type that the model doesn't take"),
        ({"batch": np.array([0, 1])}, "there is more than one graph in it"),
        ({"edge_index": None}, "edge_index: this array is missing"),
    ],
)
def test_bad_graphs_are_one_line(program: Path, tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    graph = {"x": np.zeros((4, 5), np.float32), "edge_index": np.zeros((2, 3), np.int64), **change}
    np.savez(tmp_path / "bad.npz", **{name: value for name, value in graph.items() if value is not None})
    done = run(program, "predict", tmp_path / "bad.npz")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr


def test_damaged_files_are_one_line(program: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", x=np.zeros((4, 5), np.float32), edge_index=np.zeros((2, 3), np.int64))
    good = (tmp_path / "good.npz").read_bytes()
    draw = np.random.default_rng(0)
    for i in range(60):
        bad = bytearray(good[: draw.integers(len(good))] if i % 3 == 0 else good)
        for place in draw.integers(0, max(len(bad), 1), 2 if i % 3 else 0):
            bad[place] ^= 1 << int(draw.integers(8))
        (tmp_path / "bad.npz").write_bytes(bad)
        done = run(program, "predict", tmp_path / "bad.npz")
        assert done.returncode in (0, 1), (i, done)
        assert done.stderr.count("\n") == done.returncode


def test_profile_of_a_device_without_python(artifact: Path, box: Loopback) -> None:
    record = profile(artifact, target="board", plan=SHORT)
    assert (record.runtime, record.how.runner, record.device.arch) == ("c", "native", arch())
    assert (record.agreement, record.metric) == (1.0, None)
    assert record.metric_reason == "1 of 4 graphs are beyond the limits of the C form"
    assert record.latency_ms.n >= 8
    assert 0 < record.latency_ms.min <= record.latency_ms.p50
    assert record.energy_j is None
    assert "the native runner reads no sensor" in record.energy_reason
    assert read_record(Path("profiles/board/gin.json")) == record
    assert box.leftovers() == []


def test_an_artifact_without_a_c_form(box: Loopback, tmp_path: Path) -> None:
    plain = make_artifact(tmp_path / "plain")
    with pytest.raises(TargetError, match=r"there is no python3 on it.*or export the model with --format c"):
        profile(plain, target="board", plan=SHORT)
    box.target(python="", runner="native")
    with pytest.raises(ArtifactError, match="plain has no C form: export it with"):
        profile(plain, target="board", plan=SHORT)


@pytest.mark.slow
def test_a_lost_connection_leaves_nothing(artifact: Path, box: Loopback) -> None:
    def cut() -> None:
        for _ in range(400):
            time.sleep(0.05)
            if any("/runner bench" in cmdline(pid) for pid in box.processes()):
                box.cut()
                return

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(TargetError, match="board: the connection was lost"):
        profile(artifact, target="board", plan=LONG)
    thread.join()
    assert box.leftovers() == []


@pytest.mark.slow
def test_a_full_disk(artifact: Path, box: Loopback) -> None:
    (box.fakes / "bin" / "cat").unlink()
    (box.fakes / "bin" / "cat").write_text("#!/bin/sh\necho 'cat: write error: No space left on device' >&2; exit 1\n")
    (box.fakes / "bin" / "cat").chmod(0o755)
    with pytest.raises(TargetError, match="board: its disk is full: free some space there"):
        profile(artifact, target="board", plan=SHORT)
    assert box.leftovers() == []
    with pytest.raises(TargetError, match=r"its disk is full: .* are needed, 10 B are free"):
        Box(Address("board", "127.0.0.1"), arch(), "/tmp", 10).folder().store(b"x" * 100)


@pytest.mark.slow
def test_ship_installs_versions(artifact: Path, box: Loopback, tmp_path: Path) -> None:
    first = ship(artifact, "board")
    assert (first.changed, first.verified, first.current[:5]) == (True, 3, "0001-")
    program = Path(first.folder) / "runner"
    assert run(program, "verify").returncode == 0
    again = ship(artifact, "board")
    assert (again.changed, again.current, again.sent_bytes) == (False, first.current, 0)
    other = shutil.copytree(artifact, tmp_path / "gin")
    facts = json.loads((other / "manifest.json").read_text())["parity"]
    seal(other, parity={**facts, "tolerance": {**facts["tolerance"], "max_abs_error": 2e-4}})  # in the program, too
    second = ship(other, "board")
    assert (second.changed, second.versions[0], second.current[:5]) == (True, first.current, "0002-")
    back = rollback("gin", load_target("board"))
    assert back.current == first.current
    with pytest.raises(TargetError, match="there is no version of gin before the one in use"):
        rollback("gin", load_target("board"))
    assert box.leftovers() == []


def test_processors_and_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match="no native runner can be made for sparc64, only for x86_64"):
        linux_compiler("sparc64")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TargetError, match=r"no C compiler for riscv64 here: pip install 'edgegnn\[cross\]'"):
        linux_compiler("riscv64")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "qemu"), [("aarch64", "qemu-aarch64"), ("armv7l", "qemu-arm"), ("riscv64", "qemu-riscv64")]
)
def test_other_processors(artifact: Path, tmp_path: Path, machine: str, qemu: str) -> None:
    if shutil.which(qemu) is None:
        pytest.skip(f"no {qemu} here: apt-get install qemu-user")
    try:
        program = build_runner(open_artifact(artifact), machine)
    except TargetError as error:
        pytest.skip(str(error))
    path = tmp_path / "runner"
    path.write_bytes(program.content)
    path.chmod(0o755)
    done = run(Path(shutil.which(qemu) or qemu), path, "verify", "--samples", path)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 predictions as expected" in done.stdout
