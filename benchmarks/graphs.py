"""Seeded graphs to measure on: a large one with power-law degrees, and ones of the sizes of Cora and of molecules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Graph:
    """An edge list in no order.

    Attributes:
        name: for tables and result files.
        nodes: how many.
        edge_index: int64 [2, E]; row 0 sources, row 1 destinations.
    """

    name: str
    nodes: int
    edge_index: Int64

    @property
    def edges(self) -> int:
        return int(self.edge_index.shape[1])

    @cached_property
    def csr(self) -> tuple[Int32, Int32, Int32]:
        """indptr [N + 1], col [E] (sources grouped by destination, stable) and perm [E] (places in the edge list)."""
        perm = np.argsort(self.edge_index[1], kind="stable")
        indptr = np.zeros(self.nodes + 1, np.int32)
        indptr[1:] = np.cumsum(np.bincount(self.edge_index[1], minlength=self.nodes))
        return indptr, self.edge_index[0, perm].astype(np.int32), perm.astype(np.int32)

    @cached_property
    def degree(self) -> Int32:
        """Entries of each row, int32 [N]."""
        return np.diff(self.csr[0])

    def sorted(self) -> Graph:
        """The same edges by destination."""
        return Graph(f"{self.name}, sorted", self.nodes, np.ascontiguousarray(self.edge_index[:, self.csr[2]]))

    def __str__(self) -> str:
        return f"{self.nodes:,} nodes, {self.edges:,} edges"


def power_law(
    nodes: int, edges: int, *, seed: int = 0, exponent: float = 2.5, skewed_sources: bool = False, name: str = ""
) -> Graph:
    """In-degrees follow a power law; node numbers and the edge list are in random order.

    Args:
        nodes: how many.
        edges: exactly so many, some of them twice.
        seed: of everything.
        exponent: P(degree = k) ~ k^-exponent. 2.5 gives 100,000 nodes with 2 million edges a hub of about 14,000.
        skewed_sources: out-degrees follow the same law (hubs are then read from the cache); otherwise every source is
            equally likely, which is the worst case for the cache.
        name: of the graph.
    """
    rng = np.random.default_rng(seed)
    weight = np.arange(1, nodes + 1) ** (-1.0 / (exponent - 1.0))
    cumulative = np.cumsum(weight / weight.sum())
    number = rng.permutation(nodes)

    def draw() -> Int64:
        return number[np.minimum(np.searchsorted(cumulative, rng.random(edges)), nodes - 1)]

    dst = draw()
    src = draw() if skewed_sources else rng.integers(0, nodes, edges)
    return Graph(name or f"power law {nodes}/{edges}", nodes, np.stack([src, dst]).astype(np.int64))


def large(*, skewed_sources: bool = False) -> Graph:
    """100,000 nodes, 2,000,000 edges."""
    return power_law(100_000, 2_000_000, skewed_sources=skewed_sources, name="100k/2M")


def cora_size(seed: int = 0) -> Graph:
    """As many nodes and edges as Cora with a loop at every node: 2,708 and 13,264."""
    nodes, pairs = 2708, 5278
    half = power_law(nodes, pairs, seed=seed).edge_index
    loops = np.tile(np.arange(nodes), (2, 1))
    edges = np.concatenate([half, half[::-1], loops], axis=1)
    order = np.random.default_rng(seed).permutation(edges.shape[1])
    return Graph("Cora size", nodes, np.ascontiguousarray(edges[:, order]))


def molecules(count: int, *, seed: int = 0, nodes: int = 30, pairs: int = 35) -> Graph:
    """A batch of trees of `nodes` atoms with `pairs - nodes + 1` rings closed; each bond in both directions."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(count):
        child = np.arange(1, nodes)
        parent = np.maximum(0, child - rng.integers(1, 4, nodes - 1))
        near = rng.integers(0, nodes - 6, pairs - nodes + 1)
        ends = np.concatenate([[child, parent], [near, near + 5]], axis=1)
        parts.append(np.concatenate([ends, ends[::-1]], axis=1) + i * nodes)
    edges = np.concatenate(parts, axis=1).astype(np.int64)
    return Graph("molecule" if count == 1 else f"{count} molecules", count * nodes, edges)
