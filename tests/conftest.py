"""Shared fixtures."""

from __future__ import annotations

import gc
import os
import warnings
from pathlib import Path

import hypothesis
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from command_line import shop, work  # noqa: F401 - fixtures
from loopback_sshd import board, loopback_server  # noqa: F401 - fixtures
from profile_example import BLINK_THERE

from edgegnn.profiling import machine_lock, measure

# A busy machine is slow: no time is an assertion.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Import torch where tests run; the process that hands them out to workers does without."""
    if config.getoption("numprocesses", 0):
        return
    with warnings.catch_warnings():
        # PyG warns about torch.jit while it is imported; once imported, it is quiet.
        warnings.simplefilter("ignore")
        import torch_geometric.nn  # noqa: F401


def pytest_collection_finish() -> None:
    """Look for garbage more seldom, and not in what was imported: a twentieth of the suite's time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# The files that take minutes, the longest first: begun last, one of them would keep one worker busy alone.
LONG = (
    "test_native_sanitize",
    "test_arm64",
    "test_study_cluster",
    "test_tune_real",
    "test_hostile_devices",
    "test_link_export",
    "test_fuzzed_models",
    "test_hetero",
    "test_graph_targets",
    "test_targets_ssh",
    "test_transport_device",
    "test_point_clouds",
    "test_torchscript",
    "test_capture_layers",
    "test_models_hgpsl",
    "test_rewrite_integer",
    "test_docs",
    "test_readme",
    "test_emulated",
    "test_ship",
    "test_layers_aggregators",
    "test_torchscript_runtime",
    "test_cli",
    "test_study",
    "test_study_jobs",
    "test_rewrite_coverage",
    "test_larger_graphs",
    "test_stopping",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every", action="store_true", help="run sweeps in full: CI runs a spread sample of their cases")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first, all others stay where they are; a sweep's sample, unless all of it is asked for."""
    if not config.getoption("--every"):
        left_out = [item for item in items if item.get_closest_marker("every")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("every")]
    place = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


@pytest.fixture(autouse=True)
def own_lock(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Tests that measure don't wait for those that train beside them."""
    monkeypatch.setattr(machine_lock, "lock_path", lambda: request.getfixturevalue("tmp_path") / "machine.lock")


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """`profile --quick` takes a moment, where it would take five seconds: no test asserts a time."""
    monkeypatch.setattr(measure, "QUICK", BLINK_THERE)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets' raw files; tests that need it are skipped where it is absent."""
    given = os.environ.get("EDGEGNN_DATA")
    for place in (Path(given) if given else None, Path(__file__).resolve().parents[2] / "shared" / "data"):
        if place is not None and place.is_dir():
            return place
    pytest.skip("no data folder: set EDGEGNN_DATA")
