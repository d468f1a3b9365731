"""The graph transformer of the zoo."""

import json

import pytest
import torch
from sweep import sweep
from torch import nn
from torch_geometric.nn import TransformerConv
from zoo_accuracy import mean_accuracy

from edgegnn import api, models
from edgegnn.errors import UsageError
from edgegnn.tasks import load_task


def transformer(**changes):
    torch.manual_seed(0)
    shape = {"in_channels": 5, "out_channels": 3, "hidden": 4, "heads": 2, "layers": 2, "dropout": 0.0}
    return models.build("transformer", **(shape | changes))


def test_it_is_made_of_attention_feed_forward_and_norms():
    model = transformer(layers=3)
    assert sum(isinstance(m, TransformerConv) for m in model.modules()) == 3
    assert sum(isinstance(m, nn.LayerNorm) for m in model.modules()) == 7
    width, blocks = 8, 3
    attention = 4 * (width * width + width)  # query, key, value and the root's own weight
    feed_forward = (width * 2 * width + 2 * width) + (2 * width * width + width)
    expected = (5 * width + width) + blocks * (attention + feed_forward + 4 * width) + 2 * width + (width * 3 + 3)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_a_node_is_read_by_its_neighbours_and_by_nobody_else():
    model = transformer(layers=1).eval()
    x = torch.randn(3, 5)
    edges = torch.tensor([[0], [1]])
    changed = x.clone()
    changed[0] += 1
    moved = (model(x, edges) - model(changed, edges)).abs().amax(1) > 1e-6
    assert moved.tolist() == [True, True, False]


def test_heads_are_for_models_that_attend():
    assert transformer(heads=3).encoder.embed.out_features == 12
    with pytest.raises(UsageError, match="choose gat or transformer"):
        models.build("sage", in_channels=5, out_channels=3, heads=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small transformer, trained on the data that comes with scikit-learn."""
    path = tmp_path_factory.mktemp("transformer") / "model.pt"
    api.train(
        "transformer",
        "digits-knn",
        output=path,
        architecture={"hidden": 8, "heads": 2, "layers": 1, "dropout": 0.2},
        settings={"epochs": 20},
    )
    return path


def test_it_learns_and_is_saved(trained):
    loaded = api.load(trained)
    assert loaded.source["zoo"] == "transformer"
    assert loaded.metrics["test"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sweep(["none", "dq-int8"], lambda i: i == 1))
def test_it_is_exported_verified_and_rewritten(trained, tmp_path, recipe):
    result = api.export(trained, quant=recipe, output=tmp_path / "artifact", settings={"epochs": 5})
    assert api.verify(tmp_path / "artifact").ok
    manifest = json.loads((tmp_path / "artifact" / "manifest.json").read_text())
    found = manifest["aggregations"]
    assert found
    assert [a for a in found if a["rule"] is None] == []
    assert result.parity.agreement >= 0.99


@pytest.mark.slow
@pytest.mark.every  # half a minute; benchmarks/ train all models of the zoo
def test_it_reaches_its_accuracy_on_cora(data_root):
    task = load_task("cora", root=data_root)
    assert mean_accuracy("transformer", task, seeds=1) >= 0.78
