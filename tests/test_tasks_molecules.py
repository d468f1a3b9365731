"""Molecules: MoleculeNet sets and the scaffold split."""

import pytest
import torch

from edgegnn.errors import DataError
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
    with pytest.raises(DataError, match=r'pip install "edgegnn\[molecules\]"'):
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


def test_molecules_split_by_scaffold(tmp_path, capfd):
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


def test_molecules_with_several_or_no_targets(tmp_path):
    pytest.importorskip("rdkit")
    raw = tmp_path / "clintox" / "raw"
    raw.mkdir(parents=True)
    (raw / "clintox.csv").write_text("smiles,FDA_APPROVED,CT_TOX\nCCO,1,0\nCCC,0,1\n")
    with pytest.raises(DataError, match=r"graph 0 has 2 labels.*targets come later"):
        load_task("molnet:clintox", root=tmp_path)
    raw = tmp_path / "freesolv" / "raw"
    raw.mkdir(parents=True)
    (raw / "SAMPL.csv").write_text("iupac,smiles,expt,calc\na,CCO,-1.5,2\nb,CCC,2.5,1\n")
    with pytest.raises(DataError, match=r"not integers \(-1.5\)"):
        load_task("molnet:FreeSolv", root=tmp_path)
    raw = tmp_path / "hiv" / "raw"
    raw.mkdir(parents=True)
    (raw / "HIV.csv").write_text("smiles,activity,HIV_active\nCCO,CI,1\nCCC,CI,\n")
    with pytest.raises(DataError, match="a label is NaN"):
        load_task("molnet:hiv", root=tmp_path)
