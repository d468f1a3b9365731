"""What a manifest says of the validation split: by that one chooses among artifacts, and not by the test split."""

from __future__ import annotations

import json

import pytest
import torch
from command_line import community_graph
from link_example import social_graph

from edgegnn import api
from edgegnn.compression.model_source import open_model
from edgegnn.runtime import open_artifact, predict
from edgegnn.tuning.accuracy_drop import Judge

QUICK = {"epochs": 3, "seed": 0}


def manifest_of(path):
    return json.loads((path / "manifest.json").read_text())


@pytest.mark.parametrize("constant", [False, True])
def test_it_is_the_artifacts_own_value(tmp_path, constant):
    graph = community_graph()
    graph.x += 2 * torch.randn(graph.x.shape, generator=torch.Generator().manual_seed(0))  # hard to tell apart
    torch.save(graph, tmp_path / "data.pt")
    trained = api.train("gcn", str(tmp_path / "data.pt"), output=tmp_path / "m.pt", settings=QUICK)
    api.export(tmp_path / "m.pt", quant="dynamic-int8", output=tmp_path / "a", constant_graph=constant)
    found = manifest_of(tmp_path / "a")["validation"]
    inputs = {"x": graph.x.numpy()} | ({} if constant else {"edge_index": graph.edge_index.numpy()})
    right = predict(open_artifact(tmp_path / "a"), inputs).argmax(1) == graph.y.numpy()
    assert found == {
        "name": "accuracy",
        "pytorch": pytest.approx(trained.metrics["val"]),
        "artifact": pytest.approx(right[graph.val_mask.numpy()].mean()),
        "reason": "",
        "caveat": "",
        "n": int(graph.val_mask.sum()),
    }
    assert found["artifact"] != pytest.approx(right[graph.test_mask.numpy()].mean())  # no coincidence


@pytest.mark.slow
def test_it_is_what_a_search_would_judge_by(tmp_path):
    api.train("gin", "digits", output=tmp_path / "m.pt", architecture={"hidden": 8}, settings={**QUICK, "epochs": 1})
    api.export(tmp_path / "m.pt", quant="static-int8", output=tmp_path / "a", min_agreement=0.0)
    checkpoint, task, _ = open_model(tmp_path / "m.pt")
    found, judge = manifest_of(tmp_path / "a")["validation"], Judge(checkpoint.model, task)
    assert (found["pytorch"], found["n"]) == (pytest.approx(judge.val), judge.rows)
    assert found["artifact"] == pytest.approx(judge.artifact(tmp_path / "a").val)


@pytest.mark.slow
def test_links_to_validate_are_not_those_to_test(tmp_path):
    torch.save(social_graph(), tmp_path / "social.pt")
    links = {"task": "link-prediction", "split": "random:0.2,0.1"}
    trained = api.train("ness", str(tmp_path / "social.pt"), output=tmp_path / "m.pt", settings=QUICK, **links)
    api.export(tmp_path / "m.pt", output=tmp_path / "a")
    manifest = manifest_of(tmp_path / "a")
    assert manifest["validation"]["pytorch"] == pytest.approx(trained.metrics["val"])
    assert manifest["validation"]["artifact"] == pytest.approx(trained.metrics["val"], abs=1e-3)
    assert manifest["validation"]["n"] > 1.5 * manifest["metric"]["n"]
