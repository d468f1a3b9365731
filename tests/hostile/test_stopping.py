"""Real signals, and streams that take nothing: one line, no traceback, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import EDGEGNN, files
from sweep import sweep
from tiny_artifact import make_artifact

START = """
import signal, time, weakref
signal.signal(signal.SIGINT, signal.default_int_handler)
from edgegnn.cli import app, start
def say(text): print(text, flush=True); time.sleep(60)
class Thing: pass
"""
END = "\napp.app = command; start.main()"
SWALLOWS = f"""{START}
def command(**_):
    thing = Thing()
    kept = weakref.ref(thing, lambda _: say("waiting"))
    del thing
    say("going on")
{END}"""
CLEANS_UP = f"""{START}
def command(**_):
    try: say("working")
    finally: say("cleaning")
{END}"""


def started(folder: Path, *command: str, **options: object) -> subprocess.Popen[str]:
    environment = os.environ | {"TMPDIR": str(folder / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    (folder / "tmp").mkdir(exist_ok=True)
    pipe = subprocess.PIPE
    # Under nohup the signal is ignored here, and what is started would ignore it, too.
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_an_interrupt_that_a_library_swallows_is_sent_again(tmp_path):
    process = started(tmp_path, sys.executable, "-c", SWALLOWS)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, err) == (130, "edgegnn: interrupted: nothing half-written is left\n")
    assert out in ("", "going on\n")


def test_the_second_interrupt_ends_at_once(tmp_path):
    process = started(tmp_path, sys.executable, "-c", CLEANS_UP)
    assert process.stdout is not None
    for line in ("working\n", "cleaning\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("after", sweep([0.15, 0.4, 1.0, 2.0], lambda i: i % 2 == 1))
def test_an_interrupt_while_libraries_are_imported(tmp_path, after):
    process = started(tmp_path, *EDGEGNN, "train", "gcn", "digits-knn", "--epochs", "100000")
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code in (130, -signal.SIGINT)  # before our first line Python's own answer is all there is
    if code == 130:
        assert err.splitlines()[-1] == "edgegnn: interrupted: nothing half-written is left"
        assert "Traceback" not in err
    assert files(tmp_path / "tmp") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", sweep([signal.SIGTERM, signal.SIGHUP], lambda i: i == 0))
def test_stopped_in_training(tmp_path, number):
    """Nothing is left in the temporary folder, and of PyG's files nothing while it runs but in one folder."""
    process = started(tmp_path, *EDGEGNN, "train", "gat", "digits-knn", "--epochs", "100000")
    until(lambda: any((tmp_path / "tmp").glob("edgegnn-pyg-*/*.py")), process)
    time.sleep(1)
    assert [p.name for p in (tmp_path / "tmp").iterdir() if not p.name.startswith("edgegnn-pyg-")] == []
    process.send_signal(number)
    code, _, err = ended(process)
    assert code == 128 + number
    assert err.splitlines()[-1] == f"edgegnn: stopped by {number.name}: nothing half-written is left"
    assert "Traceback" not in err
    assert files(tmp_path) == ["tmp"]


@pytest.mark.slow
def test_stopped_in_a_measurement(work, tmp_path):
    before = files(work)
    process = started(work, *EDGEGNN, "profile", "model-dq-int8")
    until(lambda: any((work / "tmp").rglob("run.pyz")), process)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert (code, "Traceback" in err) == (143, False)
    assert files(work / "tmp") == []
    assert [name for name in files(work) if name != "tmp"] == before


@pytest.mark.parametrize(
    ("stdout", "says"),
    [
        ("/dev/full", "No space left on device"),
        ("&-", "Bad file descriptor"),
    ],
)
@pytest.mark.parametrize("arguments", ["--version", "--help"])
def test_a_stdout_that_takes_nothing(tmp_path, stdout, says, arguments):
    command = f'"{sys.executable}" -m edgegnn {arguments} >{stdout}'
    process = started(tmp_path, "/bin/sh", "-c", command)
    assert ended(process) == (1, "", f"edgegnn: can't write to stdout: {says}\n")


@pytest.mark.parametrize(("stdout", "says"), [("/dev/full", "No space left on device"), ("&-", "it is closed")])
def test_a_stdout_that_takes_nothing_from_the_runner(tmp_path, stdout, says):
    make_artifact(tmp_path / "tiny")
    process = started(tmp_path, "/bin/sh", "-c", f'"{sys.executable}" tiny/run.pyz verify --artifact tiny >{stdout}')
    assert ended(process) == (1, "", f"edgegnn: error: can't write to stdout: {says}\n")


@pytest.mark.slow
def test_a_closed_stdout_is_not_the_next_file(work):
    command = f'"{sys.executable}" -m edgegnn train gcn data.pt --epochs 2 -o new.pt >&- 2>&-'
    process = started(work, "/bin/sh", "-c", command)
    assert ended(process)[1:] == ("", "")
    assert (work / "new.pt").read_bytes()[:2] == b"PK"
    process = started(work, "/bin/sh", "-c", f'"{sys.executable}" -m edgegnn inspect new.pt')
    assert ended(process)[0] == 0
