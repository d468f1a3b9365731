"""What a model's `forward` takes: tensors by name, or a graph (`forward(data)`), whose attributes become inputs."""

from __future__ import annotations

import dis
import inspect
import itertools
import types
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.runtime.roles import Role, role_of

__all__ = ["MATRIX_NAMES", "adapted", "other_names", "own_inputs", "takes_graph", "with_matrix"]

GRAPH_NAMES = ("data", "batch", "graph", "g", "batch_data", "inputs", "input", "sample")
# Names of a sparse matrix of the edges.
MATRIX_NAMES = ("adj", "adj_t", "adj_mat", "adj_matrix", "adj_norm", "adjacency", "a_hat", "A", "support")
# Names that people give to PyG's own attributes.
OTHER_NAMES = {
    "x": (
        "h",
        "feat",
        "feats",
        "feature",
        "features",
        "node_feat",
        "node_feats",
        "node_features",
        "node_attr",
        "inputs",
    ),
    "edge_index": ("edges", "edge_list", "edge_idx", "ei", "index", *MATRIX_NAMES),
    "edge_attr": ("e", "edge_feat", "edge_feats", "edge_features", "edge_attrs", "edge_attributes"),
    "edge_weight": ("w", "weight", "weights", "edge_weights"),
    "pos": ("coords", "coordinates", "positions", "xyz"),
    "z": ("atomic_numbers", "atoms", "species"),
}


def other_names(model: nn.Module, attributes: Collection[str]) -> dict[str, str]:
    """Parameters that the forward needs and the data have by another usual name: parameter -> attribute.

    Args:
        model: the module.
        attributes: names that the data have.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    known = {other: name for name, others in OTHER_NAMES.items() for other in others}
    found = {name: known[name] for name in needed if name not in attributes and name in known}
    return {name: usual for name, usual in found.items() if usual in attributes and usual not in needed}


def with_matrix(model: nn.Module, name: str, nodes: str, *, weighted: bool, dense: bool = False) -> types.MethodType:
    """A forward that takes `edge_index` and makes the matrix of it that the model's own takes.

    Args:
        model: whose forward takes a matrix [N, N].
        name: the matrix's parameter.
        nodes: a parameter with a row for each node.
        weighted: it takes `edge_weight`, too; else all entries are 1.
        dense: the matrix is dense.

    Returns:
        A method of the model, to be set as its `forward`.
    """
    kind, edges = inspect.Parameter.POSITIONAL_OR_KEYWORD, ("edge_index", "edge_weight")[: 1 + weighted]
    parameters = [inspect.Parameter("self", kind)]
    for parameter in inspect.signature(model.forward).parameters.values():
        taken = [inspect.Parameter(each, kind) for each in edges] if parameter.name == name else [parameter]
        parameters += taken
    signature = inspect.Signature(parameters)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        values = dict(signature.bind(self, *args, **kwargs).arguments)
        del values["self"]
        edge_index, size = values.pop("edge_index"), values[nodes].size(0)
        weight = values.pop("edge_weight") if weighted else torch.ones(edge_index.size(1))
        # Row i of the product is what arrives at node i: rows are targets.
        matrix = torch.sparse_coo_tensor(edge_index.flip(0), weight, (size, size), check_invariants=False)
        return type(self).forward(self, **values, **{name: matrix.to_dense() if dense else matrix})

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return types.MethodType(forward, model)  # a copy of the model binds it to the copy


def own_inputs(model: nn.Module) -> tuple[str, ...] | None:
    """The inputs of a model whose forward was made to take tensors of several types by name (`nested`); else None."""
    found: tuple[str, ...] | None = getattr(model.forward, "own_inputs", None)
    return found


def takes_graph(model: nn.Module, attributes: Collection[str]) -> bool:
    """Whether the forward takes a graph as one object.

    Its one parameter without a default is called or typed so, or forward reads attributes of it that the graphs have.

    Args:
        model: any module.
        attributes: names of what the graphs have.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(needed) != 1 or needed[0].name in set(attributes) - {"batch"}:
        return False
    typed = str(getattr(needed[0].annotation, "__name__", needed[0].annotation)).rpartition(".")[2]
    if needed[0].name in GRAPH_NAMES or typed in ("Data", "Batch", "HeteroData"):
        return True
    return bool(_attributes_read(model, needed[0].name) & {*attributes, "batch"})


def _attributes_read(model: nn.Module, parameter: str) -> set[str]:
    """Names of the attributes of a parameter that forward reads itself."""
    code = getattr(inspect.unwrap(model.forward), "__code__", None)
    steps = list(dis.get_instructions(code)) if code is not None else []
    pairs = itertools.pairwise(steps)
    return {str(b.argval) for a, b in pairs if a.argval == parameter and b.opname in ("LOAD_ATTR", "LOAD_METHOD")}


class _Reads(dict[str, Any]):
    """A dictionary that remembers which of its entries were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: dict[str, None] = {}

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        self.read[key] = None
        return value

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401 (this is what remembers)


class GraphOfInputs(Data):
    """The graph that a `forward(data)` is given: it has the model's inputs and nothing else.

    Args:
        tensors: input name -> tensor.
        roles: what the inputs belong to.
    """

    def __init__(self, tensors: Mapping[str, Tensor] | None = None, roles: Mapping[str, Role] | None = None) -> None:
        super().__init__()
        self.__dict__["_roles"] = roles or {}
        self._store.__dict__["_mapping"] = _Reads()
        for name, value in (tensors or {}).items():
            self._store._mapping[name] = value

    @property
    def read(self) -> tuple[str, ...]:
        """Names of the inputs that were read so far."""
        return tuple(self._store._mapping.read)

    def _size(self, size: str) -> Any:
        """A size of the graph, from an input that was read already where one has it."""
        mapping: _Reads = self._store._mapping
        for name in (*mapping.read, *mapping):
            role = role_of(self.__dict__["_roles"], name)
            if role.size == size and isinstance(mapping.get(name), Tensor):
                return mapping[name].shape[role.axis]
        return None

    @property
    def num_nodes(self) -> Any:
        return self._size("num_nodes")

    @num_nodes.setter
    def num_nodes(self, value: Any) -> None:
        pass

    @property
    def num_edges(self) -> Any:
        return self._size("num_edges")

    @property
    def num_graphs(self) -> Any:
        """The number of graphs: one more than the last node's."""
        batch = self._store._mapping.get("batch")
        return 1 if batch is None else batch.max().item() + 1

    @property
    def ptr(self) -> Tensor:
        """The first node of each graph, and behind the last one how many nodes there are."""
        batch = self._store._mapping.get("batch")
        if batch is None:
            raise AttributeError("a graph alone has no ptr")
        count = batch.new_zeros(self.num_graphs).scatter_add(0, batch, torch.ones_like(batch))
        return torch.cat([batch.new_zeros(1), count.cumsum(0)])

    @property
    def batch_size(self) -> Any:
        """The same, by another name."""
        return self.num_graphs


def adapted(model: nn.Module, example: Mapping[str, Tensor], roles: Mapping[str, Role]) -> types.MethodType:
    """A forward that takes the attributes which a forward that takes a graph reads, by name.

    They are found by running the model on a graph. Modules, parameters and their names stay as they are.

    Args:
        model: whose forward takes a graph (`takes_graph`), in eval mode.
        example: attributes of a graph of the data.
        roles: what they belong to.

    Returns:
        A method of the model, to be set as its `forward`.

    Raises:
        Exception: whatever the model raises when it runs on the graph.
    """
    graph = GraphOfInputs(example, roles)
    with torch.no_grad():
        model(graph)
    read = [name for name in example if name in graph.read]
    parameter = inspect.Parameter
    inputs = [parameter(name, parameter.POSITIONAL_OR_KEYWORD) for name in read]

    def forward(self: nn.Module, *args: Tensor, **kwargs: Tensor) -> Any:
        given = dict(zip(read, args, strict=False)) | kwargs
        return type(self).forward(self, GraphOfInputs({k: v for k, v in given.items() if v is not None}, roles))

    own = parameter("self", parameter.POSITIONAL_OR_KEYWORD)
    forward.__signature__ = inspect.Signature([own, *inputs])  # type: ignore[attr-defined]
    # A bound method: a copy of the model binds it to the copy.
    return types.MethodType(forward, model)
