"""`edgegnn compress` and `edgegnn.api.compress`: what they make, and every way to ask for what can't be."""

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from command_line import MODULE, community_graph, files, run
from ring_graphs import ring_graphs

from edgegnn import api
from edgegnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.compression.compress import float_part, prune
from edgegnn.compression.plan import PrunePlan
from edgegnn.compression.request import parse_sparsities
from edgegnn.compression.sweep import sweep
from edgegnn.errors import EdgeGNNError, PruneError, QuantizeError, UsageError
from edgegnn.models import build
from edgegnn.prune import masks_of, sparsity_of
from edgegnn.quantize import QuantModel
from edgegnn.tasks import evaluate, task_from_graphs
from edgegnn.training import FitConfig, fit, steps_per_epoch

FEW = {"epochs": 3}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A folder with data, a trained GCN and GAT, and a user's module; tests copy it."""
    folder = tmp_path_factory.mktemp("store")
    torch.save(community_graph(), folder / "data.pt")
    (folder / "mymodels.py").write_text(MODULE)
    here = Path.cwd()
    os.chdir(folder)
    try:
        small = {"hidden": 8, "dropout": 0.2}
        api.train("gcn", "data.pt", output="model.pt", architecture=small, settings={"epochs": 20})
        api.train("gat", "data.pt", output="gat.pt", architecture=small | {"heads": 2}, settings={"epochs": 5})
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def work(store, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(store, folder)
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("mymodels", None)


def zeros(checkpoint):
    return {n: s.zeros for n, s in sparsity_of(float_part(checkpoint), checkpoint.pruning["tensors"]).items()}


# The Python function ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fine-grained", "global", "regularized"])
@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
def test_compress_prunes_saves_and_loads_again(work, method, schedule):
    if method == "regularized" and schedule == "gradual":
        with pytest.raises(UsageError, match="not for regularized"):
            api.compress("model.pt", prune=method, sparsity=0.5, schedule=schedule)
        return
    logs = []
    result = api.compress(
        "model.pt", prune=method, sparsity=0.5, schedule=schedule, output="small.pt", settings=FEW, progress=logs.append
    )
    assert len(logs) == (6 if method == "regularized" else 3)
    loaded = load_checkpoint(Path("small.pt"))
    facts = loaded.pruning
    assert (facts["method"], facts["sparsity"], facts["achieved"]) == (method, 0.5, 0.5)
    assert facts["tensors"] == ["convs.0.lin.weight", "convs.1.lin.weight"]
    assert facts["excluded"] == []
    assert facts["structure"] is facts["edges"] is None
    assert sum(zeros(loaded).values()) == (9 * 8 + 8 * 3) // 2
    if method == "fine-grained":
        assert list(zeros(loaded).values()) == [36, 12]
    before, after = result.checkpoint.model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in after.items())
    assert [s["step"] for s in loaded.history] == ["train", "prune"]
    step = loaded.history[-1]
    assert (step["method"], step["sparsity"], step["achieved"], step["schedule"]) == (method, 0.5, 0.5, schedule)
    assert step["metrics"] == loaded.metrics == {"val": result.row["val"], "test": result.row["test"]}
    assert step["settings"]["epochs"] == 3
    assert result.path == Path("small.pt")
    biases = int(after["convs.0.bias"].count_nonzero() + after["convs.1.bias"].count_nonzero())
    assert result.row["nonzero"] == 48 + biases
    assert result.row["parameters"] == 96 + 8 + 3
    assert result.row["eager_ms"] > 0


def test_the_model_that_is_given_stays_as_it_is(work):
    checkpoint = api.load("model.pt")
    before = {k: v.clone() for k, v in checkpoint.model.state_dict().items()}
    result = api.compress(checkpoint, prune="global", sparsity=0.5, quant="dq-int8", settings=FEW)
    assert all(torch.equal(v, before[k]) for k, v in checkpoint.model.state_dict().items())
    assert checkpoint.pruning is None
    assert len(checkpoint.history) == 1
    assert result.path is None


def test_no_finetune_only_cuts(work):
    dense = api.load("model.pt").model
    logs = []
    result = api.compress("model.pt", prune="fine-grained", sparsity=0.5, finetune=False, progress=logs.append)
    assert not logs
    own = dict(dense.named_parameters())
    for name, value in result.checkpoint.model.named_parameters():
        kept = value != 0
        assert torch.equal(value[kept], own[name][kept])
    step = result.checkpoint.history[-1]
    assert (step["epochs_run"], step["seconds"], step["finetune"]) == (0, 0.0, False)


def test_high_sparsity_without_finetuning_collapses_and_training_brings_it_back(work):
    given = {"prune": "global", "sparsity": 0.6}
    cut = api.compress("model.pt", **given, finetune=False).checkpoint.metrics
    tuned = api.compress("model.pt", **given, settings={"epochs": 60, "lr": 0.02}).checkpoint.metrics
    assert tuned["test"] > cut["test"] + 0.1


def test_attention_vectors_are_reported(work):
    result = api.compress("gat.pt", prune="fine-grained", sparsity=0.5, settings=FEW)
    facts = result.checkpoint.pruning
    assert facts["tensors"] == ["convs.0.lin.weight", "convs.1.lin.weight"]
    assert [e["tensor"] for e in facts["excluded"]] == [
        f"convs.{i}.att_{end}" for i in (0, 1) for end in ("src", "dst")
    ]
    assert all("element by element" in e["why"] for e in facts["excluded"])
    assert (result.checkpoint.model.convs[0].att_src != 0).all()


@pytest.mark.slow
def test_prune_and_quantize_in_this_order_and_export(work):
    result = api.compress("model.pt", prune="global", sparsity=0.5, quant="dq-int8", output="small.pt", settings=FEW)
    loaded = load_checkpoint(Path("small.pt"))
    assert isinstance(loaded.model, QuantModel)
    assert [(s["step"], s["recipe"]) for s in loaded.history] == [
        ("train", "none"),
        ("prune", "none"),
        ("quantize", "dq-int8"),
    ]
    assert sum(zeros(loaded).values()) == 48
    assert result.row["eager_ms"] is None
    exported = api.export("small.pt", output="artifact")
    assert exported.manifest["recipe"] == "dq-int8"
    assert [s["step"] for s in exported.manifest["history"]] == ["train", "prune", "quantize"]
    assert api.verify("artifact").ok


@pytest.mark.slow
@pytest.mark.parametrize("quant", ["qat-int8", "dq-int4"])
def test_export_of_a_pruned_model_holds_the_masks(work, quant):
    small = api.compress("model.pt", prune="fine-grained", sparsity=0.75, settings=FEW).checkpoint
    masks = masks_of(small.model, small.pruning["tensors"])
    seen = []

    def progress(log):
        seen.append([float(small.model.get_parameter(n).detach()[~keep].abs().max()) for n, keep in masks.keep.items()])

    api.export(small, quant=quant, output="artifact", settings={"epochs": 3, "lr": 0.1}, progress=progress)
    assert seen == [[0.0, 0.0]] * 3


def test_quantize_only(work):
    result = api.compress("model.pt", quant="qat-int4", output="small.pt", settings=FEW)
    loaded = load_checkpoint(Path("small.pt"))
    assert loaded.recipe.name == "qat-int4"
    assert loaded.pruning is None
    assert [s["step"] for s in loaded.history] == ["train", "quantize"]
    assert result.row["sparsity"] is None


def test_prune_more_and_more(work):
    first = api.compress("model.pt", prune="global", sparsity=0.4, settings=FEW).checkpoint
    names = first.pruning["tensors"]
    before = masks_of(first.model, names)
    for method, more in (("global", {}), ("fine-grained", {"schedule": "gradual"}), ("regularized", {})):
        second = api.compress(first, prune=method, sparsity=0.6, settings=FEW, **more).checkpoint
        assert second.pruning["achieved"] >= 0.6 - 1 / 96
        after = masks_of(second.model, names)
        assert not any((after.keep[n] & ~before.keep[n]).any() for n in names)
        assert [s["step"] for s in second.history] == ["train", "prune", "prune"]
    with pytest.raises(PruneError, match=r"pruned to 0\.3958 already: ask for a higher sparsity than 0\.2"):
        api.compress(first, prune="global", sparsity=0.2)


def test_works_on_a_module_of_a_user(work):
    state = {"source": {"factory": "mymodels:build", "args": {}}}
    from edgegnn.checkpoint import build_factory

    module = build_factory("mymodels:build", {"in_channels": 9, "out_channels": 3}, None)
    torch.save(module.state_dict(), "weights.pt")
    result = api.compress(
        "weights.pt",
        prune="global",
        sparsity=0.5,
        factory="mymodels:build",
        factory_args={"in_channels": 9, "out_channels": 3},
        data="data.pt",
        settings=FEW,
        output="small.pt",
    )
    assert result.checkpoint.source["factory"] == state["source"]["factory"]
    facts = load_checkpoint(Path("small.pt"), allow_import=True).pruning
    assert facts["achieved"] == 0.5
    assert [e["tensor"] for e in facts["excluded"]] == ["two.att"]
    assert {n.partition(".")[0] for n in facts["tensors"]} == {"inside", "one", "two", "out"}


def test_files_from_before_there_was_pruning_load(work):
    content = torch.load("model.pt", weights_only=True)
    assert content.pop("pruning") is None
    torch.save(content, "old.pt")
    assert load_checkpoint(Path("old.pt")).pruning is None


def test_pruning_survives_a_round_trip(work):
    checkpoint = api.load("model.pt")
    facts = {"method": "global", "sparsity": 0.5, "achieved": 0.5, "tensors": [], "excluded": []}
    save_checkpoint(dataclasses.replace(checkpoint, pruning=facts), Path("facts.pt"))
    assert load_checkpoint(Path("facts.pt")).pruning == facts


@pytest.mark.parametrize("method", ["fine-grained", "global", "regularized"])
def test_graph_tasks(method):
    task = task_from_graphs(ring_graphs(), data="rings")
    torch.manual_seed(0)
    model = build("gin", in_channels=2, out_channels=2, kind="graph", hidden=8, layers=2)
    config = FitConfig(epochs=4, lr=0.01, batch_size=11)
    schedule = "one-shot" if method == "regularized" else "gradual"
    pruned = prune(model, task, PrunePlan(method, 0.5, schedule), config)
    found = sparsity_of(model, pruned.facts["tensors"])
    assert sum(s.zeros for s in found.values()) / sum(s.total for s in found.values()) == pytest.approx(0.5, abs=0.01)
    assert {n.rpartition(".")[2] for n in found} == {"weight"}
    assert evaluate(model, task, "val") == pruned.fit.val_metric
    assert not model.training


@pytest.mark.parametrize("size", [5, 11, 100])
def test_steps_of_an_epoch_are_known_before(size):
    task = task_from_graphs(ring_graphs(57), data="rings")
    model = build("gin", in_channels=2, out_channels=2, kind="graph", hidden=4, layers=1)
    steps, config = [], FitConfig(epochs=2, batch_size=size)
    fit(model, task, config, after_step=lambda m: steps.append(m))
    assert len(steps) == 2 * steps_per_epoch(task, config)
    assert all(m is model for m in steps)


def test_a_phase_of_training_keeps_its_last_epoch_and_stops_for_nothing():
    task = task_from_graphs([community_graph()], data="communities")
    torch.manual_seed(0)
    model = build("gcn", in_channels=9, out_channels=3, kind="node", hidden=8)
    config = FitConfig(epochs=30, lr=0.5, patience=1)  # a rate at which the validation loss goes up and down
    states = []
    result = fit(
        model, task, config, keep_last=True, after_step=lambda m: states.append(m.convs[0].lin.weight.detach().clone())
    )
    assert result.best_epoch == result.epochs_run == 30
    assert torch.equal(model.convs[0].lin.weight, states[-1])
    losses = [e["val_loss"] for e in result.history]
    assert losses.index(min(losses)) < 29


def test_sweep_gives_the_dense_model_then_each(work):
    rows = list(sweep("model.pt", [0.0, 0.5, 0.98], prune="global", settings=FEW))
    dense, zero, half, most = rows
    assert dense.row["sparsity"] is None
    assert dense.checkpoint.metrics == api.load("model.pt").metrics
    assert [r.row["achieved"] for r in (dense, zero, half)] == [0.0, 0.0, 0.5]
    assert isinstance(most, PruneError)
    assert "would empty" in str(most)
    assert dense.row["nonzero"] > half.row["nonzero"]


# The command --------------------------------------------------------------------------------------------------------


def test_command_as_typed(work, capsys, monkeypatch):
    code, out, err = run(
        capsys, monkeypatch, "compress", "gat.pt", "--prune", "global", "--sparsity", 0.5, "--epochs", 2
    )
    assert code == 0, err
    assert "saved small.pt" in out
    assert "next: edgegnn export small.pt" in out
    assert "pruned: global, 0.5 asked, 0.5000 reached" in out
    assert "not pruned: convs.0.att_src: used element by element" in out
    code, out, _ = run(capsys, monkeypatch, "inspect", "small.pt")
    assert code == 0
    assert "global, sparsity 0.5 asked, 0.5000 reached" in out
    assert "prune (global 0.5): 2 epochs" in out
    assert "convs.0.lin.weight" in out
    code, out, _ = run(capsys, monkeypatch, "inspect", "small.pt", "--json")
    facts = json.loads(out)
    sparse = {e["tensor"]: e for e in facts["sparsity"]}
    assert sparse["convs.0.lin.weight"]["shape"] == [16, 9]
    total = sum(e["zeros"] for e in sparse.values())
    assert total == sum(e["shape"][0] * e["shape"][1] for e in sparse.values()) // 2
    assert "convs.1.att_dst: used element by element" in facts["not_pruned"]
    code, _, err = run(capsys, monkeypatch, "compress", "gat.pt", "--prune", "global", "--sparsity", 0.5)
    assert code == 2
    assert "small.pt exists" in err


def test_command_prints_json(work, capsys, monkeypatch):
    args = ["compress", "model.pt", "--prune", "fine-grained", "--sparsity", "0.5", "--quant", "qat-int8"]
    code, out, err = run(capsys, monkeypatch, *args, "--epochs", 2, "--json", "-o", "s.pt")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["model"] == "s.pt"
    assert (facts["sparsity"], facts["achieved"], facts["recipe"]) == (0.5, 0.5, "qat-int8")
    assert facts["pruning"]["method"] == "fine-grained"
    assert facts["history"][0]["step"] == "quantize"
    assert facts["dense"]["achieved"] == 0.0
    assert facts["eager_ms"] is None


def test_sweep_prints_a_table_or_json_and_saves_only_when_asked(work, capsys, monkeypatch):
    before = files(work)
    args = ["compress", "model.pt", "--prune", "global", "--epochs", 1]
    code, out, err = run(capsys, monkeypatch, *args, "--sparsity", "0.1:0.5:0.2")
    assert code == 0, err
    rows = [line.split() for line in out.splitlines()]
    assert [r[0] for r in rows if r and r[0] in {"dense", "0.1", "0.3", "0.5"}] == ["dense", "0.1", "0.3", "0.5"]
    assert "eager p50" in out
    assert files(work) == before
    code, out, err = run(
        capsys, monkeypatch, *args, "--sparsity", "0.5:0.98:0.48", "--json", "-o", "out/small-{sparsity}.pt"
    )
    assert code == 0, err
    rows = json.loads(out)
    assert [r["sparsity"] for r in rows] == [None, 0.5, 0.98]
    assert rows[1]["model"] == str(Path("out/small-0.5.pt"))
    assert "would empty" in rows[2]["error"]
    assert files(work) == sorted([*before, "out", "out/small-0.5.pt"])
    assert load_checkpoint(Path("out/small-0.5.pt")).pruning["achieved"] == 0.5


PRUNE = ["--prune", "global", "--sparsity", "0.5"]
BAD = {
    "nothing asked": ([], 2, "say --prune METHOD --sparsity S, --quant RECIPE, or both"),
    "no sparsity": (["--prune", "global"], 2, "--prune global needs --sparsity"),
    "no method": (["--sparsity", "0.5"], 2, "are for --prune METHOD: name one"),
    "no method but a recipe": (["--sparsity", "0.5", "--quant", "dq-int8"], 2, "are for --prune METHOD"),
    "unknown method": (["--prune", "random", "--sparsity", "0.5"], 2, "unknown pruning method 'random': choose one of"),
    "sparsity 1": (["--prune", "global", "--sparsity", "1"], 2, "sparsity must lie in [0, 1), not 1"),
    "sparsity below 0": (["--prune", "global", "--sparsity", "-0.1"], 2, "sparsity must lie in [0, 1), not -0.1"),
    "sparsity nan": (["--prune", "global", "--sparsity", "nan"], 2, "can't read --sparsity 'nan'"),
    "sparsity words": (["--prune", "global", "--sparsity", "half"], 2, "can't read --sparsity 'half'"),
    "sparsity percent": (["--prune", "global", "--sparsity", "50"], 2, "sparsity must lie in [0, 1), not 50"),
    "range of two": (["--prune", "global", "--sparsity", "0.1:0.5"], 2, "can't read --sparsity"),
    "range backwards": (["--prune", "global", "--sparsity", "0.9:0.1:0.1"], 2, "goes up"),
    "range without step": (["--prune", "global", "--sparsity", "0.1:0.9:0"], 2, "goes up"),
    "range too long": (["--prune", "global", "--sparsity", "0:0.9:1e-9"], 2, "more than 1,000"),
    "range to 1": (["--prune", "global", "--sparsity", "0.5:1:0.1"], 2, "sparsity must lie in [0, 1), not 1"),
    "range into one file": (["--prune", "global", "--sparsity", "0.1:0.5:0.1", "-o", "s.pt"], 2, "small-{sparsity}.pt"),
    "unknown schedule": ([*PRUNE, "--schedule", "slow"], 2, "unknown schedule 'slow': choose one-shot or gradual"),
    "gradual without training": ([*PRUNE, "--schedule", "gradual", "--no-finetune"], 2, "prunes while fine-tuning"),
    "gradual without method": (["--quant", "dq-int8", "--schedule", "gradual"], 2, "are for --prune METHOD"),
    "variant of another": ([*PRUNE, "--variant", "l1"], 2, "--variant is for --prune regularized, not for global"),
    "unknown variant": (
        ["--prune", "regularized", "--sparsity", "0.5", "--variant", "l7"],
        2,
        "unknown variant 'l7': choose one of l1, group-norm, growing",
    ),
    "emptied layer": (["--prune", "global", "--sparsity", "0.98"], 1, "would empty convs."),
    "recipe of export": ([*PRUNE, "--quant", "static-int8"], 2, "`edgegnn export --quant static-int8`"),
    "recipe alone of export": (["--quant", "dynamic-int8"], 2, "`edgegnn export --quant dynamic-int8`"),
    "unknown recipe": (["--quant", "dq-int9"], 2, "unknown recipe 'dq-int9'"),
    "recipe without training": ([*PRUNE, "--quant", "dq-int8", "--no-finetune"], 2, "dq-int8 trains"),
    "no epochs": ([*PRUNE, "--epochs", "0"], 2, "--epochs"),
    "no rate": ([*PRUNE, "--lr", "0"], 2, "lr must be above 0"),
    "share above 1": ([*PRUNE, "--distill", "1.5"], 2, "--distill"),
    "rate that explodes": ([*PRUNE, "--lr", "1e30"], 1, "loss is"),
    "output is a folder": ([*PRUNE, "-o", "."], 2, "exists"),
    "other data": ([*PRUNE, "--data", "digits-knn"], 1, "digits-knn"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(work, capsys, monkeypatch, case):
    args, exit_code, message = BAD[case]
    before = files(work)
    code, out, err = run(capsys, monkeypatch, "compress", "model.pt", "--epochs", 2, *args)
    assert (code, out) == (exit_code, ""), err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert files(work) == before


def test_quantized_models_and_programs_are_refused(work, capsys, monkeypatch):
    api.compress("model.pt", quant="qat-int8", output="quantized.pt", settings={"epochs": 1})
    with pytest.raises(QuantizeError, match=r"quantized already, with qat-int8: compress the float model"):
        api.compress("quantized.pt", prune="global", sparsity=0.5)
    model = api.load("model.pt").model
    data = torch.load("data.pt", weights_only=False)
    torch.export.save(torch.export.export(model, (data.x, data.edge_index)), "model.pt2")
    before = files(work)
    code, out, err = run(capsys, monkeypatch, "compress", "model.pt2", "--data", "data.pt", *PRUNE)
    assert (code, out) == (1, "")
    assert "a .pt2 program can't be compressed" in err
    assert files(work) == before


def test_nothing_is_trained_before_the_output_is_known_to_be_free(work, capsys, monkeypatch):
    Path("small-0.5.pt").write_text("mine")
    args = ["compress", "model.pt", "--prune", "global", "--sparsity", "0.4:0.5:0.1", "-o", "small-{sparsity}.pt"]
    logs = []
    with pytest.raises(UsageError, match=r"small-0\.5\.pt exists"):
        list(sweep("model.pt", [0.4, 0.5], prune="global", output="small-{sparsity}.pt", progress=logs.append))
    assert not logs
    assert run(capsys, monkeypatch, *args)[0] == 2
    assert Path("small-0.5.pt").read_text() == "mine"
    assert run(capsys, monkeypatch, *args, "--epochs", 1, "--force")[0] == 0
    assert load_checkpoint(Path("small-0.5.pt")).pruning["sparsity"] == 0.5


def test_no_partial_file_when_interrupted(work):
    def stop(log):
        raise KeyboardInterrupt

    before = files(work)
    with pytest.raises(KeyboardInterrupt):
        api.compress("model.pt", prune="global", sparsity=0.5, output="small.pt", progress=stop)
    assert files(work) == before


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0", [0.0]),
        ("0.5", [0.5]),
        (" .25 ", [0.25]),
        ("0.1:0.9:0.1", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        ("0.1:0.35:0.1", [0.1, 0.2, 0.3]),
        ("0.7:0.7:0.1", [0.7]),
        ("0:0.999:0.333", [0.0, 0.333, 0.666, 0.999]),
    ],
)
def test_ranges_of_sparsities(text, values):
    assert parse_sparsities(text) == values


def test_errors_are_of_the_tree():
    assert issubclass(PruneError, EdgeGNNError)
    assert PruneError.exit_code == 1
    assert Checkpoint.__dataclass_fields__["pruning"].default is None


# The dense model as a teacher ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [None, 0.0])
def test_the_share_of_the_teacher_is_kept_in_the_history(work, share):
    result = api.compress(
        "model.pt", prune="global", sparsity=0.5, settings={**FEW, "distill": share}, quant="qat-int8"
    )
    pruned, quantized = result.checkpoint.history[1:]
    assert pruned["settings"]["distill"] == (0.9 if share is None else 0.0)
    assert quantized["settings"]["distill"] == 0.0  # its teacher would be the pruned model
    with pytest.raises(UsageError, match=r"distill must lie in \[0, 1\]"):
        api.compress("model.pt", prune="global", sparsity=0.5, settings={"distill": 1.5})
