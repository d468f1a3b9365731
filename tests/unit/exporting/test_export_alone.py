"""Models of users that take one graph at a time, pools that change the graph, and limits of size."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_artifact
import torch
from capture_example import CLASSES, FEATURES, HIDDEN, assert_same, graph, other_graphs, session
from torch import nn
from torch_geometric import nn as gnn
from torch_geometric.data import Data

from edgegnn import api
from edgegnn.errors import ArtifactError, DataError, ExportError, UsageError
from edgegnn.exporting.capture import capture
from edgegnn.exporting.formats import Form, build_forms
from edgegnn.exporting.node_limits import complete, input_ways, node_limit, within_limit
from edgegnn.exporting.samples import Sample
from edgegnn.runtime import check_inputs, open_artifact, predict
from edgegnn.runtime.manifest import TensorSpec

MODULE = """
import torch
from torch import nn
from torch_geometric import nn as gnn


class Pooled(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.conv1, self.conv2 = gnn.GCNConv(4, 16), gnn.GraphConv(16, 16)
        self.pool = getattr(gnn, pool)(16, ratio=0.6)
        self.lin = nn.Linear(32, 2)

    def forward(self, x, edge_index, batch):
        x = self.conv1(x, edge_index).relu()
        x, edge_index, _, batch = self.pool(x, edge_index, batch=batch)[:4]
        x = self.conv2(x, edge_index).relu()
        return self.lin(torch.cat([gnn.global_max_pool(x, batch), gnn.global_mean_pool(x, batch)], 1))


class EachGraph(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lin = gnn.GCNConv(4, 16), nn.Linear(16, 2)

    def forward(self, x, edge_index, batch):
        x = self.conv(x, edge_index).relu()
        return self.lin(torch.stack([x[batch == g].amax(0) for g in range(int(batch.max()) + 1)]))


def build(kind):
    return EachGraph() if kind == "each" else Pooled(kind)
"""


class EachGraph(nn.Module):
    """A user's readout, graph by graph: it needs `batch`, and as a number how many graphs there are."""

    def __init__(self):
        super().__init__()
        self.conv, self.lin = gnn.GCNConv(FEATURES, HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x, edge_index, batch):
        x = self.conv(x, edge_index).relu()
        return self.lin(torch.stack([x[batch == g].amax(0) for g in range(int(batch.max()) + 1)]))


class HalfOfTheNodes(nn.Module):
    """A user's dense pool of a single graph: sizes that are made from sizes, a matrix of nodes x nodes."""

    max_nodes = 60

    def __init__(self):
        super().__init__()
        self.score, self.conv = nn.Linear(FEATURES, 1), gnn.DenseGraphConv(FEATURES, HIDDEN)
        self.lin = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x, edge_index, batch=None):
        assert batch is None
        keep = self.score(x).view(-1).topk((x.size(0) + 1) // 2).indices
        n = x.size(0)
        at = edge_index[1] * n + edge_index[0]
        adj = x.new_zeros(n * n).scatter(0, at, torch.ones_like(at, dtype=x.dtype)).view(n, n)
        return self.lin(self.conv(x[keep], adj[keep][:, keep])[0].relu().amax(0, keepdim=True))


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


@pytest.mark.slow
def test_a_model_that_counts_graphs_is_captured_alone():
    model = seeded(EachGraph)
    with pytest.raises(ExportError, match=r"the model \(EachGraph\) can't be exported"):
        capture(model, graph(20, 50, 2), kind="graph")
    captured = capture(model, graph(20, 50), kind="graph")
    assert [i.name for i in captured.graph.input] == ["x", "edge_index"]
    run = session(captured)
    for name, inputs in other_graphs().items():
        with torch.no_grad():
            want = model(**complete(model, inputs)).numpy()
        (got,) = run.run(None, {k: v.numpy() for k, v in inputs.items()})
        np.testing.assert_allclose(got, want, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_sizes_made_from_sizes_are_right_for_few_nodes():
    model = seeded(HalfOfTheNodes)
    assert_same(model, capture(model, graph(20, 50), kind="graph"), other_graphs())


# Which inputs, and how large ------------------------------------------------------------


def test_a_limit_is_that_of_a_module_or_the_one_asked_for():
    inside = nn.Sequential(nn.Linear(2, 2), HalfOfTheNodes())
    assert (node_limit(inside, None), node_limit(inside, 100), node_limit(nn.Linear(2, 2), None)) == (60, 100, None)
    for wrong in (0, -3, 2.5):
        with pytest.raises(UsageError, match=r"limit of nodes .* must be 1 or more"):
            node_limit(inside, wrong)


def test_several_graphs_are_tried_first_unless_there_is_a_limit():
    names, alone = ("x", "edge_index", "batch"), ("x", "edge_index")
    model = EachGraph()
    assert [own for own, _ in input_ways(model, names, None)] == [names, alone]
    assert input_ways(model, names, 9) == [(alone, "a limit of 9 nodes is one of a graph")]
    assert input_ways(model, alone, 9) == [(alone, "")]


def form(names):
    return Form("onnxruntime", lambda _: {}, "logits", {"inputs": [{"name": n} for n in names]}, {})


def test_forms_say_why_they_are_for_one_graph():
    ways = [(("x", "batch"), ""), (("x",), "several at once can't be exported")]

    def fails_with_batch(names):
        if "batch" in names:
            raise ExportError("layer a can't be exported: no")
        return form(names)

    def fails(names):
        raise ExportError(f"layer {names[-1]} can't be exported: no")

    (found,), why = build_forms(None, fails_with_batch, fails, ways, fallback=True)
    assert (found.alone, why) == ("several at once can't be exported: layer a can't be exported: no", "")
    both, _ = build_forms("both", fails_with_batch, form, ways, fallback=True)
    assert [f.io["inputs"] for f in both] == [[{"name": "x"}]] * 2
    (found,), why = build_forms(None, fails, form, ways, fallback=True)
    assert (found.alone, why) == ("", "layer batch can't be exported: no")
    with pytest.raises(ExportError, match="layer batch"):
        build_forms("onnx", fails, form, ways, fallback=True)


def test_graphs_of_the_data_have_to_fit():
    def sample(nodes, origin):
        return Sample(f"{origin}/{nodes}", origin, {"x": np.zeros((nodes, 2), np.float32)})

    some = [sample(3, "data"), sample(8, "data"), sample(24, "synthetic"), sample(1, "synthetic")]
    assert within_limit(some, None) == some
    assert within_limit(some, 8) == [some[0], some[1], some[3]]
    with pytest.raises(UsageError, match="data/8 has 8 nodes, more than the limit of 7: choose --max-nodes 8 or more"):
        within_limit(some, 7)


SPECS = [TensorSpec("x", "float32", ("num_nodes", 2)), TensorSpec("edge_index", "int64", (2, "num_edges"))]


def test_a_graph_above_the_limit_is_refused_before_anything_else_is_looked_at():
    x = np.full((5, 2), np.nan, np.float32)
    inputs = {"x": x, "edge_index": np.zeros((2, 9), np.int64)}
    with pytest.raises(
        DataError, match=r"too large: 5 nodes, the artifact takes at most 4 .*edgegnn export --max-nodes"
    ):
        check_inputs(SPECS, inputs, limits={"num_nodes": 4})
    x[:] = 0
    assert check_inputs(SPECS, inputs, limits={"num_nodes": 5}).keys() == inputs.keys()
    with pytest.raises(DataError, match="9 edges"):
        check_inputs(SPECS, inputs, limits={"num_edges": 8})


def test_an_artifact_says_its_limit(tmp_path):
    folder = tiny_artifact.make_artifact(tmp_path / "a")
    assert open_artifact(folder).manifest.limits == {}
    tiny_artifact.seal(folder, limits={"num_nodes": 30})
    x, none = np.ones((30, tiny_artifact.FEATURES), np.float32), np.zeros((2, 0), np.int64)
    assert predict(folder, {"x": x, "edge_index": none}).shape == (30, tiny_artifact.CLASSES)
    with pytest.raises(DataError, match="31 nodes, the artifact takes at most 30"):
        predict(folder, {"x": np.concatenate([x, x[:1]]), "edge_index": none})
    for wrong in ({"num_nodes": "many"}, {"num_nodes": -1}, [30]):
        tiny_artifact.seal(folder, limits=wrong)
        with pytest.raises(ArtifactError, match="limits"):
            open_artifact(folder)


# All the way ------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a user's module and small graphs, to work in."""
    folder, here = tmp_path_factory.mktemp("alone"), Path.cwd()
    os.chdir(folder)
    Path("poolmodels.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(40):
        n = 6 + i % 9
        x = torch.randn(n, 4, generator=generator)
        edges = torch.randint(n, (2, 3 * n), generator=generator)
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([i % 2])))
    torch.save(graphs, "data.pt")
    yield folder
    os.chdir(here)
    sys.path.remove(str(folder))
    sys.modules.pop("poolmodels", None)


def exported(kind, **options):
    import poolmodels

    torch.manual_seed(0)
    torch.save(poolmodels.build(kind).state_dict(), f"{kind}.pt")
    return api.export(
        f"{kind}.pt", factory="poolmodels:build", factory_args={"kind": kind}, data="data.pt", force=True, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["TopKPooling", "SAGPooling"])
def test_pools_of_pyg_are_exported_for_several_graphs(place, kind):
    result = exported(kind, output="a")
    assert [i["name"] for i in result.manifest["inputs"]] == ["x", "edge_index", "batch"]
    assert (result.manifest["runtime"], result.manifest["alone"], result.manifest["limits"]) == ("onnxruntime", "", {})
    assert result.parity.agreement == 1.0
    limited = exported(kind, output="b", max_nodes=50, quant="dq-int8", settings={"epochs": 2})
    assert [i["name"] for i in limited.manifest["inputs"]] == ["x", "edge_index"]
    assert limited.manifest["limits"] == {"num_nodes": 50}
    edges = np.zeros((2, 0), np.int64)
    assert predict("b", {"x": np.ones((1, 4), np.float32), "edge_index": edges}).shape == (1, 2)
    with pytest.raises(DataError, match="51 nodes, the artifact takes at most 50"):
        predict("b", {"x": np.ones((51, 4), np.float32), "edge_index": edges})


@pytest.mark.slow
def test_a_model_that_counts_graphs_says_why_it_is_for_one(place):
    result = exported("each", output="a")
    assert result.manifest["alone"].startswith("several at once can't be exported: the model (EachGraph) can't be")
    assert result.manifest["runtime"] == "onnxruntime"
    assert api.verify("a").ok
