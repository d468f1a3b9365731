"""Profiling over SSH: the record that comes home, and every fault of a device; each leaves nothing there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from command_line import EDGEGNN
from device_facts import known
from loopback_sshd import Loopback
from profile_example import BLINK_THERE, record
from sweep import sweep
from tiny_artifact import change_samples, make_artifact, seal

from edgegnn.cli import start
from edgegnn.devices import load_target, targets
from edgegnn.devices.readiness import board as in_words
from edgegnn.devices.readiness import broken_runtime, check, pins, wrong_machine
from edgegnn.devices.transport.answers import Facts
from edgegnn.errors import TargetError, UsageError
from edgegnn.profiling import profile, read_record
from edgegnn.profiling.parallel import profile_all
from edgegnn.profiling.record import ProfileRecord
from edgegnn.profiling.table import render, render_targets
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.facts import arch

pytestmark = pytest.mark.slow  # each starts an SSH server and waits for what goes wrong

LONG = Plan(True, warmup_runs=2, warmup_seconds=0.02, runs=5, seconds=60.0, windows=2, window_seconds=0.1)
RECORD = Path("profiles/board/tiny.json")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.fixture
def artifact(pristine: Path, board: Loopback, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


def measure(**options: Any) -> ProfileRecord:
    return profile("tiny", **{"target": "board", "plan": BLINK_THERE, "threads": 1, **options})


def when(phase: str, action: Callable[[], object]) -> Callable[[str], None]:
    """A progress function that does something once, in a phase."""
    done = threading.Event()

    def tell(text: str) -> None:
        if text.startswith(phase) and not done.is_set():
            done.set()
            action()

    return tell


def fine_again(board: Loopback) -> None:
    """Nothing is left there, no record was written, and the next call works."""
    assert board.leftovers() == []
    assert not RECORD.exists()
    assert measure().agreement == 1.0
    assert board.leftovers() == []


def test_record_comes_home(board: Loopback, artifact: Path) -> None:
    told: list[str] = []
    made = measure(progress=told.append)
    assert read_record(RECORD) == made
    assert (made.target, made.artifact, made.agreement) == ("board", "tiny", 1.0)
    assert (made.how.transport, made.how.host, made.how.runner) == ("ssh", "127.0.0.1", "artifact")
    assert made.device.arch == arch()
    assert made.device.clock_skew_seconds is None
    assert made.latency_ms.threads == 1
    words = [text.split(" (about")[0] for text in told]
    assert [w for w in words if not w.startswith("sending")][:3] == ["preparing", "connecting", "starting"]
    assert "latency" in words
    assert board.leftovers() == []
    again: list[str] = []
    measure(progress=again.append)
    assert not any(text.startswith("sending") for text in again)


def test_nothing_secret_in_a_record(board: Loopback, artifact: Path) -> None:
    measure()
    text = RECORD.read_text()
    for secret in (str(board.key), str(board.folder), board.key.read_text().splitlines()[2], f":{board.port}"):
        assert secret not in text


def test_port_and_key_on_the_command_line(
    board: Loopback, artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board.target(host="nowhere.invalid", port=1, identity="")
    key = Path(shutil.copy(board.key, "key"))
    key.chmod(0o600)
    user = load_target("board").user
    options = ["--host", f"{user}@127.0.0.1", "--port", str(board.port), "--identity", "key", "--quick", "--json"]
    assert run(monkeypatch, "profile", "tiny", "--target", "board", *options) == 0
    assert json.loads(capsys.readouterr().out)["how"]["transport"] == "ssh"
    assert run(monkeypatch, "profile", "tiny", "--target", "board", "--target", "local", *options) == 2
    assert "are for one --target" in capsys.readouterr().err


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edgegnn", *arguments])
    with pytest.raises(SystemExit) as stop:
        start.main()
    return int(stop.value.code or 0)


# -- faults -----------------------------------------------------------------------------------------------------------


def test_cut_in_mid_transfer(board: Loopback, artifact: Path) -> None:
    (artifact / "more.bin").write_bytes(os.urandom(20_000_000))
    seal(artifact)
    with pytest.raises(TargetError, match=r"^board: the connection was lost"):
        measure(progress=when("sending", board.cut))
    fine_again(board)


def test_cut_in_mid_measurement(board: Loopback, artifact: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(TargetError, match=r"the connection was lost .*nothing is left running there"):
        measure(plan=LONG, progress=when("latency", board.cut))
    assert time.monotonic() - begin < 40
    fine_again(board)


def test_what_was_measured_before_a_cut_stays(board: Loopback, artifact: Path) -> None:
    other = Path(shutil.copytree(artifact, "other"))
    seal(other, {**json.loads((other / "manifest.json").read_text()), "name": "other"})
    cut = when("other (2 of 2): latency", board.cut)
    pairs = profile_all(
        ["tiny", "other"], [load_target("board")], plan=BLINK_THERE, threads=1, progress=lambda _, text: cut(text)
    )
    assert [pair.record is not None for pair in pairs] == [True, False]
    assert "the connection was lost" in str(pairs[1].error)
    assert read_record(RECORD) == pairs[0].record
    assert not RECORD.with_name("other.json").exists()
    RECORD.unlink()
    fine_again(board)


def test_runner_killed_for_memory(board: Loopback, artifact: Path) -> None:
    with pytest.raises(TargetError, match=r"^board: the runner was ended by SIGKILL \(out of memory\?\)"):
        measure(plan=LONG, progress=when("latency", lambda: os.kill(board.runner(), signal.SIGKILL)))
    fine_again(board)


def test_onnxruntime_that_dies_on_import(board: Loopback, artifact: Path) -> None:
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    board.target(python=board.python("crash", onnxruntime=crash))
    with pytest.raises(TargetError, match=r"SIGILL .*is known to work.*edgegnn targets setup board --onnxruntime 1\."):
        measure()
    steps = {step.name: step for step in check(load_target("board"))}
    assert (steps["onnxruntime"].state, steps["Python"].state) == ("failed", "ok")
    assert "SIGILL" in steps["onnxruntime"].detail
    board.target()
    fine_again(board)


def test_onnxruntime_that_is_missing(board: Loopback, artifact: Path) -> None:
    bare = board.python("bare", "from importlib import metadata; metadata.distributions = lambda **k: []")
    board.target(python=bare)
    with pytest.raises(TargetError, match=r"has no numpy and no onnxruntime: edgegnn targets setup board"):
        measure()
    board.target(python=board.python("half", numpy="raise ImportError('no numpy')"))
    with pytest.raises(TargetError, match=r"this runner needs.*\(edgegnn targets setup board installs them\)"):
        measure()
    board.target()
    fine_again(board)


def test_another_kind_of_machine(board: Loopback, artifact: Path) -> None:
    other = "aarch64" if arch() == "x86_64" else "x86_64"
    board.target(arch=other)
    with pytest.raises(TargetError, match=f"it is {arch()}, and the target is {other}"):
        measure()
    board.target()
    fine_again(board)


def test_artifact_that_computes_something_else(board: Loopback, artifact: Path) -> None:
    right = (artifact / "samples.npz").read_bytes()
    change_samples(artifact, lambda a: a.update({"0000.expected": a["0000.expected"] + 1}))
    with pytest.raises(TargetError, match=r"^board: the runner failed: the artifact doesn't hold on this machine"):
        measure()
    (artifact / "samples.npz").write_bytes(right)
    seal(artifact)
    fine_again(board)


def test_two_at_the_same_time(board: Loopback, artifact: Path) -> None:
    failures: list[str] = []

    def second() -> None:
        with pytest.raises(TargetError) as error:
            measure(out=None)
        failures.append(str(error.value))

    assert measure(plan=BLINK_THERE, progress=when("latency", second)).agreement == 1.0
    assert failures[0].startswith("board: busy: another edgegnn works on it now")
    RECORD.unlink()
    fine_again(board)


def test_clock_that_is_wrong_by_years(board: Loopback, artifact: Path) -> None:
    past = "import time; now = time.time; time.time = lambda: now() - 30 * 365 * 86400"
    board.target(python=board.python("past", past))
    made = measure()
    assert made.created[:10] == datetime.now(timezone.utc).strftime("%Y-%m-%d")
    assert made.device.clock_skew_seconds == pytest.approx(-30 * 365 * 86400, abs=100)
    step = next(s for s in check(load_target("board")) if s.name == "clock")
    assert (step.state, step.detail) == ("warning", "10950 days behind")


@pytest.mark.parametrize("number", sweep([signal.SIGINT, signal.SIGKILL], lambda i: i == 1))
def test_interrupt_here_leaves_nothing_running_there(board: Loopback, artifact: Path, number: signal.Signals) -> None:
    command = [*EDGEGNN, "profile", "tiny", "--target", "board"]
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.DEVNULL)
    board.runner()
    process.send_signal(number)
    assert process.wait(30) == (130 if number == signal.SIGINT else -9)
    fine_again(board)


# -- several ----------------------------------------------------------------------------------------------------------


def test_several_artifacts_on_several_targets(
    board: Loopback, artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(artifact, "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    seal(other, {**manifest, "name": "other"})
    broken = Path(shutil.copytree(artifact, "broken"))
    (broken / "model.onnx").write_bytes(b"no")
    local = load_target("local")
    told: list[tuple[str, str]] = []
    pairs = profile_all(
        ["tiny", "broken", "other"],
        [load_target("board"), local],
        plan=BLINK_THERE,
        threads=1,
        progress=lambda name, text: told.append((name, text)),
    )
    assert [(p.artifact, p.target, p.record is not None) for p in pairs] == [
        ("tiny", "board", True),
        ("tiny", local.name, True),
        ("broken", "board", False),
        ("broken", local.name, False),
        ("other", "board", True),
        ("other", local.name, True),
    ]
    assert "model.onnx has been changed" in str(pairs[2].error)
    assert ("board", "done") in told
    assert sorted(str(p) for p in Path("profiles").rglob("*.json")) == sorted(
        f"profiles/{t}/{a}.json" for t in ("board", local.name) for a in ("tiny", "other")
    )
    assert run(monkeypatch, "profile", "tiny", "broken", "--target", "board", "--quick", "--json") == 1
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    assert values[0]["artifact"] == "tiny"
    assert "has been changed" in values[1]["error"]
    assert captured.err.startswith("edgegnn: broken on board: ")


def test_interrupt_of_several(board: Loopback, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches the threads that wait for devices."""

    def interrupt(_: object) -> None:
        board.runner()
        raise KeyboardInterrupt

    monkeypatch.setattr("edgegnn.profiling.parallel.wait", interrupt)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        profile_all(["tiny", "tiny"], [load_target("board")], plan=LONG, threads=1)
    assert time.monotonic() - begin < 40
    fine_again(board)


# -- targets ----------------------------------------------------------------------------------------------------------


def test_table_of_targets(board: Loopback, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = {info.name: info for info in targets()}
    import onnxruntime

    assert found["board"].reachable
    assert found["board"].runtime == onnxruntime.__version__
    assert "nobody has said where it is" in found["rpi"].reason
    assert render_targets(list(found.values())).row_count == len(found)
    board.target(port=1)
    assert run(monkeypatch, "targets", "--json") == 0
    listed = {t["name"]: t for t in json.loads(capsys.readouterr().out)}
    assert "refuses connections to port 1" in listed["board"]["reason"]


def test_check(board: Loopback, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "targets", "check", "board", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["ok"] is True
    assert [s["state"] for s in values["steps"] if s["state"] not in ("ok", "warning")] == []
    assert run(monkeypatch, "targets", "check", "board", "--port", "1") == 1
    out = capsys.readouterr().out
    assert "refuses connections" in " ".join(out.split())
    assert "board is not ready" in out
    assert run(monkeypatch, "targets", "check", "local") == 0
    board.target(python=board.python("old", "import sys; sys.version_info = (3, 7, 1, 'final', 0)"))
    steps = {s.name: s for s in check(load_target("board"))}
    assert (steps["connection"].state, steps["Python"].state, steps["memory"].state) == ("ok", "failed", "skipped")
    assert board.leftovers() == []


def facts(**changes: Any) -> Facts:
    board = {"machine": arch(), "model": "Raspberry Pi 4 Model B Rev 1.4", "os": "Debian", "python": "3.11.2"}
    return known(**{**board, **changes})


def test_checks_of_recorded_boards(board: Loopback) -> None:
    target = load_target("board")
    assert wrong_machine(facts(), target) == ""
    assert "32-bit under a 64-bit kernel" in wrong_machine(facts(machine="aarch64", bits=32), target)
    assert "userland is 32-bit: " not in wrong_machine(facts(machine="armv7l", bits=32), target)
    assert "install the 64-bit system" in wrong_machine(facts(machine="armv7l", bits=32), target)
    assert "install the 64-bit system" in wrong_machine(facts(machine="aarch64"), target, shell_bits=32)
    assert "onnxruntime 1.21.0" in broken_runtime(facts(), target)
    assert f"--onnxruntime {pins('3.11.2')[0]}" in broken_runtime(facts(), target)
    assert "--onnxruntime 1.20.1" in broken_runtime(facts(packages={"onnxruntime": pins("3.11.2")[0]}), target)
    assert pins("3.9.2")[0] == "1.19.2"
    assert pins("3.14.0")[0] == pins("3.11.2")[0]
    four = in_words(facts(machine="aarch64"))
    assert "without dot-product" in four
    assert "no power sensor" in four
    five = in_words(facts(machine="aarch64", model="Raspberry Pi 5 Model B", dotprod=True))
    assert "with dot-product" in five
    assert "PMIC" in five


def test_throttling_is_said_below_the_table() -> None:
    import msgspec

    made = record(target="pi")
    hot = msgspec.structs.replace(made, device=msgspec.structs.replace(made.device, throttled="50000"))
    assert "pi: under-voltage since boot, throttled since boot: edgegnn targets check pi" in str(render([hot]).caption)
    assert "boot" not in str(render([made]).caption)


def test_unknown_target(board: Loopback) -> None:
    with pytest.raises(UsageError, match="unknown target"):
        profile("tiny", target="nothing")
