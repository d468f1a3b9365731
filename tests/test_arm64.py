"""Artifacts on emulated Arm processors: the same integers bit for bit as on x86-64, the same predictions."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from boards import need_board

import edgegnn
from edgegnn.native.provide import provide
from edgegnn.profile.emulated import emulated_board

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from equality import compare, differ, traced

MODELS = {
    "gcn": ("digits-knn", {"hidden": 32}, ("dq-int8", "dq-int4")),
    "gat": ("digits-knn", {"hidden": 8, "heads": 4}, ("dq-int8",)),
    "sage": ("digits-knn", {"hidden": 32}, ("dq-int8",)),
    "gin": ("digits", {"hidden": 16, "layers": 3}, ("dq-int8",)),
}
slow = [pytest.mark.slow, pytest.mark.timeout(1800)]


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
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    need_board()
    library = provide("aarch64")
    if library.path is None:
        pytest.skip(library.origin)
    folder = tmp_path_factory.mktemp("arm64")
    made = []
    for name, (data, architecture, recipes) in MODELS.items():
        checkpoint = folder / f"{name}.pt"
        edgegnn.train(name, data, output=checkpoint, architecture=architecture, settings={"epochs": 3})
        for recipe in recipes:
            output = folder / f"{name}-{recipe}"
            edgegnn.export(checkpoint, quant=recipe, output=output, settings={"epochs": 2}, targets=["arm64"])
            made.append(output)
    return made


@pytest.mark.parametrize(("cpu", "kernels"), [("cortex-a72", "neon"), ("cortex-a76", "dotprod")])
class TestOnArm:
    pytestmark = slow

    def test_integers_are_equal_bit_for_bit_and_so_is_every_prediction(
        self, artifacts: list[Path], cpu: str, kernels: str
    ):
        with emulated_board(cpu) as board:
            found = [compare(artifact, board, native=native) for artifact in artifacts for native in (True, False)]
        assert [row.kernels for row in found] == [kernels, "onnxruntime"] * len(artifacts)
        for row in found:
            assert row.verified, row
            assert row.integer_elements > 1000, row
            assert row.predictions > 100, row
            assert row.predictions_differ == 0, row
            assert row.logits_differ < 1e-4, row
            assert row.integers_differ == 0, row
