"""The dense model as a teacher of the one that was pruned."""

from __future__ import annotations

import pytest
import torch
from command_line import community_graph
from ring_graphs import ring_graphs

from edgegnn.compression.compress import prune
from edgegnn.compression.plan import PrunePlan
from edgegnn.models import build
from edgegnn.tasks import logits_of_all, task_from_graphs
from edgegnn.tasks.target import divergence
from edgegnn.training import FitConfig, fit


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["node", "graph"])
def test_a_teacher_is_followed_row_by_row(kind):
    """With `distill` 1 the labels have no say: here they are all the same, and the teacher knows better."""
    if kind == "node":
        data = community_graph()
        truth, data.y = data.y, torch.cat([torch.arange(3), torch.zeros(87, dtype=torch.long)])
        task, sizes = task_from_graphs([data], data="communities"), {"in_channels": 9, "out_channels": 3}
    else:
        graphs = ring_graphs()
        truth = torch.cat([g.y for g in graphs])
        for i, g in enumerate(graphs):
            g.y = torch.tensor([int(i % 10 == 0)])
        task, sizes = task_from_graphs(graphs, data="rings"), {"in_channels": 2, "out_channels": 2}
    teacher = 8 * torch.nn.functional.one_hot(truth).float()
    right = {}
    for distill in (0.0, 1.0):
        torch.manual_seed(0)
        model = build("gin", kind=kind, **sizes, hidden=8, layers=2, dropout=0.0)
        config = FitConfig(epochs=30, lr=0.02, distill=distill, batch_size=8)
        fit(model, task, config, teacher=teacher, keep_last=True)
        right[distill] = float((logits_of_all(model, task).argmax(1) == truth).double().mean())
    assert right[1.0] > 0.9 > 0.75 > right[0.0]


def test_divergence_from_the_teacher_is_that_of_hinton():
    spec = task_from_graphs([community_graph()], data="communities").spec
    logits, teacher = torch.tensor([[1.0, 0.0], [0.5, 2.0]]), torch.tensor([[3.0, 1.0], [0.5, 2.0]])
    p, q = (torch.softmax(v / 2, 1) for v in (teacher, logits))
    assert torch.allclose(divergence(spec, logits, teacher), 4 * (p * (p / q).log()).sum(1).mean())
    assert float(divergence(spec, teacher, teacher)) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize(("more", "last"), [({}, True), ({"early_stop": "patience"}, False), ({"distill": 0.0}, False)])
def test_pruned_weights_that_learn_from_a_teacher_keep_the_last_epoch(more, last):
    task = task_from_graphs(ring_graphs(), data="rings")
    torch.manual_seed(0)
    model = build("gin", in_channels=2, out_channels=2, kind="graph", hidden=8, layers=2)
    config = FitConfig(**{"epochs": 40, "lr": 0.5, "distill": 0.9, **more})  # so high that the first epochs are best
    result = prune(model, task, PrunePlan("global", 0.5), config).fit
    assert result is not None
    assert (result.best_epoch == 40) is last


def test_a_teacher_tells_of_all_nodes_that_are_not_held_out():
    """Its outputs of a node without a label change the student, those of a test node don't."""
    data = community_graph()
    unlabelled = int(data.train_mask.nonzero()[0])
    data.train_mask[unlabelled] = False
    task = task_from_graphs([data], data="communities")

    def trained(node: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = build("gin", kind="node", in_channels=9, out_channels=3, hidden=4, layers=2, dropout=0.0)
        teacher = torch.zeros(90, 3)
        if node is not None:
            teacher[node, 0] = 9.0
        fit(model, task, FitConfig(epochs=2, distill=0.5), teacher=teacher, keep_last=True)
        return logits_of_all(model, task)

    plain = trained(None)
    assert not torch.equal(trained(unlabelled), plain)
    assert torch.equal(trained(int(task.index["test"][0])), plain)
    assert torch.equal(trained(int(task.index["val"][0])), plain)
