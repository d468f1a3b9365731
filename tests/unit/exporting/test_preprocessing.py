"""An artifact takes the features of the data as they are, and gives the accuracy that was printed."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch_geometric.transforms as T
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.io import read_planetoid_data, read_tu_data
from torch_geometric.nn import NNConv, global_mean_pool
from torch_geometric.utils import from_smiles

import edgegnn
from edgegnn.checkpoint import Checkpoint
from edgegnn.compression.model_source import DataSource
from edgegnn.errors import ArtifactError, DataError, UsageError
from edgegnn.runtime import open_artifact, predict
from edgegnn.runtime.metrics import score
from edgegnn.runtime.preparing import Step, parse_steps, prepare
from edgegnn.tasks import load_task
from edgegnn.tasks.datasets import quiet
from edgegnn.tasks.transforms import features_of


def test_row_normalisation_is_that_of_pyg() -> None:
    x = torch.bernoulli(torch.full((20, 12), 0.2), generator=torch.Generator().manual_seed(0))
    x[3] = 0
    x[4, 0] = 0.25
    want = T.NormalizeFeatures()(Data(x=x.clone())).x
    assert torch.equal(features_of(x, {"kind": "row-normalise"}), want)


def test_steps_of_the_runtime() -> None:
    x = np.array([[2, 0], [0, 1], [5, 0]])
    constants = {"kind": "one-hot", "sizes": [3, 2]}
    (step,) = parse_steps({"preprocessing": {"before": [{**constants, "input": "x"}]}})
    want = features_of(torch.from_numpy(x), constants).numpy()
    assert np.array_equal(prepare([step], {"raw_x": x})["x"], want)
    assert want[2, :3].sum() == 0  # a category that training didn't have
    degree = Step("degree", "x", mean=1.0, std=2.0)
    edges = np.array([[0, 1, 2], [1, 1, 0]])
    assert prepare([degree], {"edge_index": edges, "num_nodes": 4})["x"].ravel().tolist() == [0.0, 0.5, -0.5, -0.5]
    given = np.ones((3, 1), np.float32)
    assert prepare([degree], {"edge_index": edges, "x": given})["x"] is given
    with pytest.raises(DataError, match="2 columns, the model takes 1"):
        prepare([Step("one-hot", "x", sizes=(3,))], {"raw_x": x})
    for wrong in ({"kind": "eval"}, {"kind": "degree", "input": "x", "std": 0.0}, {"kind": "degree"}, 3):
        with pytest.raises(ArtifactError, match="steps that this edgegnn doesn't know"):
            parse_steps({"preprocessing": {"before": [wrong]}})


def test_encodings_are_those_of_pyg() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (Data(edge_index=torch.randint(9, (2, 20), generator=generator), num_nodes=n) for n in (9, 11))
    batch = Batch.from_data_list([one, other])
    want = [T.AddRandomWalkPE(5)(graph).random_walk_pe for graph in (one, other)]
    given = {"edge_index": batch.edge_index.numpy(), "batch": batch.batch.numpy()}
    (step,) = parse_steps({"preprocessing": {"before": [{"kind": "random-walk", "input": "pe", "size": 5}]}})
    np.testing.assert_allclose(prepare([step], given)["pe"], torch.cat(want).numpy(), atol=1e-6)
    x = np.ones((20, 2), np.float32)
    behind = prepare([Step("random-walk", "x", size=5)], {**given, "raw_x": x})["x"]
    np.testing.assert_allclose(behind[:, 2:], torch.cat(want).numpy(), atol=1e-6)

    path = T.ToUndirected()(Data(edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), num_nodes=5))
    want_path = T.AddLaplacianEigenvectorPE(3, is_undirected=True)(path).laplacian_eigenvector_pe.numpy()
    got = prepare([Step("laplacian", "pe", size=3)], {"edge_index": path.edge_index.numpy()})["pe"]
    np.testing.assert_allclose(np.abs(got), np.abs(want_path), atol=1e-6)
    assert all(column[np.abs(column.round(5)).argmax()] > 0 for column in got.T)
    with pytest.raises(DataError, match="joins nodes of different graphs"):
        prepare([step], {"edge_index": np.array([[0], [1]]), "batch": np.array([0, 1])})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NormaliseFeatures", "did you mean NormalizeFeatures"),
        ("nowhere:fn", "there is no module nowhere"),
        ("a b", "can't read --transform"),
        ("AddRandomWalkPE(walk_length=0)", "N from 1 to 1024"),
        ("KNNGraph(k=3)", "graph 0, which has edge_index, x, y: --transform KNNGraph"),
    ],
)
def test_transforms_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    torch.save(_molecules(12), tmp_path / "data.pt")
    source = DataSource(str(tmp_path / "data.pt"), transforms=(text,))

    def load() -> None:
        source.check()
        source.load()

    with pytest.raises((UsageError, DataError), match=re.escape(said)):
        load()


def standardise(graph: Data) -> Data:
    """A transform of a user's that traces; it needs the place of each node."""
    graph.x = torch.cat([(graph.x.float() - torch.tensor([1.5, 0.5])) / torch.tensor([1.1, 0.5]), graph.place], dim=1)
    return graph


def centred(graph: Data) -> Data:
    """A transform of a user's that looks at the whole graph."""
    graph.x = graph.x - graph.x.mean()
    return graph


class Placed(nn.Module):
    """A model that takes what transforms make: distances of edges, and encodings beside x."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = NNConv(5, 8, nn.Linear(1, 40), aggr="mean"), nn.Linear(8, 2)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        return self.head(global_mean_pool(self.first(x, edge_index, edge_attr).relu(), batch))


@pytest.mark.slow
def test_transforms_travel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    graphs = _molecules()
    for graph in graphs:
        graph.pos = torch.rand(len(graph.x), 2)
    torch.save(graphs, tmp_path / "data.pt")
    texts = ["AddRandomWalkPE(3, attr_name='place')", "Distance(norm=False)", f"{__name__}:standardise"]
    checkpoint = Checkpoint(Placed().eval(), {}, None, {}, [], {})
    where = {"data": str(tmp_path / "data.pt"), "quant": "none", "transforms": texts}
    edgegnn.export(checkpoint, output=tmp_path / "inside", **where)
    artifact = open_artifact(tmp_path / "inside")
    assert [spec.name for spec in artifact.manifest.inputs] == ["x", "edge_index", "pos", "place", "batch"]
    whole = Batch.from_data_list(graphs[:3])
    raw = {name: whole[name].numpy() for name in ("x", "edge_index", "pos", "batch")}
    ready = Batch.from_data_list(
        [standardise(T.Distance(norm=False)(T.AddRandomWalkPE(3, "place")(g.clone()))) for g in graphs[:3]]
    )
    with torch.no_grad():
        want = checkpoint.model(ready.x, ready.edge_index, ready.edge_attr, ready.batch).numpy()
    np.testing.assert_allclose(predict(artifact, raw), want, atol=1e-5)  # the runtime makes the encodings
    np.testing.assert_allclose(_stock(tmp_path / "inside", place=ready.place.numpy(), **raw), want, atol=1e-5)
    said = edgegnn.inspect(tmp_path / "inside")["features"]
    assert said.startswith("expects raw features: in the model, Distance(norm=False); ")
    assert "place may be left out" in said

    edgegnn.export(checkpoint, output=tmp_path / "outside", **{**where, "transforms": [*texts, f"{__name__}:centred"]})
    assert "it makes another x of several graphs at once" in caplog.text
    assert "expects graphs that Distance(norm=False) has prepared" in edgegnn.inspect(tmp_path / "outside")["features"]
    assert checkpoint.model(ready.x, ready.edge_index, ready.edge_attr, ready.batch).shape == (3, 2)  # as it was


def _stock(folder: Path, **inputs: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of model.onnx, without edgegnn's runtime and kernels."""
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    result: np.ndarray = session.run(None, inputs)[0]
    return result


def _export(model: str, data: str, folder: Path, quant: str, **options: object) -> float:
    """Train a little, export, and give the accuracy that was printed."""
    checkpoint = edgegnn.train(model, data, settings={"epochs": 8}, architecture={"hidden": 16}, **options)
    result = edgegnn.export(checkpoint, quant=quant, output=folder, max_accuracy_drop=100.0)
    value = result.manifest.metric.artifact
    assert value is not None
    return value


@pytest.mark.slow
def test_raw_files_give_the_printed_accuracy(data_root: Path, tmp_path: Path) -> None:
    for name, folder, quant in (("cora", "Cora", "fp32"), ("citeseer", "CiteSeer", "static-int8")):
        printed = _export("gcn", name, tmp_path / name, quant, data_root=data_root)
        raw = read_planetoid_data(str(data_root / folder / "raw"), name)
        got = _stock(tmp_path / name, x=raw.x.numpy(), edge_index=raw.edge_index.numpy()).argmax(1)
        assert float((got == raw.y.numpy())[raw.test_mask.numpy()].mean()) == pytest.approx(printed, abs=1e-6)
        assert "raw features: in the model, each row of x" in edgegnn.inspect(tmp_path / name)["features"]

    printed = _export("gin", "proteins", tmp_path / "proteins", "fp32", data_root=data_root)
    whole, slices, _ = read_tu_data(str(data_root / "PROTEINS" / "raw"), "PROTEINS")
    task = load_task("proteins", root=data_root)
    right = 0
    test = task.index["test"].tolist()
    for i in test:
        first, last = (int(slices["x"][j]) for j in (i, i + 1))
        edges = whole.edge_index[:, slices["edge_index"][i] : slices["edge_index"][i + 1]]
        x = whole.x[first:last, -3:].numpy()  # the node labels; an attribute stands in front
        got = _stock(
            tmp_path / "proteins", x=x, edge_index=edges.numpy(), batch=np.zeros(last - first, np.int64)
        ).argmax()
        right += int(got == int(whole.y[i]))
    assert right / len(test) == pytest.approx(printed, abs=1e-6)


@pytest.mark.slow
@pytest.mark.every
def test_raw_molecules_give_the_printed_metric(data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    printed = _export("gin", "bbbp", tmp_path / "bbbp", "dynamic-int8", data_root=data_root)
    task = load_task("bbbp", root=data_root)
    with (data_root / "bbbp" / "raw" / "BBBP.csv").open(newline="") as file:
        rows = [(row["smiles"], int(row["p_np"])) for row in csv.DictReader(file)]
    with quiet():
        read = [(from_smiles(smiles), label) for smiles, label in rows]
    read = [(graph, label) for graph, label in read if graph.num_nodes]  # what rdkit can't parse has no atoms
    assert len(read) == len(task.graphs)
    session = onnxruntime.InferenceSession(tmp_path / "bbbp" / "model.onnx")
    names = {each.name: each.type for each in session.get_inputs()}
    scores, labels = [], []
    for i in task.index["test"].tolist():
        graph, label = read[i]
        nodes = np.zeros(len(graph.x), np.int64)
        inputs = {"x": graph.x.numpy(), "edge_index": graph.edge_index.numpy(), "batch": nodes}
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        scores.append(session.run(None, {name: inputs[name].astype(kinds[kind]) for name, kind in names.items()})[0][0])
        labels.append(label)
    known = np.array(labels) if task.spec.target == "classes" else np.array(labels).reshape(-1, 1)
    assert score(task.spec.metric, np.stack(scores), known) == pytest.approx(printed, abs=1e-6)


def _molecules(count: int = 40) -> list[Data]:
    """Graphs whose nodes have two categories each, or (without) no features at all."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(count):
        nodes = 6 + i % 5
        edges = torch.randint(nodes, (2, 3 * nodes + 4 * (i % 2)), generator=generator)
        x = torch.stack([torch.randint(4, (nodes,), generator=generator), torch.full((nodes,), i % 2)], dim=1)
        graphs.append(Data(x=x, edge_index=edges, y=torch.tensor([i % 2])))
    return graphs


@pytest.mark.slow
def test_categories_and_degrees(tmp_path: Path) -> None:
    graphs = _molecules()
    torch.save(graphs, tmp_path / "typed.pt")
    _export("gcn", str(tmp_path / "typed.pt"), tmp_path / "typed", "dq-int8", one_hot=True)
    artifact = open_artifact(tmp_path / "typed")
    assert next((spec.name, spec.dtype) for spec in artifact.manifest.inputs) == ("x", "int64")
    batch = Batch.from_data_list(graphs[:3])
    inputs = {name: batch[name].numpy() for name in ("x", "edge_index", "batch")}
    np.testing.assert_allclose(_stock(tmp_path / "typed", **inputs), predict(artifact, inputs), atol=1e-5)
    assert edgegnn.verify(tmp_path / "typed").ok

    for graph in graphs:
        graph.num_nodes = len(graph.x)
        del graph.x
    torch.save(graphs, tmp_path / "bare.pt")
    printed = _export("gcn", str(tmp_path / "bare.pt"), tmp_path / "bare", "fp32")
    artifact, task = open_artifact(tmp_path / "bare"), load_task(str(tmp_path / "bare.pt"))
    right = []
    for i in task.index["test"].tolist():
        nodes = np.zeros(graphs[i].num_nodes, np.int64)
        logits = predict(artifact, {"edge_index": graphs[i].edge_index.numpy(), "batch": nodes})
        right.append(int(logits.argmax()) == int(graphs[i].y))
    assert float(np.mean(right)) == pytest.approx(printed, abs=1e-6)
    assert "x may be left out" in edgegnn.inspect(tmp_path / "bare")["features"]
