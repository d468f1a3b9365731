"""Molecules: MoleculeNet sets and the scaffold split."""

import pytest
import torch

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import datasets, load_task


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    """The user's cache stays out of it."""
    monkeypatch.setattr(datasets, "cache_folder", lambda: cache / "data")
    monkeypatch.delenv("EDGEGNN_DATA", raising=False)


def is_partition(task, n):
    return torch.cat(list(task.index.values())).sort().values.tolist() == list(range(n))


def test_molecules_need_rdkit(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "rdkit", None)
    with pytest.raises(DataError, match=r"pip install 'edgegnn\[molecules\]'"):
        load_task("bbbp", root=tmp_path)


BBBP = """num,name,p_np,smiles
1,a,1,CCO
2,b,0,CCCO
3,c,1,c1ccccc1C
4,d,0,c1ccccc1CC
5,e,1,c1ccccc1CCC
6,f,0,C1CCCCC1
7,g,1,C1CCCCC1C
8,h,0,c1ccncc1
9,i,1,c1ccncc1C
10,j,0,C1CC1
11,k,1,C1CCC1
12,l,1,c1ccccc1N
13,m,0,c1ccccc1O
14,n,1,c1ccccc1F
15,o,0,c1ccccc1Cl
16,p,1,c1ccccc1Br
17,q,0,c1ccccc1CO
18,r,1,C1CCOC1
19,s,0,C1CCNC1
20,t,1,c1ccoc1
21,u,0,not a molecule
"""


def test_molecules_split_by_scaffold(tmp_path, capfd, caplog):
    pytest.importorskip("rdkit")
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    (tmp_path / "bbbp" / "raw").mkdir(parents=True)
    (tmp_path / "bbbp" / "raw" / "BBBP.csv").write_text(BBBP)
    task = load_task("bbbp", root=tmp_path)
    assert (task.spec.metric, task.spec.split, task.spec.num_features) == ("roc_auc", "scaffold", 9)
    assert len(task.graphs) == 20
    assert is_partition(task, 20)
    assert (task.graphs[0].x.dtype, task.graphs[0].edge_attr.dtype) == (torch.float32, torch.float32)
    assert task.graphs[1].y.tolist() == [0]
    rings = {
        k: {MurckoScaffoldSmiles(smiles=task.graphs[i].smiles) for i in ids.tolist()} for k, ids in task.index.items()
    }
    assert len(rings["train"] | rings["val"] | rings["test"]) == sum(map(len, rings.values()))
    assert len(task.index["train"]) == 16
    assert "c1ccccc1" in rings["train"]
    again = load_task("molnet:BBBP", root=tmp_path, seed=5)
    assert all(torch.equal(again.index[k], task.index[k]) for k in task.index)
    assert capfd.readouterr() == ("", "")
    # once, not at each load
    assert caplog.messages == ["BBBP.csv: left out what rdkit can't read as a molecule: line 22"]


def write(tmp_path, name, file, text):
    raw = tmp_path / name / "raw"
    raw.mkdir(parents=True)
    (raw / file).write_text(text)


SMILES = ("CCO", "CCC", "CCN", "CCCO", "CCCC", "CCCN", "c1ccccc1", "c1ccncc1", "C1CC1", "C1CCC1", "CCOC", "CCCl")


def test_regression_over_molecules(tmp_path):
    pytest.importorskip("rdkit")
    lines = [f'"a, b {i}",0,0,0,0,0,0,0,{-1.5 - i / 4},{s}' for i, s in enumerate(SMILES)]
    write(tmp_path, "esol", "delaney-processed.csv", "\n".join(["id,a,b,c,d,e,f,g,measured,smiles", *lines]) + "\n")
    task = load_task("molnet:ESOL", root=tmp_path, split="random")
    spec = task.spec
    assert (spec.name, spec.metric, spec.num_classes, spec.num_features) == ("graph-regression", "rmse", 1, 9)
    assert [g.y.tolist() for g in task.graphs] == [[[-1.5 - i / 4]] for i in range(12)]
    train = torch.cat([task.graphs[i].y for i in task.index["train"].tolist()]).double()
    assert spec.scale["mean"] == pytest.approx([float(train.mean())])
    assert spec.scale["std"] == pytest.approx([float(train.std(correction=0))])
    assert len(task.graphs[0].edge_attr) == task.graphs[0].edge_index.shape[1]
    assert load_task("molnet:esol", root=tmp_path).spec.split == "scaffold"
    wide = load_task("molnet:ESOL", root=tmp_path, split="random", one_hot=True)
    assert wide.spec.num_features == sum(wide.spec.features["sizes"]) > 9
    assert wide.graphs[0].x.sum(1).tolist() == [9.0] * 3  # a one for each of nine features
    with pytest.raises(UsageError, match=r"accuracy is no metric for values: choose mae or rmse"):
        load_task("molnet:ESOL", root=tmp_path, metric="accuracy")


def test_labels_of_molecules_may_be_missing(tmp_path):
    pytest.importorskip("rdkit")
    lines = [f"{i % 2},{'' if i % 3 else 1}" + ",0" * 10 + f",id{i},{s}" for i, s in enumerate(4 * SMILES)]
    header = ",".join([f"NR-{i}" for i in range(12)]) + ",mol_id,smiles"
    write(tmp_path, "tox21", "tox21.csv", "\n".join([header, *lines]) + "\n")
    task = load_task("molnet:Tox21", root=tmp_path, split="random", seed=1)
    assert (task.spec.name, task.spec.metric, task.spec.num_classes) == ("graph-multilabel", "mean_roc_auc", 12)
    assert task.graphs[1].y[0, 0] == 1
    assert torch.isnan(task.graphs[1].y[0, 1])
    assert task.graphs[3].y[0, 1] == 1


def test_one_class_alone_has_no_roc_auc(tmp_path):
    pytest.importorskip("rdkit")
    lines = [f"{s},CI,{int(i < 6)}" for i, s in enumerate(SMILES)]
    write(tmp_path, "hiv", "HIV.csv", "\n".join(["smiles,activity,HIV_active", *lines]) + "\n")
    with pytest.raises(DataError, match=r"validation split, roc_auc needs labels of both classes.*another split, seed"):
        load_task("molnet:hiv", root=tmp_path, split="random")
    assert load_task("molnet:hiv", root=tmp_path, split="random", metric="accuracy").spec.metric == "accuracy"


CSV = "smiles,solubility\n" + "".join(f"{s},{i / 3:.3f}\n" for i, s in enumerate(SMILES))


def test_molecules_of_a_csv_file(tmp_path):
    pytest.importorskip("rdkit")
    path = tmp_path / "mine.csv"
    path.write_text(CSV)
    task = load_task(str(path))
    assert (task.spec.name, task.spec.metric, task.spec.split, len(task.graphs)) == (
        "graph-regression",
        "mae",
        "random",
        12,
    )
    assert task.graphs[3].y.tolist() == [[1.0]]
    assert load_task(str(path), split="scaffold").spec.split == "scaffold"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV + "C1CC(,3\n", r"mine.csv, line 14: rdkit can't read 'C1CC\(' as a molecule: correct or remove it"),
        (CSV + ",3\n", "line 14: rdkit can't read ''"),
        (CSV + "CC,many\n", "line 14: solubility is 'many', no number"),
        (CSV + "CC,\n", "graph 12: the target is nan: leave such graphs out"),
        (CSV.replace("smiles", "formula"), "must name a column smiles"),
        ("smiles\nCC\n", "one or more targets"),
        ("smiles,y\n", "no molecules"),
        ("smiles,a,b\n" + "".join(f"{s},{i % 2},\n" for i, s in enumerate(SMILES)), "label column 1 is empty"),
        (b"smiles,a\n\xff,1\n", "can't be read"),
    ],
)
def test_bad_csv_files(tmp_path, text, message):
    pytest.importorskip("rdkit")
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as info:
        load_task(str(path))
    assert "\n" not in str(info.value)
