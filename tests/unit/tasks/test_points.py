"""Graphs from points in PyTorch: the operators against numpy, and the functions by the names that models know."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import torch_geometric.typing
from point_clouds import CLOUDS, cloud
from torch_geometric.nn import DynamicEdgeConv, GravNetConv, fps, knn, knn_graph, nearest, radius, radius_graph

from edgegnn.native import reference
from edgegnn.tasks.points import point_graphs
from edgegnn.tasks.points.operators import farthest_points, knn_edges, radius_edges

POINTS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5], [0.0, 3.0]])
BATCH = torch.tensor([0, 0, 0, 0, 1, 1])


@pytest.mark.parametrize("kind", CLOUDS)
def test_as_in_numpy(kind):
    arrays = cloud(kind)
    x, y, batch_x, batch_y = (torch.from_numpy(v) for v in arrays)
    for k, loop in ((5, 1), (5, 0), (400, 1)):
        got = knn_edges(x, y, batch_x, batch_y, k, bool(loop))
        np.testing.assert_array_equal(got.numpy(), reference.run("Knn", *arrays, k=k, loop=loop)[0])
    for squared, most, loop in ((1.5, 1000, 1), (0.25, 3, 0)):
        got = radius_edges(x, y, batch_x, batch_y, squared, most, bool(loop))
        limits = {"squared_radius": squared, "max_num_neighbors": most, "loop": loop}
        np.testing.assert_array_equal(got.numpy(), reference.run("Radius", *arrays, **limits)[0])
    got = farthest_points(x, batch_x, 0.3, False)
    np.testing.assert_array_equal(got.numpy(), reference.run("FarthestPoints", arrays[0], arrays[2], ratio=0.3)[0])


def test_functions_of_pytorch_geometric():
    with point_graphs(), torch.no_grad():
        assert knn_graph(POINTS, 1, BATCH).tolist() == [[1, 0, 0, 1, 5, 4], [0, 1, 2, 3, 4, 5]]
        turned = knn_graph(POINTS, 2, BATCH, loop=True, flow="target_to_source")
        assert turned.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [0, 1, 1, 0, 2, 0, 3, 1, 4, 5, 5, 4]]
        assert radius_graph(POINTS, 1.2, BATCH).tolist() == [[1, 2, 0, 0], [0, 0, 1, 2]]
        assert radius_graph(POINTS, 9.0, BATCH, max_num_neighbors=1).tolist() == [
            [1, 0, 0, 0, 5, 4],
            [0, 1, 2, 3, 4, 5],
        ]
        assert knn(POINTS, POINTS[4:], 1, BATCH, BATCH[4:]).tolist() == [[0, 1], [4, 5]]
        assert radius(POINTS, POINTS[4:], 0.6).tolist() == [[0, 0, 0, 1], [0, 2, 4, 5]]
        assert nearest(POINTS[1:4], POINTS[3:]).tolist() == [1, 1, 0]
        assert fps(POINTS, BATCH, ratio=0.5).tolist() == [0, 3, 4]
        near = knn_graph(POINTS[[1, 3, 2]], 1, cosine=True)
        assert near[0, :2].tolist() == [1, 0]
        pointers = torch.tensor([0, 4, 6])
        edges = torch.ops.pyg.knn(POINTS, POINTS, pointers, pointers, 1, False, 1)
        assert edges.tolist() == [[0, 1, 2, 3, 4, 5]] * 2


def test_layers_can_be_made_and_run():
    with point_graphs():
        layer = DynamicEdgeConv(torch.nn.Linear(4, 3), k=2)
        assert layer(POINTS, BATCH).shape == (6, 3)
        assert GravNetConv(2, 3, 2, 4, k=2)(POINTS, BATCH).shape == (6, 3)
        starts = {int(fps(POINTS, ratio=0.2)[0]) for _ in range(40)}
    assert len(starts) > 1  # it trains
    assert torch_geometric.typing.WITH_KNN is False or "pyg_lib" in sys.modules


def test_points_without_numbers_are_refused():
    bad = torch.tensor([[0.0], [float("nan")]])
    with point_graphs(), pytest.raises(ValueError, match="NaN"):
        knn_graph(bad, 1)
    with point_graphs(), pytest.raises(ValueError, match="rising order"):
        knn_graph(bad.nan_to_num(), 1, torch.tensor([1, 0]))


def test_torch_cluster_where_it_is_installed(monkeypatch):
    package, user = ModuleType("torch_cluster"), ModuleType("a_user")
    package.knn_graph = user.neighbours = lambda *_: None
    monkeypatch.setitem(sys.modules, "torch_cluster", package)
    monkeypatch.setitem(sys.modules, "a_user", user)
    theirs = package.knn_graph
    with point_graphs():
        assert user.neighbours(POINTS, 1, BATCH).shape == (2, 6)
        assert package.knn_graph is user.neighbours
    assert package.knn_graph is user.neighbours is theirs


def test_torch_cluster_where_it_is_not(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch_cluster", raising=False)
    with point_graphs():
        from torch_cluster import radius_graph as theirs

        assert theirs(POINTS, 1.2, BATCH).shape == (2, 4)
        sys.modules["imported_meanwhile"] = ModuleType("imported_meanwhile")
    assert "torch_cluster" not in sys.modules
    assert sys.modules.pop("imported_meanwhile")
