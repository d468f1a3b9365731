"""Feature transforms: what a data set lacks as numbers, with constants of the training split that go into the records.

* degree: graphs without features get the z-score of the in-degree, x [N, 1]
* one-hot: whole numbers that name categories (types of atoms) become a column for each category, x [N, sum of sizes].
  The first layer's weights are then an embedding of each category, in any model and any integer format
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError

__all__ = ["add_degree", "add_one_hot", "as_columns", "columns_of", "transform"]

_MOST = 4096  # columns; more is an identifier, no category


def transform(
    graphs: list[Data], train: Tensor | None, constants: dict[str, Any] | None, *, one_hot: bool, where: str
) -> dict[str, Any]:
    """Give graphs the features that a model takes, in place.

    Args:
        graphs: the graphs; x [N, F] or none.
        train: indices of the training graphs; None: all.
        constants: those of a spec; None to compute them.
        one_hot: the features are categories.
        where: what to call the data in a message.

    Returns:
        The constants; {} where nothing was done.

    Raises:
        DataError: categories that are none.
    """
    kind = (constants or {}).get("kind")
    if graphs[0].get("x") is None:
        if one_hot or kind == "one-hot":
            raise DataError(f"{where}: the graphs have no features that could be made one-hot: leave --one-hot out")
        return add_degree(graphs, train, constants)
    if one_hot or kind == "one-hot":
        return add_one_hot(graphs, train, constants, where)
    return {}


def columns_of(x: Tensor) -> int:
    """How many features a node has: one where x is a vector [N]."""
    return x.size(-1) if x.dim() > 1 else 1


def as_columns(graphs: Sequence[Data]) -> None:
    """Make a vector x [N] a matrix [N, 1], in place: models of the zoo take no other."""
    for graph in graphs:
        if graph.x.dim() == 1:
            graph.x = graph.x.unsqueeze(1)


def add_degree(graphs: list[Data], train: Tensor | None, constants: dict[str, Any] | None) -> dict[str, Any]:
    """Give graphs without features the z-score of the in-degree as x [N, 1].

    The mean and deviation are over the nodes of training graphs (`train` None: of all graphs), or those of a spec.
    """
    degrees = [torch.bincount(g.edge_index[1], minlength=g.num_nodes).double() for g in graphs]
    if constants is None:
        of_train = torch.cat([degrees[i] for i in _ids(graphs, train)])
        deviation = float(of_train.std(correction=0))
        constants = {"kind": "degree", "mean": float(of_train.mean()), "std": deviation or 1.0}
    for graph, degree in zip(graphs, degrees, strict=True):
        graph.x = ((degree - constants["mean"]) / constants["std"]).float().view(-1, 1)
    return constants


def add_one_hot(
    graphs: list[Data], train: Tensor | None, constants: dict[str, Any] | None, where: str
) -> dict[str, Any]:
    """Replace each column of x by one column for each of its categories 0, 1, ...

    As many as the training graphs have, or those of a spec; another category gets zeros only.
    """
    as_columns(graphs)
    if constants is None:
        every = torch.cat([graphs[i].x for i in _ids(graphs, train)])
        for graph in graphs:
            if bool((graph.x < 0).any()) or not torch.equal(graph.x, graph.x.round()):
                raise DataError(f"{where}: features that are no categories 0, 1, ... can't be made one-hot")
        sizes = [int(n) + 1 for n in every.max(dim=0).values.tolist()]
        if sum(sizes) > _MOST:
            raise DataError(f"{where}: one-hot features would have {sum(sizes)} columns: leave --one-hot out")
        constants = {"kind": "one-hot", "sizes": sizes}
    for graph in graphs:
        if graph.x.shape[1] != len(constants["sizes"]):
            raise DataError(f"{where}: {graph.x.shape[1]} features for {len(constants['sizes'])} one-hot transforms")
        columns = zip(graph.x.long().unbind(1), constants["sizes"], strict=True)
        # One more class takes what training didn't have, and is cut off.
        graph.x = torch.cat([F.one_hot(v.clamp(0, n), n + 1)[:, :n] for v, n in columns], dim=1).float()
    return constants


def _ids(graphs: list[Data], train: Tensor | None) -> Sequence[int]:
    return range(len(graphs)) if train is None else train.tolist()
