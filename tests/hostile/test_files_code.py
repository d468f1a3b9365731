"""Model files of a stranger: nothing of them runs, nothing is written, every byte is checked."""

import copy
import io
import json
import os
import pickle
import random
import zipfile

import pytest
import torch

from edgegnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.errors import ArtifactError, CheckpointError
from edgegnn.models import build
from edgegnn.runtime.script import ScriptSession

ARGS = {"in_channels": 4, "out_channels": 2, "hidden": 3, "dropout": 0.0}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


class Sums(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 3)

    def forward(self, x, edge_index):
        h = self.linear(x)
        return torch.zeros_like(h).index_add(0, edge_index[1], h.index_select(0, edge_index[0]))


@pytest.fixture(scope="module")
def program():
    inputs = torch.randn(6, 8), torch.randint(0, 6, (2, 9))
    sizes = {"x": {0: torch.export.Dim("n", min=2)}, "edge_index": {1: torch.export.Dim("e", min=2)}}
    out = io.BytesIO()
    torch.export.save(torch.export.export(Sums().eval(), inputs, dynamic_shapes=sizes), out)
    return out.getvalue()


def changed(content, change):
    """The archive with other entries: `change` gets and gives pairs of names and contents."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pairs = [(name, archive.read(name)) for name in archive.namelist()]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, inside in change(pairs):
            archive.writestr(name, inside)
    return out.getvalue()


def evil():
    out = io.BytesIO()
    torch.save(((Evil(),),), out)
    return out.getvalue()


def capitals(pairs):
    return [(n[:-3] + ".PT", evil()) if n.endswith("sample_inputs/model.pt") else (n, c) for n, c in pairs]


def library(pairs):
    top = pairs[0][0].split("/")[0]
    return [*pairs, (f"{top}/data/aotinductor/model/x.wrapper.so", b"\x7fELF")]


def described(edit):
    def change(pairs):
        for name, content in pairs:
            if name.endswith("models/model.json"):
                model = json.loads(content)
                edit(model)
                content = json.dumps(model).encode()
            yield name, content

    return change


def writes_file(model):
    graph = model["graph_module"]["graph"]
    graph["tensor_values"]["ff"] = copy.deepcopy(graph["tensor_values"]["linear"])
    given = [("filename", {"as_string": "victim"}), ("shared", {"as_bool": True}), ("size", {"as_int": 16})]
    graph["nodes"].insert(
        0,
        {
            "target": "torch.ops.aten.from_file.default",
            "inputs": [{"name": name, "arg": arg, "kind": 1} for name, arg in given],
            "outputs": [{"as_tensor": {"name": "ff"}}],
            "metadata": {},
        },
    )


def imports(model):
    signature = model["graph_module"]["module_call_graph"][0]["signature"]
    signature["in_spec"] = signature["in_spec"].replace("builtins.dict", "collections.defaultdict")


def sizes(text):
    def edit(model):
        values = model["graph_module"]["graph"]["tensor_values"]
        values["x"]["sizes"][0]["as_expr"]["expr_str"] = text

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (capitals, "no program of tensors does"),
        (library, "no program of tensors does"),
        (described(writes_file), "from_file.*only compute"),
        (described(imports), "defaultdict"),
        (described(sizes("9**9**9**9")), "no arithmetic"),
        (described(sizes("Integral(s77)")), "no arithmetic"),
        (lambda pairs: [*pairs, (pairs[0][0].upper(), b"")], "two entries"),
        (lambda pairs: [*pairs, ("top/../../x", b"")], "refused"),
    ],
)
@pytest.mark.parametrize("name", ["model.pt2", "model.pt"])
def test_program_does_nothing(change, message, name, program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(changed(program, change))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_guards_are_not_compiled(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt2"
    guards = ["__import__('os').mkdir('pwned') is None"]
    path.write_bytes(changed(program, described(lambda model: model.update(guards_code=guards))))
    load_checkpoint(path).model.module()(torch.randn(6, 8), torch.randint(0, 6, (2, 9)))
    assert not (tmp_path / "pwned").exists()


class Writes(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "stolen")
        return x


def test_script_under_other_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(Writes()), out)
    for ending in (".PY", ".Py"):
        content = changed(out.getvalue(), lambda pairs, e=ending: [(n.replace(".py", e), c) for n, c in pairs])
        with pytest.raises(ArtifactError, match="no model of edgegnn does"):
            ScriptSession(content)
    with pytest.raises(ArtifactError, match=r"torch\.save"):
        ScriptSession(out.getvalue())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.pt"
    save_checkpoint(Checkpoint(build("gcn", **ARGS).eval(), {"zoo": "gcn", "args": ARGS}), path)
    return path


def test_no_bit_flips_unseen(saved, tmp_path):
    raw, path = saved.read_bytes(), tmp_path / "flipped.pt"
    want = load_checkpoint(saved)
    refused = 0
    for seed in range(300):
        place = random.Random(seed)
        content = bytearray(raw)
        content[place.randrange(len(content))] ^= 1 << place.randrange(8)
        path.write_bytes(content)
        try:
            found = load_checkpoint(path)
        except CheckpointError:
            refused += 1
            continue
        state = found.model.state_dict()
        assert all(torch.equal(state[name], value) for name, value in want.model.state_dict().items())
        assert (found.source, found.history, found.metrics) == (want.source, want.history, want.metrics)
    assert refused > 100


@pytest.mark.parametrize(("name", "value"), [("layers", 10**9), ("hidden", 10**8), ("out_channels", 10**12)])
def test_sizes_are_bounded_before_anything_is_built(name, value, saved, tmp_path):
    content = torch.load(saved, weights_only=True)
    content["model"]["args"][name] = value
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="refused"):
        load_checkpoint(tmp_path / "model.pt")


def test_pickle_stays_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "pwned").exists()
