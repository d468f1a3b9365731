"""Products of rows of codes with int8 weights: how weights and rows lie, and the loop over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegnn.plain_c.builder import Builder
from edgegnn.plain_c.values import Dim

__all__ = ["BYTE_WEIGHTS", "Weights", "by_two", "padded", "weight_table"]

Array = npt.NDArray[np.generic]
BYTE_WEIGHTS, _PACKED_WEIGHTS = "EDGEGNN_BYTE_WEIGHTS", "EDGEGNN_PACKED_WEIGHTS"  # macros of model.c
_UNPACKED = 4  # a column of so few weights takes as many bytes packed
_DEEPEST = 2**15  # the kernels' sums are 16 times the products' with packed weights


@dataclass(frozen=True)
class Weights:
    """A table of weights.

    Attributes:
        name: in C.
        depth: the length of a column, filled up with zeros.
        width: the number of columns.
        step: bytes of a column.
    """

    name: str
    depth: int
    width: int
    step: int

    @property
    def sizes(self) -> str:
        """The first fields of the kernels' structures."""
        return f"{self.depth}, {self.width}, {self.step}, {self.name}"


def padded(depth: int) -> int:
    """The length of a widened row and of a column of weights: a multiple of 4, that products take without a rest."""
    return -(-depth // 4) * 4


def weight_table(builder: Builder, hint: str, columns: Array) -> Weights:
    """The weights of a matrix for the kernels of products; those of 4 bits share a byte, two by two.

    Args:
        builder: gets the table.
        hint: for its name.
        columns: `[width, depth]`, the weights of one output behind the other; integers in [-128, 127].
    """
    width, depth = columns.shape
    length = padded(depth)
    whole = np.pad(columns, ((0, 0), (0, length - depth)))
    if length > _UNPACKED and depth <= _DEEPEST and columns.min(initial=0) >= -8 and columns.max(initial=0) <= 7:
        builder.weight_forms.add(_PACKED_WEIGHTS)
        half = -(-length // 8) * 4  # the first half of a column is below, the second one above
        second = np.pad(whole[:, half:], ((0, 0), (0, 2 * half - length)))
        whole = ((whole[:, :half].astype(np.uint8) & 15) | (second.astype(np.uint8) << 4)).view(np.int8)
    else:
        builder.weight_forms.add(BYTE_WEIGHTS)
    return Weights(builder.table(hint, np.ascontiguousarray(whole), "int8_t"), length, width, whole.shape[1])


def by_two(rows: Dim, widen: str, product: str) -> str:
    """A loop over rows, two at a time: a column of weights is read once for both.

    Args:
        rows: how many.
        widen: the statement that widens row `i + j`.
        product: the statement that multiplies the rows from `i` on, `pair` of them.
    """
    return (
        f"for (size_t i = 0; i < {rows.text}; i += 2) {{\n"
        f"  const size_t pair = i + 1 < {rows.text} ? 2 : 1;\n"
        f"  for (size_t j = 0; j < pair; ++j) {widen}\n"
        f"  {product}\n}}"
    )
