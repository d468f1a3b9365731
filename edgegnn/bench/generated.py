"""Data that the benchmark makes from a seed.

They are for tasks without a public set that suits edge devices, and stand in for public sets that are not here. All of
it is drawn with numpy's PCG64, whose numbers are the same on every machine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch_geometric.data import Data, HeteroData

__all__ = ["RELATIONS", "TYPES", "citations", "clouds", "library", "molecules", "payments", "proteins", "traffic"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Of `library`: type of nodes -> its features, and the relations.
TYPES = {"paper": 64, "author": 16, "venue": 8}
RELATIONS = (
    ("author", "writes", "paper"),
    ("paper", "written_by", "author"),
    ("paper", "cites", "paper"),
    ("paper", "in", "venue"),
    ("venue", "has", "paper"),
)
_PARTS = ("train", "val", "test")


def citations(seed: int) -> Data:
    """Papers that cite each other, mostly within their topic: Cora's sizes, 2,708 nodes of 1,433 words, 7 classes."""
    random = np.random.default_rng(seed)
    nodes, words, classes, links = 2708, 1433, 7, 5278
    topic = random.integers(classes, size=nodes)
    source = random.integers(nodes, size=links)
    target = _alike(topic, source, 0.8, random)
    own = random.dirichlet(np.full(words, 0.05), classes) * 0.5 + 0.5 / words
    x = np.stack([random.random(words) < 18 * own[k] for k in topic])
    x[~x.any(1), 0] = True
    graph = Data(x=_tensor(x), edge_index=_both_ways(source, target), y=torch.from_numpy(topic))
    order = random.permutation(nodes)
    train = np.concatenate([order[topic[order] == k][:20] for k in range(classes)])
    rest = order[~np.isin(order, train)]
    for part, rows in zip(_PARTS, (train, rest[:500], rest[500:1500]), strict=True):
        graph[f"{part}_mask"] = torch.zeros(nodes, dtype=torch.bool).index_fill(0, torch.from_numpy(rows), True)
    return graph


def proteins(seed: int) -> list[Data]:
    """Chains of three kinds of elements with contacts; one class closes more triangles than the other."""
    random = np.random.default_rng(seed)
    graphs = []
    for label in random.integers(2, size=1113):
        nodes = int(random.integers(8, 70))
        kinds = random.choice(3, size=nodes, p=[0.45, 0.45, 0.1] if label else [0.4, 0.5, 0.1])
        step = 2 if label else int(random.integers(2, 6))
        chain = np.arange(nodes - 1)
        jumps = np.flatnonzero(random.random(nodes - step) < 0.8)
        edges = _both_ways(np.concatenate([chain, jumps]), np.concatenate([chain + 1, jumps + step]))
        y = int(label) if random.random() > 0.15 else 1 - int(label)
        graphs.append(Data(x=_tensor(np.eye(3)[kinds]), edge_index=edges, y=torch.tensor([y])))
    return graphs


def molecules(seed: int) -> list[Data]:
    """Rings with side chains: 9 whole-numbered features of atoms, 3 of bonds; the class is told by bonds and atoms."""
    random = np.random.default_rng(seed)
    graphs = []
    for _ in range(2039):
        nodes = int(random.integers(10, 40))
        ring = int(random.integers(5, 7))
        source = np.concatenate([np.arange(ring), np.arange(ring, nodes)])
        target = np.concatenate([(np.arange(ring) + 1) % ring, random.integers(0, np.arange(ring, nodes))])
        atoms = np.stack([random.integers(high, size=nodes) for high in (10, 4, 5, 9, 5, 3, 6, 2, 2)], axis=1)
        bonds = np.stack([random.integers(high, size=nodes) for high in (4, 3, 2)], axis=1)
        charge = atoms[source, 0] * (bonds[:, 0] - 1.5) + 2 * bonds[:, 2] * atoms[target, 7]
        y = int(charge.mean() + 0.8 * random.standard_normal() > 0)
        both = _both_ways(source, target)
        attributes = torch.from_numpy(np.concatenate([bonds, bonds]))
        graphs.append(Data(x=torch.from_numpy(atoms), edge_index=both, edge_attr=attributes, y=torch.tensor([y])))
    return graphs


def payments(seed: int) -> Data:
    """Accounts and payments between them; a payment's class depends on its amount and on what both accounts are."""
    random = np.random.default_rng(seed)
    nodes, edges = 1500, 9000
    kind = random.choice(4, size=nodes, p=[0.55, 0.25, 0.15, 0.05])
    source = random.integers(nodes, size=edges)
    target = _alike(kind, source, 0.5, random)
    x = np.concatenate([np.eye(4)[kind], random.standard_normal((nodes, 8))], axis=1)
    x[:, :4] += 0.5 * random.standard_normal((nodes, 4))
    attributes = random.standard_normal((edges, 4))
    score = attributes[:, 0] + (kind[source] == 3) * 1.5 - (kind[target] == 0) + 0.5 * (kind[source] == kind[target])
    y = np.digitize(score + 0.25 * random.standard_normal(edges), [-0.7, 0.7])
    graph = Data(
        x=_tensor(x),
        edge_index=torch.from_numpy(np.stack([source, target])),
        edge_attr=_tensor(attributes),
        y=torch.from_numpy(y),
    )
    for part, rows in zip(_PARTS, np.split(random.permutation(edges), [5400, 7200]), strict=True):
        graph[f"{part}_mask"] = torch.zeros(edges, dtype=torch.bool).index_fill(0, torch.from_numpy(rows), True)
    return graph


def clouds(seed: int, count: int = 480, points: int = 64) -> list[Data]:
    """Points on eight kinds of surfaces, turned about the vertical, stretched, with noise.

    Args:
        seed: of everything drawn.
        count: clouds.
        points: of each.
    """
    random = np.random.default_rng(seed)
    graphs = []
    for number in range(count):
        label = number % len(_SURFACES)
        surface = _SURFACES[label](random.random(points), random.random(points), random)
        angle = 2 * np.pi * random.random()
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        x = (surface @ turn) * random.uniform(0.9, 1.1, 3) + 0.03 * random.standard_normal((points, 3))
        graphs.append(Data(x=_tensor(x), y=torch.tensor([label]), split=_part(number, count, len(_SURFACES))))
    return graphs


def library(seed: int) -> HeteroData:
    """Papers with topics, their authors and venues, and who cites whom."""
    random = np.random.default_rng(seed)
    counts, topics = {"paper": 2000, "author": 1200, "venue": 20}, 5
    topic = {kind: random.integers(topics, size=count) for kind, count in counts.items()}
    graph = HeteroData()
    for kind, width in TYPES.items():
        centres = random.standard_normal((topics, width))
        noise = {"paper": 4.0, "author": 3.0, "venue": 1.0}[kind]
        graph[kind].x = _tensor(centres[topic[kind]] + noise * random.standard_normal((counts[kind], width)))
    paper = random.integers(counts["paper"], size=5000)
    writes = np.stack([_of_topic(topic["author"], topic["paper"][paper], 0.8, random), paper])
    paper = random.integers(counts["paper"], size=8000)
    cites = np.stack([paper, _of_topic(topic["paper"], topic["paper"][paper], 0.75, random)])
    every = np.arange(counts["paper"])
    venue = np.stack([every, _of_topic(topic["venue"], topic["paper"], 0.7, random)])
    edges = (writes, writes[::-1].copy(), cites, venue, venue[::-1].copy())
    for relation, ends in zip(RELATIONS, edges, strict=True):
        graph[relation].edge_index = torch.from_numpy(ends)
    graph["paper"].y = torch.from_numpy(topic["paper"])
    for part, rows in zip(_PARTS, np.split(random.permutation(counts["paper"]), [1000, 1400]), strict=True):
        mask = torch.zeros(counts["paper"], dtype=torch.bool).index_fill(0, torch.from_numpy(rows), True)
        graph["paper"][f"{part}_mask"] = mask
    return graph


def traffic(seed: int, windows: int = 400, steps: int = 6) -> list[Data]:
    """Windows of speeds at 64 sensors along roads that cross; y: the network's mean speed 1, 3 and 6 readings later.

    Speeds follow the hour of the day, and jams that start somewhere and travel against the traffic.

    Args:
        seed: of everything drawn.
        windows: in the order of time: the first ones train, the last ones test.
        steps: readings in a window.
    """
    random = np.random.default_rng(seed)
    side, ahead = 8, (1, 3, 6)
    sensors, readings = side * side, 4 * windows + steps + ahead[-1]
    grid = np.arange(sensors).reshape(side, side)
    across = np.stack([grid[:, :-1].ravel(), grid[:, 1:].ravel()])
    pairs = np.concatenate([across, np.stack([grid[:-1].ravel(), grid[1:].ravel()])], axis=1)
    edges = _both_ways(pairs[0], pairs[1])
    near = np.zeros((sensors, sensors))
    near[edges[0].numpy(), edges[1].numpy()] = 1.0
    near /= near.sum(1, keepdims=True)
    jam, speeds = np.zeros(sensors), []
    for reading in range(readings):
        day = 0.6 + 0.25 * np.cos(2 * np.pi * reading / 288) - 0.1 * np.cos(4 * np.pi * reading / 288)
        jam = 0.9 * (0.6 * jam + 0.4 * near @ jam) + (random.random(sensors) < 0.01) * random.uniform(0.5, 2.0, sensors)
        speeds.append(day - 0.3 * np.tanh(jam) + 0.02 * random.standard_normal(sensors))
    table = np.stack(speeds, axis=1)
    graphs = []
    for number in range(windows):
        start = 4 * number
        later = [table[:, start + steps - 1 + step].mean() for step in ahead]
        part = "train" if number < 0.7 * windows else "val" if number < 0.8 * windows else "test"
        x = _tensor(table[:, start : start + steps])
        graphs.append(Data(x=x, edge_index=edges, y=_tensor(np.array([later])), split=part))
    return graphs


# -- parts ------------------------------------------------------------------------------------------------------------


def _tensor(values: npt.NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _both_ways(source: npt.ArrayLike, target: npt.ArrayLike) -> torch.Tensor:
    """Edges in both directions."""
    one, other = np.asarray(source, np.int64), np.asarray(target, np.int64)
    return torch.from_numpy(np.stack([np.concatenate([one, other]), np.concatenate([other, one])]))


def _alike(kinds: Integers, source: Integers, share: float, random: np.random.Generator) -> Integers:
    """An end for each edge: of the source's kind for a share of them, any node for the rest."""
    return _of_topic(kinds, kinds[source], share, random)


def _of_topic(kinds: Integers, wanted: Integers, share: float, random: np.random.Generator) -> Integers:
    """A node for each wanted kind: of that kind for a share of them, any node for the rest."""
    found = random.integers(len(kinds), size=len(wanted))
    same = random.random(len(wanted)) < share
    for kind in np.unique(wanted):
        rows = np.flatnonzero(same & (wanted == kind))
        members = np.flatnonzero(kinds == kind)
        if len(members):
            found[rows] = members[random.integers(len(members), size=len(rows))]
    return found


def _part(number: int, count: int, kinds: int) -> str:
    """The part of a cloud, so that each part has as many of every kind."""
    share = (number // kinds) / max(1, count // kinds)
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"


def _sphere(u: Array, v: Array, random: np.random.Generator) -> Array:
    height, angle = 2 * u - 1, 2 * np.pi * v
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)


def _cylinder(u: Array, v: Array, random: np.random.Generator) -> Array:
    return np.stack([0.6 * np.cos(2 * np.pi * v), 0.6 * np.sin(2 * np.pi * v), 2 * u - 1], axis=1)


def _cone(u: Array, v: Array, random: np.random.Generator) -> Array:
    wide = np.sqrt(u)
    return np.stack([wide * np.cos(2 * np.pi * v), wide * np.sin(2 * np.pi * v), 1 - 2 * wide], axis=1)


def _torus(u: Array, v: Array, random: np.random.Generator) -> Array:
    out = 0.8 + 0.3 * np.cos(2 * np.pi * u)
    return np.stack([out * np.cos(2 * np.pi * v), out * np.sin(2 * np.pi * v), 0.3 * np.sin(2 * np.pi * u)], axis=1)


def _cube(u: Array, v: Array, random: np.random.Generator) -> Array:
    face = random.integers(6, size=len(u))
    points = np.stack([2 * u - 1, 2 * v - 1, np.where(face % 2, 1.0, -1.0)], axis=1) * 0.75
    return np.stack([np.roll(point, turn) for point, turn in zip(points, face // 2, strict=True)])


def _plane(u: Array, v: Array, random: np.random.Generator) -> Array:
    return np.stack([2 * u - 1, 2 * v - 1, np.zeros_like(u)], axis=1)


def _saddle(u: Array, v: Array, random: np.random.Generator) -> Array:
    a, b = 2 * u - 1, 2 * v - 1
    return np.stack([a, b, 0.8 * (a**2 - b**2)], axis=1)


def _helix(u: Array, v: Array, random: np.random.Generator) -> Array:
    return np.stack([np.cos(4 * np.pi * u) * 0.7, np.sin(4 * np.pi * u) * 0.7, 2 * u - 1 + 0.1 * v], axis=1)


_SURFACES = (_sphere, _cylinder, _cone, _torus, _cube, _plane, _saddle, _helix)
