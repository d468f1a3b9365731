"""Spline convolutions against the definition of B-splines and of PyG's operator, and the spline model of the zoo."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from capture_example import graph, other_graphs
from rewrite_example import WAYS, session
from sweep import sweep
from torch import nn
from zoo_accuracy import mean_accuracy

from edgegnn import api, models
from edgegnn.errors import UsageError
from edgegnn.exporting.capture import capture
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.models.spline import SplineConv, TargetSplineConv, spline_basis, target_indegree
from edgegnn.tasks import load_task
from edgegnn.training import fit_defaults

EDGES = torch.tensor([[0, 1, 2, 2, 3, 4, 1], [1, 0, 0, 1, 1, 0, 3]])  # nodes 2 and 4 hear nobody


def segment(degree, v, k):
    """What PyG's kernels weigh the k-th matrix of an interval with, at `v` in [0, 1) of it."""
    return {
        1: [1 - v, v],
        2: [0.5 * v * v - v + 0.5, -v * v + v + 0.5, 0.5 * v * v],
        3: [(1 - v) ** 3 / 6, (3 * v**3 - 6 * v**2 + 4) / 6, (-3 * v**3 + 3 * v**2 + 3 * v + 1) / 6, v**3 / 6],
    }[degree][k]


def basis_of_pyg(u, sizes, opened, degree):
    """Basis values by PyG's operator: (degree + 1)^D of them, each with the number of its matrix, modulo the sizes."""
    out = torch.zeros(len(u), math.prod(sizes), dtype=torch.float64)
    for e, point in enumerate(u.tolist()):
        for combination in itertools.product(range(degree + 1), repeat=len(sizes)):
            matrix, stride, value = 0, 1, 1.0
            for position, size, is_open, k in zip(point, sizes, opened, combination, strict=True):
                v = position * (size - degree * is_open)
                matrix += (int(v) + k) % size * stride
                stride *= size
                value *= segment(degree, v - math.floor(v), k)
            out[e, matrix] += value
    return out


SHAPES = [
    ([2], [True], 1),
    ([5], [True], 1),
    ([4], [False], 1),
    ([1], [False], 1),
    ([4], [True], 2),
    ([2], [False], 3),
    ([5], [True], 3),
    ([3, 2], [True, False], 1),
    ([3, 4], [False, True], 2),
    ([2, 3, 2], [True, True, True], 1),
]


@pytest.mark.parametrize(("sizes", "opened", "degree"), SHAPES)
def test_the_basis_is_that_of_pyg(sizes, opened, degree):
    u = torch.rand(40, len(sizes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u[0], u[1], u[2] = 0.0, 1.0, 0.5  # ends and knots
    basis = spline_basis(u, sizes, opened, degree)
    assert torch.allclose(basis, basis_of_pyg(u, sizes, opened, degree), atol=1e-12)
    assert torch.allclose(basis.sum(1), torch.ones(40, dtype=torch.float64))
    assert torch.allclose(spline_basis(u.float(), sizes, opened, degree), basis.float(), atol=1e-5)


@pytest.mark.parametrize("aggr", ["mean", "add"])
@pytest.mark.parametrize(("sizes", "opened", "degree"), SHAPES[4:8])
def test_the_layer_is_pygs_definition_and_reads_its_weights(sizes, opened, degree, aggr):
    torch.manual_seed(0)
    conv = SplineConv(4, 3, len(sizes), sizes, opened, degree, aggr)
    weight, root, bias = torch.randn(conv.K, 4, 3), torch.randn(3, 4), torch.randn(3)
    buffers = {"kernel_size": torch.tensor(sizes), "is_open_spline": torch.tensor(opened, dtype=torch.uint8)}
    conv.load_state_dict({"weight": weight, "lin.weight": root, "bias": bias} | buffers)
    x, u = torch.randn(5, 4), torch.rand(EDGES.size(1), len(sizes))
    basis = basis_of_pyg(u, sizes, opened, degree).float()
    expected = x @ root.T + bias
    for node in range(5):
        heard = [basis[e] @ (x[EDGES[0, e]] @ weight) for e in range(EDGES.size(1)) if EDGES[1, e] == node]
        if heard:
            total = torch.stack(heard).sum(0)
            expected[node] += total / len(heard) if aggr == "mean" else total
    assert torch.allclose(conv(x, EDGES, u), expected, atol=1e-5)


def test_coordinates_of_the_target_leave_the_sum():
    torch.manual_seed(0)
    general, closed = SplineConv(4, 3, kernel_size=3), TargetSplineConv(4, 3, kernel_size=3)
    closed.load_state_dict(general.state_dict())
    x, u = torch.randn(5, 4), target_indegree(EDGES, 5)
    assert u.flatten().tolist() == pytest.approx([1.0, 1.0, 0.0, 1 / 3, 0.0])
    assert torch.allclose(closed(x, EDGES, u), general(x, EDGES, u[EDGES[1]]), atol=1e-6)


def test_without_edges_a_node_is_its_own_part():
    conv = TargetSplineConv(4, 3)
    x, none = torch.randn(5, 4), torch.empty(2, 0, dtype=torch.int64)
    assert torch.allclose(conv(x, none, target_indegree(none, 5)), conv.lin(x) + conv.bias, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"aggr": "max"}, "adds messages up or takes their mean"),
        ({"degree": 0}, "degree of a spline must be at least 1"),
        ({"degree": 3}, "kernel size of 2 is too small for a spline of degree 3"),
        ({"kernel_size": [2, 2]}, "1 dimensions need 1 kernel sizes"),
        ({"kernel_size": 0, "is_open_spline": False}, "kernel size of 0 is too small"),
    ],
)
def test_wrong_arguments_of_the_layer(arguments, message):
    with pytest.raises(UsageError, match=message):
        SplineConv(4, 3, **arguments)


def test_the_model_has_the_papers_size_and_is_for_nodes():
    model = models.build("spline", in_channels=1433, out_channels=7)
    assert sum(p.numel() for p in model.parameters()) == 69_143
    assert models.defaults("spline", "node") == {"hidden": 16, "layers": 2, "heads": 1, "dropout": 0.5}
    config = fit_defaults("node", model="spline", data="cora")
    assert (config.lr, config.weight_decay, config.epochs) == (0.01, 5e-3, 200)
    with pytest.raises(UsageError, match="spline has no form for graph tasks: choose one of gat, gcn"):
        models.build("spline", in_channels=5, out_channels=2, kind="graph")


def test_the_model_sees_features_in_units_of_their_largest():
    torch.manual_seed(0)
    model = models.build("spline", in_channels=6, out_channels=2, hidden=4).eval()
    words = (torch.rand(5, 6) > 0.5).float()
    words[0], words[1, 0] = 0.0, 1.0
    shares = words / words.sum(1, keepdim=True).clamp(min=1)
    assert torch.allclose(model(shares, EDGES), model(words, EDGES), atol=1e-6)
    assert torch.isfinite(model(words, EDGES)).all()
    single = models.build("spline", in_channels=1, out_channels=2, hidden=4).eval()
    assert not torch.allclose(single(words[:, :1] + 1, EDGES), single(2 * words[:, :1] + 2, EDGES))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small model, trained on the data that comes with scikit-learn."""
    path = tmp_path_factory.mktemp("spline") / "model.pt"
    settings = {"epochs": 30, "lr": 0.02, "weight_decay": 5e-4}
    api.train("spline", "digits-knn", output=path, architecture={"hidden": 16}, settings=settings)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sweep(["none", "dq-int8"], lambda i: i == 1))
def test_it_is_exported_to_onnx_and_its_sums_run_on_native_operators(trained, tmp_path, recipe):
    assert api.load(trained).metrics["test"] > 0.9
    result = api.export(trained, quant=recipe, output=tmp_path / "artifact", settings={"epochs": 5})
    assert api.verify(tmp_path / "artifact").ok
    manifest = json.loads((tmp_path / "artifact" / "manifest.json").read_text())
    assert "model.onnx" in manifest["files"]
    found = manifest["aggregations"]
    assert found
    assert [a for a in found if a["rule"] is None] == []
    assert result.parity.agreement >= 0.99


def test_its_kernels_are_pruned(trained, tmp_path):
    api.compress(trained, prune="global", sparsity=0.5, output=tmp_path / "pruned.pt", finetune=False)
    before, after = (api.load(path).model for path in (trained, tmp_path / "pruned.pt"))
    weights = [p for p in after.parameters() if p.dim() == 2]
    assert sum(int((p == 0).sum()) for p in weights) == pytest.approx(0.5 * sum(p.numel() for p in weights), abs=2)
    for dense, conv in zip(before.convs, after.convs, strict=True):
        assert int((conv.kernels.weight == 0).sum()) > int((dense.kernels.weight == 0).sum())


class Roads(nn.Module):
    """A user's own module over the general layer: two coordinates for each edge."""

    def __init__(self, features, coordinates):
        super().__init__()
        self.conv = SplineConv(features, 3, coordinates, [3, 2], [True, False])

    def forward(self, x, edge_index, edge_attr):
        return self.conv(x, edge_index, edge_attr.sigmoid())


@pytest.mark.slow
def test_weights_of_edges_for_several_kernels_run_on_native_operators():
    torch.manual_seed(0)
    example = graph(21, 50, edge_attr=2)
    model = Roads(example["x"].size(1), 2).eval()
    made = rewrite_proto(capture(model, example, kind="node"))
    rewritten, outcomes = made.model, made.aggregations
    assert outcomes
    assert [o for o in outcomes if o.rule is None] == []
    for inputs in other_graphs(edge_attr=2).values():
        want = model(**inputs).detach().numpy()
        for run in filter(None, (session(rewritten, way) for way in WAYS)):
            (got,) = run.run(None, {k: v.numpy() for k, v in inputs.items()})
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.every  # half a minute; benchmarks/ train all models of the zoo
def test_it_reaches_the_published_accuracy_on_cora(data_root):
    task = load_task("cora", split="full", root=data_root)
    assert {k: len(v) for k, v in task.index.items()} == {"train": 1708, "val": 500, "test": 500}
    assert mean_accuracy("spline", task, seeds=1) >= 0.885
