"""Pipes and devices in the place of files: refused before they are opened, as they may never end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgegnn.checkpoint import load_checkpoint
from edgegnn.compression.model_source import ModelSource
from edgegnn.devices.target import load_target
from edgegnn.errors import EdgeGNNError
from edgegnn.exporting.inspection import describe
from edgegnn.profiling import read_record
from edgegnn.profiling.footprint import _check_place
from edgegnn.quantize import recipe
from edgegnn.reporting.sources import read_sources
from edgegnn.runtime import open_artifact
from edgegnn.runtime.npz import read_npz
from edgegnn.studies import read_study
from edgegnn.studies.store import open_store
from edgegnn.tasks import load_task

READERS = {
    "model.pt": load_checkpoint,
    "model.onnx": load_checkpoint,
    "model.safetensors": load_checkpoint,
    "inspect.pt": describe,
    "inspect.zip": describe,
    "export.pt": ModelSource().check,
    "artifact.zip": open_artifact,
    "data.pt": lambda path: load_task(str(path)),
    "data.npz": lambda path: load_task(str(path)),
    "inputs.npz": lambda path: read_npz(path, EdgeGNNError),
    "recipe.json": lambda path: recipe(str(path)),
    "record.json": read_record,
    "footprint.json": _check_place,
    "report.json": lambda path: read_sources([path]),
    "targets/fifo.toml": lambda path: load_target("fifo"),
    "study.toml": read_study,
    "study.db": lambda path: open_store(path, create=False).__enter__(),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_a_pipe_or_a_device_is_refused(name, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    make(path)
    with pytest.raises(EdgeGNNError) as error:
        READERS[name](Path(path))
    assert "\n" not in str(error.value)
