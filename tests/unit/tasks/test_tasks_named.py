"""Public data sets by name, from small files in the layout of the real ones."""

import pickle
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest
import torch

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import datasets, load_task, restore_task


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """The user's cache stays out of it."""
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("EDGEGNN_DATA", raising=False)


def molecule(i):
    """One of ZINC's entries: a chain of atoms of types 0 to 4."""
    n = 3 + i % 4
    bonds = torch.zeros(n, n, dtype=torch.long)
    for a in range(n - 1):
        bonds[a, a + 1] = bonds[a + 1, a] = 1 + (a + i) % 3
    return {
        "num_atom": n,
        "atom_type": (torch.arange(n) + i) % 5,
        "bond_type": bonds,
        "logP_SA_cycle_normalized": torch.tensor([i / 7 - 1]),
    }


def write_zinc(folder):
    folder.mkdir(parents=True)
    for part, count in (("train", 12), ("val", 5), ("test", 4)):
        molecules = [molecule(i) for i in range(count)]
        if part == "test":
            molecules[0]["atom_type"][0] = 9  # a type that training doesn't have
        (folder / f"{part}.pickle").write_bytes(pickle.dumps(molecules))
        # The subset is every entry but the last one.
        (folder / f"{part}.index").write_text(",".join(map(str, range(count - 1))) + "\n")


def test_zinc_is_the_subset_with_its_own_split(tmp_path):
    write_zinc(tmp_path / "ZINC" / "raw")
    task = load_task("zinc", root=tmp_path)
    spec = task.spec
    assert (spec.name, spec.metric, spec.split, spec.num_classes) == ("graph-regression", "mae", "public", 1)
    assert {part: len(ids) for part, ids in task.index.items()} == {"train": 11, "val": 4, "test": 3}
    assert spec.features == {"kind": "one-hot", "sizes": [5]}
    first = task.graphs[1]
    assert first.x.tolist() == torch.eye(5)[(torch.arange(4) + 1) % 5].tolist()
    assert first.edge_attr.tolist() == [2.0, 2.0, 3.0, 3.0, 1.0, 1.0]
    test = task.graphs[task.index["test"][0]]
    assert test.x[0].tolist() == [0.0] * 5  # not seen in training
    assert test.x[1].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    again = restore_task(spec, tmp_path)
    assert again.spec == spec
    assert all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in zip(task.graphs, again.graphs, strict=True))


def test_zinc_in_an_archive(tmp_path):
    write_zinc(tmp_path / "unpacked")
    with zipfile.ZipFile(tmp_path / "ZINC.zip", "w") as archive:
        for file in (tmp_path / "unpacked").iterdir():
            archive.write(file, f"molecules/{file.name}")
    assert len(load_task("zinc", root=tmp_path).graphs) == 18


def superpixel(i, colours):
    n = 4 + i % 3
    ring = torch.arange(n)
    edges = torch.stack([ring, (ring + 1) % n])
    return {
        "x": torch.full((n, colours), i / 30),
        "pos": torch.rand(n, 2, generator=torch.Generator().manual_seed(i)),
        "edge_index": torch.cat([edges, edges.flip(0)], dim=1),
        "edge_attr": torch.rand(2 * n, 1, generator=torch.Generator().manual_seed(i)),
        "y": torch.tensor([i % 10]),
    }


@pytest.mark.parametrize(
    ("name", "folder", "colours"), [("mnist-superpixels", "MNIST", 1), ("cifar10-superpixels", "CIFAR10", 3)]
)
def test_superpixels(tmp_path, name, folder, colours):
    (tmp_path / folder / "raw").mkdir(parents=True)
    parts = [[superpixel(i, colours) for i in range(count)] for count in (20, 10, 11)]
    torch.save(parts, tmp_path / folder / "raw" / f"{folder}_v2.pt")
    task = load_task(name, root=tmp_path)
    assert (task.spec.name, task.spec.metric, task.spec.split) == ("graph", "accuracy", "public")
    assert (task.spec.num_features, task.spec.num_classes) == (colours + 2, 10)
    assert {part: len(ids) for part, ids in task.index.items()} == {"train": 20, "val": 10, "test": 11}
    graph = task.graphs[task.index["val"][3]]
    want = superpixel(3, colours)
    assert torch.equal(graph.x, torch.cat([want["x"], want["pos"]], dim=1))
    assert torch.equal(graph.edge_attr, want["edge_attr"])


def masks(n, splits=10):
    """[splits, n] each of train, val and test; which nodes train differs from split to split."""
    part = (np.arange(n)[None] + np.arange(splits)[:, None]) % 4
    return part < 2, part == 2, part == 3


def test_heterophilous_graph(tmp_path):
    n, rng = 40, np.random.default_rng(0)
    train, val, test = masks(n)
    folder = tmp_path / "roman_empire" / "raw"
    folder.mkdir(parents=True)
    edges = rng.integers(0, n, (60, 2))
    np.savez(
        folder / "roman_empire.npz",
        node_features=rng.normal(size=(n, 6)).astype(np.float32),
        node_labels=np.arange(n) % 3,
        edges=edges,
        train_masks=train,
        val_masks=val,
        test_masks=test,
    )
    task = load_task("hetero:Roman-empire", root=tmp_path, seed=3)
    assert (task.spec.name, task.spec.split, task.spec.num_classes) == ("node", "public", 3)
    assert task.index["train"].tolist() == np.flatnonzero(train[3]).tolist()
    assert task.index["test"].tolist() == np.flatnonzero(test[3]).tolist()
    assert load_task("hetero:roman_empire", root=tmp_path).index["val"].tolist() == np.flatnonzero(val[0]).tolist()
    assert load_task("hetero:Roman-empire", root=tmp_path, split="stratified").spec.split == "stratified"
    with pytest.raises(UsageError, match="has 10 splits: --split-seed 0 to 9"):
        load_task("hetero:Roman-empire", root=tmp_path, seed=10)
    assert restore_task(task.spec, tmp_path).index["train"].tolist() == task.index["train"].tolist()


@pytest.mark.parametrize(
    ("data", "inside"),
    [("webkb:Cornell", "raw"), ("wikipedia:chameleon", "raw"), ("wikipedia:Squirrel", "geom_gcn/raw")],
)
def test_geom_gcn_sets(tmp_path, data, inside):
    n, key = 24, data.partition(":")[2].lower()
    folder = tmp_path / key / inside
    folder.mkdir(parents=True)
    rows = [f"{i}\t{','.join(str((i >> b) & 1) for b in range(5))}\t{i % 3}" for i in range(n)]
    (folder / "out1_node_feature_label.txt").write_text("\n".join(["node_id\tfeature\tlabel", *rows]) + "\n")
    edges = [f"{i}\t{(i * 7 + 1) % n}" for i in range(n)]
    (folder / "out1_graph_edges.txt").write_text("\n".join(["a\tb", *edges]) + "\n")
    train, val, test = masks(n)
    for i in range(10):
        kept = {"train_mask": train[i], "val_mask": val[i], "test_mask": test[i]}
        np.savez(folder / f"{key}_split_0.6_0.2_{i}.npz", **kept)
    task = load_task(data, root=tmp_path, seed=1)
    assert (task.spec.num_features, task.spec.num_classes, task.spec.split) == (5, 3, "public")
    assert task.graphs[0].edge_index.shape[1] == n
    assert task.index["train"].tolist() == np.flatnonzero(train[1]).tolist()


@pytest.mark.parametrize(
    "data", ["zinc", "mnist-superpixels", "hetero:Questions", "webkb:Texas", "wikipedia:Chameleon", "molnet:ESOL"]
)
def test_no_network_is_one_line(tmp_path, monkeypatch, data):
    def refuse(*_, **__):
        raise urllib.error.URLError(OSError("Network is unreachable"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(
        DataError, match=r"can't be reached \(Network is unreachable\): no network\? put its raw"
    ) as info:
        load_task(data, root=tmp_path)
    assert "\n" not in str(info.value)
    assert not any(p.name == "raw" for p in tmp_path.rglob("*"))


def test_damaged_raw_files(tmp_path):
    write_zinc(tmp_path / "ZINC" / "raw")
    (tmp_path / "ZINC" / "raw" / "val.pickle").write_bytes(b"\x80\x04broken")
    with pytest.raises(DataError, match=r"raw files of ZINC in .* can't be read"):
        load_task("zinc", root=tmp_path)


def test_tasks_that_do_not_suit_the_data(tmp_path):
    write_zinc(tmp_path / "ZINC" / "raw")
    with pytest.raises(UsageError, match="zinc is for graph tasks, not for node tasks"):
        load_task("zinc", root=tmp_path, task="node")
    with pytest.raises(UsageError, match="these data have no stratified split: choose random or fold"):
        load_task("zinc", root=tmp_path, split="stratified")
    with pytest.raises(UsageError, match="roc_auc is no metric for values"):
        load_task("zinc", root=tmp_path, metric="roc_auc")
    with pytest.raises(DataError, match="labels are not integers"):
        load_task("zinc", root=tmp_path, task="graph")
    folds = [load_task("zinc", root=tmp_path, split=f"fold:{k}").index["test"] for k in range(10)]
    assert torch.cat(folds).sort().values.tolist() == list(range(18))
