"""Files that PyTorch, PyG and numpy themselves write: read, or named for what they are; and none of them runs code."""

from __future__ import annotations

import io
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data, HeteroData, InMemoryDataset

from edgegnn.checkpoint import load_checkpoint
from edgegnn.checkpoint.foreign_names import find_state_dict
from edgegnn.errors import CheckpointError, DataError
from edgegnn.tasks import load_task, task_from_graphs
from edgegnn.tasks.notes import note
from edgegnn.utils.pickles import as_protocol_2


def graphs(count: int = 40) -> list[Data]:
    draw = torch.Generator().manual_seed(0)
    return [
        Data(
            x=torch.randn(5 + i % 3, 3, generator=draw),
            edge_index=torch.randint(5, (2, 4 + i % 5), generator=draw),
            y=torch.tensor([i % 2]),
        )
        for i in range(count)
    ]


def one_graph(**changes: Any) -> Data:
    draw = torch.Generator().manual_seed(0)
    values = {
        "x": torch.randn(60, 3, generator=draw),
        "edge_index": torch.randint(60, (2, 90), generator=draw),
        "y": torch.arange(60) % 3,
    }
    return Data(**{**values, **changes})


def layouts(items: list[Data]) -> dict[str, Any]:
    data, slices = InMemoryDataset.collate(items)
    return {
        "PyG before 2.4": (data, slices),
        "PyG": (data.to_dict(), slices, Data),
        "dictionaries": [item.to_dict() for item in items],
    }


def same(found: list[Data], wanted: list[Data]) -> bool:
    pairs = list(zip(found, wanted, strict=True))
    return all(torch.equal(a.x, b.x) and torch.equal(a.edge_index, b.edge_index) for a, b in pairs)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", ["PyG before 2.4", "PyG", "dictionaries"])
@pytest.mark.parametrize("count", [1, 40])
def test_a_processed_data_set_is_read(tmp_path, layout, count, protocol):
    items = graphs() if count > 1 else [one_graph()]
    torch.save(layouts(items)[layout], tmp_path / "data.pt", pickle_protocol=protocol)
    assert same(load_task(str(tmp_path / "data.pt")).graphs, items)


def test_what_pyg_saves_is_read(tmp_path):
    items = graphs()
    InMemoryDataset.save(items, str(tmp_path / "data.pt"))
    assert same(load_task(str(tmp_path / "data.pt")).graphs, items)


def test_graphs_without_features_keep_their_number_of_nodes(tmp_path):
    items = [Data(edge_index=g.edge_index, y=g.y, num_nodes=g.num_nodes) for g in graphs()]
    InMemoryDataset.save(items, str(tmp_path / "data.pt"))
    found = load_task(str(tmp_path / "data.pt")).graphs
    assert [g.num_nodes for g in found] == [g.num_nodes for g in items]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_numpy_are_read(tmp_path, protocol):
    graph = one_graph()
    arrays = {name: value.numpy() for name, value in graph.to_dict().items()}
    arrays["x"] = np.asfortranarray(arrays["x"].astype(">f8"))
    torch.save(arrays, tmp_path / "data.pt", pickle_protocol=protocol)
    assert same(load_task(str(tmp_path / "data.pt")).graphs, [graph])
    np.savez(tmp_path / "data.npz", **arrays)
    assert same(load_task(str(tmp_path / "data.npz")).graphs, [graph])


def test_a_list_for_each_part_is_the_split(tmp_path):
    items = graphs()
    torch.save({"train": items[:30], "valid": items[30:34], "test": items[34:]}, tmp_path / "data.pt")
    task = load_task(str(tmp_path / "data.pt"))
    assert task.spec.split == "given"
    assert task.index["val"].tolist() == [30, 31, 32, 33]
    assert same(task.graphs, items)


def test_other_data_sets_say_the_cure(tmp_path):
    other = HeteroData()
    other["paper"].x = torch.ones(3, 2)
    data, slices = InMemoryDataset.collate([other, other])
    torch.save((data.to_dict(), slices, Data), tmp_path / "data.pt")
    with pytest.raises(DataError, match=r"no data set of plain graphs: save its graphs, torch.save\(list\(dataset\)"):
        load_task(str(tmp_path / "data.pt"))


# Labels ------------------------------------------------------------


@pytest.mark.parametrize("unknown", [-1, -100])
def test_nodes_without_a_label_are_in_no_part(caplog, unknown):
    note.cache_clear()
    y = torch.arange(60) % 3
    y[::4] = unknown
    with caplog.at_level(logging.WARNING):
        task = task_from_graphs(one_graph(y=y), data="mine")
    used = torch.cat(list(task.index.values())).sort().values
    assert used.tolist() == [i for i in range(60) if i % 4]
    assert task.spec.num_classes == 3
    assert "mine: 15 nodes have no label (-1): they are in no part of the split" in caplog.text


def test_graphs_without_a_label_are_left_out_of_the_given_split(caplog):
    note.cache_clear()
    items = graphs()
    for i, graph in enumerate(items):
        graph.split = ("train", "val", "test")[i % 3]
        graph.y = torch.tensor([-1 if i in (3, 7) else i // 3 % 2])
    with caplog.at_level(logging.WARNING):
        task = task_from_graphs(items, data="mine")
    assert 3 not in task.index["train"].tolist()
    assert task.index["val"].tolist() == [i for i in range(40) if i % 3 == 1 and i != 7]
    assert "mine: 2 graphs of the split have no label (-1): left out" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_one_hot_labels_are_classes(caplog, dtype):
    note.cache_clear()
    classes = torch.arange(60) % 3
    with caplog.at_level(logging.WARNING):
        task = task_from_graphs(one_graph(y=nn.functional.one_hot(classes).to(dtype)), data="mine")
    assert (task.spec.target, task.spec.num_classes) == ("classes", 3)
    assert task.graphs[0].y.tolist() == classes.tolist()
    items = [Data(**{**g.to_dict(), "y": nn.functional.one_hot(g.y, 2).to(dtype)}) for g in graphs()]
    with caplog.at_level(logging.WARNING):
        task = task_from_graphs(items, data="mine")
    assert (task.spec.target, task.spec.num_classes) == ("classes", 2)
    assert [int(g.y) for g in task.graphs] == [i % 2 for i in range(40)]
    assert task_from_graphs(items, data="mine", task="graph-multilabel").spec.target == "labels"
    assert [r.getMessage() for r in caplog.records] == [
        "edgegnn: mine: y is one-hot: read as one class a node",
        "edgegnn: mine: y is one-hot: read as one class a graph (several labels: --task graph-multilabel)",
    ]


@pytest.mark.parametrize("shape", [(60,), (60, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8, torch.int32])
def test_labels_of_any_type_and_shape(shape, dtype):
    task = task_from_graphs(one_graph(y=(torch.arange(60) % 3).to(dtype).view(shape)), data="mine")
    assert task.graphs[0].y.tolist() == [i % 3 for i in range(60)]


# Models ------------------------------------------------------------


def build() -> nn.Module:
    return nn.Linear(3, 2)


FACTORY = f"{__name__}:build"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("key", [None, "state_dict", "gnn"])
def test_weights_of_any_protocol_under_any_name(tmp_path, key, protocol):
    state = build().state_dict()
    content = state if key is None else {key: state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(content, tmp_path / "weights.pt", pickle_protocol=protocol)
    model = load_checkpoint(tmp_path / "weights.pt", factory=FACTORY).model
    assert isinstance(model, nn.Module)
    assert torch.equal(model.state_dict()["weight"], state["weight"])


def test_two_state_dicts_are_not_guessed_between():
    state = dict(build().state_dict())
    assert find_state_dict({"teacher": state, "student": state}) is None
    assert find_state_dict({"teacher": state, "model": state}) is not None


# Nothing runs ------------------------------------------------------------


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_protocol_runs_code(tmp_path, protocol):
    evil = Evil(tmp_path / "trace")
    for name, content in (("list", [*graphs(3), evil]), ("inside", one_graph(extra=evil)), ("slices", ({}, evil))):
        path = tmp_path / f"{name}.pt"
        torch.save(content, path, pickle_protocol=protocol)
        with pytest.raises(DataError, match="could run their code"):
            load_task(str(path))
        with pytest.raises(CheckpointError, match="refused"):
            load_checkpoint(path, factory=FACTORY)
    assert not (tmp_path / "trace").exists()


def test_arrays_of_objects_are_refused(tmp_path):
    for content in (np.array([{}]), np.zeros(2, [("a", "O")]), np.array(["text"])):
        torch.save({"x": content}, tmp_path / "data.pt", pickle_protocol=4)
        with pytest.raises(DataError):
            load_task(str(tmp_path / "data.pt"))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_rewritten_pickle_says_the_same(protocol):
    text = "t" * 300
    value = {
        "a": [1, -1, 2**70, 1.5, None, True],
        text: (text, text, b"\x00\xff" * 200),
        "s": {1, 2},
        "deep": [[[text]]],
    }
    value["self"] = value["a"]
    again = as_protocol_2(pickle.dumps(value, protocol))
    assert again[:2] == b"\x80\x02"
    found = pickle.load(io.BytesIO(again))
    assert found == value
    assert found["self"] is found["a"]


def test_a_damaged_pickle_is_refused():
    content = pickle.dumps({"a": [1, 2, "text"]}, 4)
    for cut in range(2, len(content)):
        with pytest.raises(pickle.UnpicklingError, match="damaged pickle"):
            as_protocol_2(content[:cut])
