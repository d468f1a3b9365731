"""recipes, doctor, predict, targets init and completion: what a stranger asks first."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import community_graph, run

from edgegnn.cli import completion
from edgegnn.devices import load_target, new_target
from edgegnn.errors import TargetError
from edgegnn.native import build
from edgegnn.quantize import RECIPES, recipe
from edgegnn.runtime.native import ISA


def test_recipes(capsys, monkeypatch):
    code, out, _ = run(capsys, monkeypatch, "recipes", "--json")
    found = {r["stored"]: r for r in json.loads(out)}
    assert code == 0
    assert list(found) == list(RECIPES)
    assert {name: r["trains"] for name, r in found.items()} == {name: r.trains for name, r in RECIPES.items()}
    assert found["none"]["name"] == "fp32"
    assert "dq-int8" in run(capsys, monkeypatch, "recipes")[1]


def test_fp32_and_none_are_one_recipe(capsys, monkeypatch):
    assert recipe("fp32") is recipe("none")
    assert recipe("fp32").to_dict()["name"] == "none"  # as files have always stored it
    assert "known: fp32, " in run(capsys, monkeypatch, "export", "m.pt", "--quant", "float")[2]


def test_doctor(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEGNN_DATA", str(tmp_path))
    code, out, _ = run(capsys, monkeypatch, "doctor", "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    found = {f["name"]: f for f in json.loads(out)["findings"]}
    assert "telemetry off" in found["onnxruntime"]["detail"]
    assert all(f["cure"] for f in found.values() if f["state"] != "ok")
    monkeypatch.setenv("EDGEGNN_DATA", str(tmp_path / "gone"))
    monkeypatch.setenv("EDGEGNN_ISA", "axv2")
    monkeypatch.setenv("PATH", "")
    code, out, _ = run(capsys, monkeypatch, "doctor")
    assert code == 1
    assert "broken: kernels, data folder" in out
    assert "apt-get install openssh-client" in out


def test_doctor_without_kernels_names_the_cure(capsys, monkeypatch):
    from edgegnn.cli import checkup
    from edgegnn.native import provide

    monkeypatch.setattr(checkup, "installed", lambda: None)
    monkeypatch.setattr(provide.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    findings = {f["name"]: f for f in json.loads(run(capsys, monkeypatch, "doctor", "--json")[1])["findings"]}
    assert findings["kernels"]["state"] == "warning"
    assert "50 to 100 times slower" in findings["kernels"]["detail"]
    assert "pip install ziglang" in findings["kernels"]["cure"]


def test_an_unknown_instruction_set_is_refused(work, capsys, monkeypatch):
    assert {machine: tuple(levels) for machine, levels in build.LEVELS.items()} == ISA
    monkeypatch.setenv("EDGEGNN_ISA", "axv2")
    code, _, err = run(capsys, monkeypatch, "verify", "model-dq-int8")
    assert code == 2
    assert "EDGEGNN_ISA is 'axv2': use " in err


def test_predict(work, capsys, monkeypatch):
    graph = community_graph(seed=5, n=31)
    np.savez("x.npz", x=graph.x.numpy(), edge_index=graph.edge_index.numpy())
    code, out, err = run(capsys, monkeypatch, "predict", "model-dq-int8", "x.npz", "--json")
    assert code == 0, err
    code, _, err = run(capsys, monkeypatch, "predict", "model-dq-int8", "x.npz", "-o", "y.npz")
    assert code == 0, err
    np.testing.assert_array_equal(np.load("y.npz")["classes"], json.loads(out)["classes"])
    assert run(capsys, monkeypatch, "predict", "model-dq-int8", "--sample", 0)[1].startswith("row 0: class ")
    for words, said in (([], "name one graph"), (["gone.npz"], "there is no gone.npz"), (["--sample", 99], "ships")):
        code, _, err = run(capsys, monkeypatch, "predict", "model-dq-int8", *words)
        assert code in (1, 2)
        assert said in err
        assert err.count("\n") == 1


def test_targets_init(tmp_path, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise TargetError("shelf: it does not answer")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(new_target, "connect", refuse)
    code, out, err = run(capsys, monkeypatch, "targets", "init", "shelf", "--host", "pi@board", "--port", 2222)
    assert code == 0, err
    assert "could not be asked what it is: it does not answer" in out
    made = load_target("shelf")
    assert (made.host, made.user, made.port, made.arch, made.transport) == ("board", "pi", 2222, "aarch64", "ssh")
    for words, said in (
        (["shelf", "--host", "pi@board"], "--force"),
        (["../x", "--host", "pi@board"], "no target can be called"),
        (["local", "--host", "pi@board"], "no target can be called"),
        (["new", "--host", "pi@board", "--arch", "riscv64"], "--arch is"),
    ):
        code, _, err = run(capsys, monkeypatch, "targets", "init", *words)
        assert (code, said in err) == (2, True), err
    assert [p.name for p in Path("targets").iterdir()] == ["shelf.toml"]


def test_completion_knows_the_names_without_torch(tmp_path):
    (tmp_path / "mine.pt").touch()
    code = (
        "import sys; from edgegnn.cli import completion as c; "
        "print(c.complete_recipe('dq'), c.complete_model('g'), c.complete_data('mi'), c.complete_data('cit'), "
        "c.complete_target('r'), c.complete_task('link'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == (
        "['dq-int8', 'dq-int4'] ['gat', 'gcn', 'gin'] ['mine.pt'] ['citeseer'] ['riscv32', 'rpi'] "
        "['link-prediction'] False"
    )
    assert completion.complete_recipe("fp") == ["fp32"]


@pytest.mark.parametrize("words", [[], ["targets"], ["study"]])
def test_every_command_shows_examples(words, capsys, monkeypatch):
    import typer

    from edgegnn.cli.app import app

    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    for name, sub in getattr(command, "commands", {}).items():
        assert "Examples:\n" in (sub.help or "") or name in ("targets", "study"), name
        hidden = [p.name for p in sub.params if getattr(p, "help", None) == "" and p.name != "help"]
        assert hidden == []


def test_commands_stand_in_the_order_of_the_flow(capsys, monkeypatch):
    out = run(capsys, monkeypatch, "--help")[1]
    flow = (
        "train ",
        "compress ",
        "export ",
        "verify ",
        "inspect ",
        "predict ",
        "ship ",
        "profile ",
        "report ",
        "tune ",
    )
    places = [out.index(f"│ {name}") for name in flow]
    assert places == sorted(places)


def test_inspect_shows_when_grades_froze_each_matrix(work, capsys, monkeypatch):
    words = ["train", "gcn", "data.pt", "-o", "g.pt", "--hidden", 4, "--epochs", 30, "--early-stop"]
    code, _, err = run(capsys, monkeypatch, *words, "grades:tau=0.9,alpha=0.2")
    assert code == 0, err
    out = run(capsys, monkeypatch, "inspect", "g.pt")[1]
    step = json.loads(run(capsys, monkeypatch, "inspect", "g.pt", "--json")[1])["history"][0]
    assert step["grades"]["frozen"]
    assert f"step 1: GradES froze {len(step['grades']['frozen'])} of 2 matrices" in out
    for entry in step["grades"]["frozen"]:
        line = next(line for line in out.splitlines() if line.startswith(entry["tensor"]))
        assert line.split()[1:3] == [str(entry["epoch"]), str(entry["step"])]


def test_a_model_with_one_task_is_trained_for_it(work, capsys, monkeypatch):
    code, out, err = run(capsys, monkeypatch, "train", "ness", "data.pt", "-o", "n.pt", "--epochs", 1)
    assert code == 0, err
    assert "link task" in out
