"""Tasks by name: data sets, splits, features, restoring."""

import json
import socket
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import TaskSpec, datasets, load_task, names, restore_task, splits


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    """The user's cache stays out of it."""
    monkeypatch.setattr(datasets, "cache_folder", lambda: cache / "data")
    monkeypatch.delenv("EDGEGNN_DATA", raising=False)


@pytest.fixture
def no_network(monkeypatch):
    def fail(request, timeout=None):
        assert timeout is not None
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", fail)


def write_tu(folder: Path, name: str = "TOY", graphs: int = 40, node_labels: bool = False) -> Path:
    """A TU data set: rings of 3 to 6 nodes, a spoke more in class 1; graph i has class i % 2."""
    folder.mkdir(parents=True)
    edges, indicator, labels, kinds = [], [], [], []
    start = 1
    for i in range(graphs):
        n = 3 + i % 4
        ring = [(k, (k + 1) % n) for k in range(n)] + ([(0, 2)] if i % 2 and n > 3 else [])
        edges += sorted({(start + a, start + b) for p in ring for a, b in (p, p[::-1])})
        indicator += [i + 1] * n
        kinds += [k % 2 for k in range(n)]
        labels.append(1 if i % 2 else -1)
        start += n
    (folder / f"{name}_A.txt").write_text("".join(f"{a}, {b}\n" for a, b in edges))
    (folder / f"{name}_graph_indicator.txt").write_text("".join(f"{i}\n" for i in indicator))
    (folder / f"{name}_graph_labels.txt").write_text("".join(f"{i}\n" for i in labels))
    if node_labels:
        (folder / f"{name}_node_labels.txt").write_text("".join(f"{i}\n" for i in kinds))
    return folder


def is_partition(task, n):
    return torch.cat(list(task.index.values())).sort().values.tolist() == list(range(n))


def test_digits_are_real_images_as_graphs():
    task = load_task("digits")
    assert task.spec.to_dict() == {
        "data": "digits",
        "kind": "graph",
        "split": "stratified",
        "seed": 0,
        "metric": "accuracy",
        "num_features": 17,
        "num_classes": 10,
        "features": {},
        "target": "classes",
        "scale": {},
    }
    assert len(task.graphs) == 1797
    assert is_partition(task, 1797)
    graph = task.graphs[0]
    # The picture can be put together again, so nothing of it was lost.
    image = torch.zeros(8, 8)
    image[graph.x[:, 1:9].argmax(1), graph.x[:, 9:].argmax(1)] = graph.x[:, 0]
    from sklearn.datasets import load_digits

    assert np.allclose(image.numpy() * 16, load_digits().images[0])
    source, target = graph.edge_index
    rows = graph.x[:, 1:9].argmax(1)
    assert int((rows[source] - rows[target]).abs().max()) == 1
    assert not (source == target).any()


def test_digits_knn_is_one_undirected_graph():
    task = load_task("Digits-KNN", seed=3)
    graph = task.graphs[0]
    assert (task.spec.data, task.spec.kind, len(task.graphs)) == ("digits-knn", "node", 1)
    assert graph.x.shape == (1797, 64)
    assert is_partition(task, 1797)
    edges = {tuple(e) for e in graph.edge_index.t().tolist()}
    assert all((b, a) in edges and a != b for a, b in edges)
    # each image has its 10 nearest, and those whose nearest it is
    assert int(torch.bincount(graph.edge_index[1]).min()) >= 10


def test_stratified_keeps_the_shares_and_follows_its_seed():
    labels = np.array([0] * 70 + [1] * 30)
    one, same, other = (splits.stratified(labels, seed) for seed in (1, 1, 2))
    assert {k: len(v) for k, v in one.items()} == {"train": 80, "val": 10, "test": 10}
    assert labels[one["test"]].tolist().count(1) == 3
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["test"], other["test"])


def test_stratified_gives_rare_classes_to_training_first():
    split = splits.stratified(np.array([0] * 20 + [1, 1, 2, 2, 2]), 0)
    assert {20, 21} <= set(split["train"].tolist())
    assert [len({22, 23, 24} & set(split[k].tolist())) for k in ("train", "val", "test")] == [1, 1, 1]


def test_folds_cover_all_and_validate_on_the_fold_before():
    labels = np.array([0, 1] * 53)
    folds = [splits.fold(labels, k) for k in range(10)]
    assert torch.cat([f["test"] for f in folds]).sort().values.tolist() == list(range(106))
    for k in range(10):
        assert torch.equal(folds[k]["val"], folds[k - 1]["test"])
        assert torch.cat(list(folds[k].values())).unique().numel() == 106
    with pytest.raises(UsageError, match="fold:0 to fold:9"):
        splits.fold(labels, 10)
    with pytest.raises(DataError, match="10 folds need 10"):
        splits.fold(np.array([0] * 30 + [1] * 9), 0)


def test_tu_set_with_labels_is_read_where_it_lies(tmp_path):
    raw = write_tu(tmp_path / "TOY" / "raw", node_labels=True)
    before = sorted(tmp_path.rglob("*"))
    task = load_task("tu:TOY", root=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert (task.spec.kind, task.spec.num_features, task.spec.num_classes, task.spec.features) == ("graph", 2, 2, {})
    assert (len(task.graphs), task.graphs[5].y.tolist(), task.graphs[5].num_nodes) == (40, [1], 4)
    assert task.graphs[5].edge_index.size(1) == 10
    # Without the raw files' text the result of the first time is there still: the key is the files' names and times.
    again = load_task("tu:TOY", root=tmp_path)
    assert torch.equal(again.graphs[5].x, task.graphs[5].x)
    # Other raw files are read anew.
    for path in raw.iterdir():
        path.unlink()
    raw.rmdir()
    write_tu(raw, graphs=44, node_labels=True)
    assert len(load_task("tu:TOY", root=tmp_path).graphs) == 44


def test_environment_names_the_folder(tmp_path, monkeypatch):
    write_tu(tmp_path / "toy", node_labels=True)  # as unpacked by hand: no raw folder, other case
    monkeypatch.setenv("EDGEGNN_DATA", str(tmp_path))
    assert len(load_task("tu:TOY").graphs) == 40
    monkeypatch.setenv("EDGEGNN_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match="from EDGEGNN_DATA"):
        load_task("tu:TOY")


def test_degree_features_come_from_training_graphs_only(tmp_path):
    write_tu(tmp_path / "TOY" / "raw")
    task = load_task("tu:TOY", root=tmp_path)
    degrees = [torch.bincount(g.edge_index[1], minlength=g.num_nodes).double() for g in task.graphs]
    training = torch.cat([degrees[i] for i in task.index["train"].tolist()])
    constants = task.spec.features
    assert constants["kind"] == "degree"
    assert constants["mean"] == pytest.approx(float(training.mean()))
    assert constants["std"] == pytest.approx(float(training.std(correction=0)))
    assert constants["mean"] != pytest.approx(float(torch.cat(degrees).mean()), abs=1e-6)
    expected = (degrees[7] - constants["mean"]) / constants["std"]
    assert torch.allclose(task.graphs[7].x, expected.float().view(-1, 1))
    # A checkpoint's constants win over those of the data at hand.
    spec = TaskSpec.from_dict(json.loads(json.dumps(task.spec.to_dict() | {"features": constants | {"mean": 100.0}})))
    assert float(restore_task(spec, tmp_path).graphs[7].x.max()) < -50


def test_archive_beside_is_unpacked_safely(tmp_path):
    raw = write_tu(tmp_path / "made", node_labels=True)
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(root / "TOY.zip", "w") as z:
        for path in raw.iterdir():
            z.write(path, f"../../TOY/{path.name}")
        z.writestr("../../TOY_evil.txt", "outside")
    assert len(load_task("tu:TOY", root=root).graphs) == 40
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "root"]
    assert [p.name for p in root.iterdir()] == ["TOY.zip"]


@pytest.mark.parametrize("content", [b"", b"no zip at all", "truncated"])
def test_damaged_archive(tmp_path, content):
    if content == "truncated":
        with zipfile.ZipFile(tmp_path / "TOY.zip", "w") as z:
            z.writestr("TOY_A.txt", "1, 2\n" * 1000)
        content = (tmp_path / "TOY.zip").read_bytes()[:-30]
    (tmp_path / "TOY.zip").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        load_task("tu:TOY", root=tmp_path)


def test_archive_without_the_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "TOY.zip", "w") as z:
        z.writestr("TOY_A.txt", "1, 2\n")
    with pytest.raises(DataError, match="lacks TOY_graph_indicator"):
        load_task("tu:TOY", root=tmp_path)


def test_raw_files_that_are_no_data(tmp_path, cache):
    raw = write_tu(tmp_path / "TOY" / "raw")
    (raw / "TOY_A.txt").write_text("these are, not numbers\n")
    with pytest.raises(DataError, match="can't be read") as info:
        load_task("tu:TOY", root=tmp_path)
    assert "\n" not in str(info.value)
    assert not [p for p in (cache / "data" / "processed").iterdir() if p.name.startswith(".")]


def test_damaged_cache_is_made_again(tmp_path, cache):
    write_tu(tmp_path / "TOY" / "raw", node_labels=True)
    load_task("tu:TOY", root=tmp_path)
    for path in (cache / "data").rglob("data.pt"):
        path.write_bytes(b"damaged")
    assert len(load_task("tu:TOY", root=tmp_path).graphs) == 40


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(datasets, "cache_folder", lambda: blocked / "data")
    write_tu(tmp_path / "TOY" / "raw", node_labels=True)
    assert len(load_task("tu:TOY", root=tmp_path).graphs) == 40


def test_nothing_is_printed(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # PyG is quiet under pytest
    write_tu(tmp_path / "TOY" / "raw", graphs=41, node_labels=True)
    load_task("tu:TOY", root=tmp_path)
    assert capfd.readouterr() == ("", "")


def test_absent_data_without_network(tmp_path, no_network):
    for name in ("cora", "proteins", "tu:ENZYMES"):
        with pytest.raises(DataError, match=r"no network\?.*--data-root") as info:
            load_task(name, root=tmp_path)
        assert "\n" not in str(info.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_tu_set(tmp_path, monkeypatch):
    def missing(request, timeout=None):
        raise urllib.error.HTTPError(request.full_url, 404, "Not Found", None, None)

    monkeypatch.setattr(urllib.request, "urlopen", missing)
    with pytest.raises(DataError, match="there is no data set NOPE"):
        load_task("tu:NOPE", root=tmp_path)


@pytest.mark.parametrize("name", ["tu:../../etc", "tu:a/b"])
def test_names_that_are_paths(name, tmp_path):
    with pytest.raises(DataError):
        load_task(name, root=tmp_path)


def test_absent_root(tmp_path):
    with pytest.raises(DataError, match="there is no data folder"):
        load_task("cora", root=tmp_path / "absent")


def test_unknown_names():
    with pytest.raises(UsageError, match=r"did you mean cora\?.*citeseer.*digits-knn.*molnet:NAME"):
        load_task("corra")
    with pytest.raises(UsageError, match=r"did you mean tox21\?.*choose one of bace, bbbp"):
        load_task("molnet:tox12")
    with pytest.raises(UsageError, match=r"did you mean roman-empire\?"):
        load_task("hetero:roman-empir")
    with pytest.raises(UsageError, match=r"did you mean zinc\?"):
        load_task("zink")
    with pytest.raises(UsageError, match=r"did you mean graph-regression\?"):
        load_task("digits", task="graph-regresion")
    with pytest.raises(DataError, match="there is no data file"):
        load_task("some/where")
    assert "reddit-binary" in names()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("public", "have no public split"),
        ("full", "have no full split"),
        ("scaffold", "needs molecules"),
        ("given", "have no given split"),
        ("fold:x", "unknown split"),
        ("fold:-1", "unknown split"),
        ("fold:10", "no fold 10"),
        ("nope", "unknown split 'nope'.*stratified"),
    ],
)
def test_wrong_splits(split, message):
    with pytest.raises(UsageError, match=message):
        load_task("digits", split=split)


def test_negative_seed():
    with pytest.raises(UsageError, match="0 or more"):
        load_task("digits-knn", seed=-1)


def test_restore_gives_the_same_task():
    task = load_task("digits", split="fold:4", seed=7)
    again = restore_task(TaskSpec.from_dict(json.loads(json.dumps(task.spec.to_dict()))))
    assert again.spec == task.spec
    assert all(torch.equal(again.index[k], task.index[k]) for k in task.index)


def test_restore_finds_changed_data():
    spec = load_task("digits-knn").spec
    values = spec.to_dict() | {"num_features": 65}
    with pytest.raises(DataError, match="num_features was 65, is 64"):
        restore_task(TaskSpec.from_dict(values))


def test_cora(data_root):
    before = sorted(p.name for p in (data_root / "Cora").iterdir())
    task = load_task("cora", root=data_root)
    assert {k: len(v) for k, v in task.index.items()} == {"train": 140, "val": 500, "test": 1000}
    graph = task.graphs[0]
    assert (graph.num_nodes, graph.edge_index.size(1), task.spec.num_features, task.spec.num_classes) == (
        2708,
        10556,
        1433,
        7,
    )
    assert torch.allclose(graph.x.sum(1), torch.ones(2708))
    assert torch.bincount(graph.y).tolist() == [351, 217, 418, 818, 426, 298, 180]
    assert sorted(p.name for p in (data_root / "Cora").iterdir()) == before
    full, other = (load_task("cora", split="full", seed=s, root=data_root) for s in (0, 1))
    assert {k: len(v) for k, v in full.index.items()} == {"train": 1708, "val": 500, "test": 500}
    assert is_partition(full, 2708)
    assert not torch.equal(full.index["test"], other.index["test"])


def test_proteins(data_root):
    task = load_task("proteins", split="fold:0", root=data_root)
    assert (len(task.graphs), task.spec.num_features, task.spec.num_classes) == (1113, 3, 2)
    assert sum(g.num_nodes for g in task.graphs) == 43471
    assert sum(int(task.graphs[i].y) for i in task.index["test"].tolist()) in (45, 46)


@pytest.mark.slow
def test_citeseer_bbbp_and_reddit(data_root):
    assert load_task("citeseer", root=data_root).spec.num_features == 3703
    bbbp = load_task("bbbp", root=data_root)
    assert len(bbbp.graphs) == 2039
    assert [len(bbbp.index[k]) for k in ("train", "val", "test")] == [1631, 204, 204]
    reddit = load_task("reddit-binary", root=data_root)
    assert (len(reddit.graphs), sum(g.num_nodes for g in reddit.graphs)) == (2000, 859254)
    training = torch.cat([reddit.graphs[i].x for i in reddit.index["train"].tolist()])
    assert float(training.mean()) == pytest.approx(0, abs=1e-4)
    assert float(training.std()) == pytest.approx(1, abs=1e-3)
