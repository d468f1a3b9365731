"""The graphs an artifact is proved on: real ones from the test split, and the awkward ones every deployment meets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch_geometric.data import Data

from edgegnn.tasks import Task, forward_args
from edgegnn.tasks.collating import PAIRS
from edgegnn.tasks.link import pick_pairs

__all__ = ["Sample", "example_inputs", "make_samples", "split_graphs", "synthetic", "tensors_of"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Sample:
    """One graph that an artifact ships.

    Attributes:
        name: "test/17", "isolated+duplicate", ...
        origin: "data" or "synthetic".
        inputs: model input name -> array, in the order of the model's inputs.
        label: int64 `[rows]`, or float32 `[rows, C]` of labels or values; None for a synthetic graph.
        mask: bool `[rows]`, which rows the metric counts (node tasks); None for all.
    """

    name: str
    origin: str
    inputs: dict[str, Array]
    label: Array | None = None
    mask: Array | None = None


def split_graphs(task: Task, names: Sequence[str], split: str = "test") -> list[Sample]:
    """A whole split as samples: the one graph of a node task with the split's mask, or every graph of the split."""
    index = task.index[split]
    if task.spec.kind == "link":
        data = pick_pairs(task.graphs[0], index)
        return [Sample(task.spec.data, "data", example_inputs(names, data), data.y.numpy())]
    if task.spec.kind == "node":
        data = task.graphs[0]
        mask = np.zeros(int(data.num_nodes), dtype=bool)
        mask[index.numpy()] = True
        return [Sample(task.spec.data, "data", example_inputs(names, data), data.y.numpy(), mask)]
    samples = []
    for i in index.tolist():
        data = task.graphs[i]
        samples.append(Sample(f"{split}/{i}", "data", example_inputs(names, data), data.y.numpy()))
    return samples


def make_samples(task: Task, names: Sequence[str], fixed: int | None = None, seed: int = 0) -> list[Sample]:
    """Awkward graphs with the features of real nodes: isolated nodes and duplicate edges, no edges, a single node.

    For a model of one graph with `fixed` nodes: its nodes with some of its edges twice, and without edges.
    """
    if fixed is not None:
        return _same_nodes(task.graphs[0], names)
    source = max(task.graphs[:64], key=lambda g: int(g.num_nodes))
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(int(source.num_nodes), (24,), generator=generator)
    edges = torch.randint(16, (2, 40), generator=generator)  # the last eight nodes stay isolated
    edges = torch.cat([edges, edges[:, :12], edges[:, :4]], dim=1)
    return [
        Sample("isolated+duplicate", "synthetic", synthetic(source, names, rows, edges, generator)),
        Sample("no-edges", "synthetic", synthetic(source, names, rows[:7], edges[:, :0], generator)),
        Sample("one-node", "synthetic", synthetic(source, names, rows[:1], edges[:, :0], generator)),
    ]


def _same_nodes(graph: Data, names: Sequence[str]) -> list[Sample]:
    inputs = example_inputs(names, graph)
    few = torch.arange(0, int(graph.num_edges), 3)
    picks = {"isolated+duplicate": torch.cat([few, few[::2]]).numpy(), "no-edges": few[:0].numpy()}
    samples = []
    for name, pick in picks.items():
        of_edges = {k: v for k, v in inputs.items() if k.startswith("edge_") and k != PAIRS}
        by_edge = {k: v[:, pick] if k == "edge_index" else v[pick] for k, v in of_edges.items()}
        samples.append(Sample(name, "synthetic", {**inputs, **by_edge}))
    return samples


def tensors_of(sample: Sample) -> dict[str, torch.Tensor]:
    """Inputs of a sample as tensors."""
    return {name: torch.from_numpy(value) for name, value in sample.inputs.items()}


def example_inputs(names: Sequence[str], data: Data) -> dict[str, Array]:
    """Model inputs of one graph as numpy arrays."""
    args = forward_args(names, data)
    return {name: arg.detach().contiguous().numpy() for name, arg in zip(names, args, strict=True)}


def synthetic(
    source: Data, names: Sequence[str], rows: torch.Tensor, edges: torch.Tensor, generator: torch.Generator
) -> dict[str, Array]:
    """Inputs of a made-up graph.

    Args:
        source: a real graph.
        names: the model's inputs.
        rows: nodes of `source` whose features the nodes have.
        edges: int64 `[2, E]`; sorted by an end here where those of `source` are: some layers insist on it.
        generator: draws features of edges, and pairs of nodes.
    """
    for end in (0, 1):
        if bool((source.edge_index[end].diff() >= 0).all()):
            edges = edges[:, edges[end].argsort(stable=True)]
    data = Data(x=source.x[rows], edge_index=edges)
    if PAIRS in names:
        data[PAIRS] = torch.randint(len(rows), (2, 9), generator=generator)
    for key in ("edge_attr", "edge_weight"):
        if key in names:
            values = source[key]
            pick = torch.randint(max(1, values.shape[0]), (edges.shape[1],), generator=generator)
            data[key] = values[pick] if values.shape[0] else values[:0]
    return example_inputs(names, data)
