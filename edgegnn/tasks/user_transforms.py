"""Transforms that a user names, which prepare each graph of the data: `--transform NormalizeFeatures`.

    NormalizeFeatures, AddRandomWalkPE(walk_length=8)    a class of torch_geometric.transforms, with literals
    mymodule:fn, package.module:Class(size=3)            a function of a graph, or a class whose objects are one

Naming a module imports it, so only what the user names in the call itself is loaded; PyG's own are loaded from files,
too. Encodings of places (`edgegnn.runtime.encodings`) are made by edgegnn's own code, which also runs on devices: the
signs of eigenvectors are the same in training and there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError, first_line
from edgegnn.runtime.encodings import of_each_graph
from edgegnn.signature import TypedGraph
from edgegnn.tasks.catalog import closest, transform_name
from edgegnn.tasks.named_objects import literals, working_folder

__all__ = ["Encoding", "Transform", "needs_import", "prepared_graphs", "transforms_of"]

Transform = Callable[[Data], Data]
_ENCODINGS = {"AddRandomWalkPE": ("random-walk", "walk_length"), "AddLaplacianEigenvectorPE": ("laplacian", "k")}
_NAMES = {"random-walk": "random_walk_pe", "laplacian": "laplacian_eigenvector_pe"}
_WIDEST = 1024


@dataclass(frozen=True)
class Encoding:
    """A transform that edgegnn's runtime can do, too: an encoding of each node's place in its graph.

    Attributes:
        kind: "random-walk" or "laplacian".
        size: how many columns it makes.
        attribute: where they go; "" for behind the columns of x.
    """

    kind: str
    size: int
    attribute: str

    def __call__(self, graph: Data) -> Data:
        """The graph with its encoding."""
        if graph.get("edge_weight") is not None:
            raise DataError(f"the {self.kind} encoding takes no edge weights: name a transform of your own")
        nodes = int(graph.num_nodes or 0)
        made = torch.from_numpy(
            of_each_graph(self.kind, graph.edge_index.numpy(), torch.zeros(nodes).long().numpy(), self.size)
        )
        if self.attribute:
            graph[self.attribute] = made
        elif graph.get("x") is None:
            graph.x = made
        else:
            x = graph.x.view(-1, 1) if graph.x.dim() == 1 else graph.x
            graph.x = torch.cat([x, made.to(x.dtype)], dim=1)
        return graph


def needs_import(text: str) -> bool:
    """Whether a transform is of a module that is neither ours nor PyG's."""
    return transform_name(text)[0] != ""


def transforms_of(texts: Sequence[str]) -> list[Transform]:
    """The transforms that these texts name.

    Raises:
        UsageError: PyG has no such transform.
        DataError: one can't be imported or made.
    """
    return [_made(text) for text in texts]


def _made(text: str) -> Transform:
    module, name, call = transform_name(text)
    what = f"--transform {text}"
    try:
        positional, named = literals(call, "--transform")
        if not module and name in _ENCODINGS:
            return _encoding(name, positional, named)
        if not module:
            return _of_pyg(name)(*positional, **named)
        with working_folder():
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
            made: Transform = found(*positional, **named) if isinstance(found, type) or call else found
    except (DataError, UsageError):
        raise
    except Exception as error:
        raise DataError(f"{what} failed: {type(error).__name__}: {first_line(error)}") from error
    if not callable(made):
        raise DataError(f"{what} is a {type(made).__name__}, not a function of a graph")
    return made


def _of_pyg(name: str) -> Any:
    from torch_geometric import transforms

    if name not in transforms.__all__ or not isinstance(getattr(transforms, name), type):
        raise UsageError(
            f"--transform {name}: torch_geometric.transforms has no such class{closest(name, transforms.__all__)}; "
            "write MODULE:FUNCTION for one of yours"
        )
    return getattr(transforms, name)


def _encoding(name: str, positional: list[Any], named: dict[str, Any]) -> Encoding:
    kind, size_name = _ENCODINGS[name]
    given = dict(zip((size_name, "attr_name", "is_undirected"), positional, strict=False)) | named
    size, attribute = given.pop(size_name, None), given.pop("attr_name", _NAMES[kind])
    given.pop("is_undirected", None)  # tells PyG which solver to take
    if given or type(size) is not int or not 1 <= size <= _WIDEST or not isinstance(attribute, (str, type(None))):
        raise UsageError(f"--transform {name}: write {name}({size_name}=N), N from 1 to {_WIDEST}, and attr_name")
    return Encoding(kind, size, attribute or "")


def prepared_graphs(graphs: Sequence[Data], texts: Sequence[str], where: str) -> list[Data]:
    """The graphs that the transforms make of copies of these, in order.

    Raises:
        UsageError, DataError: as of `transforms_of`; or a transform fails, or gives something else than a graph.
    """
    if any(isinstance(graph, TypedGraph) for graph in graphs):
        raise UsageError(f"--transform is for graphs with one type of nodes, {where} has several: leave it out")
    made = list(graphs)
    for text, transform in zip(texts, transforms_of(texts), strict=True):
        made = [_applied(transform, graph, text, f"{where}: graph {i}") for i, graph in enumerate(made)]
    return made


def _applied(transform: Transform, graph: Data, text: str, where: str) -> Data:
    try:
        found = transform(graph.clone())
    except DataError as error:
        raise DataError(f"{where}: --transform {text}: {error}") from error
    except Exception as error:
        have = ", ".join(sorted(graph.keys()))
        raise DataError(
            f"{where}, which has {have}: --transform {text} fails: {type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(found, Data):
        raise DataError(f"{where}: --transform {text} gives a {type(found).__name__}: return the graph")
    for key in found.keys():  # noqa: SIM118 - a Data is no dictionary
        if isinstance(found[key], Tensor) and found[key].dtype == torch.float64:
            found[key] = found[key].float()
    return found
