"""Raw files of data sets that are pickles: they are read, and nothing in them runs."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import Data

from edgegnn.errors import DataError
from edgegnn.tasks import load_task
from edgegnn.tasks.unpickling import arrays_only

CALLS = [(os.system, "touch {}"), (eval, "open({!r}, 'w')"), (exec, "open({!r}, 'w')")]


class Call:
    """Pickled, it calls a function when it is read."""

    def __init__(self, function, text):
        self.function, self.text = function, text

    def __reduce__(self):
        return self.function, (self.text,)


def evil(mark, which=0):
    function, text = CALLS[which]
    return Call(function, text.format(str(mark)))


@pytest.mark.parametrize("name", ["ind.cora.graph", "ind.cora.x", "ind.cora.ally"])
def test_a_raw_file_that_calls_something_is_refused(data_root, tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(data_root / "Cora", tmp_path / "Cora")
    mark = tmp_path / "mark"
    raw = tmp_path / "Cora" / "raw" / name
    raw.chmod(0o644)
    raw.write_bytes(pickle.dumps(evil(mark)))
    with pytest.raises(DataError, match="could run code"):
        load_task("cora", root=tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("which", range(len(CALLS)))
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {1: v}, lambda v: np.array([v, 1], object)])
def test_wherever_it_is_hidden(tmp_path, which, wrap):
    mark = tmp_path / "mark"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps(wrap(evil(mark, which)), protocol)
        with arrays_only(), pytest.raises(DataError, match="could run code"):
            pickle.load(io.BytesIO(content))
    assert not mark.exists()


def test_torch_never_falls_back_to_pickle(tmp_path):
    mark = tmp_path / "mark"
    torch.save([evil(mark)], tmp_path / "v2.pt")
    with arrays_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "v2.pt", weights_only=False)
    assert not mark.exists()


def test_numpy_never_falls_back_to_pickle(tmp_path):
    mark = tmp_path / "mark"
    np.save(tmp_path / "a.npy", np.array([evil(mark)], object))
    with arrays_only(), pytest.raises(DataError, match="could run code"):
        np.load(Path(tmp_path / "a.npy"), allow_pickle=True)
    assert not mark.exists()


def test_what_raw_files_consist_of_is_read():
    graph = defaultdict(list, {0: [1, 2], 1: [0]})
    matrix = scipy.sparse.csr_matrix(np.eye(3, dtype=np.float32))
    molecule = [
        {"atom_type": torch.arange(3), "bond_type": torch.ones(3, 3), "logP_SA_cycle_normalized": torch.ones(1)}
    ]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = pickle.dumps([graph, matrix, np.arange(3), molecule], protocol)
        with arrays_only():
            got = pickle.load(io.BytesIO(content), encoding="latin1")
        assert got[0] == graph
        assert (got[1] != matrix).nnz == 0
        assert torch.equal(got[3][0]["atom_type"], torch.arange(3))


def test_a_data_set_is_read_after_a_users_file(data_root, tmp_path, monkeypatch):
    """Reading a file must not take from torch the classes with which PyG reads its own files without pickle."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    graph = Data(x=torch.randn(60, 3), edge_index=torch.randint(60, (2, 90)), y=torch.arange(60) % 2)
    torch.save(graph, tmp_path / "d.pt")
    before = set(torch.serialization.get_safe_globals())
    load_task(str(tmp_path / "d.pt"))
    assert set(torch.serialization.get_safe_globals()) == before
    for _ in range(2):  # from the raw files, then from the cache
        assert load_task("cora", root=data_root).spec.num_classes == 7
