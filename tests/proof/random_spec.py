"""A random model as data: what it is made of, the module of it, and graphs for it. The same spec gives the same."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch_geometric.nn as gnn
from random_layers import EDGE_FEATURES, mlp
from random_parts import ACTIVATIONS, LAYERS, NORMS, POOLS, READOUTS, WIDER
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

FEATURES, CATEGORIES, CLASSES = 6, 5, 3
FIRST = ("linear", "rows", "embedding", "log", "standard")
HEADS = ("linear", "mlp", "log_softmax")
# What fine-tunes is slow, and what it shares with the others is most of the path.
RECIPES = {
    "none": 22,
    "static-int8": 20,
    "dynamic-int8": 10,
    "dq-int8": 16,
    "qat-int8": 12,
    "dq-int4": 8,
    "a2q-groups": 8,
    "a2q": 4,
}


@dataclass(frozen=True)
class Layer:
    """One layer: a name of LAYERS, and what follows it."""

    name: str
    norm: str = ""
    activation: str = "relu"
    skip: bool = False


@dataclass(frozen=True)
class Spec:
    """A model, its data and a recipe.

    Attributes:
        seed: of weights and graphs.
        recipe: what `--quant` names.
        layers: of width `width`.
        task: "node" or "graph".
        target: "classes" or "values".
        edges: "edge_attr", "edge_weight" or "": what the graphs have beside edge_index.
        features: "normal", "counts" (zeros and ones) or "scales" (columns on scales far apart).
        first: what is done to the features, of FIRST.
        scale: what the weights of the layers are multiplied by.
        jump: all layers' rows go into the head.
        virtual: each graph's mean goes back to its nodes.
        pool: of POOLS, in front of the last layer.
        readout: of READOUTS.
        head: of HEADS.
    """

    seed: int
    recipe: str
    layers: tuple[Layer, ...]
    task: str = "node"
    target: str = "classes"
    edges: str = ""
    features: str = "normal"
    first: str = "linear"
    width: int = 8
    scale: float = 1.0
    jump: bool = False
    virtual: bool = False
    pool: str = ""
    readout: str = "mean"
    head: str = "linear"


def draw(seed: int, recipe: str | None = None) -> Spec:
    """The model of that seed; with `recipe`, the same model for it."""
    r = random.Random(seed)
    edges = r.choice(["", "", "edge_attr", "edge_attr", "edge_weight"])
    task = r.choice(["node", "graph"])
    fitting = [name for name, each in LAYERS.items() if each.takes in ("", edges)]
    own = [name for name, each in LAYERS.items() if each.takes == edges]
    layers = tuple(
        Layer(
            r.choice(own if edges and (i == 0 or r.random() < 0.4) else fitting),
            r.choice(["", "", *NORMS]),
            r.choice(["relu", "relu", *ACTIVATIONS]),
            r.random() < 0.3,
        )
        for i in range(r.randint(2, 5) - 1)
    )
    graph = task == "graph"
    chosen = r.choices(list(RECIPES), list(RECIPES.values()))[0]
    return Spec(
        seed=seed,
        recipe=recipe or chosen,
        layers=layers,
        task=task,
        target=r.choice(["classes", "classes", "values"]) if graph else "classes",
        edges=edges,
        features=r.choice(["normal", "normal", "counts", "scales"]),
        first=r.choice(FIRST),
        width=r.choice([4, 8, 8, 12]),
        scale=r.choice([0.3, 1.0, 1.0, 2.0]),
        jump=r.random() < 0.2,
        virtual=graph and r.random() < 0.15,
        pool=r.choice(["", "", *POOLS]) if graph else "",
        readout=r.choice(["mean", "add", "max", *READOUTS]) if graph else "mean",
        head=r.choice(HEADS) if not graph or r.random() < 0.7 else "linear",
    )


# The module ------------------------------------------------------------


class RandomModel(nn.Module):
    """The module of a spec."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec, width = spec, spec.width
        self.lin = nn.Linear(FEATURES, width)
        self.embedding = nn.Embedding(CATEGORIES, width) if spec.first == "embedding" else None
        self.register_buffer("middle", torch.randn(FEATURES))
        self.register_buffer("deviation", torch.rand(FEATURES) + 0.2)
        self.convs = nn.ModuleList(LAYERS[layer.name].build(width) for layer in spec.layers)
        self.norms = nn.ModuleList(NORMS[layer.norm][0](width) for layer in spec.layers)
        self.acts = nn.ModuleList(ACTIVATIONS[layer.activation]() for layer in spec.layers)
        self.to_graph = nn.Linear(width, width) if spec.virtual else None
        self.pool = POOLS[spec.pool](width) if spec.pool else None
        wide = width * (len(spec.layers) if self._jumps else 1)
        self.readout = READOUTS[spec.readout](wide) if spec.task == "graph" else None
        wide *= WIDER.get(spec.readout, 1)
        self.head = nn.Sequential(nn.Identity() if spec.head == "linear" else mlp(wide, wide), nn.Linear(wide, CLASSES))

    @property
    def _jumps(self) -> bool:
        return self.spec.jump and not self.spec.pool

    def forward(self, x, edge_index, edge_attr=None, edge_weight=None, batch=None):
        x = self._first(x)
        rows = []
        for at, (layer, conv, norm, act) in enumerate(
            zip(self.spec.layers, self.convs, self.norms, self.acts, strict=True)
        ):
            if self.pool is not None and at == len(self.convs) - 1:
                x, edge_index, edge_attr, edge_weight, batch = self._pooled(
                    x, edge_index, edge_attr, edge_weight, batch
                )
            given = {"edge_attr": edge_attr, "edge_weight": edge_weight}
            takes = LAYERS[layer.name].takes
            h = conv(x, edge_index, **({takes: given[takes]} if takes else {}))
            h = act(norm(h, batch) if NORMS[layer.norm][1] else norm(h))
            x = x + h if layer.skip else h
            if self.to_graph is not None:
                x = x + self.to_graph(gnn.global_mean_pool(x, batch))[batch]
            rows.append(x)
        x = torch.cat(rows, dim=1) if self._jumps else x
        if self.readout is not None:
            x = self.readout(x, batch)
        x = self.head(x)
        return x.log_softmax(dim=1) if self.spec.head == "log_softmax" else x

    def _first(self, x):
        kind = self.spec.first
        if kind == "rows":
            return self.lin(x / (x.abs().sum(1, keepdim=True) + 1e-8))
        if kind == "log":
            return self.lin((x.abs() + 1e-10).log() * 0.2)
        if kind == "standard":
            return self.lin((x - self.middle) / (self.deviation + 1e-6))
        if kind == "embedding":
            return self.lin(x) + self.embedding(x[:, 0].long().clamp(0, CATEGORIES - 1))
        return self.lin(x)

    def _pooled(self, x, edge_index, edge_attr, edge_weight, batch):
        if self.spec.pool == "asa":
            x, edge_index, edge_weight, batch, _ = self.pool(x, edge_index, edge_weight, batch)
            return x, edge_index, edge_attr, edge_weight, batch
        of_edge = edge_attr if edge_attr is not None else edge_weight
        x, edge_index, of_edge, batch, *_ = self.pool(x, edge_index, of_edge, batch)
        return x, edge_index, of_edge if edge_attr is not None else None, of_edge, batch


def build(spec: Spec, graphs: list[Data]) -> RandomModel:
    """The module with weights like those of trained models: on several scales, biases, running statistics.

    The outputs have mean 0 and deviation 2 on the graphs, as of a trained classifier.
    """
    torch.manual_seed(spec.seed)
    model = RandomModel(spec)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:
                value.mul_(math.exp(0.4 * float(torch.randn(()))) * (spec.scale if "convs" in name else 1))
            else:
                value.add_(0.2 * torch.randn(value.shape))
        args = arguments(spec, Batch.from_data_list(graphs))
        model.train()
        for _ in range(3 if any(layer.norm in ("batch", "groups") for layer in spec.layers) else 0):
            model(**args)
        model.eval()
        last, head = model.head[-1], spec.head
        model.spec = replace(spec, head="mlp")  # before the logarithm
        out = model(**args)
        model.spec = replace(spec, head=head)
        deviation = out.std(dim=0) + 1e-12
        last.weight.mul_((2 / deviation)[:, None])
        last.bias.sub_(out.mean(dim=0)).mul_(2 / deviation)
    return model


# Graphs ------------------------------------------------------------


def arguments(spec: Spec, data: Data) -> dict[str, Tensor]:
    """What the model takes of a graph or batch."""
    names = ["x", "edge_index", *([spec.edges] if spec.edges else []), *(["batch"] if spec.task == "graph" else [])]
    found = {name: data[name] for name in names if data.get(name) is not None}
    if "batch" in names and "batch" not in found:
        found["batch"] = torch.zeros(data.num_nodes, dtype=torch.long)
    return found


def draw_graph(spec: Spec, nodes: int, edges: int, generator: torch.Generator) -> Data:
    """A graph with self loops, duplicate edges and isolated nodes, as they come."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x = normal(nodes, FEATURES)
    if spec.features == "counts":
        x = (x > 0.7).float()
    if spec.features == "scales":
        x = x * torch.logspace(-2, 2, FEATURES)
    x[:, 0] = torch.randint(CATEGORIES, (nodes,), generator=generator).float()
    ends = torch.randint(nodes, (2, edges), generator=generator)
    if edges >= 8:
        ends[:, 1] = ends[:, 0]
        ends[0, 2] = ends[1, 2]
    data = Data(x=x, edge_index=ends)
    if spec.edges == "edge_attr":
        data.edge_attr = normal(edges, EDGE_FEATURES)
    if spec.edges == "edge_weight":
        data.edge_weight = torch.rand(edges, generator=generator) + (0.1 if spec.seed % 2 else 0)
    return data


def draw_data(spec: Spec) -> list[Data]:
    """The graphs that the user has: one for the task of its nodes, else many; without labels."""
    generator = torch.Generator().manual_seed(spec.seed)
    if spec.task == "node":
        return [draw_graph(spec, 120, 420, generator)]
    sizes = [3 + (i * 7 + spec.seed) % 12 for i in range(60)]
    return [draw_graph(spec, n, int(2.5 * n), generator) for n in sizes]


def label(spec: Spec, model: nn.Module, graphs: list[Data]) -> None:
    """Give graphs the labels that a good model of them would predict: this model's own, with some noise."""
    generator = torch.Generator().manual_seed(spec.seed + 1)
    for data in graphs:
        with torch.no_grad():
            out = model(**arguments(spec, data))
        noisy = out + 0.3 * torch.randn(out.shape, generator=generator)
        data.y = noisy if spec.target == "values" else noisy.argmax(dim=1)
    if spec.task == "node":
        part = torch.arange(len(graphs[0].x)) % 4
        graphs[0].train_mask, graphs[0].val_mask, graphs[0].test_mask = part < 2, part == 2, part == 3


def fresh_graphs(spec: Spec) -> dict[str, Data]:
    """Graphs that the model never saw, like its data."""
    generator = torch.Generator().manual_seed(spec.seed + 2)
    if spec.task == "node":
        return {f"fresh {i}": draw_graph(spec, 120, 420, generator) for i in range(2)}
    graphs = [draw_graph(spec, 4 + 2 * i, 8 + 6 * i, generator) for i in range(6)]
    return {"batch": Batch.from_data_list(graphs), **{f"fresh {i}": graph for i, graph in enumerate(graphs)}}


def awkward_graphs(spec: Spec) -> dict[str, Data]:
    """Graphs of other shapes: small, without edges, with one kind of edge only, features of zeros."""
    generator = torch.Generator().manual_seed(spec.seed + 3)

    def graph(nodes: int, edges: int) -> Data:
        return draw_graph(spec, nodes, edges, generator)

    found = {"one node": graph(1, 0), "one node, a loop": graph(1, 1), "no edges": graph(6, 0), "pair": graph(2, 2)}
    loops, twice, zeros, some = graph(7, 9), graph(9, 12), graph(10, 24), graph(10, 24)
    loops.edge_index[1] = loops.edge_index[0]
    twice.edge_index = twice.edge_index[:, torch.arange(12) // 3]
    zeros.x.zero_()
    some.x[::3] = 0
    return found | {"loops": loops, "duplicates": twice, "zeros": zeros, "some zeros": some}


def describe(spec: Spec) -> dict[str, Any]:
    """The entries of a spec that are not the usual ones, for a JSON line."""
    usual = Spec(0, "none", ())
    found = {k: v for k, v in vars(spec).items() if v != getattr(usual, k) and k not in ("seed", "recipe", "layers")}
    return {"layers": [[x.name, x.norm, x.activation, "skip" if x.skip else ""] for x in spec.layers], **found}
