"""Emulated microcontrollers: what a model takes of them, and whether it computes the same there."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from c_artifact import make_c_artifact
from tiny_artifact import make_artifact

from edgegnn.cli import start
from edgegnn.devices import load_target
from edgegnn.devices.microcontroller import build, emulate
from edgegnn.devices.microcontroller.boards import BOARDS
from edgegnn.devices.microcontroller.limits import largest_limits, largest_tables
from edgegnn.errors import ArtifactError, TargetError, UsageError
from edgegnn.plain_c.generate import generate
from edgegnn.plain_c.own import own_code
from edgegnn.plain_c.values import Limits
from edgegnn.profiling import profile
from edgegnn.profiling.footprint import Footprint, footprint
from edgegnn.runtime import open_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_c_artifact(tmp_path_factory.mktemp("micro") / "gin")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edgegnn", *arguments])
    with pytest.raises(SystemExit) as stop:
        start.main()
    return int(stop.value.code or 0)


def weigh(artifact: Path, name: str) -> Footprint:
    board = BOARDS[name]
    if shutil.which(board.qemu) is None or not any(map(shutil.which, board.gcc)):
        pytest.skip(f"no {board.qemu} or no {board.package} here")
    return footprint(artifact, target=name, out=Path("records"))


@pytest.mark.parametrize(
    "name", ["cortex-m4", *(pytest.param(n, marks=pytest.mark.slow) for n in sorted(BOARDS) if n != "cortex-m4")]
)
def test_the_same_model_on_a_board(artifact: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = weigh(artifact, name)
    assert (found.cpu, found.agreement, found.beyond) == (name, 1.0, 1)
    assert found.max_abs_error < 1e-6
    needs = found.needs
    assert needs.flash == needs.code + needs.constants + needs.support
    assert 500 < needs.code < 20_000
    assert needs.constants > 300
    assert 64 <= needs.stack <= 2048
    assert (needs.inputs, needs.outputs) == (32 * 5 * 4 + 2 * 64 * 4, 3 * 4)
    # 20 nodes: at least the multiply-adds of its layers
    assert found.instructions.median > 20 * (5 * 12 + 12 * 12)
    assert not hasattr(found, "latency_ms")
    written = json.loads(Path(f"records/{name}/gin.json").read_text())
    assert written["format"] == "edgegnn-footprint/1"
    assert written["instructions"] == footprint(artifact, target=name, out=None).to_dict()["instructions"]


def test_what_does_not_fit_is_said(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weigh(artifact, "cortex-m4")
    text = (Path(__file__).parents[3] / "targets" / "cortex-m4.toml").read_text()
    small = "\n".join(line for line in text.splitlines() if "_bytes" not in line)
    Path("targets").mkdir()
    Path("targets/small.toml").write_text(f"{small}\nflash_bytes = 1000\nram_bytes = 500\n")
    said = footprint(artifact, target="small").too_much
    assert "flash: " in said
    assert "1,000 are there" in said
    assert "RAM: " in said


def test_limits_that_would_fit(artifact: Path) -> None:
    code = own_code(open_artifact(artifact))
    import onnx

    model = onnx.load(str(artifact / "model.onnx"))
    found = largest_limits(lambda limits: generate(model, "gin", limits), code.limits, code.arena_bytes // 2)
    assert found is not None
    assert 8 <= found.nodes < code.limits.nodes
    assert generate(model, "gin", found).arena_bytes <= code.arena_bytes // 2
    assert largest_limits(lambda limits: generate(model, "gin", limits), Limits(32, 64), 3) is None
    assert largest_tables(code) == "qgemmnormfloat_weight_10 144, qgemmnormfloat_shift_13 48"


def test_one_line_for_what_is_missing(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"edgegnn\.footprint weighs"):
        profile(artifact, target="cortex-m4")
    with pytest.raises(UsageError, match="is no microcontroller"):
        footprint(artifact, target="x86")
    assert run(monkeypatch, "profile", str(artifact), "--target", "cortex-m4", "--target", "x86") == 2
    assert "have no latency to compare" in capsys.readouterr().err
    assert run(monkeypatch, "ship", str(artifact), "--target", "cortex-m4") == 1
    assert "is an emulated microcontroller" in capsys.readouterr().err
    monkeypatch.setattr(emulate.shutil, "which", lambda name: None)
    with pytest.raises(TargetError, match="emulated by qemu-system-riscv32: apt-get install qemu-system-misc"):
        footprint(artifact, target="riscv32")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TargetError, match=r"apt-get install gcc-arm-none-eabi, or pip install 'edgegnn\[cross\]'"):
        build.find_compiler(BOARDS["cortex-m7"])
    monkeypatch.undo()
    with pytest.raises((ArtifactError, TargetError), match=r"has no C form: export it with|apt-get install qemu"):
        footprint(make_artifact(tmp_path / "plain"), target="cortex-m4")


def test_targets_name_boards() -> None:
    for name in BOARDS:
        target = load_target(name)
        assert (target.transport, target.cpu) == ("microcontroller", name)
        assert target.flash_bytes
        assert target.ram_bytes
