"""What a model's forward gives: one tensor or several by name, and what each of them belongs to.

What an output belongs to is read from its first size on several graphs, no two of which have the same sizes: one graph
whose nodes happen to be as many as its edges decides nothing.

Training, pruning and metrics look at one output, as a matrix of a row for each node (edge, graph, pair): the main one.
`every_output` asks a model for all of them, as they are.
"""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, is_dataclass
from typing import Any

from torch import Tensor, nn

from edgegnn.errors import UsageError
from edgegnn.runtime.roles import FIXED, LEVELS, Role

__all__ = [
    "Every",
    "Output",
    "Outputs",
    "as_row",
    "as_rows",
    "every_output",
    "recognised",
    "returning",
    "tensors_by_name",
]

_WANTS_EVERY: ContextVar[bool] = ContextVar("every_output", default=False)
_ONLY = "output"  # name of the one output of a model without labels


@dataclass(frozen=True)
class Output:
    """One tensor that a model gives.

    Attributes:
        name: in the ONNX graph.
        role: what its first axis counts: NODE, EDGE, GRAPH or PAIRS; FIXED where its sizes are the same for any graph.
    """

    name: str
    role: Role


@dataclass(frozen=True)
class Outputs:
    """What a model gives.

    Attributes:
        each: in the model's order.
        main: name of the one that labels are for, or without labels the first one of a level.
    """

    each: tuple[Output, ...]
    main: str

    @classmethod
    def one(cls, kind: str, *, labelled: bool = True, rows: str = "") -> Outputs:
        """The one matrix of a model: "logits" where there are labels; `rows` names their number ("num_nodes.paper")."""
        name = "logits" if labelled else _ONLY
        role = LEVELS[kind]
        return cls((Output(name, role.sized(rows) if rows else role),), name)

    @property
    def names(self) -> list[str]:
        """Names, in order."""
        return [output.name for output in self.each]

    @property
    def others(self) -> list[str]:
        """Names of those that are not the main one."""
        return [name for name in self.names if name != self.main]

    @property
    def role(self) -> Role:
        """What the main one belongs to."""
        return next(output.role for output in self.each if output.name == self.main)


class Every(dict[str, Tensor]):
    """All outputs of a model, by name."""


@contextmanager
def every_output() -> Iterator[None]:
    """Ask models that give several outputs (`returning`) for all of them, as `Every`."""
    token = _WANTS_EVERY.set(True)
    try:
        yield
    finally:
        _WANTS_EVERY.reset(token)


def as_rows(value: Tensor) -> Tensor:
    """An output as a matrix: a row for each entry of its first axis; of a single number, `[1, 1]`."""
    return value.reshape(value.shape[0], math.prod(value.shape[1:])) if value.dim() else value.reshape(1, 1)


def tensors_by_name(out: Any, taken: Sequence[str] = ()) -> dict[str, Tensor]:
    """The tensors that a forward returned, by name.

    A dictionary's keys and a named tuple's fields are names; the entries of other tuples and lists are "output_0", ...
    None is left out. What is nested has the names of both levels, "heads_0". A single number becomes a vector `[1]`.

    Args:
        out: what the forward returned.
        taken: names that no output can have: an output with an input's name gets "_out" appended.

    Raises:
        UsageError: something else than tensors, or two with the same name.
    """
    found: dict[str, Tensor] = {}
    for path, value in _leaves(out, ""):
        name = re.sub(r"[^A-Za-z0-9_]+", "_", path or _ONLY)
        name = f"{name}_out" if name in taken else name
        if name in found:
            raise UsageError(f"the model returns two tensors with the name {name}: give them different keys")
        found[name] = value if value.dim() else value.reshape(1)
    if not found:
        raise UsageError("the model returns no tensor")
    return found


def _leaves(out: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if out is None:
        return
    if isinstance(out, Tensor):
        yield path, out
        return
    for key, value in _entries(out, path):
        yield from _leaves(value, f"{path}_{key}" if path else key)


def _entries(out: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(out, Mapping):
        return [(str(key), value) for key, value in out.items()]
    if hasattr(out, "_fields"):
        return list(zip(out._fields, out, strict=True))
    if isinstance(out, (tuple, list)):
        prefix = "" if path else "output_"
        return [(f"{prefix}{i}", value) for i, value in enumerate(out)]
    if is_dataclass(out):
        return list(vars(out).items())
    place = f" as {path}" if path else ""
    raise UsageError(f"the model returns {type(out).__name__}{place}, which is no tensor: return tensors only")


def recognised(
    shapes: Sequence[Mapping[str, Sequence[int]]],
    sizes: Sequence[Mapping[str, int]],
    told: Role | None = None,
    levels: Sequence[Role] = tuple(LEVELS.values()),
) -> dict[str, Role]:
    """What each output belongs to.

    Args:
        shapes: for each of several graphs, name of an output -> its shape.
        sizes: for each of them, name of a size ("num_nodes") -> how many.
        told: what decides between several that fit on every graph: what the labels belong to.
        levels: what there is to belong to.

    Returns:
        Name -> role; without outputs beside others that have rows of their own: attention that layers give for the
        edges and the self-loops that they add, say.

    Raises:
        UsageError: an output that several fit on every graph, or none has a level although their sizes change.
    """
    found: dict[str, Role] = {}
    without: dict[str, UsageError] = {}
    for name in shapes[0]:
        try:
            found[name] = _role(name, [tuple(each[name]) for each in shapes], sizes, told, levels)
        except _RowsOfItsOwn as error:
            without[name] = error
    if not found:
        raise next(iter(without.values()))
    return found


class _RowsOfItsOwn(UsageError):
    """An output whose size changes as nothing that belongs to a graph does."""


def _role(
    name: str,
    found: Sequence[tuple[int, ...]],
    sizes: Sequence[Mapping[str, int]],
    told: Role | None,
    levels: Sequence[Role],
) -> Role:
    fitting = [
        role
        for role in levels
        if all(shape[0] == size.get(role.size) for shape, size in zip(found, sizes, strict=True))
    ]
    of_type = [role for role in fitting if name in (kind := role.size.partition(".")[2], f"{kind}_out") and kind]
    fitting = of_type if len(of_type) == 1 else fitting
    if len(fitting) == 1:
        return fitting[0]
    if told is not None and told in fitting:
        return told
    shown = " and ".join(str(list(shape)) for shape in dict.fromkeys(found))
    if fitting:
        could = " or ".join(role.size.removeprefix("num_") for role in fitting)
        raise UsageError(
            f"whether the output {name} belongs to {could} can't be told from its shape {shown}: add a graph with "
            "other numbers of nodes and edges to the data"
        )
    if len(set(found)) == 1:
        return FIXED
    raise _RowsOfItsOwn(
        f"the output {name} has the shapes {shown} on graphs of different sizes: its first size must be the number of "
        "nodes, edges, graphs or pairs; leave it out of what forward returns, or bring that axis to the front"
    )


def as_row(model: nn.Module) -> types.MethodType:
    """A forward that gives the vector that the model's own gives as a matrix of one row."""
    before = getattr(model.forward, "__func__", type(model).forward)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        vector: Tensor = before(self, *args, **kwargs)
        return vector.unsqueeze(0)

    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *inspect.signature(model.forward).parameters.values(),
        ]
    )
    forward.own_inputs = getattr(model.forward, "own_inputs", None)  # type: ignore[attr-defined]
    return types.MethodType(forward, model)


def returning(model: nn.Module, outputs: Outputs, inputs: Sequence[str]) -> types.MethodType:
    """A forward that gives the main output as a matrix, and `Every` output where that is asked for.

    Args:
        model: whose forward gives several tensors, or one that is no matrix.
        outputs: what they are.
        inputs: names of its inputs, as of `tensors_by_name`.

    Returns:
        A method of the model, to be set as its `forward`.
    """
    before = getattr(model.forward, "__func__", None)
    own = model.forward

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        out = own(*args, **kwargs) if before is None else before(self, *args, **kwargs)
        given = tensors_by_name(out, inputs)
        if len(given) == len(outputs.names):
            found = Every(zip(outputs.names, given.values(), strict=True))
        else:  # some have rows of their own, and are left out
            found = Every({name: given[name] for name in outputs.names})
        if _WANTS_EVERY.get():
            return found
        return as_rows(found[outputs.main])

    parameters = inspect.signature(model.forward).parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    forward.__signature__ = inspect.Signature([itself, *parameters])  # type: ignore[attr-defined]
    forward.own_inputs = getattr(model.forward, "own_inputs", None)  # type: ignore[attr-defined]
    return types.MethodType(forward, model)
