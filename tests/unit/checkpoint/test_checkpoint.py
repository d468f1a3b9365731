"""`model.pt`: what it holds, and every way in which a file can be wrong."""

import pickle
import re
import zipfile

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv

from edgegnn.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.errors import CheckpointError, UsageError
from edgegnn.models import build
from edgegnn.quantize import prepare, recipe
from edgegnn.tasks import TaskSpec

SPEC = TaskSpec("digits-knn", "node", "stratified", 0, "accuracy", 6, 3, {})
ARGS = {"in_channels": 6, "out_channels": 3, "hidden": 8, "layers": 2, "kind": "node"}
GRAPH = torch.randn(9, 6), torch.randint(0, 9, (2, 20))


class Pickled(nn.Module):
    """A module that a user pickled whole."""

    def __init__(self):
        super().__init__()
        self.conv = GCNConv(6, 3)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


@pytest.fixture
def checkpoint():
    model = build("gcn", **ARGS).eval()
    return Checkpoint(model, {"zoo": "gcn", "args": ARGS}, SPEC, {"epochs": 3}, [{"step": "train"}], {"val": 0.5})


def saved(checkpoint, tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(checkpoint, path)
    return path


def test_round_trip(checkpoint, tmp_path):
    again = load_checkpoint(saved(checkpoint, tmp_path))
    assert torch.equal(again.model(*GRAPH), checkpoint.model(*GRAPH))
    assert (again.task, again.training, again.history, again.metrics) == (
        SPEC,
        {"epochs": 3},
        [{"step": "train"}],
        {"val": 0.5},
    )
    assert again.recipe is None
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_quantized_round_trip(checkpoint, tmp_path):
    checkpoint.model = prepare(checkpoint.model, recipe("dq-int4"), GRAPH).train()
    checkpoint.model(*GRAPH)
    checkpoint.model.eval()
    again = load_checkpoint(saved(checkpoint, tmp_path))
    assert again.recipe == recipe("dq-int4")
    assert torch.equal(again.model(*GRAPH), checkpoint.model(*GRAPH))


def test_nothing_is_overwritten(checkpoint, tmp_path):
    path = saved(checkpoint, tmp_path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="--force"):
        save_checkpoint(checkpoint, path)
    assert path.read_bytes() == before
    save_checkpoint(checkpoint, path, force=True)
    with pytest.raises(UsageError, match="folder"):
        save_checkpoint(checkpoint, tmp_path, force=True)


def test_a_folder_that_can_not_be_written(checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="can't write"):
        save_checkpoint(checkpoint, tmp_path / "file" / "model.pt")


def broken(kind, path):
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    elif kind == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("accuracy,0.9\n")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "b")
    elif kind == "pickle":
        torch.save(Pickled(), path)
    elif kind == "raw pickle":
        path.write_bytes(pickle.dumps({"a": print}))
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "foreign":
        torch.save({"epoch": 3, "optimizer": {}}, path)
    else:
        content = torch.load(path, weights_only=True)
        key, _, value = kind.partition("=")
        if value == "-":
            del content[key]
        elif value == "nan":
            next(iter(content[key].values())).fill_(float("nan"))
        elif value == "shape":
            name = next(iter(content[key]))
            content[key][name] = torch.zeros(2, 2)
        else:
            content[key] = value
        torch.save(content, path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "truncated|damaged"),
        ("half", "truncated|damaged"),
        ("empty", "is empty"),
        ("text", "not a model file"),
        ("zip", "not a model file"),
        ("pickle", "refused.*--factory.*--unsafe-pickle"),
        ("raw pickle", "refused|not a model file"),
        ("list", "holds a list"),
        ("foreign", "neither an edgegnn checkpoint nor a state_dict"),
        ("format=edgegnn-checkpoint/3", "newer than this edgegnn.*upgrade"),
        ("format=other/1", "not an edgegnn checkpoint"),
        ("state_dict=-", "damaged"),
        ("task=-", "damaged"),
        ("model=nonsense", "damaged|does not say"),
        ("quant=nonsense", "damaged"),
        ("state_dict=nan", "NaN"),
        ("state_dict=shape", "does not fit its module"),
    ],
)
def test_bad_files(kind, message, checkpoint, tmp_path):
    path = saved(checkpoint, tmp_path)
    broken(kind, path)
    with pytest.raises(CheckpointError, match=message) as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_unknown_zoo_model(checkpoint, tmp_path):
    path = saved(checkpoint, tmp_path)
    content = torch.load(path, weights_only=True)
    content["model"]["zoo"] = "gcm"
    torch.save(content, path)
    with pytest.raises(UsageError, match="gcm"):
        load_checkpoint(path)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "model.pt")


def test_unsafe_pickle_on_request(tmp_path):
    path = tmp_path / "module.pt"
    torch.save(Pickled(), path)
    assert isinstance(load_checkpoint(path, unsafe_pickle=True).model, Pickled)


@pytest.fixture
def factory_module(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(
        "import pathlib, torch\n"
        "from torch_geometric.nn import GCNConv\n"
        "pathlib.Path('imported').write_text('')\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, i, o):\n"
        "        super().__init__()\n"
        "        self.conv = GCNConv(i, o)\n"
        "    def forward(self, x, edge_index):\n"
        "        return self.conv(x, edge_index)\n"
        "def build(in_channels, out_channels): return Net(in_channels, out_channels)\n"
        "def wrong(): return 3\n"
        "def fails(): raise RuntimeError('no luck')\n"
    )
    monkeypatch.chdir(tmp_path)
    yield
    import sys

    sys.modules.pop("theirs", None)


def test_state_dict_with_factory(factory_module, tmp_path):
    torch.save(nn.Linear(6, 3).state_dict(), "other.pt")
    torch.save({f"conv.{k}": v for k, v in GCNConv(6, 3).state_dict().items()}, "weights.pt")
    from pathlib import Path

    weights = Path("weights.pt")
    with pytest.raises(CheckpointError, match="--factory"):
        load_checkpoint(weights)
    loaded = load_checkpoint(weights, factory="theirs:build", task=SPEC)
    assert loaded.model(*GRAPH).shape == (9, 3)
    for factory, message in [
        ("theirs:nothing", "nothing"),
        ("nowhere:build", "nowhere"),
        ("theirs:wrong", "returned a int"),
        ("theirs:fails", "no luck"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(weights, factory=factory, task=SPEC)
    with pytest.raises(UsageError, match=r"package\.module:function"):
        load_checkpoint(weights, factory="theirs")
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(Path("other.pt"), factory="theirs:build", task=SPEC)


def test_a_file_does_not_import_by_itself(factory_module, tmp_path):
    from pathlib import Path

    torch.save({f"conv.{k}": v for k, v in GCNConv(6, 3).state_dict().items()}, "weights.pt")
    loaded = load_checkpoint(Path("weights.pt"), factory="theirs:build", task=SPEC)
    save_checkpoint(loaded, Path("model.pt"))
    Path("imported").unlink()
    import sys

    sys.modules.pop("theirs")
    with pytest.raises(CheckpointError, match="--allow-import"):
        load_checkpoint(Path("model.pt"))
    assert not Path("imported").exists()
    again = load_checkpoint(Path("model.pt"), allow_import=True)
    assert torch.equal(again.model(*GRAPH), loaded.model(*GRAPH))


def test_program(tmp_path):
    model = build("gcn", **ARGS).eval()
    sizes = {"x": {0: torch.export.Dim("n")}, "edge_index": {1: torch.export.Dim("e")}}
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, GRAPH, dynamic_shapes=sizes), path)
    loaded = load_checkpoint(path)
    torch.testing.assert_close(loaded.model.module()(*GRAPH), model(*GRAPH))
    with pytest.raises(CheckpointError, match="not saved as a checkpoint"):
        save_checkpoint(loaded, tmp_path / "x.pt")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A saved torch.export program."""
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    sizes = {"x": {0: torch.export.Dim("n")}, "edge_index": {1: torch.export.Dim("e")}}
    torch.export.save(torch.export.export(build("gcn", **ARGS).eval(), GRAPH, dynamic_shapes=sizes), path)
    return path


@pytest.mark.parametrize(
    ("member", "pattern", "replacement", "message"),
    [
        ("model.json", rb'("expr_str"\s*:\s*")[^"]*', rb"\1__import__('os').mkdir('pwned')", "no arithmetic"),
        ("model.json", rb'("expr_str"\s*:\s*")[^"]*', rb"\1exec(open('x'))", "no arithmetic"),
        (
            "model.json",
            rb'("target"\s*:\s*")torch.ops[^"]*',
            rb"\1torch.serialization.os.system",
            "not among the operators",
        ),
        ("config.json", rb'"use_pickle"\s*:\s*false', rb'"use_pickle": true', "pickled tensors"),
    ],
)
def test_program_with_code_is_refused(member, pattern, replacement, message, program, tmp_path):
    evil = tmp_path / "evil.pt2"
    changed = 0
    with zipfile.ZipFile(program) as archive, zipfile.ZipFile(evil, "w", zipfile.ZIP_STORED) as out:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(member):
                content, n = re.subn(pattern, replacement, content)
                changed += n
            out.writestr(name, content)
    assert changed
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(evil)


def test_pickles_in_a_program_are_refused(program, tmp_path):
    evil = tmp_path / "evil.pt2"
    with zipfile.ZipFile(program) as archive, zipfile.ZipFile(evil, "w", zipfile.ZIP_STORED) as out:
        for name in archive.namelist():
            bad = name.endswith("sample_inputs/model.pt")
            out.writestr(name, pickle.dumps(Pickled) if bad else archive.read(name))
    with pytest.raises(CheckpointError, match="no tensors"):
        load_checkpoint(evil)


def test_format_is_written(checkpoint, tmp_path):
    assert torch.load(saved(checkpoint, tmp_path), weights_only=True)["format"] == FORMAT
