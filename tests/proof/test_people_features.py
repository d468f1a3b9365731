"""Features as people have them: whole numbers that name something, in any integer type."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GINEConv, SAGEConv, global_add_pool

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.compression.model_source import check_fits, fit_features
from edgegnn.errors import DataError, ExportError
from edgegnn.exporting.pipeline import export_checkpoint
from edgegnn.quantize import QuantModel, prepare, recipe
from edgegnn.runtime import open_artifact, predict, verify
from edgegnn.tasks import forward_args, load_task, model_inputs, task_from_graphs
from edgegnn.tasks.notes import note

ATOMS, BONDS = 20, 4


class Molecules(nn.Module):
    """As OGB's AtomEncoder and PyG's example of GPS: x and edge_attr go straight into an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.atom, self.bond = nn.Embedding(ATOMS, 8), nn.Embedding(BONDS, 8)
        self.conv = GINEConv(nn.Linear(8, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, x, edge_index, edge_attr, batch):
        h = self.conv(self.atom(x.flatten()), edge_index, self.bond(edge_attr)).relu()
        return self.head(global_add_pool(h, batch))


class Nodes(nn.Module):
    """Looks up rows by x, and multiplies edge_attr."""

    def __init__(self) -> None:
        super().__init__()
        self.atom = nn.Embedding(ATOMS, 8)
        self.conv, self.head = GINEConv(nn.Linear(8, 8), edge_dim=1), nn.Linear(8, 2)

    def forward(self, x, edge_index, edge_attr):
        return self.head(self.conv(self.atom(x[:, 0]), edge_index, edge_attr).relu())


class Plain(nn.Module):
    """Multiplies x."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = SAGEConv(1, 2)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


def molecules(count: int = 40, **changes: torch.dtype) -> list[Data]:
    """Graphs whose atoms and bonds are numbers; `changes` gives an attribute another type."""
    draw = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(count):
        graph = Data(
            x=torch.randint(ATOMS, (9, 1), generator=draw),
            edge_index=torch.randint(9, (2, 20), generator=draw),
            edge_attr=torch.randint(BONDS, (20,), generator=draw),
            y=torch.tensor([i % 2]),
        )
        for name, dtype in changes.items():
            graph[name] = graph[name].to(dtype)
        graphs.append(graph)
    return graphs


def one_graph(nodes: int = 60) -> Data:
    draw = torch.Generator().manual_seed(0)
    return Data(
        x=torch.randint(ATOMS, (nodes, 1), generator=draw),
        edge_index=torch.randint(nodes, (2, 200), generator=draw),
        edge_attr=torch.randint(3, (200, 1), generator=draw),
        y=torch.arange(nodes) % 2,
    )


def exported(model: nn.Module, task, folder: Path, quant: str = "none"):
    checkpoint = Checkpoint(model.eval(), {"factory": "mine:build", "args": {}})
    task = fit_features(checkpoint, task)
    check_fits(checkpoint, task)
    return export_checkpoint(checkpoint, task, recipe(quant), folder / quant, max_accuracy_drop=100.0)


def types(result) -> dict[str, str]:
    return {value["name"]: value["dtype"] for value in result.manifest["inputs"]}


@pytest.mark.parametrize("quant", ["none", pytest.param("static-int8", marks=pytest.mark.slow)])
def test_whole_numbers_reach_an_embedding(tmp_path, quant):
    torch.manual_seed(0)
    graphs, model = molecules(), Molecules()
    result = exported(model, task_from_graphs(graphs, data="mine"), tmp_path, quant)
    assert types(result) == {"x": "int64", "edge_index": "int64", "edge_attr": "int64", "batch": "int64"}
    assert verify(result.path).ok
    inputs = {name: graphs[0][name].numpy() for name in ("x", "edge_index", "edge_attr")}
    inputs["batch"] = np.zeros(9, np.int64)
    with torch.no_grad():
        want = model(**{name: torch.from_numpy(value) for name, value in inputs.items()}).numpy()
    inputs["x"] = inputs["x"].astype(np.uint8)  # any integer type is taken
    got = predict(open_artifact(result.path), inputs)
    assert np.abs(got - want).max() < (1e-5 if quant == "none" else 0.5)
    inputs["edge_attr"] = np.full(20, -1)
    with pytest.raises(DataError, match="edge_attr holds -1, the model takes 0 and more"):
        predict(open_artifact(result.path), inputs)


@pytest.mark.slow
def test_only_what_is_looked_up_stays_whole(tmp_path):
    result = exported(Nodes(), task_from_graphs(one_graph(), data="mine"), tmp_path)
    assert types(result) == {"x": "int64", "edge_index": "int64", "edge_attr": "float32"}


@pytest.mark.slow
def test_a_model_that_multiplies_gets_floats(tmp_path):
    result = exported(Plain(), task_from_graphs(one_graph(), data="mine"), tmp_path)
    assert types(result) == {"x": "float32", "edge_index": "int64"}


@pytest.mark.slow
def test_one_number_a_node_needs_no_column(tmp_path):
    graphs = [Data(**{**g.to_dict(), "x": g.x[:, 0]}) for g in molecules()]
    result = exported(Molecules(), task_from_graphs(graphs, data="mine"), tmp_path)
    assert result.manifest["inputs"][0] == {"name": "x", "dtype": "int64", "shape": ["num_nodes"]}
    assert verify(result.path).ok


@pytest.mark.slow
def test_a_quantized_checkpoint_of_whole_numbers_is_exported(tmp_path):
    torch.manual_seed(0)
    torch.save(Molecules().state_dict(), tmp_path / "weights.pt")
    torch.save(molecules(), tmp_path / "data.pt")
    api.compress(
        tmp_path / "weights.pt",
        quant="dq-int8",
        output=tmp_path / "small.pt",
        data=str(tmp_path / "data.pt"),
        factory=f"{__name__}:Molecules",
        settings={"epochs": 1},
    )
    result = api.export(tmp_path / "small.pt", output=tmp_path / "small", allow_import=True)
    assert types(result)["x"] == types(result)["edge_attr"] == "int64"
    assert verify(result.path).ok


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32])
def test_other_integer_types_are_read_and_said_once(caplog, tmp_path, dtype):
    note.cache_clear()
    torch.save(molecules(x=dtype, edge_index=torch.int32), tmp_path / "mine.pt")
    with caplog.at_level(logging.WARNING):
        tasks = [load_task(str(tmp_path / "mine.pt")) for _ in range(2)]
    name = str(dtype).removeprefix("torch.")
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if f": x is {name}" in line] == [
        f"edgegnn: {tmp_path / 'mine.pt'}: x is {name}: read as float32, or as int64 if the model looks up rows by it"
    ]
    assert sum("edge_index is int32: read as int64" in line for line in said) == 1
    assert len(said) == 2
    graph = fit_features(Checkpoint(Molecules(), {}), tasks[0]).graphs[3]
    assert (graph.x.dtype, graph.edge_attr.dtype, graph.edge_index.dtype) == (torch.int64,) * 3
    assert torch.equal(graph.x, molecules()[3].x)


def test_doubles_are_read_and_said(caplog):
    note.cache_clear()
    graph = one_graph()
    graph.x = graph.x.double() / 3
    with caplog.at_level(logging.WARNING):
        task = task_from_graphs(graph, data="mine")
    assert task.graphs[0].x.dtype == torch.float32
    assert [record.getMessage() for record in caplog.records] == ["edgegnn: mine: x is float64: read as float32"]


def test_numbers_that_float32_rounds_are_refused():
    graph = one_graph()
    graph.x[7] = 2**24 + 1
    with pytest.raises(DataError, match=r"mine: x holds whole numbers beyond 16777216.*float\(\)"):
        task_from_graphs(graph, data="mine")


def test_an_embedding_of_floats_says_the_cure():
    checkpoint = Checkpoint(Molecules().eval(), {})
    task = task_from_graphs(molecules(x=torch.float32, edge_attr=torch.float32), data="mine.pt")
    with pytest.raises(ExportError, match=r"^the model fails on the first graph of mine.pt: .*x.long\(\)"):
        check_fits(checkpoint, fit_features(checkpoint, task))


@pytest.mark.parametrize("quant", ["qat-int8", "dq-int8", "dq-int4", "a2q-groups"])
def test_indices_get_no_quantization_point(quant):
    model = Molecules()
    task = fit_features(Checkpoint(model, {}), task_from_graphs(molecules(), data="mine"))
    args = forward_args(model_inputs(model, task), dataclasses.replace(task).graphs[0])
    quantized = prepare(model, recipe(quant), args)
    assert isinstance(quantized, QuantModel)
    points = quantized.structure()["points"]
    assert {"atom.weight", "bond.weight", "head.weight"} <= set(points)
    assert not [name for name in points if name.startswith(("atom.input", "bond.input"))]
    quantized.train()
    quantized(*args)
    assert quantized.eval()(*args).isfinite().all()
