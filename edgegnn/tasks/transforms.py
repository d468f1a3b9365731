"""Feature transforms: what a data set lacks as numbers, with constants of the training split that go into the records.

* degree: graphs without features get the z-score of the in-degree, x [N, 1]
* row-normalise: each row of x is divided by its sum (bags of words), or by 1 where that is less
* one-hot: whole numbers that name categories (types of atoms) become a column for each category, x [N, sum of sizes].
  The first layer's weights are then an embedding of each category, in any model and any integer format

The last two are functions of x alone (`features_of`), so that an artifact can take the features of the data as they
are: each graph keeps these as `raw_x`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError
from edgegnn.signature import RAW

__all__ = ["INSIDE", "as_columns", "columns_of", "features_of", "transform"]

INSIDE = ("row-normalise", "one-hot")  # transforms that are functions of x

_MOST = 4096  # columns; more is an identifier, no category


def transform(
    graphs: list[Data],
    train: Tensor | None,
    constants: dict[str, Any] | None,
    *,
    one_hot: bool,
    where: str,
    rows: bool = False,
    whole: bool = False,
) -> dict[str, Any]:
    """Give graphs the features that a model takes, in place.

    Args:
        graphs: the graphs; x [N, F] or none.
        train: indices of the training graphs; None: all.
        constants: those of a spec; None to compute them.
        one_hot: the features are categories.
        where: what to call the data in a message.
        rows: divide each row of x by its sum.
        whole: the data have x as whole numbers.

    Returns:
        The constants; {} where nothing was done.

    Raises:
        DataError: categories that are none.
    """
    kind = (constants or {}).get("kind")
    if graphs[0].get("x") is None:
        if one_hot or kind == "one-hot":
            raise DataError(f"{where}: the graphs have no features that could be made one-hot: leave --one-hot out")
        return _add_degree(graphs, train, constants)
    if rows and one_hot:
        raise DataError(f"{where}: bags of words are no categories: leave --one-hot out")
    if one_hot or kind == "one-hot":
        constants = _add_one_hot(graphs, train, constants, where)
    elif rows or kind == "row-normalise":
        constants = {"kind": "row-normalise"}
    else:
        return {}
    for graph in graphs:
        graph[RAW] = graph.x.long() if whole and constants["kind"] == "one-hot" else graph.x
        graph.x = features_of(graph.x, constants)
    return constants


def features_of(x: Tensor, constants: Mapping[str, Any]) -> Tensor:
    """The features [N, F] float32 that a model takes, of the data's own x [N, K].

    Args:
        x: of any dtype.
        constants: of one of the transforms `INSIDE`.
    """
    if constants["kind"] == "row-normalise":
        return x / x.sum(dim=-1, keepdim=True).clamp(min=1.0)
    columns = [column for column, size in enumerate(constants["sizes"]) for _ in range(size)]
    values = [value for size in constants["sizes"] for value in range(size)]
    return (x.index_select(1, torch.tensor(columns)) == torch.tensor(values, dtype=x.dtype)).float()


def columns_of(x: Tensor) -> int:
    """How many features a node has: one where x is a vector [N]."""
    return x.size(-1) if x.dim() > 1 else 1


def as_columns(graphs: Sequence[Data]) -> None:
    """Make a vector x [N] a matrix [N, 1], in place: models of the zoo take no other."""
    for graph in graphs:
        if graph.x.dim() == 1:
            graph.x = graph.x.unsqueeze(1)


def _add_degree(graphs: list[Data], train: Tensor | None, constants: dict[str, Any] | None) -> dict[str, Any]:
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


def _add_one_hot(
    graphs: list[Data], train: Tensor | None, constants: dict[str, Any] | None, where: str
) -> dict[str, Any]:
    """Look at the columns of x, each of which is to become one column for each of its categories 0, 1, ...

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
    return constants


def _ids(graphs: list[Data], train: Tensor | None) -> Sequence[int]:
    return range(len(graphs)) if train is None else train.tolist()
