"""Labels of the nodes or edges of many graphs: what they are, which graphs are held out, what counts."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Data, HeteroData

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks import load_task, logits_and_labels, model_inputs, task_from_graphs
from edgegnn.tasks.files import read_graphs
from edgegnn.tasks.spec import Task


def graphs(count: int = 20) -> list[Data]:
    generator = torch.Generator().manual_seed(0)
    return [
        Data(
            x=torch.randn(4 + i % 3, 2, generator=generator),
            edge_index=torch.randint(4, (2, 9 + i % 2), generator=generator),
        )
        for i in range(count)
    ]


def labelled(rows: str, columns: int = 0, *, whole: bool = True) -> list[Data]:
    made = graphs()
    for i, graph in enumerate(made):
        shape = [graph.num_nodes if rows == "node" else graph.num_edges, *([columns] if columns else [])]
        y = torch.arange(int(torch.tensor(shape).prod())).view(shape) + i
        graph.y = y % 2 if whole else y / 7
    return made


@pytest.mark.parametrize(
    ("rows", "columns", "whole", "name", "out"),
    [
        ("node", 0, True, "node", 2),
        ("node", 3, True, "node-multilabel", 3),
        ("node", 2, False, "node-regression", 2),
        ("edge", 0, True, "edge", 2),
        ("edge", 0, False, "edge-regression", 1),
    ],
)
def test_what_the_labels_are(rows: str, columns: int, whole: bool, name: str, out: int) -> None:
    task = task_from_graphs(labelled(rows, columns, whole=whole), data="g")
    assert (task.spec.name, task.spec.num_classes, task.spec.split) == (name, out, "random")
    assert sum(map(len, task.index.values())) == 20  # graphs are held out, not rows
    assert all(len(graph.y) == (graph.num_nodes if rows == "node" else graph.num_edges) for graph in task.graphs)


def test_labels_of_graphs_stay_theirs() -> None:
    made = graphs()
    for i, graph in enumerate(made):
        graph.y = torch.tensor([i % 2])
    assert task_from_graphs(made, data="g").spec.name == "graph"


def test_a_given_split_and_values_in_their_units() -> None:
    made = labelled("node", whole=False)
    for i, graph in enumerate(made):
        graph.split = ("train", "val", "test")[i % 3]
    task = task_from_graphs(made, data="g")
    train = torch.cat([graph.y for graph in task.graphs[::3]])
    assert task.spec.split == "given"
    assert task.index["val"].tolist() == list(range(1, 20, 3))
    assert task.spec.scale["mean"] == pytest.approx([float(train.mean())])


def test_rows_without_a_label_count_nowhere() -> None:
    made = labelled("node")
    for graph in made:
        graph.y[0] = -1
    task = task_from_graphs(made, data="g")
    model = torch.nn.Linear(2, 2)
    model.forward = lambda x: torch.nn.functional.linear(x, model.weight, model.bias)  # type: ignore[method-assign]
    logits, found = logits_and_labels(model, task, "test")
    rows = sum(task.graphs[i].num_nodes - 1 for i in task.index["test"].tolist())
    assert len(logits) == len(found) == rows
    assert int(found.min()) == 0


def test_what_is_refused() -> None:
    made = labelled("node")
    made[3].y = made[3].y[:-1]
    with pytest.raises(DataError, match=r"graph 3: y has \[\d\], node labels need a row for each of \d nodes"):
        task_from_graphs(made, data="g", task="node")
    made = labelled("node", 2, whole=False)
    made[3].y = made[3].y[:, :1]
    with pytest.raises(DataError, match=r"graph 3: y has \[4, 1\], graph 0 has \[4, 2\]: give all the same columns"):
        task_from_graphs(made, data="g")


def test_one_type_of_nodes_of_many_graphs(tmp_path) -> None:
    made = []
    for i in range(12):
        graph = HeteroData()
        graph["user"].x, graph["item"].x = torch.randn(3 + i % 2, 2), torch.randn(5, 3)
        graph["user"].y = (torch.arange(3 + i % 2) + i) % 2
        graph["user", "likes", "item"].edge_index = torch.randint(3, (2, 8))
        made.append(graph)
    torch.save(made, tmp_path / "typed.pt")
    task: Task = load_task(str(tmp_path / "typed.pt"))
    assert (task.spec.kind, task.spec.of, task.spec.num_classes, task.many) == ("node", "user", 2, True)
    assert len(read_graphs(tmp_path / "typed.pt")) == 12


def test_an_input_that_belongs_to_nothing() -> None:
    class Triplets(torch.nn.Module):
        def forward(self, x: torch.Tensor, idx_kj: torch.Tensor) -> torch.Tensor:
            return x[idx_kj]

    made = labelled("node")
    made[0].idx_kj = torch.zeros(31, dtype=torch.int64)
    told = r"needs idx_kj, and what it belongs to can't be told from its shape \[31\]: say --input idx_kj=ROLE, .*item"
    with pytest.raises(UsageError, match=told):
        model_inputs(Triplets(), task_from_graphs(made, data="g"))
