"""Recipes with other bits at some points: what is trained, what is in the file, and that the file computes the same."""

from __future__ import annotations

import json

import pytest
import torch
from command_line import community_graph
from sweep import sweep

from edgegnn import api
from edgegnn.errors import UsageError
from edgegnn.exporting.parity import tolerance_for
from edgegnn.exporting.qdq import qdq_points
from edgegnn.quantize import RECIPES, QuantModel, recipe, recipe_from_dict

GCN = {"convs.0.*": 4, "convs.1.lin.weight": 4}


def mixed(bits_of, base="dq-int8"):
    return recipe_from_dict({**RECIPES[base].to_dict(), "name": "mixed", "bits_of": bits_of})


def test_a_recipe_says_the_bits_of_a_point_and_round_trips(tmp_path):
    made = mixed({"convs.0.lin.weight": 8, "convs.0.*": 4, "*.message": 4})
    assert [made.bits_at(p) for p in ("convs.0.lin.weight", "convs.0.lin.input", "convs.1.message", "head.input")] == [
        8,
        4,
        4,
        8,
    ]
    assert (made.fewest_bits, RECIPES["dq-int8"].fewest_bits, mixed({"*": 8}, "dq-int4").fewest_bits) == (4, 8, 4)
    path = tmp_path / "mixed.json"
    path.write_text(json.dumps(made.to_dict()))
    assert recipe(str(path)) == made
    assert hash(made) == hash(recipe(str(path)))
    # a point of 4 bits may differ by a code of 4 bits
    expected = [torch.ones(3, 2).numpy()]
    assert tolerance_for(made, expected, None) == tolerance_for(RECIPES["dq-int4"], expected, None)


@pytest.mark.parametrize(
    ("base", "bits_of", "message"),
    [
        ("dq-int8", {"convs.0.*": 3}, "4 or 8"),
        ("dq-int8", {"convs.0.*": "4"}, "bits_of"),
        ("dq-int8", {"convs.0.*": True}, "bits_of"),
        ("dq-int8", ["convs.0.*"], "bits_of"),
        ("static-int8", {"convs.0.*": 4}, "a field of qat, dq, not of static"),
        ("a2q", {"convs.0.*": 8}, "a field of qat, dq, not of a2q"),
    ],
)
def test_wrong_bits_are_refused(base, bits_of, message):
    with pytest.raises(UsageError, match=message):
        mixed(bits_of, base)


def train(tmp_path, model, **architecture):
    torch.save(community_graph(), tmp_path / "data.pt")
    return api.train(
        model,
        str(tmp_path / "data.pt"),
        architecture={"hidden": 8, "dropout": 0.0, **architecture},
        settings={"epochs": 20},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "base", "bits_of"),
    sweep(
        [
            ("gcn", "dq-int4", {"convs.1.*": 8}),
            ("gat", "dq-int8", {"convs.0.*": 4}),
            ("gin", "dq-int8", {"convs.0.*": 4, "convs.1.nn.*.weight": 4}),
            ("gcn", "dq-int8", GCN),
            ("gcn", "qat-int8", {"*.weight": 4}),
            ("sage", "dq-int8", {"convs.0.*": 4}),
        ],
        lambda i: i < 3,
    ),
)
def test_the_artifact_computes_what_the_mixed_model_computes(model, base, bits_of, tmp_path):
    chosen = tmp_path / "mixed.json"
    made = mixed(bits_of, base)
    chosen.write_text(json.dumps(made.to_dict()))
    dense = train(tmp_path, model)
    small = api.compress(dense, quant=str(chosen), output=tmp_path / "small.pt", settings={"epochs": 5})
    assert isinstance(small.checkpoint.model, QuantModel)
    # codes of eight bits in one file with codes of four, as the recipe says for each point
    again = api.load(tmp_path / "small.pt")
    assert again.recipe == made
    points = {name: again.model.point(name).bits for name in again.model.structure()["points"]}
    assert points == {name: made.bits_at(name) for name in points}
    assert set(points.values()) == {4, 8}
    result = api.export(again, output=tmp_path / "artifact")
    assert result.parity.agreement == 1.0
    # Rounding, and no code of another width; a mean of codes often lies on a step, and then falls to either side.
    assert result.parity.max_abs_error < (0.1 if model == "sage" else 1e-3)
    assert result.manifest["quantized_points"] == len(points)
    assert api.verify(tmp_path / "artifact").ok


@pytest.mark.slow
def test_the_file_has_codes_of_both_widths(tmp_path):
    from edgegnn.compression.model_source import open_model
    from edgegnn.exporting.capture import capture
    from edgegnn.quantize import finetune
    from edgegnn.training import FitConfig

    dense = train(tmp_path, "gcn")
    _, task, _ = open_model(dense)
    model, _ = finetune(dense.model, task, mixed(GCN), FitConfig(epochs=2))
    found = qdq_points(capture(model, {"x": task.graphs[0].x, "edge_index": task.graphs[0].edge_index}, kind="node"))
    assert {name: point.dtype for name, point in found.items()} == {
        "convs.0.lin.input": "uint4",
        "convs.0.lin.weight": "int4",
        "convs.0.message": "uint4",
        "convs.1.lin.input": "uint8",
        "convs.1.lin.weight": "int4",
        "convs.1.message": "uint8",
    }
