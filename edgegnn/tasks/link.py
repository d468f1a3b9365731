"""Link prediction: the edges of one graph are split, and what is asked is whether two nodes are linked.

    links          unordered pairs of different nodes with an edge: both directions and duplicates are one link, so that
                   no split holds the opposite of another's edge
    messages       pass along the edges of training links (and self loops) only, in every split and in the artifact
    negatives      pairs of different nodes drawn uniformly without replacement by the split's seed, never a link of any
                   split in any direction, none in two splits. As many as links for validation and test; a pool for
                   training, from which each epoch draws as many as there are training links

A directed graph keeps its directions, in messages and in the pairs that are asked about.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.roles import PAIRS
from edgegnn.signature import roles_of

__all__ = ["EMBEDDING", "METRICS", "SHARES", "link_split", "pick_pairs", "training_pairs"]

EMBEDDING = 32  # width of node embeddings where nobody says another
METRICS = ("roc_auc", "average_precision")  # the first one chooses the epoch
SHARES = (0.05, 0.15)  # of validation and of test, where none are given: those of NESS (arXiv 2303.08958)
_POOL = 20  # negatives for training, for each training link
_LARGEST_POOL = 2**20


def link_split(
    graph: Data, split: str | None, seed: int, where: str
) -> tuple[Data, dict[str, Tensor], str, dict[str, Any]]:
    """Split the links of a graph, and draw negatives.

    Args:
        graph: x [N, F] or num_nodes, edge_index [2, E], and edge_attr/edge_weight if it has them.
        split: "random", "random:VAL,TEST" (shares of the links) or None.
        seed: of the split and of the negatives.
        where: what to call the data in a message.

    Returns:
        The graph of the training links with `edge_label_index` [2, P] int64 (pairs of all splits) and y [P] int64 (1: a
        link); "train", "val" and "test" -> indices of pairs; the split by its full name; and the facts for records.

    Raises:
        UsageError: unknown split, or shares out of range.
        DataError: too few links, or too few pairs without one.
    """
    val, test = _shares(split)
    nodes, edges = int(graph.num_nodes or 0), graph.edge_index
    low, high = edges.min(0).values, edges.max(0).values
    key = low * nodes + high
    first = _first_of_each(key, low != high)
    count = len(first)
    if count == 0:
        raise DataError(f"{where}: no edge joins two different nodes, so there is no link to predict: bring more data")
    n_val, n_test = int(count * val), int(count * test)
    if min(n_val, n_test, count - n_val - n_test) < 1:
        raise DataError(
            f"{where}: {count} links are too few for {val:g} of them for validation and {test:g} for test: bring more "
            "data, or larger shares (--split random:VAL,TEST)"
        )
    rng = np.random.default_rng(seed)
    order = torch.from_numpy(rng.permutation(count))
    parts = dict(zip(("val", "test", "train"), order.split([n_val, n_test, count - n_val - n_test]), strict=True))
    links = edges[:, first]
    directed = not torch.equal((edges[0] * nodes + edges[1]).unique(), (edges[1] * nodes + edges[0]).unique())
    if not directed:  # the order of the file would tell a decoder that isn't symmetric what is a link
        links = _turned(links, rng)
    n_train = len(parts["train"])
    pool = min(_POOL * n_train, max(n_train, _LARGEST_POOL))
    negatives = _turned(_without_links(key[first], nodes, n_val + n_test, n_train, pool, rng, where), rng)
    drawn = dict(zip(("val", "test", "train"), _parts(negatives.shape[1], n_val, n_test), strict=True))
    new = Data(edge_label_index=torch.cat([links, negatives], dim=1).contiguous())
    new.y = (torch.arange(new.edge_label_index.shape[1]) < count).long()
    _messages(graph, new, torch.isin(key, key[first][parts["train"]]) | (low == high))
    index = {part: torch.cat([parts[part].sort().values, count + drawn[part]]) for part in ("train", "val", "test")}
    facts = {
        "links": {part: len(ids) for part, ids in parts.items()},
        "message_edges": int(new.edge_index.shape[1]),
        "negatives": {"val": n_val, "test": n_test, "train_pool": len(drawn["train"])},
        "directed": directed,
        "protocol": "messages along training edges only; both directions of an edge in one split; negatives drawn "
        "uniformly by the split's seed, never a link of any split",
    }
    return new, index, f"random:{val:g},{test:g}", facts


def training_pairs(y: Tensor, train: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Indices of the pairs of one epoch: all training links, and as many negatives of the pool.

    Args:
        y: [P], 1 for a link.
        train: indices of the training split.
        generator: draws the negatives; None: the first ones.
    """
    positive = train[y[train] == 1]
    pool = train[y[train] == 0]
    if generator is not None:
        pool = pool[torch.randperm(len(pool), generator=generator)]
    return torch.cat([positive, pool[: len(positive)]])


def pick_pairs(graph: Data, index: Tensor) -> Data:
    """The graph with some of its pairs and their labels."""
    picked = copy.copy(graph)
    picked.edge_label_index, picked.y = graph.edge_label_index[:, index], graph.y[index]
    return picked


# ---------------------------------------------------------------------------------------------------------------------


def _shares(split: str | None) -> tuple[float, float]:
    kind, colon, rest = (split or "random").partition(":")
    if kind != "random":
        raise UsageError(f"link prediction has no {split} split: choose random, or random:VAL,TEST (random:0.05,0.15)")
    if not colon:
        return SHARES
    try:
        val, test = (float(part) for part in rest.split(","))
    except ValueError:
        raise UsageError(f"can't read --split {split}: write random:VAL,TEST, as in random:0.05,0.15") from None
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise UsageError(f"--split {split}: both shares must lie between 0 and 1, and leave something to train on")
    return val, test


def _first_of_each(key: Tensor, counts: Tensor) -> Tensor:
    """Position of the first edge of each link, in the order of their keys."""
    values, group = key.unique(return_inverse=True)
    first = torch.full_like(values, len(key))
    first.scatter_reduce_(0, group[counts], torch.arange(len(key))[counts], "amin")
    return first[first < len(key)]


def _turned(pairs: Tensor, rng: np.random.Generator) -> Tensor:
    """Pairs [2, P], each in the one or the other order."""
    turn = torch.from_numpy(rng.random(pairs.shape[1]) < 0.5)
    return torch.where(turn, pairs.flip(0), pairs)


def _without_links(
    links: Tensor, nodes: int, held_out: int, least: int, most: int, rng: np.random.Generator, where: str
) -> Tensor:
    """Different pairs [2, held_out + least ... most] without a link, the smaller node first, in random order."""
    total = nodes * (nodes - 1) // 2
    free = total - len(links)
    if free < held_out + least:
        raise DataError(
            f"{where}: only {free} pairs of nodes are not linked, {held_out + least} are needed as negatives: the "
            "graph is too dense for link prediction"
        )
    wanted = held_out + min(most, free - held_out)
    if wanted + len(links) > total // 2:  # drawing would mostly hit what is taken: list everything
        low, high = torch.triu_indices(nodes, nodes, 1)
        every = low * nodes + high
        every = every[~torch.isin(every, links)]
        found = every[torch.from_numpy(rng.permutation(len(every)))][:wanted]
    else:
        found = links.new_empty(0)
        while len(found) < wanted:
            a, b = torch.from_numpy(rng.integers(0, nodes, (2, 2 * (wanted - len(found)) + 16)))
            key = torch.minimum(a, b) * nodes + torch.maximum(a, b)
            key = torch.cat([found, key[(a != b) & ~torch.isin(key, links)]])
            found = key[_first_of_each(key, torch.ones_like(key, dtype=torch.bool)).sort().values][:wanted]
    return torch.stack([found // nodes, found % nodes])


def _parts(count: int, n_val: int, n_test: int) -> tuple[Tensor, Tensor, Tensor]:
    val, test, train = torch.arange(count).split([n_val, n_test, count - n_val - n_test])
    return val, test, train


def _messages(graph: Data, new: Data, keep: Tensor) -> None:
    """Give `new` the nodes of `graph`, and the edges that messages may pass along."""
    new.num_nodes = int(graph.num_nodes or 0)
    for name, role in roles_of([graph]).items():
        if role == PAIRS:
            continue
        of_edges = role.size == "num_edges"
        new[name] = graph[name].index_select(role.axis, keep.nonzero().view(-1)) if of_edges else graph[name]
