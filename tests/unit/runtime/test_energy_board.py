"""The estimate for boards without a sensor: its arithmetic, and what a Raspberry Pi 4 tells over SSH."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from loopback_sshd import Loopback
from profile_example import BLINK_THERE
from rich.console import Console
from tiny_artifact import make_artifact

from edgegnn.cli import start
from edgegnn.devices import load_target, targets
from edgegnn.devices.readiness import check
from edgegnn.profiling import profile, ratios, render
from edgegnn.runtime.energy import BoardModel, board_watts, choose_reader, find_board_model, find_reader

PI = "Raspberry Pi 4 Model B Rev 1.4"


def test_power_is_a_line_between_idle_and_busy() -> None:
    now = [0.0, 0.0]
    reader = BoardModel("board", 2.0, 6.0, 4, (lambda: now[0], lambda: now[1]))
    for cpu, watts in ((0.0, 2.0), (10.0, 3.0), (40.0, 6.0), (41.0, 6.0)):
        reader.start()
        now[0] += 10.0
        now[1] += cpu
        assert reader.stop().joules == pytest.approx(10.0 * watts)
    assert (reader.kind, reader.rate) == ("estimated", None)
    assert reader.source.startswith("model of a board: 2.00 W idle, 6.00 W busy")


def test_only_boards_whose_maker_has_told(tmp_path: Path) -> None:
    name, idle, busy = board_watts(PI) or ("", 0.0, 0.0)
    assert (name, round(idle, 2), round(busy, 2)) == ("Raspberry Pi 4 Model B", 3.06, 6.12)
    for model in ("Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi Zero 2 W Rev 1.0", "NVIDIA Jetson", ""):
        assert board_watts(model) is None
    assert find_board_model(tmp_path) == (None, "no power model for this kind of machine")
    model = tmp_path / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_text("Some Board\0")
    assert find_reader("board", tmp_path) == (None, "no power model for a Some Board")
    model.write_text(f"{PI}\0")
    reader, reason = choose_reader(load_target("rpi").energy, tmp_path)
    assert isinstance(reader, BoardModel)
    assert "no power sensor (INA2xx" in reason
    assert f"{PI} has no power sensor of its own" in reason


@pytest.fixture
def four(board: Loopback) -> Loopback:
    """A device that says it is a Pi 4."""
    code = f"""
    import io, pathlib
    def says(real, answer):
        return lambda self, *a, **k: answer if str(self) == "/proc/device-tree/model" else real(self, *a, **k)
    pathlib.Path.read_text = says(pathlib.Path.read_text, "{PI}\\0")
    pathlib.Path.read_bytes = says(pathlib.Path.read_bytes, b"{PI}\\0")
    opened = pathlib.Path.open
    is_model = lambda path: str(path) == "/proc/device-tree/model"
    pathlib.Path.open = lambda self, *a, **k: io.BytesIO(b"{PI}\\0") if is_model(self) else opened(self, *a, **k)
    """
    board.target(python=board.python("four", code))
    text = Path(os.environ["XDG_CONFIG_HOME"], "edgegnn/targets/board.toml")
    text.write_text(text.read_text() + 'energy = ["hwmon", "pmic", "board"]\n')
    return board


@pytest.mark.slow
def test_what_a_pi_4_over_ssh_tells(
    four: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_artifact(tmp_path / "tiny")
    made = profile("tiny", target="board", plan=BLINK_THERE, threads=1)
    assert made.device.model == PI
    energy = made.energy_j
    assert energy is not None, made.energy_reason
    assert (energy.kind, energy.scope) == ("estimated", BoardModel.scope)
    assert energy.source == (
        "model of a Raspberry Pi 4 Model B: 3.06 W idle, 6.12 W busy (its maker's figures), by CPU load"
    )
    assert energy.rate_hz is None
    assert 3.0 < energy.idle_watts < energy.load_watts < 6.13
    assert "has no power sensor of its own" in made.energy_reason
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(render([made]))
    text = console.export_text()
    assert "energy ~ estimated: model of a Raspberry Pi 4 Model B" in " ".join(text.split())
    assert "~" in next(line for line in text.splitlines() if "energy per inference" in line)
    # Beside a number that was measured there is no ratio.
    from msgspec.structs import replace

    measured = replace(made, energy_j=replace(energy, kind="measured", source="hwmon ina226"))
    assert ratios(made, measured)["energy_gross"] is None
    found = next(info for info in targets() if info.name == "board")
    assert found.energy == "its maker's figures, estimated"
    assert "its energy is estimated" in next(s.detail for s in check(load_target("board")) if s.name == "64-bit system")
    monkeypatch.setattr(sys, "argv", ["edgegnn", "profile", "tiny", "--target", "board", "--quick", "--json"])
    with pytest.raises(SystemExit) as stop:
        start.main()
    assert not stop.value.code
    assert json.loads(capsys.readouterr().out)["energy_j"]["kind"] == "estimated"
    assert four.leftovers() == []
