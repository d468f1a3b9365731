"""HGP-SL: its parts against slow and obvious references, the model, and its way to the device."""

import itertools
import math

import numpy as np
import pytest
import torch
from sweep import sweep
from torch_geometric.data import Data
from torch_geometric.nn import DenseGCNConv

from edgegnn import api, models
from edgegnn.errors import UsageError
from edgegnn.models.hgpsl import DenseConv, StructurePool, node_scores, sparsemax
from edgegnn.runtime import make_session, open_artifact, predict
from edgegnn.tasks import load_task
from edgegnn.tasks.collating import collate
from edgegnn.training import fit_defaults


def graph(nodes, edges, seed=0, features=3, label=0):
    """An undirected graph without self loops; an edge may be there twice."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(nodes, (2, edges), generator=generator)
    pairs = pairs[:, pairs[0] != pairs[1]]
    x = torch.randn(nodes, features, generator=generator) + 2.0 * label
    return Data(x=x, edge_index=torch.cat([pairs, pairs.flip(0)], 1), y=torch.tensor([label]))


def tiny(**changes):
    torch.manual_seed(0)
    return models.build("hgpsl", **({"in_channels": 3, "out_channels": 2, "hidden": 8, "kind": "graph"} | changes))


# Parts ------------------------------------------------------------


def sparsemax_by_search(z):
    """The threshold t of sum max(z - t, 0) = 1, by bisection."""
    low, high = max(z) - 1, max(z)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(max(v - middle, 0) for v in z) > 1 else (low, middle)
    return [max(v - low, 0) for v in z]


def test_sparsemax_is_the_closest_point_of_the_simplex():
    torch.manual_seed(0)
    z = torch.randn(40, 7, dtype=torch.float64) * torch.logspace(-2, 2, 40, dtype=torch.float64).view(-1, 1)
    z[3] = z[3, 0]  # all equal
    allowed = torch.rand(40, 7) > 0.4
    allowed[5], allowed[6] = False, True
    out = sparsemax(z, allowed)
    for row, open_, got in zip(z, allowed, out, strict=True):
        want = torch.zeros(7, dtype=torch.float64)
        if open_.any():
            want[open_] = torch.tensor(sparsemax_by_search(row[open_].tolist()), dtype=torch.float64)
        assert torch.allclose(got, want, atol=1e-9)
    assert torch.allclose(sparsemax(z.float() + 1e4, allowed).sum(1), allowed.any(1).float(), atol=1e-2)


def test_sparsemax_has_the_derivative_of_its_definition():
    torch.manual_seed(0)
    allowed = torch.rand(5, 6) > 0.3
    z = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: sparsemax(v, allowed), z)


def test_a_node_scores_by_what_its_neighbours_don_t_say_of_it():
    x = torch.tensor([[1.0, 2.0], [3.0, 0.0], [-1.0, 1.0], [4.0, -2.0]])
    edges = [(0, 1), (0, 2), (1, 0), (2, 0)]  # row hears column; node 3 is alone
    adj = torch.zeros(1, 4, 4)
    for i, j in edges:
        adj[0, i, j] = 1
    want = []
    for i in range(4):
        heard = [x[j] for a, j in edges if a == i]
        mean = sum(heard) / len(heard) if heard else torch.zeros(2)
        want.append(float((x[i] - mean).abs().sum()))
    assert node_scores(x.unsqueeze(0), adj)[0].tolist() == pytest.approx(want)


def pool_by_hand(pool, x, adj, kept):
    """A pool, node by node and pair by pair, of one graph without scores of 0."""
    n = len(x)
    scores = node_scores(x[None], adj[None])[0].tolist()
    order = sorted(range(n), key=lambda i: (-round(32 * math.log2(scores[i])), i))[:kept]
    near = [[0 if i == j else (1 if adj[i, j] > 0 else 99) for j in range(n)] for i in range(n)]
    for k, i, j in itertools.product(range(n), repeat=3):  # Floyd and Warshall
        near[i][j] = min(near[i][j], near[i][k] + near[k][j])
    own, other = pool.attention.weight
    out = torch.zeros(kept, kept)
    for row, i in enumerate(order):
        pairs = {column: j for column, j in enumerate(order) if i != j and near[i][j] <= 4}
        z = []
        for j in pairs.values():
            a = float(own @ x[i] + other @ x[j])
            z.append((a if a > 0 else 0.2 * a) + float(adj[i, j]))
        for column, value in zip(pairs, sparsemax_by_search(z) if z else [], strict=True):
            out[row, column] = value
    return x[order], out


@pytest.mark.parametrize(("nodes", "edges"), [(9, 7), (14, 20), (7, 0), (1, 0)])
def test_a_pool_keeps_and_connects_as_defined(nodes, edges):
    torch.manual_seed(1)
    g = graph(nodes, edges, seed=nodes)
    adj = torch.zeros(nodes, nodes)
    adj[g.edge_index[1], g.edge_index[0]] = torch.rand(g.edge_index.shape[1])
    pool = StructurePool(3, 0.7)
    with torch.no_grad():
        x, learnt, _ = pool(g.x, adj[None])
        want_x, want = pool_by_hand(pool, g.x, adj, pool.kept(nodes))
    assert torch.equal(x[0], want_x)
    assert torch.allclose(learnt[0], want, atol=1e-5)


def test_so_many_nodes_stay():
    assert [StructurePool(2, 0.5).kept(n) for n in (1, 2, 3, 10)] == [1, 1, 2, 5]
    assert StructurePool(2, 0.7).kept(10) == 7  # in floats, 0.7 * 10 is more than 7
    assert [StructurePool(2, 1.0).kept(n) for n in (1, 8)] == [1, 8]
    assert StructurePool(2, 0.3).kept(torch.tensor([1, 10, 11])).tolist() == [1, 3, 4]


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.01, float("nan"), float("inf"), 1e-9])
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(UsageError, match=r"pool ratio .* (above 0 and at most 1|too small)") as error:
        tiny(pool_ratio=ratio)
    assert "\n" not in str(error.value)
    assert ("leave no node" in str(error.value)) == (ratio == 0)


def test_other_models_have_no_pools():
    with pytest.raises(UsageError, match="gin has no pools: leave out --pool-ratio, or choose hgpsl"):
        models.build("gin", in_channels=3, out_channels=2, kind="graph", pool_ratio=0.5)


def test_of_equal_nodes_the_first_stay():
    ring = torch.arange(6)
    edges = torch.stack([torch.cat([ring, (ring + 1) % 6]), torch.cat([(ring + 1) % 6, ring])])
    adj = torch.zeros(1, 6, 6)
    adj[0, edges[1], edges[0]] = 1
    x = torch.ones(6, 3) * torch.tensor([1.0, -1.0] * 3).view(-1, 1)
    for noise in (0.0, 1e-6):
        torch.manual_seed(0)
        noisy = x * (1 + noise * torch.rand(6, 1))
        kept = StructurePool(3, 0.5)(noisy, adj)[0][0]
        assert torch.equal(kept, noisy[:3])


def test_its_dense_convolution_is_pygs():
    torch.manual_seed(0)
    own, pygs = DenseConv(4, 5), DenseGCNConv(4, 5)
    pygs.load_state_dict({"bias": own.bias + 1, "lin.weight": own.lin.weight})
    own.bias.data += 1
    x, adj = torch.randn(2, 6, 4), torch.rand(2, 6, 6) * (1 - torch.eye(6))
    assert torch.allclose(own(x, adj), pygs(x, adj), atol=1e-5)


# The model ------------------------------------------------------------


@pytest.mark.parametrize(("features", "parameters"), [(4, 75_458), (9, 76_098)])
def test_it_has_the_published_size(features, parameters):
    model = models.build("hgpsl", in_channels=features, out_channels=2, kind="graph")
    assert sum(p.numel() for p in model.parameters()) == parameters
    config = fit_defaults("graph", model="hgpsl", data="tu:PROTEINS+attributes")
    assert (config.lr, config.weight_decay) == (1e-3, 1e-3)


def test_it_is_for_graphs_and_its_head_halves_the_width():
    with pytest.raises(UsageError, match="hgpsl has no form for node tasks"):
        models.build("hgpsl", in_channels=3, out_channels=2)
    with pytest.raises(UsageError, match="hidden must be even"):
        tiny(hidden=9)
    with pytest.raises(UsageError, match="hgpsl needs at least 2 layers"):
        tiny(layers=1)


@pytest.mark.parametrize("layers", [2, 3])
def test_a_batch_gives_what_its_graphs_give_alone(layers):
    model = tiny(layers=layers).eval()
    graphs = [graph(n, e, seed=n) for n, e in ((5, 6), (1, 0), (40, 90), (9, 0), (6, 8), (17, 30))]
    batch = collate(graphs)
    with torch.no_grad():
        together = model(batch.x, batch.edge_index, batch.batch)
        alone = torch.cat([model(g.x, g.edge_index) for g in graphs])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_learnt_edge_that_is_0_but_for_rounding_leads_nowhere():
    torch.manual_seed(0)
    pool, x = StructurePool(4, 0.5), torch.randn(12, 4)
    path = torch.diag(torch.ones(11), 1)
    adj = (path + path.T).unsqueeze(0) / 2
    # which of these are above 0 is up to the kernels that a batch's sizes choose
    rounded = adj + 1e-8 * (torch.rand(adj.shape) > 0.5) * (1 - torch.eye(12))
    with torch.no_grad():
        (kept, edges, _), (kept_too, edges_too, _) = pool(x, adj), pool(x, rounded)
    assert torch.equal(kept, kept_too)
    assert torch.allclose(edges, edges_too, atol=1e-6)


def test_everything_learns():
    model = tiny()
    batch = collate([graph(n, 2 * n, seed=n) for n in (12, 15, 20)])
    model(batch.x, batch.edge_index, batch.batch).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


@pytest.mark.slow
def test_proteins_with_attributes(data_root):
    with_labels, with_both = (load_task(f"tu:PROTEINS{end}", root=data_root) for end in ("", "+attributes"))
    assert (with_labels.spec.num_features, with_both.spec.num_features) == (3, 4)
    assert torch.equal(with_both.graphs[7].x[:, 1:], with_labels.graphs[7].x)
    with pytest.raises(UsageError, match="--node-attributes is for data sets of the TU collection"):
        api.train("hgpsl", "molnet:BBBP", node_attributes=True, data_root=data_root)


# To the device ------------------------------------------------------------


def train(folder, **settings):
    """A small model, trained on graphs of 5 to 12 nodes whose class shifts their features."""
    torch.save([graph(5 + i % 8, 12, seed=i, label=i % 2) for i in range(60)], folder / "data.pt")
    architecture = {"hidden": 16, **settings.pop("architecture")}
    settings = {"batch_size": 16, "lr": 0.01, **settings}
    data = str(folder / "data.pt")
    api.train("hgpsl", data, output=folder / "m.pt", architecture=architecture, settings=settings)
    return folder / "m.pt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model with one pool: tracing one takes seconds."""
    return train(tmp_path_factory.mktemp("hgpsl"), architecture={"layers": 2}, epochs=8)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sweep(["dq-int8", "static-int8", "none", "qat-int8", "dq-int4"], lambda i: i == 0))
def test_an_artifact_keeps_its_predictions_on_graphs_of_other_sizes(trained, tmp_path, recipe):
    result = api.export(trained, quant=recipe, output=tmp_path / "a", settings={"epochs": 2})
    assert result.manifest["limits"] == {"num_nodes": 1024}
    assert [i["name"] for i in result.manifest["inputs"]] == ["x", "edge_index"]
    assert result.manifest["runtime"] == "onnxruntime"
    assert api.verify(tmp_path / "a").ok
    model = api.load(trained).model
    artifact, same, seen = open_artifact(tmp_path / "a"), 0, 0
    for i, (nodes, edges) in enumerate([(1, 0), (2, 1), (3, 3), (30, 60), (80, 150), (200, 500)] * 3):
        g = graph(nodes, edges, seed=1000 + i, label=i % 2)
        with torch.no_grad():
            want = model(g.x, g.edge_index)
        got = predict(artifact, {"x": g.x.numpy(), "edge_index": g.edge_index.numpy()})
        same, seen = same + int(got.argmax() == int(want.argmax())), seen + 1
    assert same >= seen - 1


@pytest.mark.slow
# regularized: beyond, the penalty empties the attention of a pool, which is refused
@pytest.mark.parametrize(
    ("method", "sparsity"), sweep([("fine-grained", 0.5), ("global", 0.5), ("regularized", 0.2)], lambda i: i == 2)
)
def test_it_is_pruned_and_exported(trained, tmp_path, method, sparsity):
    api.compress(trained, prune=method, sparsity=sparsity, output=tmp_path / "small.pt", settings={"epochs": 1})
    result = api.export(tmp_path / "small.pt", quant="dq-int8", output=tmp_path / "a", settings={"epochs": 1})
    assert result.parity.agreement >= 0.99


@pytest.mark.slow
def test_channels_that_can_t_be_followed_stay(trained):
    cut = api.compress(trained, prune="structured", sparsity=0.5)
    whole = cut.checkpoint.pruning["whole"]
    assert any(name.startswith("conv") for name in whole)
    assert cut.checkpoint.model.lin1.out_features < api.load(trained).model.lin1.out_features


@pytest.mark.slow
def test_its_numbers_are_pytorchs_for_one_graph_of_any_size(tmp_path):
    trained = train(tmp_path, architecture={"pool_ratio": 0.6}, epochs=1)
    result = api.export(trained, output=tmp_path / "a", format="both")
    assert api.verify(tmp_path / "a", runtime="torchscript").ok
    assert result.manifest["torchscript"]["parity"]["agreement"] == 1.0
    model = api.load(trained).model
    sessions = {
        name: make_session(open_artifact(tmp_path / "a", runtime=name)) for name in ("onnxruntime", "torchscript")
    }
    for nodes, edges in [(1, 0), (1, 1), (2, 1), (3, 2), (5, 0), (8, 10), (33, 60), (150, 400)]:
        generator = torch.Generator().manual_seed(nodes)
        x = torch.randn(nodes, 3, generator=generator)
        edge_index = torch.randint(nodes, (2, edges), generator=generator)  # self loops, one direction
        with torch.no_grad():
            want = model(x, edge_index).numpy()
        for name, session in sessions.items():
            (got,) = session.run(None, {"x": x.numpy(), "edge_index": edge_index.numpy()})
            np.testing.assert_allclose(got, want, atol=1e-5, err_msg=f"{nodes} nodes, {edges} edges, {name}")


@pytest.mark.slow
def test_a_graph_above_the_limit_is_refused_when_exporting(trained, tmp_path):
    with pytest.raises(UsageError, match=r"has \d+ nodes, more than the limit of 6: choose --max-nodes"):
        api.export(trained, output=tmp_path / "a", max_nodes=6)
    assert not (tmp_path / "a").exists()


def test_scores_of_nothing_but_rounding_order_no_nodes():
    clique = 1 - torch.eye(8)
    x = torch.ones(8, 3) * 0.7
    noisy = x + torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) * 1e-6
    assert torch.equal(StructurePool(3, 0.5)(noisy, clique[None])[0][0], noisy[:4])
