"""Artifacts on emulated Arm processors: the same integers bit for bit as on x86-64, and all that a Pi is used for.

`benchmarks/arm64_equality.py` compares every kind of model on every processor; here it is some of each.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from boards import need_board
from sweep import sweep

import edgegnn
from edgegnn.devices import load_target
from edgegnn.devices.emulated import Board, emulated_board
from edgegnn.devices.readiness import check
from edgegnn.devices.setup import setup
from edgegnn.devices.ship import installed, ship
from edgegnn.devices.target import target_files
from edgegnn.native.provide import provide
from edgegnn.profiling import profile
from edgegnn.runtime.benchmark import Plan

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from equality import HOME, compare, differ, traced

MODELS = {
    "gcn": ("digits-knn", {"hidden": 32}),
    "gat": ("digits-knn", {"hidden": 8, "heads": 4}),
    "gin": ("digits", {"hidden": 16, "layers": 2}),
}
# Processor, the kernels' name for it, and what is compared there: an artifact, with the library or without. Two of them
# in CI's sample: int4 weights are unpacked before they are multiplied, and the operators have the same bits everywhere.
CASES = {
    "cortex-a72": ("neon", [("gcn-dq-int8", False), ("gin-dq-int8", True), ("gcn-dq-int4", True)]),
    "cortex-a76": ("dotprod", [("gcn-dq-int4", True), ("gat-dq-int8", True)]),
}
BLINK = Plan(True, warmup_runs=2, warmup_seconds=0.02, runs=3, seconds=0.05, windows=1, window_seconds=0.1)
slow = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_every_difference_is_seen():
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    other = codes.copy()
    other[1, 2] += 1
    assert differ(codes, codes.copy()) == 0
    assert differ(codes, other) == 1
    assert differ(codes, codes.view(np.int8)) == 12
    assert differ(codes, codes.ravel()) == 12


def test_traced_models_give_every_value(tmp_path: Path):
    from tiny_artifact import model

    path = tmp_path / "model.onnx"
    onnx.save(model(), path)
    found = {value.name for value in onnx.load_from_string(traced(path)).graph.output}
    assert found == {name for node in model().graph.node for name in node.output}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function: name of a model and recipe -> its artifact for arm64, made once."""
    need_board()
    library = provide("aarch64")
    if library.path is None:
        pytest.skip(library.origin)
    folder = tmp_path_factory.mktemp("arm64")

    def make(name: str) -> Path:
        output = folder / name
        if not output.exists():
            model, _, recipe = name.partition("-")
            data, architecture = MODELS[model]
            checkpoint = folder / f"{model}.pt"
            if not checkpoint.exists():
                edgegnn.train(model, data, output=checkpoint, architecture=architecture, settings={"epochs": 2})
            settings = {"epochs": 1}
            edgegnn.export(
                checkpoint, quant=recipe, output=output, settings=settings, targets=["arm64"], min_agreement=0.0
            )
        return output

    return make


@pytest.fixture(scope="module", params=sweep(list(CASES), lambda i: i == 0))
def board(request: pytest.FixtureRequest, artifacts: Callable[[str], Path]):
    """One board of each processor for all tests of this file; in CI's sample of one.

    The operators of the other give the same bits in `test_native_driver.py`.
    """
    with emulated_board(request.param, home_bytes=HOME) as running:
        yield running


class TestOnArm:
    pytestmark = slow

    def test_integers_are_equal_bit_for_bit_and_so_is_every_prediction(
        self, artifacts: Callable[[str], Path], board: Board, request: pytest.FixtureRequest
    ):
        kernels, cases = CASES[board.cpu]
        for name, native in cases if request.config.getoption("--every") else cases[:2]:
            row = compare(artifacts(name), board, native=native)
            assert row.kernels == (kernels if native else "onnxruntime"), row
            assert row.verified, row
            assert row.integer_elements > 1000, row
            assert row.predictions > 100, row
            assert row.predictions_differ == 0, row
            assert row.logits_differ < 1e-4, row
            assert row.integers_differ == 0, row

    def test_all_that_a_pi_is_used_for(
        self, artifacts: Callable[[str], Path], board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """As a target over SSH that somebody has written, not as the emulated one that edgegnn starts."""
        if board.cpu != "cortex-a72":
            pytest.skip("on one processor: what differs are the kernels")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.chdir(tmp_path)
        name = "gcn-dq-int8"
        shutil.copytree(artifacts(name), name)
        values = {"host": f"pi@{board.host}", "identity": str(board.identity), "known_hosts": str(board.known_hosts)}
        text = target_files()["rpi"].read_text() + "".join(f"{k} = {v!r}\n" for k, v in values.items())
        path = tmp_path / "config" / "edgegnn" / "targets" / "mine.toml"
        path.parent.mkdir(parents=True)
        path.write_text(f"{text}port = {board.port}\n")
        steps = {step.name: step.state for step in check(load_target("mine"))}
        assert set(steps.values()) <= {"ok", "warning"}, steps
        made = setup(load_target("mine"))
        assert (made.changed, made.file) == (False, path)
        record = profile(name, target="mine", plan=BLINK, threads=1)
        assert (record.device.arch, record.agreement, record.native_kernels) == ("aarch64", 1.0, True)
        assert (record.how.transport, record.energy_j) == ("ssh", None)
        first = ship(name, "mine")
        assert first.changed
        assert first.verified > 0
        again = ship(name, "mine")
        assert not again.changed
        assert again.sent_bytes < 10_000
        assert [entry.current for entry in installed(load_target("mine"))] == [first.current]
