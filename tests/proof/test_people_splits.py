"""The user's own split of nodes and of graphs; and what is said of an accuracy where there is none."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from edgegnn.errors import DataError, EdgeGNNError, UsageError
from edgegnn.tasks import load_task, restore_task, task_from_graphs
from edgegnn.tasks.notes import note

NODES = 40
PARTS = {"train": range(25), "val": range(25, 30), "test": range(30, NODES)}


def one_graph(**given: Any) -> Data:
    draw = torch.Generator().manual_seed(0)
    x, edges = torch.randn(NODES, 3, generator=draw), torch.randint(NODES, (2, 160), generator=draw)
    return Data(x=x, edge_index=edges, y=torch.arange(NODES) % 2, **given)


def small_graphs(count: int = NODES) -> list[Data]:
    edges = torch.tensor([[0, 1], [1, 2]])
    return [Data(x=torch.full((3, 2), float(i)), edge_index=edges, y=torch.tensor([i % 2])) for i in range(count)]


def labels(names: tuple[Any, Any, Any] = ("train", "val", "test")) -> list[Any]:
    return [name for name, ids in zip(names, PARTS.values(), strict=True) for _ in ids]


def lists(**parts: Any) -> dict[str, list[int]]:
    return {part: list(ids) for part, ids in (PARTS | parts).items()}


def as_given(index: dict[str, torch.Tensor]) -> bool:
    return {part: ids.tolist() for part, ids in index.items()} == lists()


NODE_SPLITS = {
    "indices": {f"{part}_idx": torch.tensor(list(ids)) for part, ids in PARTS.items()},
    "bools as indices": {f"{part}_idx": torch.tensor([i in ids for i in range(NODES)]) for part, ids in PARTS.items()},
    "lists, and valid": {
        "train_idx": list(PARTS["train"]),
        "valid_idx": list(PARTS["val"]),
        "test_idx": list(PARTS["test"]),
    },
    "words": {"split": labels()},
    "numbers": {"split": torch.tensor(labels((0, 1, 2)))},
    "dictionary": {"split": {part: torch.tensor(list(ids)) for part, ids in PARTS.items()}},
    "masks of uint8": {
        f"{part}_mask": torch.tensor([i in ids for i in range(NODES)]).byte() for part, ids in PARTS.items()
    },
}


@pytest.mark.parametrize("form", NODE_SPLITS)
def test_a_graph_brings_its_split(tmp_path, form):
    torch.save(one_graph(**NODE_SPLITS[form]), tmp_path / "mine.pt")
    task = load_task(str(tmp_path / "mine.pt"))
    assert as_given(task.index)
    assert task.spec.split == "given"
    assert as_given(restore_task(task.spec).index)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "TEST"), (0, 1, 2)])
def test_graphs_bring_their_split(tmp_path, names):
    graphs = small_graphs()
    for graph, part in zip(graphs, labels(names), strict=True):
        graph.split = part
    torch.save(graphs, tmp_path / "mine.pt")
    task = load_task(str(tmp_path / "mine.pt"))
    assert as_given(task.index)
    assert task.spec.split == "given"


def write(path: Path, form: str) -> Path:
    if form == "json of parts":
        path = path.with_suffix(".json")
        path.write_text(json.dumps(lists()))
    elif form == "json of labels":
        path = path.with_suffix(".json")
        path.write_text(json.dumps(labels()))
    elif form == "csv in order":
        path = path.with_suffix(".csv")
        path.write_text("split\n" + "\n".join(labels()))
    elif form == "csv with numbers":
        path = path.with_suffix(".csv")
        path.write_text("index,split\n" + "\n".join(f"{i},{p}" for i, p in reversed(list(enumerate(labels())))))
    elif form == "npz of numbers":
        path = path.with_suffix(".npz")
        np.savez(path, **{f"{part}_idx": np.array(ids) for part, ids in PARTS.items()})
    else:
        path = path.with_suffix(".npz")
        np.savez(path, **{part: np.isin(np.arange(NODES), list(ids)) for part, ids in PARTS.items()})
    return path


FORMS = ["json of parts", "json of labels", "csv in order", "csv with numbers", "npz of numbers", "npz of bools"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", ["nodes", "graphs"])
def test_a_file_brings_the_split(tmp_path, what, form):
    torch.save(one_graph() if what == "nodes" else small_graphs(), tmp_path / "mine.pt")
    split = f"file:{write(tmp_path / 'split', form)}"
    task = load_task(str(tmp_path / "mine.pt"), split=split)
    assert as_given(task.index)
    assert task.spec.split == split
    assert as_given(restore_task(task.spec).index)


def test_a_split_without_validation_draws_it_from_training(caplog):
    note.cache_clear()
    parts = lists()
    given = {"train": parts["train"] + parts["val"], "test": parts["test"]}
    with caplog.at_level(logging.WARNING):
        index = task_from_graphs(one_graph(split=given), data="mine").index
    assert index["test"].tolist() == parts["test"]
    assert sorted([*index["train"].tolist(), *index["val"].tolist()]) == given["train"]
    assert len(index["val"]) == 3
    assert "mine: split has no val part: 3 nodes of the train part are used to validate" in caplog.text


def test_masks_of_many_splits_take_a_column_and_say_so(caplog):
    note.cache_clear()
    masks = {key: mask.bool().view(-1, 1).repeat(1, 10) for key, mask in NODE_SPLITS["masks of uint8"].items()}
    masks["train_mask"][3, 1:] = False
    with caplog.at_level(logging.WARNING):
        assert as_given(task_from_graphs(one_graph(**masks), data="mine").index)
    assert "masks have 10 columns, one for each split: column 0 is used" in caplog.text
    assert 3 not in task_from_graphs(one_graph(**masks), data="mine", seed=4).index["train"].tolist()
    with pytest.raises(UsageError, match="mine has 10 splits: --split-seed 0 to 9"):
        task_from_graphs(one_graph(**masks), data="mine", seed=10)


BAD = {
    "overlap": (lists(val=range(24, 30)), "train and val share 1 graphs .the first is 24"),
    "too large": (lists(test=range(30, 41)), "test names graph 40, the data have graphs 0 to 39"),
    "negative": (lists(test=[-1]), "test names graph -1"),
    "no test": ({"train": [0, 1]}, "no test part"),
    "other names": ({"a": [0]}, "has a part 'a': name them train, val and test"),
    "twice": ({**lists(), "valid": [1]}, "has the val part twice"),
    "no numbers": (lists(test=["a"]), "test is no list of numbers"),
    "nested": (lists(test=[[1, 2], [3]]), "test is no list of numbers"),
    "empty": (lists(test=[]), "test split is empty"),
    "a bool for some": (lists(test=[True, False]), "test has 2 values for 40 graphs"),
    "labels of fewer": (labels()[:-1], "gives 39 graphs a part, the data have 40"),
    "no part": ([*labels()[:-1], "hold-out"], "part of graph 39 is 'hold-out': write train, val or test"),
    "a word": ("train", "holds no split"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_split_file_is_one_line(tmp_path, case):
    content, message = BAD[case]
    torch.save(small_graphs(), tmp_path / "mine.pt")
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(EdgeGNNError, match=message) as info:
        load_task(str(tmp_path / "mine.pt"), split=f"file:{tmp_path / 'split.json'}")
    assert isinstance(info.value, UsageError) or case == "empty"
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.txt", b"", "must end in .json, .csv or .npz"),
        ("s.json", b"{", "can't be read"),
        ("s.json", b"[" * 100_000, "can't be read"),
        ("s.csv", b"a,b\n1,2\n", "first line must name a column split"),
        ("s.csv", b"index,split\n0,train\n0,test\n", "line 3: 0 is there twice"),
        ("s.csv", b"index,split\n99,train\n", "line 2: '99' is none of the numbers 0 to 39"),
        ("s.csv", b"index,split\n1\n", "line 2: 1 values for 2 columns"),
        ("s.npz", b"junk", "no .npz file"),
    ],
)
def test_an_unreadable_split_file_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    torch.save(small_graphs(), tmp_path / "mine.pt")
    with pytest.raises(UsageError, match=message) as info:
        load_task(str(tmp_path / "mine.pt"), split=f"file:{tmp_path / name}")
    assert "\n" not in str(info.value)


def test_a_wrong_split_of_the_data_is_one_line():
    for split, message in (
        ({"train": [0], "test": [40]}, "mine: split: test names node 40, the data have nodes 0 to 39"),
        (["train"] * 3, "mine: split gives 3 nodes a part, the data have 40"),
        ("train", "mine: split is 'train'"),
    ):
        with pytest.raises(DataError, match=message):
            task_from_graphs(one_graph(split=split), data="mine")
    with pytest.raises(UsageError, match="mine: these data have no given split: set split of each graph"):
        task_from_graphs(small_graphs(), data="mine", split="given")
