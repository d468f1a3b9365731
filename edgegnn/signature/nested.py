"""A forward that takes dictionaries by type (`x_dict`) or a `HeteroData`, as one of named tensors."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData

from edgegnn.errors import DataError, UsageError
from edgegnn.runtime.roles import BATCH, Role, type_name
from edgegnn.signature.forward import GRAPH_NAMES, OTHER_NAMES
from edgegnn.signature.typed import Schema, flat_name

__all__ = ["nested"]

_ENDINGS = ("_dict", "_dicts", "s_dict")
Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class _Parameter:
    """A parameter of a forward: the inputs that it is made of, and how."""

    name: str
    inputs: tuple[str, ...]
    make: Callable[[Inputs], Any]


def nested(
    model: nn.Module,
    example: Mapping[str, Tensor],
    roles: Mapping[str, Role],
    schema: Schema,
    *,
    told: Mapping[str, str],
    several: bool,
    of: str,
    where: str,
) -> types.MethodType:
    """A forward that takes named tensors of several types, and gives the output of one type.

    Args:
        model: in eval mode. Its class's forward is read, so that it may have been adapted before.
        example: attributes of a graph of the data, `x.paper` and so on.
        roles: what they belong to.
        schema: the types.
        told: parameter -> attribute, as the user says.
        several: `batch.paper` is taken as well.
        of: the type whose output counts, where the model gives a dictionary; "" for none.
        where: the data, in a message.

    Returns:
        A method of the model, to be set as its `forward`; `own_inputs` of it are the names.

    Raises:
        UsageError: a parameter that the data have nothing for.
        DataError: the model gives no output for the type.
        Exception: whatever the model raises on the graph.
    """
    known = [name for name in roles if several or not roles[name].is_a(BATCH)]
    parameters = _parameters(model)
    if not parameters:
        raise UsageError(
            f"{type(model).__name__}.forward names no parameters: call it in a module of yours with "
            "forward(x_dict, edge_index_dict)"
        )
    if _takes_graph(parameters, told):
        taken = [_graph_parameter(model, parameters[0], example, known, schema)]
    else:
        taken = _by_name(model, parameters, known, schema, told, where)
    names = tuple(dict.fromkeys(name for parameter in taken for name in parameter.inputs))

    def forward(self: nn.Module, *args: Any, **inputs: Any) -> Any:
        if args or not inputs.keys() <= set(names):  # as the user's own code calls it
            return type(self).forward(self, *args, **inputs)
        given = {parameter.name: parameter.make(inputs) for parameter in taken}
        return _of_type(type(self).forward(self, **given), of, type(self).__name__)

    forward.own_inputs = names  # type: ignore[attr-defined]
    # A bound method: a copy of the model binds it to the copy.
    return types.MethodType(forward, model)


def _parameters(model: nn.Module) -> list[inspect.Parameter]:
    found = list(inspect.signature(type(model).forward).parameters.values())[1:]
    return [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _of_type(out: Any, of: str, model: str) -> Any:
    """The output of one type, of a dictionary."""
    if not isinstance(out, Mapping) or not of:
        return out
    key = next((key for key in out if of in (key, type_name(key))), None)
    if key is None:
        known = ", ".join(map(str, out))
        raise DataError(f"{model}.forward gives outputs for {known}, none for {of}: choose one with --task node:TYPE")
    return out[key]


def _by_name(
    model: nn.Module,
    parameters: list[inspect.Parameter],
    known: list[str],
    schema: Schema,
    told: Mapping[str, str],
    where: str,
) -> list[_Parameter]:
    """The parameters that the data have something for: by name, or the first two by place (`forward(x, edges)`)."""
    attributes = dict.fromkeys(split[0] for name in known if (split := schema.split(name)) is not None)
    found = []
    for place, parameter in enumerate(parameters):
        needed = parameter.default is parameter.empty
        if not needed and parameter.default is not None and parameter.name not in told:
            continue
        what = told.get(parameter.name) or _attribute(parameter.name, list(attributes), known, schema)
        if what is None and needed and place < 2:
            what = ("x", "edge_index")[place]
        made = None if what is None else _made(parameter.name, what, known, schema)
        if made is not None:
            found.append(made)
        elif needed:
            have = ", ".join(known)
            raise UsageError(
                f"{type(model).__name__}.forward needs {parameter.name}, which the graphs of {where} don't have under "
                f"this name (they have {have}): say --input {parameter.name}=ATTRIBUTE"
            )
    return found


def _attribute(parameter: str, attributes: list[str], known: list[str], schema: Schema) -> str | None:
    """What a parameter is called in the data: an attribute of all types, or an input ("x_paper" is "x.paper")."""
    plain = next((parameter.removesuffix(end) for end in _ENDINGS if parameter.endswith(end)), parameter)
    same = {other: usual for usual, others in OTHER_NAMES.items() for other in others}
    usual = {"edge_indices": "edge_index", "edges": "edge_index", "xs": "x"} | same
    for name in (plain, usual.get(plain, "")):
        if name in attributes or name in known:
            return name
    for name in known:
        split = schema.split(name)
        if split is not None and parameter in {
            f"{split[0]}_{type_name(split[1])}",
            f"{type_name(split[1])}_{split[0]}",
        }:
            return name
    return None


def _made(parameter: str, what: str, known: list[str], schema: Schema) -> _Parameter | None:
    """A parameter that is one input, or a dictionary of an attribute's inputs by type."""
    if what in known:
        return _Parameter(parameter, (what,), lambda inputs: inputs[what])
    keys = {flat_name(what, key): key for key in schema.keys.values()}
    names = tuple(name for name in known if name in keys)
    if not names:
        return None
    return _Parameter(parameter, names, lambda inputs: {keys[name]: inputs[name] for name in names})


# forward(data) ------------------------------------------------------------


def _takes_graph(parameters: list[inspect.Parameter], told: Mapping[str, str]) -> bool:
    needed = [p for p in parameters if p.default is p.empty]
    if len(needed) != 1 or needed[0].name in told:
        return False
    typed = str(getattr(needed[0].annotation, "__name__", needed[0].annotation)).rpartition(".")[2]
    return needed[0].name in (*GRAPH_NAMES, "hetero_data", "hetero") or typed in ("HeteroData", "Data", "Batch")


class _Read(dict[str, Any]):
    """Attributes of one type, which note when they are read."""

    def __init__(self, names: Mapping[str, str], read: dict[str, None]) -> None:
        super().__init__()
        self._names, self._read = names, read

    def __getitem__(self, key: str) -> Any:
        if key in self._names:
            self._read[self._names[key]] = None
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401 (this is what remembers)


def _graph_parameter(
    model: nn.Module, parameter: inspect.Parameter, example: Mapping[str, Tensor], known: list[str], schema: Schema
) -> _Parameter:
    """A `HeteroData` of those inputs that the forward reads; they are found by running it once."""
    read: dict[str, None] = {}
    with torch.no_grad():
        type(model).forward(model, **{parameter.name: _graph({k: example[k] for k in known}, schema, read)})
    names = tuple(name for name in known if name in read)
    return _Parameter(parameter.name, names, lambda inputs: _graph({n: inputs[n] for n in names}, schema, {}))


def _graph(inputs: Mapping[str, Tensor], schema: Schema, read: dict[str, None]) -> HeteroData:
    graph = HeteroData()
    of_type: dict[Any, dict[str, str]] = {}
    for name in inputs:
        split = schema.split(name)
        attribute, key = (name, None) if split is None else split
        of_type.setdefault(key, {})[attribute] = name
    for key, names in of_type.items():
        store = graph._global_store if key is None else graph[key]
        values = _Read(names, read)
        values.update({attribute: inputs[name] for attribute, name in names.items()})
        store.__dict__["_mapping"] = values
    return graph
