"""What the C generator knows of each tensor: its element type, its sizes as C expressions, and where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ExportError, UsageError

__all__ = [
    "Absent",
    "Batch",
    "Dim",
    "Limits",
    "Shape",
    "Sizes",
    "Tensor",
    "Value",
    "WideIndex",
    "as_sizes",
    "as_tensor",
    "count",
    "fixed",
    "grouped",
]

MOST = 2**22  # nodes or edges
_MOST_SIZES, _MOST_NUMBERS = 32, 1024  # of a tensor, and in a tensor of sizes
_LONGEST_SIZE, _LARGEST_SIZE = 4000, 2**120  # letters of a size's expression, and its largest value

Array = npt.NDArray[np.generic]


class WideIndex(ExportError):
    """A graph inside the model has more edges than an index of two bytes can count."""


@dataclass(frozen=True)
class Limits:
    """The largest graph that the C code takes."""

    nodes: int
    edges: int

    @classmethod
    def checked(cls, nodes: int, edges: int) -> Limits:
        """Limits within which sums of codes stay in 32 bits.

        Raises:
            UsageError: one is below 1 or too large.
        """
        for name, value in (("--max-nodes", nodes), ("--max-edges", edges)):
            if not 1 <= value <= MOST:
                raise UsageError(f"{name} must be between 1 and {MOST:,} for the C form, not {value:,}")
        return cls(nodes, edges)

    def of(self, size: str) -> int:
        """The largest value of a size that differs from graph to graph, by its name in the ONNX graph."""
        return self.nodes if size.partition(".")[0] == "num_nodes" else self.edges


@dataclass(frozen=True)
class Dim:
    """One size of a tensor.

    Attributes:
        text: a C expression of type size_t; a decimal number where the size is the same for every graph.
        most: its largest value within the limits.
    """

    text: str
    most: int

    def __post_init__(self) -> None:
        """Bound what a chain of operators makes of sizes: each may double the expression, or square the number.

        Raises:
            ExportError: it is too long, or too large.
        """
        if len(self.text) > _LONGEST_SIZE or abs(self.most) > _LARGEST_SIZE:
            raise ExportError("a size inside the model has no C form yet: it is computed in too many steps")

    @property
    def fixed(self) -> int | None:
        """The size where it is the same for every graph, else None."""
        return int(self.text) if self.text.lstrip("-").isdigit() else None


Shape = tuple[Dim, ...]


def fixed(size: int) -> Dim:
    """A size that is the same for every graph."""
    return Dim(str(size), size)


def grouped(text: str) -> str:
    """A C expression that can be a part of another: in parentheses where it isn't a single word."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if (letter == " " and depth == 0) or (depth == 0 and letter == ")" and i < len(text) - 1):
            return f"({text})"
    return text


def count(shape: Shape) -> Dim:
    """The number of elements."""
    known = math.prod(dim.fixed for dim in shape if dim.fixed is not None)
    free = [dim.text for dim in shape if dim.fixed is None]
    text = " * ".join([*free, *([] if known == 1 and free else [str(known)])])
    return Dim(text, math.prod(dim.most for dim in shape))


@dataclass(frozen=True)
class Tensor:
    """A tensor of the C code.

    Attributes:
        name: a C expression that points to its elements.
        ctype: "float", "uint8_t", "int8_t", "int32_t" or "index_t" (row pointers and columns).
        shape: its sizes.
        buffer: number of the arena's buffer that holds it; None for inputs, outputs and constants.
        constant: its elements, where they are the same for every graph.
        source: name of the model's input that it is a view of; "" for others.
    """

    name: str
    ctype: str
    shape: Shape
    buffer: int | None = None
    constant: Array | None = None
    source: str = ""

    def __post_init__(self) -> None:
        """Bound the loops that a tensor's elements take.

        Raises:
            ExportError: it has too many sizes.
        """
        if len(self.shape) > _MOST_SIZES:
            raise ExportError(f"a tensor of {len(self.shape):,} sizes has no C form: {_MOST_SIZES} at most")
        if any(dim.fixed is not None and dim.fixed < 0 for dim in self.shape):
            raise ExportError("a tensor with a size below 0 has no C form")

    @property
    def elements(self) -> Dim:
        """The number of elements."""
        return count(self.shape)

    @property
    def width(self) -> int:
        """Elements of one row: the product of all sizes but the first.

        Raises:
            ExportError: it differs from graph to graph.
        """
        if any(dim.fixed is None for dim in self.shape[1:]):
            raise ExportError("rows whose width differs from graph to graph have no C form yet")
        return math.prod(dim.most for dim in self.shape[1:])


@dataclass(frozen=True)
class Sizes:
    """An int64 tensor made of sizes: a shape, or one number of it."""

    dims: Shape

    def __post_init__(self) -> None:
        """Bound what is computed number by number while the C code is made.

        Raises:
            ExportError: they are too many.
        """
        if len(self.dims) > _MOST_NUMBERS:
            raise ExportError(f"{len(self.dims):,} sizes in one tensor have no C form")


@dataclass(frozen=True)
class Batch:
    """The graph of each node: 0, since the C code takes one graph at a time."""

    nodes: Dim


@dataclass(frozen=True)
class Absent:
    """A tensor without elements, like the `row` and `perm` that kernels leave empty."""


Value = Tensor | Sizes | Batch | Absent


def as_tensor(value: Value, what: str) -> Tensor:
    """The value as a tensor with elements.

    Raises:
        ExportError: it is none.
    """
    if isinstance(value, Tensor):
        return value
    raise ExportError(f"{what} has no C form yet: it computes with {type(value).__name__.lower()} values")


def as_sizes(value: Value, what: str) -> Shape:
    """The sizes that a value holds.

    Raises:
        ExportError: it holds something else.
    """
    if isinstance(value, Sizes):
        return value.dims
    if isinstance(value, Tensor) and value.constant is not None and value.constant.size <= _MOST_NUMBERS:
        return tuple(Dim(str(int(v)), int(v)) for v in value.constant.reshape(-1))
    raise ExportError(f"{what} has no C form yet: a size depends on more than the numbers of nodes and edges")
