"""Encodings of a node's place in its graph, of the edges alone: what models take that were trained with them.

random-walk   diagonals of P, P^2, ..., P^size, where P = D^-1 A: the chance to be back after 1, 2, ... steps
laplacian     eigenvectors of I - D^-1/2 A D^-1/2 with the smallest eigenvalues, but for the first. Each has its largest
              entry positive: eigenvectors have no sign of their own. Where eigenvalues are equal, another LAPACK may
              give other vectors

Both are those of PyG (`AddRandomWalkPE`, `AddLaplacianEigenvectorPE`), which draws the signs at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import DataError

__all__ = ["laplacian", "of_each_graph", "random_walk"]

Array = npt.NDArray[Any]
_MOST = 8192  # nodes of one graph: the matrices are dense


def of_each_graph(kind: str, edges: Array, batch: Array, size: int) -> Array:
    """The encodings [N, size] float32 of graphs side by side.

    Args:
        kind: "random-walk" or "laplacian".
        edges: int [2, E], checked.
        batch: the graph of each node, ascending.
        size: how many columns.

    Raises:
        DataError: a graph is too large, or an edge joins two graphs.
    """
    encode = random_walk if kind == "random-walk" else laplacian
    counts = np.bincount(batch) if len(batch) else np.zeros(0, np.int64)
    starts = np.cumsum(counts) - counts
    owner = batch[edges[0]]
    if np.any(owner != batch[edges[1]]):
        raise DataError("edge_index joins nodes of different graphs: an edge stays in its graph")
    made = [
        encode(edges[:, owner == graph] - start, int(count), size)
        for graph, (start, count) in enumerate(zip(starts, counts))  # noqa: B905 (Python 3.9; as many)
    ]
    return np.concatenate([np.zeros((0, size), np.float32), *made])


def random_walk(edges: Array, nodes: int, steps: int) -> Array:
    """The chance to be back at each node after 1 to `steps` steps, [nodes, steps] float32."""
    _check_size(nodes)
    degree = np.maximum(np.bincount(edges[0], minlength=nodes), 1)
    walk = np.zeros((nodes, nodes), np.float32)
    walk[edges[0], edges[1]] = (1.0 / degree[edges[0]]).astype(np.float32)
    found, power = [np.diagonal(walk)], walk
    for _ in range(steps - 1):
        power = power @ walk
        found.append(np.diagonal(power))
    return np.stack(found, axis=1).astype(np.float32)


def laplacian(edges: Array, nodes: int, size: int) -> Array:
    """Eigenvectors of the normalized Laplacian, [nodes, size] float32; columns of zeros where a graph is too small."""
    _check_size(nodes)
    weights = np.zeros((nodes, nodes))
    kept = edges[:, edges[0] != edges[1]]
    np.add.at(weights, (kept[0], kept[1]), 1.0)
    degree = weights.sum(axis=1)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros(nodes), where=degree > 0)
    matrix = np.eye(nodes) - scale[:, None] * weights * scale
    matrix = (matrix + matrix.T) / 2  # a directed graph is taken as one without directions
    _, vectors = np.linalg.eigh(matrix)
    vectors = vectors[:, 1 : size + 1]
    if vectors.size:
        largest = np.abs(np.round(vectors, 6)).argmax(axis=0)  # of entries that are equal, the first on every machine
        vectors = vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    made = np.zeros((nodes, size), np.float32)
    made[:, : vectors.shape[1]] = vectors
    return made


def _check_size(nodes: int) -> None:
    if nodes > _MOST:
        raise DataError(f"encodings of places are for graphs of up to {_MOST} nodes, this one has {nodes}")
