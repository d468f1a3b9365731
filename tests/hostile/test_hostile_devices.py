"""Devices that lie, login scripts that talk, connections that end: one line on the host, nothing half-done there."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback_sshd import Loopback
from profile_example import BLINK_THERE
from sweep import sweep
from tiny_artifact import make_artifact, seal

from edgegnn.devices import load_target
from edgegnn.devices.connection import connect
from edgegnn.devices.readiness import check
from edgegnn.devices.ship import installed, ship
from edgegnn.devices.transport.content import content
from edgegnn.devices.transport.device import Device
from edgegnn.errors import EdgeGNNError, TargetError
from edgegnn.profiling import profile
from edgegnn.runtime import open_artifact

pytestmark = pytest.mark.slow  # each starts an SSH server and waits for what goes wrong

LIAR = Path(__file__).with_name("lying_agent.py")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.fixture
def artifact(pristine: Path, board: Loopback, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


# -- login scripts ----------------------------------------------------------------------------------------------------

GO_ON = 'exec sh -c "$SSH_ORIGINAL_COMMAND"'
ENDLESS = {
    "lines": "while :; do echo news; sleep 0.01; done",
    "a flood": "exec yes",
    "one line": "exec tr '\\0' x < /dev/zero",
    "silence": "exec sleep 60",
    "answers": 'while :; do echo "edgegnn-hello x86_64 64 /p"; echo "edgegnn-send"; sleep 0.01; done',
}


@pytest.mark.parametrize("name", sweep(list(ENDLESS), lambda i: i % 2 == 1))
def test_login_that_never_ends(board: Loopback, name: str) -> None:
    board.login(ENDLESS[name])
    begin = time.monotonic()
    with pytest.raises(TargetError, match=r"^board: ") as error, connect(load_target("board"), connect_seconds=-8):
        pass
    assert time.monotonic() - begin < 20
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "before",
    [
        "printf '\\033[2J\\033]0;title\\007\\377\\376 welcome\\r\\n'; echo '{\"ok\": [1]}'; echo '{'; echo '[[[['",
        "head -c 3000000 /dev/zero; echo",
        "echo edgegnn-python 2.7; echo edgegnn-hello; echo 'edgegnn-hello x'; cat /proc/cpuinfo",
        "(while kill -0 $$ 2> /dev/null; do echo noise; echo '7'; sleep 0.05; done) &",
    ],
    ids=["escapes", "zeros", "our own words", "noise all the time"],
)
def test_login_that_talks_and_goes_on(board: Loopback, artifact: Path, before: str) -> None:
    board.login(f"{before}\n{GO_ON}")
    made = ship(artifact, "board")
    assert made.verified == 4
    assert open_artifact(made.folder).manifest.name == "tiny"


def test_login_that_answers_for_the_device(board: Loopback, artifact: Path) -> None:
    """Lines like the agent's own, all the time: no result is taken from them without a word."""
    board.login(f"(while kill -0 $$ 2> /dev/null; do echo '{{\"ok\": 7}}'; sleep 0.02; done) &\n{GO_ON}")
    with pytest.raises(TargetError, match=r"^board: ") as error:
        ship(artifact, "board")
    assert "\n" not in str(error.value)
    board.login(GO_ON)
    assert ship(artifact, "board").verified == 4


# -- answers that are lies --------------------------------------------------------------------------------------------


def refusal(action: Callable[[], object]) -> str:
    """What was said when something was refused, "" when it was not; any other exception is a bug, and fails."""
    try:
        action()
    except EdgeGNNError as error:
        return str(error)
    return ""


def one_line(text: str) -> bool:
    return text.startswith("board: ") and "\n" not in text and len(text) < 2000


def test_an_agent_that_lies(board: Loopback, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says: a refusal in one line, or what an honest device gives."""
    for limit in ("ship.VERIFY_SECONDS", "readiness.IMPORT_SECONDS"):
        monkeypatch.setattr(f"edgegnn.devices.{limit}", 4.0)
    tasks: list[Callable[[], object]] = [
        lambda: ship(artifact, "board"),
        lambda: installed(load_target("board")),
        lambda: profile("tiny", target="board", plan=BLINK_THERE, threads=1, timeout=4.0),
    ]
    refused = []
    for seed in range(6):
        board.target(python=liar(board, seed))
        refused.append(refusal(tasks[seed % 3]))
        assert not refused[-1] or one_line(refused[-1])
        assert all(step.state in ("ok", "warning", "failed", "skipped") for step in check(load_target("board")))
        assert board.leftovers() == []
    assert sum(map(bool, refused)) >= 2
    board.target()
    assert open_artifact(ship(artifact, "board").folder).manifest.name == "tiny"


def liar(board: Loopback, seed: int) -> str:
    """A Python for the device whose agent lies."""
    place = board.fakes / f"liar{seed}"
    agent = f'exec "{sys.executable}" "{LIAR}" {seed} "{sys.executable}" "$@"'
    place.write_text(f'#!/bin/sh\nif [ "$1" = -c ] && [ $# = 4 ]; then {agent}; fi\nexec "{sys.executable}" "$@"\n')
    place.chmod(0o755)
    return str(place)


# -- connections that end ---------------------------------------------------------------------------------------------


def prove_quickly(device: Device, *_: Any) -> None:
    """Sends what a proof sends, and runs a program that ends at once."""
    device.place({"run.pyz": content(b"a runner")}, "the runner")
    assert device.run(["true"], limit=20).code == 0


HOW = ("the cable", "the agent")


def cutting(monkeypatch: pytest.MonkeyPatch, at: int, cut: Callable[[], None]) -> list[int]:
    """Cut when the host has sent its message of that number; returns the numbers of what it sends."""
    sent: list[int] = []
    write = Device._write

    def counted(self: Device, block: bytes) -> None:
        write(self, block)
        if block != b"\n":  # only says that the host is there
            sent.append(len(sent) + 1)
            if sent[-1] == at:
                cut()

    monkeypatch.setattr(Device, "_write", counted)
    return sent


@pytest.mark.parametrize(
    ("how", "step"),
    [("the cable", 4), ("the agent", 5), *(pytest.param(how, 1, marks=pytest.mark.every) for how in HOW)],
)
def test_ship_cut_at_every_message(
    board: Loopback, artifact: Path, monkeypatch: pytest.MonkeyPatch, how: str, step: int
) -> None:
    """The device has the old version or the whole new one; the next `ship` works. Some messages in CI's sample."""
    monkeypatch.setattr("edgegnn.devices.ship._prove", prove_quickly)
    target = load_target("board")
    seal(artifact, note="0")
    ship(artifact, target)
    last = "0"
    for at in itertools.count(1, step):
        seal(artifact, note=str(at))
        with monkeypatch.context() as patch:
            sent = cutting(patch, at, board.cut if how == "the cable" else lambda: kill_agents(board))
            why = refusal(lambda: ship(artifact, target))
        assert not why or one_line(why)
        nothing_runs(board)
        found = open_artifact(board.root / "artifacts" / "tiny" / "current").manifest.raw["note"]
        assert found in ({str(at), last} if why else {str(at)})
        if len(sent) < at:
            assert not why
            break
        ship(artifact, target)
        last = str(at)
        assert open_artifact(board.root / "artifacts" / "tiny" / "current").manifest.raw["note"] == str(at)
        assert board.leftovers() == []
    assert at > 10


def kill_agents(board: Loopback) -> None:
    for pid in board.processes():
        try:
            if Path(f"/proc/{pid}/comm").read_text().startswith("python"):
                os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


def nothing_runs(board: Loopback) -> None:
    deadline = time.monotonic() + 20
    while board.processes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
