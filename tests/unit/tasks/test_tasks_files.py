"""A user's own graphs: what is accepted, and the one line for each thing that is not."""

import os
import pickle
import warnings

import pytest
import torch
from torch_geometric.data import Batch, Data

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import load_task, restore_task, task_from_graphs


def node_graph(n=40, **changes):
    generator = torch.Generator().manual_seed(0)
    values = {
        "x": torch.randn(n, 3, generator=generator),
        "edge_index": torch.randint(0, n, (2, 4 * n), generator=generator),
        "y": torch.arange(n) % 2,
    } | changes
    return Data(**{k: v for k, v in values.items() if v is not None})


def small_graph(i=0, **changes):
    values = {
        "x": torch.full((3, 2), float(i)),
        "edge_index": torch.tensor([[0, 1], [1, 2]]),
        "y": torch.tensor([i % 2]),
    }
    return Data(**{k: v for k, v in (values | changes).items() if v is not None})


def small_graphs(n=40, **changes):
    return [small_graph(i, **changes) for i in range(n)]


def masks(n=40):
    at = torch.arange(n)
    return {"train_mask": at < 20, "val_mask": (at >= 20) & (at < 30), "test_mask": at >= 30}


def test_node_task_from_file(tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(node_graph(**masks()), path)
    task = load_task(str(path))
    assert (task.spec.kind, task.spec.split, task.spec.data) == ("node", "given", str(path))
    assert task.index["val"].tolist() == list(range(20, 30))
    assert restore_task(task.spec).spec == task.spec
    drawn = load_task(str(path), split="stratified")
    assert drawn.spec.split == "stratified"
    assert len(drawn.index["train"]) == 32


@pytest.mark.parametrize("form", ["list", "tuple", "dicts"])
def test_graph_task_from_file(tmp_path, form):
    graphs = small_graphs()
    content = {"list": graphs, "tuple": tuple(graphs), "dicts": [g.to_dict() for g in graphs]}[form]
    torch.save(content, tmp_path / "mine.pt")
    task = load_task(str(tmp_path / "mine.pt"))
    assert (task.spec.kind, task.spec.num_features, task.spec.num_classes, len(task.graphs)) == ("graph", 2, 2, 40)
    assert torch.equal(task.graphs[7].x, graphs[7].x)


def test_a_dict_is_a_graph(tmp_path):
    torch.save(node_graph().to_dict(), tmp_path / "mine.data")
    assert load_task(str(tmp_path / "mine.data")).spec.kind == "node"


def test_given_graphs_stay_as_they_are():
    graph = node_graph(x=torch.arange(120).view(40, 3))
    task = task_from_graphs(graph, data="memory")
    assert task.graphs[0].x.dtype == torch.float32
    assert graph.x.dtype == torch.int64
    assert set(graph.to_dict()) == {"x", "edge_index", "y"}


def test_features_of_other_types_become_float32():
    for x in (torch.ones(40, 3, dtype=torch.float64), torch.ones(40, 3, dtype=torch.bool), torch.ones(40, 3).half()):
        assert task_from_graphs(node_graph(x=x), data="memory").graphs[0].x.dtype == torch.float32
    graphs = small_graphs(edge_attr=torch.tensor([[1], [2]]))
    assert task_from_graphs(graphs, data="memory").graphs[0].edge_attr.dtype == torch.float32


def test_labels_may_be_a_column_or_whole_floats():
    assert task_from_graphs(node_graph(y=(torch.arange(40) % 2).float().view(-1, 1)), data="m").graphs[0].y.shape == (
        40,
    )
    task = task_from_graphs([small_graph(i, y=torch.tensor([[float(i % 3)]])) for i in range(40)], data="m")
    assert task.spec.num_classes == 3
    assert task.graphs[5].y.tolist() == [2]
    scalars = [{**small_graph(i).to_dict(), "y": i % 2} for i in range(40)]
    assert task_from_graphs(scalars, data="m").graphs[3].y.tolist() == [1]


def test_nodes_outside_the_masks_need_no_label():
    y = torch.arange(40) % 2
    given = masks()
    given["test_mask"] = torch.arange(40) >= 35
    y[30:34] = -1
    y[34] = 99
    task = task_from_graphs(node_graph(y=y, **given), data="m")
    assert task.spec.num_classes == 2
    assert task.graphs[0].y[30:35].tolist() == [-1] * 5
    assert task.graphs[0].y[:30].tolist() == y[:30].tolist()


def test_graphs_without_features_get_the_degree():
    graphs = small_graphs(x=None, num_nodes=5)
    task = task_from_graphs(graphs, data="m")
    assert task.spec.features["mean"] == pytest.approx(2 / 5)
    assert task.graphs[0].x.shape == (5, 1)
    assert task_from_graphs(node_graph(x=None, num_nodes=40), data="m").spec.features["kind"] == "degree"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyG's warning about guessed numbers of nodes
        assert task_from_graphs(small_graphs(x=None), data="m").graphs[0].num_nodes == 3


def test_single_graphs_of_a_list_may_have_no_edges():
    graphs = small_graphs()
    graphs[3].edge_index = torch.zeros(2, 0, dtype=torch.long)
    assert task_from_graphs(graphs, data="m").graphs[3].edge_index.shape == (2, 0)


NAN = torch.full((40, 3), float("nan"))
BAD_NODE = {
    "no labels": ({"y": None}, "no label"),
    "labels of other length": ({"y": torch.arange(39) % 2}, "39 labels for 40 nodes"),
    "several targets": ({"y": torch.ones(40, 2)}, "80 labels for 40 nodes"),
    "nan labels": ({"y": torch.full((40,), float("nan"))}, "label is NaN"),
    "regression": ({"y": torch.linspace(0, 1, 40)}, "not integers"),
    "one class": ({"y": torch.ones(40, dtype=torch.long)}, "same label 1"),
    "negative label": ({"y": torch.arange(40) % 2 - 1}, "negative"),
    "huge label": ({"y": torch.arange(40) % 2 * 1000}, "number the classes from 0"),
    "nan features": ({"x": NAN}, "x is NaN or infinite in row 0.*clean"),
    "inf features": ({"x": torch.full((40, 3), float("inf"))}, "NaN or infinite"),
    "beyond float32": ({"x": torch.full((40, 3), 1e300, dtype=torch.float64)}, "NaN or infinite"),
    "no columns": ({"x": torch.ones(40, 0)}, "no columns"),
    "complex": ({"x": torch.ones(40, 3, dtype=torch.cfloat)}, "complex"),
    "sparse features": ({"x": torch.ones(40, 3).to_sparse()}, "to_dense"),
    "transposed": ({"edge_index": torch.zeros(9, 2, dtype=torch.long)}, r"shape \[9, 2\].*transpose"),
    "flat edges": ({"edge_index": torch.zeros(9, dtype=torch.long)}, r"must be \[2, E\]"),
    "three rows": ({"edge_index": torch.zeros(3, 9, dtype=torch.long)}, r"must be \[2, E\]"),
    "float edges": ({"edge_index": torch.zeros(2, 9)}, "float32, it must be int64"),
    "bool edges": ({"edge_index": torch.zeros(2, 9, dtype=torch.bool)}, "bool, it must be int64"),
    "index too large": ({"edge_index": torch.tensor([[0], [40]])}, "names node 40, the graph has nodes 0 to 39"),
    "negative index": ({"edge_index": torch.tensor([[0], [-1]])}, "names node -1"),
    "no edges": ({"edge_index": torch.zeros(2, 0, dtype=torch.long)}, "edge index is empty"),
    "no nodes": ({"x": torch.zeros(0, 3), "edge_index": torch.zeros(2, 0, dtype=torch.long)}, "no nodes"),
    "edge_attr rows": ({"edge_attr": torch.ones(3, 2)}, "edge_attr has 3 rows for 160 edges"),
    "edge_attr nan": ({"edge_attr": torch.full((160, 1), float("nan"))}, "edge_attr is NaN"),
    "edge_weight rows": ({"edge_weight": torch.ones(3)}, "edge_weight has 3 rows"),
    "a string": ({"x": "abc"}, "x is no tensor"),
    "one mask only": ({"train_mask": torch.arange(40) < 20}, "no val_mask.*stratified"),
    "short mask": (masks() | {"val_mask": torch.ones(3, dtype=torch.bool)}, r"val_mask has shape \[3\]"),
    "masks of many splits": (masks() | {"train_mask": torch.ones(40, 10, dtype=torch.bool)}, "train and val share 10"),
    "empty mask": (masks() | {"test_mask": torch.zeros(40, dtype=torch.bool)}, "test split is empty"),
    "shared nodes": (masks() | {"val_mask": torch.arange(40) >= 29}, "val and test share 10 nodes .the first is 30"),
}


@pytest.mark.parametrize("case", BAD_NODE)
def test_bad_node_graphs(case):
    changes, message = BAD_NODE[case]
    with pytest.raises(DataError, match=message) as info:
        task_from_graphs(node_graph(**changes), data="mine.pt")
    assert str(info.value).startswith("mine.pt")
    assert "\n" not in str(info.value)


BAD_GRAPH = {
    "no label": ({"y": None}, "graph 7 has no label"),
    "labels of nodes": ({"y": torch.tensor([0, 1, 0])}, "graph 7 has 3 labels.*node task is a single graph"),
    "nan label": ({"y": torch.tensor([float("nan")])}, "label is NaN"),
    "nan features": ({"x": torch.full((3, 2), float("nan"))}, "graph 7: x is NaN"),
    "other width": ({"x": torch.ones(3, 5)}, "graph 7: x has 5 columns, graph 0 has 2 columns"),
    "no features": ({"x": None}, "graph 7: x has no values, graph 0 has 2 columns"),
    "edge features in one": (
        {"edge_attr": torch.ones(2, 1)},
        "graph 7: edge_attr has 1 columns, graph 0 has no values",
    ),
    "no nodes": ({"x": torch.zeros(0, 2), "edge_index": torch.zeros(2, 0, dtype=torch.long)}, "graph 7: .*no nodes"),
    "index": ({"edge_index": torch.tensor([[0], [3]])}, "graph 7: edge_index names node 3"),
}


@pytest.mark.parametrize("case", BAD_GRAPH)
def test_bad_graphs_in_a_list(case):
    changes, message = BAD_GRAPH[case]
    graphs = small_graphs()
    graphs[7] = small_graph(7, **changes)
    with pytest.raises(DataError, match=message) as info:
        task_from_graphs(graphs, data="mine.pt")
    assert "\n" not in str(info.value)


def test_lists_that_are_no_task():
    with pytest.raises(DataError, match="empty list"):
        task_from_graphs([], data="m")
    with pytest.raises(DataError, match="same label"):
        task_from_graphs(small_graphs(y=torch.tensor([0])), data="m")
    with pytest.raises(DataError, match="edge index is empty"):
        task_from_graphs(small_graphs(edge_index=torch.zeros(2, 0, dtype=torch.long)), data="m")
    with pytest.raises(DataError, match="split is empty"):
        task_from_graphs(small_graphs(4), data="m")
    with pytest.raises(DataError, match="item 0 is a int"):
        task_from_graphs([1, 2], data="m")  # type: ignore[list-item]
    with pytest.raises(UsageError, match="no public split"):
        task_from_graphs(small_graphs(), data="m", split="public")
    with pytest.raises(DataError, match="no train_mask"):
        task_from_graphs(node_graph(), data="m", split="given")


class Evil:
    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return (os.mkdir, (self.trace,))


@pytest.mark.parametrize("where", ["torch", "pickle", "inside Data"])
def test_files_that_would_run_code(tmp_path, where):
    path, evil = tmp_path / "evil.pt", Evil(tmp_path / "trace")
    if where == "pickle":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil if where == "torch" else node_graph(extra=evil), path)
    with pytest.raises(DataError) as info:
        load_task(str(path))
    assert not (tmp_path / "trace").exists()
    assert str(path) in str(info.value)
    assert "\n" not in str(info.value)


def test_batches_are_explained(tmp_path):
    torch.save(Batch.from_data_list(small_graphs()), tmp_path / "b.pt")
    with pytest.raises(DataError, match="to_data_list"):
        load_task(str(tmp_path / "b.pt"))


def test_files_that_are_damaged(tmp_path):
    good = tmp_path / "good.pt"
    torch.save(small_graphs(), good)
    content = good.read_bytes()
    for i, bad in enumerate((b"", b"junk", content[:100], content[: len(content) // 2], content[:-10])):
        path = tmp_path / f"{i}.pt"
        path.write_bytes(bad)
        with pytest.raises(DataError, match="damaged") as info:
            load_task(str(path))
        assert "\n" not in str(info.value)


def test_files_that_hold_something_else(tmp_path):
    for i, (content, message) in enumerate(
        ((torch.ones(3), "holds a Tensor"), ("text", "holds a str"), ({"a": 1}, "no edge_index"), ([], "empty list"))
    ):
        torch.save(content, tmp_path / f"{i}.pt")
        with pytest.raises(DataError, match=message):
            load_task(str(tmp_path / f"{i}.pt"))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="no data file"):
        load_task(str(tmp_path / "absent.pt"))
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        load_task(str(tmp_path / "folder.pt"))
