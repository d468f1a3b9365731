"""Embedded real data: scikit-learn's 1,797 bundled handwritten digits (8x8 grey images, UCI), as graphs."""

from __future__ import annotations

import copy
import functools

import numpy as np
import torch
from torch_geometric.data import Data

__all__ = ["digit_graphs", "knn_graph"]

_SIDE = 8
_NEIGHBOURS = 10


def _load() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.data / 16.0).astype(np.float32), digits.target.astype(np.int64)


def digit_graphs() -> list[Data]:
    """Return each image as a graph: its inked pixels, joined to their (up to 8) inked neighbours.

    Features are [N, 17]: intensity in (0, 1], row and column (one-hot, 8 each). Label y [1] int64 in 0..9.
    """
    return [copy.copy(graph) for graph in _digit_graphs()]


@functools.cache
def _digit_graphs() -> list[Data]:
    images, labels = _load()
    rows, cols = np.divmod(np.arange(_SIDE * _SIDE), _SIDE)
    near = (abs(rows[:, None] - rows) <= 1) & (abs(cols[:, None] - cols) <= 1) & ~np.eye(_SIDE * _SIDE, dtype=bool)
    one_hot = np.eye(_SIDE, dtype=np.float32)
    graphs = []
    for image, label in zip(images, labels, strict=True):
        inked = np.flatnonzero(image)
        x = np.concatenate([image[inked, None], one_hot[rows[inked]], one_hot[cols[inked]]], axis=1)
        edges = np.stack(np.nonzero(near[np.ix_(inked, inked)]))
        graphs.append(Data(x=torch.from_numpy(x), edge_index=torch.from_numpy(edges), y=torch.tensor([int(label)])))
    return graphs


def knn_graph() -> Data:
    """Return all digits as one graph: each joined with its 10 nearest images, both ways; 64 pixels as features."""
    from sklearn.neighbors import kneighbors_graph

    images, labels = _load()
    near = kneighbors_graph(images, _NEIGHBOURS)
    both = (near + near.T).tocoo()
    edges = np.stack([both.row, both.col]).astype(np.int64)
    order = np.lexsort((edges[1], edges[0]))
    return Data(
        x=torch.from_numpy(images), edge_index=torch.from_numpy(edges[:, order].copy()), y=torch.from_numpy(labels)
    )
