"""A flipped bit in a file is seen before the file is used, or changes nothing of what is read."""

import contextlib
import dataclasses
import io
import json
import shutil
import sqlite3

import numpy as np
import pytest
import torch
from mutations import flip_bits
from profile_example import record
from tiny_artifact import make_artifact
from torch_geometric.data import Data
from tune_example import SPACE, settings

from edgegnn.checkpoint import load_checkpoint
from edgegnn.errors import ArtifactError, CheckpointError, DataError, EdgeGNNError, StudyError
from edgegnn.profiling import read_record, write_record
from edgegnn.runtime import open_artifact, read_manifest, verify
from edgegnn.runtime.npz import read_npz
from edgegnn.studies.store import Row, open_store
from edgegnn.tasks.files import read_graphs
from edgegnn.tuning.store import open_memory


def refused(path, content, read, every, least=300):
    """How many of the damaged copies are refused; the others give what the file gives.

    Args:
        path: where a copy is put.
        content: the undamaged file.
        read: path -> a value that can be compared.
        every: one bit in so many is flipped.
        least: damaged copies; fewer where opening a file takes long.
    """
    path.write_bytes(content)
    whole = read(path)
    copies = flip_bits(content, every)
    assert len(copies) >= least
    count = 0
    for place, damaged in enumerate(copies):
        path.write_bytes(damaged)
        try:
            found = read(path)
        except EdgeGNNError:
            count += 1
        else:
            assert found == whole, f"bit {place * every} is accepted"
    return count / len(copies)


def graph():
    g = torch.Generator().manual_seed(0)
    edges = torch.randint(90, (2, 300), generator=g)
    return Data(x=torch.randn(90, 9, generator=g), edge_index=edges, y=torch.arange(90) % 3)


def test_data_file(tmp_path):
    out = io.BytesIO()
    torch.save(graph(), out)

    def read(path):
        (data,) = read_graphs(path)
        return {key: data[key].tolist() for key in data.keys()}  # noqa: SIM118

    assert refused(tmp_path / "data.pt", out.getvalue(), read, every=211) > 0.8


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz(tmp_path, write):
    out = io.BytesIO()
    data = graph()
    write(out, x=data.x.numpy(), edge_index=data.edge_index.numpy(), none=np.zeros((0, 3), np.float32))

    def read(path):
        return {name: (str(v.dtype), v.tolist()) for name, v in read_npz(path, DataError).items()}

    assert refused(tmp_path / "data.npz", out.getvalue(), read, every=8 * len(out.getvalue()) // 320) > 0.7


@pytest.mark.parametrize(("read", "error"), [(read_graphs, DataError), (load_checkpoint, CheckpointError)])
def test_a_file_without_checksums_is_refused_with_the_cure(tmp_path, read, error):
    path = tmp_path / "old.pt"
    torch.save({"x": torch.randn(3, 3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(error, match=r"write it again with torch\.save"):
        read(path)


def test_manifest(tmp_path):
    folder = make_artifact(tmp_path / "tiny")

    path = folder / "manifest.json"
    written = json.loads(path.read_text()).keys() - {"manifest_sha256"}

    def read(path):
        return {key: read_manifest(path.parent).raw[key] for key in written}

    assert refused(path, path.read_bytes(), read, every=53) > 0.7


@pytest.mark.slow
def test_zip_of_an_artifact(tmp_path):
    folder, path = make_artifact(tmp_path / "tiny"), tmp_path / "tiny.zip"
    manifest = json.loads((folder / "manifest.json").read_text())
    shutil.make_archive(str(folder), "zip", folder)

    def read(zipped):
        with open_artifact(zipped, scratch=tmp_path) as artifact:
            return {name: (artifact.folder / name).read_bytes() for name in ("manifest.json", *manifest["files"])}

    assert refused(path, path.read_bytes(), read, every=8 * path.stat().st_size // 320) > 0.9


def test_every_file_of_an_artifact_is_checked(tmp_path):
    folder = make_artifact(tmp_path / "tiny")
    for path in sorted(p for p in folder.rglob("*") if p.name != "manifest.json"):
        content = path.read_bytes()
        path.write_bytes(flip_bits(content, 8 * len(content) - 1, first=4 * len(content))[0])
        with pytest.raises(ArtifactError, match=path.name):
            verify(folder)
        path.write_bytes(content)
    assert verify(folder).ok


def test_profile_record(tmp_path):
    path = tmp_path / "r.json"
    write_record(record(), path)
    assert refused(path, path.read_bytes(), read_record, every=53) > 0.7


def rows(path):
    with open_store(path, create=True) as store:
        return store.rows(), store.begin("open")


@pytest.mark.slow
def test_study_store(tmp_path):
    path = tmp_path / "study.db"
    with open_store(path, create=True) as store:
        for i in range(40):
            store.end(f"{i:020x}", "dense", {"seed": i}, Row("done", "", {"test": i / 7, "val": [i] * 30}, i / 3))
        store.begin("open")
    content = path.read_bytes()
    assert refused(path, content, rows, every=8 * len(content) // 300) > 0.3


def test_a_store_of_before_there_were_checksums_is_read_and_gets_them(tmp_path):
    path = tmp_path / "study.db"
    with open_store(path, create=True) as store:
        store.end("k", "dense", {}, Row("done", "", {"test": 0.5}, 2.0))
        store.begin("open")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for table in ("step", "started"):
            database.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
        database.execute("PRAGMA user_version = 1")
    with open_store(path, create=False) as store:
        before = store.rows()
    assert before == {"k": Row("done", "", {"test": 0.5}, 2.0)}
    assert rows(path) == (before, 1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE step SET seconds = 3")
    with pytest.raises(StudyError, match="its checksum differs"):
        rows(path)


@pytest.mark.slow
def test_memory_of_a_search(tmp_path):
    folder = tmp_path / "tuned"
    chosen = settings()
    with open_memory(folder, SPACE, {"data": "cora"}, seed=0, force=False) as memory:
        for number in range(5):
            trial, _ = memory.begin(dataclasses.replace(chosen, sparsity=0.1 * number))
            memory.end(trial, {"number": number, "drop": number / 7, "reason": "x" * 90}, 0.5)
        memory.keep("spent", 12.5)
    content = (folder / "study.db").read_bytes()

    def read(path):
        with open_memory(path.parent, SPACE, {"data": "cora"}, seed=0, force=False) as memory:
            return memory.records, memory.spent

    assert refused(folder / "study.db", content, read, every=8 * len(content) // 80, least=80) > 0.05
