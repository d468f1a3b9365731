"""Data that a program of the user's makes, and folders of files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from edgegnn.compression.model_source import DataSource
from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import load_task, restore_task

MODULE = """
import torch
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import NormalizeFeatures

def graphs(count=12):
    def one(i):
        edges = torch.randint(5, (2, 8), dtype=torch.int32)
        return Data(x=torch.rand(5, 3), edge_index=edges, y=torch.tensor([[i % 2]]))
    return [one(i) for i in range(count)]

class Rings(InMemoryDataset):
    def __init__(self, root, count=12, transform=None):
        super().__init__(root, transform)
        self.data, self.slices = self.collate(graphs(count))

def loader():
    return DataLoader(graphs(10), batch_size=4)

def parts():
    return {"train": graphs(6), "val": graphs(2), "test": Rings("r", 4)}

def normalised():
    return Rings("r", transform=NormalizeFeatures())

def number():
    return 3

ready = graphs(14)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("theirdata.py").write_text(MODULE)
    yield
    sys.modules.pop("theirdata", None)


@pytest.mark.parametrize(
    ("named", "count"),
    [
        ("graphs", 12),
        ("graphs(16)", 16),
        ("Rings", 12),
        ("Rings('here', count=8)", 8),
        ("loader", 10),
        ("ready", 14),
        ("parts", 12),
    ],
)
def test_what_a_module_makes(named: str, count: int, tmp_path: Path) -> None:
    task = load_task(f"theirdata:{named}", root=tmp_path / "root")
    assert (len(task.graphs), task.spec.kind, task.spec.data) == (count, "graph", f"theirdata:{named}")
    assert task.graphs[0].edge_index.dtype == torch.int64
    if named == "parts":
        assert [len(task.index[part]) for part in ("train", "val", "test")] == [6, 2, 4]


def test_a_transform_is_said(caplog: pytest.LogCaptureFixture) -> None:
    load_task("theirdata:normalised")
    assert "its transform NormalizeFeatures() prepares each graph" in caplog.text


def test_mistakes_take_one_line() -> None:
    for data, message in [
        ("theirdata:nothing", "AttributeError"),
        ("theirdata:number", "gives no graphs"),
        ("theirdata:graphs(__import__('os'))", "malformed|failed"),
        ("theirdata:graphs(**{})", "list of arguments"),
    ]:
        with pytest.raises(DataError, match=message):
            load_task(data)
    with pytest.raises(UsageError, match="no module nowhere"):
        DataSource("nowhere:Data").check()
    with pytest.raises(UsageError, match="did you mean tu"):
        DataSource("tuu:PROTEINS").check()


def test_a_file_does_not_import_its_data() -> None:
    task = load_task("theirdata:graphs", seed=3)
    sys.modules.pop("theirdata")
    with pytest.raises(UsageError, match="say --data 'theirdata:graphs'"):
        restore_task(task.spec)
    assert "theirdata" not in sys.modules
    assert restore_task(task.spec, named="theirdata:graphs").spec == task.spec


def test_a_folder_of_files() -> None:
    def graph(value: int) -> Data:
        return Data(
            x=torch.full((3, 2), float(value)), edge_index=torch.tensor([[0, 1], [1, 2]]), y=torch.tensor([value % 2])
        )

    Path("many").mkdir()
    for i in range(12):
        torch.save(graph(i), f"many/graph_{i}.pt")
    assert [int(g.x[0, 0]) for g in load_task("many").graphs] == list(range(12))
    Path("set/processed").mkdir(parents=True)
    for part, numbers in (("train", range(4)), ("val", range(2)), ("test", range(3))):
        torch.save([graph(i) for i in numbers], f"set/processed/{part}.pt")
    torch.save("none", "set/processed/pre_filter.pt")
    index = load_task("set").index
    assert {part: len(index[part]) for part in index} == {"train": 4, "val": 2, "test": 3}
