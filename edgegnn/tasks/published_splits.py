"""More public data sets by name, with the splits they were published with.

* zinc: regression over molecules, the subset of 10,000 + 1,000 + 1,000 of Dwivedi et al. (2003.00982)
* mnist-superpixels, cifar10-superpixels: images as graphs of superpixels, of the same paper
* hetero:NAME: Platonov et al. (2302.11640), graphs whose edges mostly join different classes; ten splits
* webkb:NAME: Pei et al. (2002.05287), web pages of a university; ten splits
* wikipedia:NAME: the same; chameleon and squirrel. Many of their nodes are duplicates that both training and test have
  (2302.11640, section 3), so numbers on them flatter a model
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError
from edgegnn.tasks.catalog import node_set_name
from edgegnn.tasks.datasets import load_raw
from edgegnn.tasks.splits import as_index

__all__ = ["node_set", "superpixels", "zinc"]

_PARTS = ("train", "val", "test")


def zinc(root: Path | None) -> tuple[list[Data], dict[str, Tensor]]:
    """Load ZINC's subset: x [N, 1] types of atoms, edge_attr [E] types of bonds, y [1] constrained solubility.

    Returns:
        The graphs, and indices of the published split.

    Raises:
        DataError: no raw files and no network, or files that can't be read.
    """
    from torch_geometric.datasets import ZINC

    def read(at: str) -> list[Data]:
        return _tagged([ZINC(f"{at}/ZINC", subset=True, split=part) for part in _PARTS])

    files = [f"{part}.{ending}" for ending in ("pickle", "index") for part in _PARTS]
    return _untagged(load_raw("ZINC", files, root, ZINC.url, read))


def superpixels(name: str, root: Path | None) -> tuple[list[Data], dict[str, Tensor]]:
    """Load "MNIST" or "CIFAR10" as superpixels: x is intensity (1 or 3 columns) and position (2), edge_attr distances.

    Returns:
        The graphs, and indices of the published split.

    Raises:
        DataError: no raw files and no network, or files that can't be read.
    """
    from torch_geometric.datasets import GNNBenchmarkDataset

    def read(at: str) -> list[Data]:
        return _tagged([GNNBenchmarkDataset(at, name, split=part) for part in _PARTS])

    graphs = load_raw(name, [f"{name}_v2.pt"], root, GNNBenchmarkDataset.urls[name], read)
    for graph in graphs:
        if graph.get("pos") is not None:
            graph.x = torch.cat([graph.x, graph.pos], dim=1)
            del graph.pos
    return _untagged(graphs)


def node_set(collection: str, name: str, root: Path | None) -> Data:
    """Load a graph of `edgegnn.tasks.catalog.NODE_SETS`; its masks are [N, 10], a column for each published split.

    Raises:
        DataError: unknown name, no raw files and no network, or files that can't be read.
    """
    published = node_set_name(collection, name)
    key = published.lower()
    if collection == "hetero":
        from torch_geometric.datasets import HeterophilousGraphDataset as Hetero

        stem = key.replace("-", "_")
        url = f"{Hetero.url}/{stem}.npz"
        return load_raw(stem, [f"{stem}.npz"], root, url, lambda at: Hetero(at, published))[0]
    files = ["out1_node_feature_label.txt", "out1_graph_edges.txt"]
    splits = [f"{key}_split_0.6_0.2_{i}.npz" for i in range(10)]
    if collection == "webkb":
        from torch_geometric.datasets import WebKB

        url = f"{WebKB.url}/new_data/{key}/{files[0]}"
        return load_raw(key, files + splits, root, url, lambda at: WebKB(at, key))[0]
    from torch_geometric.datasets import WikipediaNetwork as Wikipedia

    url = f"{Wikipedia.processed_url}/new_data/{key}/{files[0]}"
    return load_raw(key, files + splits, root, url, lambda at: Wikipedia(at, key), inside="geom_gcn/raw")[0]


def _tagged(parts: list[Any]) -> list[Data]:
    graphs = []
    for number, part in enumerate(parts):
        for graph in part:
            graph.part = number
            graphs.append(graph)
    return graphs


def _untagged(graphs: list[Data]) -> tuple[list[Data], dict[str, Tensor]]:
    parts = np.array([graph.part for graph in graphs])
    for graph in graphs:
        del graph.part
    if len(np.unique(parts)) < len(_PARTS):
        raise DataError("the raw files have an empty training, validation or test split: fetch them again")
    return graphs, as_index(*(np.flatnonzero(parts == number) for number in range(len(_PARTS))))
