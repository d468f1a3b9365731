"""Shared fixtures."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: more threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

with warnings.catch_warnings():
    # PyG warns about torch.jit while it is imported; once imported, it is quiet.
    warnings.simplefilter("ignore")
    import torch_geometric.nn  # noqa: F401

from command_line import shop, work  # noqa: F401 - fixtures
from loopback_sshd import board, loopback_server  # noqa: F401 - fixtures

from edgegnn import turns


@pytest.fixture(autouse=True)
def own_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests that measure don't wait for those that train beside them."""
    monkeypatch.setattr(turns, "machine_lock", lambda: tmp_path / "machine.lock")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real data sets' raw files; tests that need it are skipped where it is absent."""
    given = os.environ.get("EDGEGNN_DATA")
    for place in (Path(given) if given else None, Path(__file__).resolve().parents[2] / "shared" / "data"):
        if place is not None and place.is_dir():
            return place
    pytest.skip("no data folder: set EDGEGNN_DATA")
