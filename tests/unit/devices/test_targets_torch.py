"""TorchScript artifacts on a device: torch is looked for there, installed when asked, and what is missing is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from device_facts import known
from loopback_sshd import Loopback
from profile_example import BLINK_THERE
from test_ship import run, wheel, with_python
from torchscript_example import tiny

from edgegnn.devices import load_target
from edgegnn.devices.readiness import broken_runtime, check, pins
from edgegnn.devices.setup import TORCH_INDEX, _pip_problem, setup
from edgegnn.devices.ship import ship
from edgegnn.errors import TargetError
from edgegnn.profiling import profile

pytestmark = pytest.mark.slow  # each starts an SSH server

HIDE = """
from importlib import metadata
real = metadata.distributions
metadata.distributions = lambda **k: [d for d in real(**k) if d.metadata["Name"] != "torch"]
"""


@pytest.fixture
def artifact(board: Loopback, tmp_path: Path) -> Path:
    return tiny(tmp_path / "tiny")


def step(name: str) -> tuple[str, str]:
    found = next(s for s in check(load_target("board")) if s.name == name)
    return found.state, found.detail


def test_a_device_with_torch(board: Loopback, artifact: Path) -> None:
    made = profile("tiny", target="board", plan=BLINK_THERE, threads=1)
    assert (made.runtime, made.device.torch, made.device.onnxruntime) == ("torchscript", torch.__version__, "")
    assert (made.agreement, made.native_kernels) == (1.0, False)
    assert ship(artifact, "board").verified == 4
    assert step("torch")[0] == "ok"
    assert torch.__version__ in step("torch")[1]
    assert board.leftovers() == []


def test_a_device_without_torch(board: Loopback, artifact: Path) -> None:
    board.target(python=board.python("bare", HIDE))
    for measure in (lambda: profile("tiny", target="board", plan=BLINK_THERE), lambda: ship(artifact, "board")):
        with pytest.raises(TargetError) as error:
            measure()
        text = str(error.value)
        assert "has no torch, and the model is TorchScript: edgegnn targets setup board --torch installs it" in text
        assert "or export the model with ONNX" in text
        assert "\n" not in text
    assert step("torch") == ("ok", "not installed: only TorchScript artifacts need it")
    with pytest.raises(TargetError, match=r"board: torch not installed; its file names a Python of your own"):
        setup(load_target("board"), torch=True)
    assert board.leftovers() == []


def test_a_torch_that_dies(board: Loopback, artifact: Path) -> None:
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    board.target(python=board.python("crash", torch=crash))
    with pytest.raises(TargetError, match=r"^board: torch \S+ uses instructions that the CPU .*export the model with"):
        profile("tiny", target="board", plan=BLINK_THERE)
    with pytest.raises(TargetError, match=r"tiny is not installed, it fails there: torch \S+ uses instructions"):
        ship(artifact, "board")
    assert step("torch")[0] == "warning"
    assert step("onnxruntime")[0] == "ok"
    assert board.leftovers() == []
    words = known(packages={"torch": "2.9"}, model="a Pi")
    assert "torch 2.9 uses instructions" in broken_runtime(words, load_target("board"), "torchscript")


def test_setup_installs_torch_and_keeps_it(
    board: Loopback, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = board.python("bare", "from importlib import metadata; real = metadata.distributions; " + ONLY_IN_A_FOLDER)
    monkeypatch.setattr("edgegnn.devices.connection.open_device", with_python(bare))
    target = board.target(python="")
    runtime, numpy = pins("{}.{}.{}".format(*sys.version_info[:3]))
    house = Path("house")
    wheel(house, "numpy", numpy, f"__version__ = '{numpy}'")
    wheel(house, "onnxruntime", runtime, f"__version__ = '{runtime}'")
    wheel(house, "torch", "2.9.0", "__version__ = '2.9.0'")
    assert run(monkeypatch, "targets", "setup", "board", "--torch", "--wheelhouse", "house") == 0
    assert f"numpy {numpy} onnxruntime {runtime} torch 2.9.0" in " ".join(capsys.readouterr().out.split())
    assert not setup(target, torch=True).changed
    assert not setup(target).changed
    # Another onnxruntime is another environment: torch is in it again.
    wheel(house, "onnxruntime", "1.20.1", "__version__ = '1.20.1'")
    again = setup(target, wheelhouse=house, onnxruntime="1.20.1")
    assert (again.changed, again.versions) == (True, f"numpy {numpy} onnxruntime 1.20.1 torch 2.9.0")
    assert board.leftovers() == []


ONLY_IN_A_FOLDER = "metadata.distributions = lambda **k: real(**k) if k else []"


def test_how_to_fetch_torch_for_a_device_without_network() -> None:
    facts = known(python="3.11.2", machine="aarch64")
    asked = ["torch>=2.4,<2.14", "numpy==2.4.6"]
    text = _pip_problem("ERROR: network is unreachable", [], facts, False, asked)
    assert f"--platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --index-url {TORCH_INDEX}" in text
    assert "'torch>=2.4,<2.14' numpy==2.4.6; then --wheelhouse wheels" in text
    assert "about 1.5 GB are needed" in _pip_problem("No space left on device", [], facts, True, asked)
    assert "--index-url" not in _pip_problem("network is unreachable", [], facts, False, ["onnxruntime==1.31.1"])
