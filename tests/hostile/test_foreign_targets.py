"""A stranger's folder with targets of its own, and a user who names none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import run

from edgegnn.devices import Target, load_target, local_target, targets
from edgegnn.errors import TargetError
from edgegnn.runtime.facts import arch

METER = """description = "this machine"
arch = "{arch}"
transport = "local"
energy = ["meter"]
[meter]
scope = "board"
command = "touch {mark}"
"""
SSH = 'description = "a board"\narch = "aarch64"\ntransport = "ssh"\nhost = "stranger.example"\n'


@pytest.fixture
def strange(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder with ./targets of a stranger's; a file that its meter command would make."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(work / "config"))
    (work / "targets").mkdir()
    for name in ("aaa", "arm64", "x86"):
        text = METER.format(arch=arch(), mark=work / "mark")
        (work / "targets" / f"{name}.toml").write_text(text)
    return work / "mark"


def test_an_unnamed_target_is_never_the_folders(strange: Path) -> None:
    assert local_target().meter is None
    assert load_target().meter is None
    assert load_target("local").meter is None
    assert load_target("aaa").meter is not None


@pytest.mark.slow
def test_profile_and_targets_run_no_command(
    strange: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for args in (["profile", "--quick", "model-dq-int8"], ["targets"]):
        code, _, err = run(capsys, monkeypatch, *args)
        assert code == 0, err
    assert not strange.exists()


def test_hosts_that_only_a_folder_names_are_not_asked(strange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (strange.parent / "targets" / "board.toml").write_text(SSH)
    asked: list[str] = []

    def probe(target: Target) -> dict[str, Any]:
        asked.append(target.name)
        raise TargetError("not in this test")

    monkeypatch.setattr("edgegnn.devices.inventory.probe", probe)
    board = {t.name: t for t in targets()}["board"]
    assert "edgegnn targets check board" in board.reason
    assert not board.reachable
    assert "rpi" in asked
    assert "board" not in asked
