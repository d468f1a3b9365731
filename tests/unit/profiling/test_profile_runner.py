"""The runner in its own process: events, readers round its windows, and every way to die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_artifact import make_artifact

from edgegnn.errors import TargetError
from edgegnn.profiling.runner import follow
from edgegnn.runtime.energy import Reading, ReadingError


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "tiny")


def script(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def emit(**event: Any) -> str:
    return f"print({json.dumps(event)!r}, flush=True)"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", r"ended by SIGKILL \(out of memory\?\)"),
        ("import os; os.kill(os.getpid(), 4)", r"ended by SIGILL \(this onnxruntime uses instructions"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "ended by SIGTERM"),
        ("raise SystemExit('noise\\nedgegnn: error: no model\\nmore noise')", "^the runner failed: no model$"),
        ("import sys; sys.exit(7)", "exit status 7$"),
        ("raise ValueError('what')", "exit status 1: ValueError: what"),
        ("print('hello')", "ended without a result"),
        ('print(\'{"event": "result"}\')', "ended without a result"),
        ("print('[' * 100000); print('{'); print('[]')", "ended without a result"),
    ],
)
def test_runner_dies(code: str, message: str) -> None:
    with pytest.raises(TargetError, match=message) as error:
        follow(script(code), timeout=30)
    assert "\n" not in str(error.value)


def test_runner_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="can't start"):
        follow([str(tmp_path / "nothing")], timeout=5)


def test_runner_that_hangs_is_ended_with_all_it_started() -> None:
    begin = time.monotonic()
    pids: list[int] = []
    code = """
        import subprocess, sys, time, json
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(json.dumps({"event": "phase", "phase": str(child.pid)}), flush=True)
        time.sleep(60)
    """
    with pytest.raises(TargetError, match="took longer than 1 s"):
        follow(script(code), timeout=1.0, on_event=lambda e: pids.append(int(e.phase)))
    assert time.monotonic() - begin < 10
    assert ended(pids[0])


def ended(pid: int) -> bool:
    """Gone, or dead and waiting for its parent to notice."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_python_settings_of_this_process_do_not_reach_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("KEPT", "yes")
    code = """
        import json, os
        names = {"result": {k: v for k, v in os.environ.items() if k in ("PYTHONPATH", "KEPT")}}
        print(json.dumps({"event": "result", **names}))
    """
    assert json.loads(follow(script(code), timeout=30).result) == {"KEPT": "yes"}


class Meter:
    source, scope, kind = "meter", "board", "measured"

    def __init__(self, fail_at: int = 99) -> None:
        self.calls: list[str] = []
        self.fail_at = fail_at

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> Reading:
        self.calls.append("stop")
        if len(self.calls) >= self.fail_at:
            raise ReadingError("the meter fell off")
        return Reading(float(len(self.calls)))


WINDOWS = f"""
    import sys
    for i in range(3):
        {emit(event="window_ready")}
        assert sys.stdin.readline() == "go\\n"
        {emit(event="window_end")}
    {emit(event="result", result={})}
"""


def test_reader_runs_round_every_window() -> None:
    meter = Meter()
    followed = follow(script(WINDOWS), timeout=30, reader=meter)
    assert meter.calls == ["start", "stop"] * 3
    assert [r and r.joules for r in followed.readings] == [2.0, 4.0, 6.0]
    assert (followed.result, followed.problem) == (b"{}", "")


def test_reader_that_fails_costs_the_energy_only() -> None:
    followed = follow(script(WINDOWS), timeout=30, reader=Meter(fail_at=4))
    assert followed.readings == (Reading(2.0), None, None)
    assert followed.problem == "the meter fell off"


def test_interrupt_leaves_nothing_running(artifact: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle of the windows: the runner is gone, no record is left."""
    code = f"""
        import pathlib, signal, sys
        from edgegnn.profiling import machine_lock, profile
        machine_lock.lock_path = lambda: pathlib.Path({str(tmp_path / "machine.lock")!r})  # not behind other tests
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
        try:
            profile({str(artifact)!r}, threads=1, progress=lambda text: print(text, flush=True))
        except KeyboardInterrupt:
            sys.exit(130)
    """
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": root}
    process = subprocess.Popen(script(code), stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.startswith("warm-up"):
                break
        runner = [
            int(pid.name)
            for pid in Path("/proc").iterdir()
            if pid.name.isdigit() and str(artifact / "run.pyz") in cmdline(pid)
        ]
        assert len(runner) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert ended(runner[0])
    assert not (tmp_path / "profiles").exists()


def cmdline(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
