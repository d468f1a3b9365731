"""Products of rows of codes with int8 weights: how weights and rows lie, and the loop over rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgegnn.plain_c.builder import Builder
from edgegnn.plain_c.values import Dim

__all__ = ["by_two", "padded", "weight_table"]

Array = npt.NDArray[np.generic]


def padded(depth: int) -> int:
    """The length of a widened row and of a column of weights: a multiple of 4, that products take without a rest."""
    return -(-depth // 4) * 4


def weight_table(builder: Builder, hint: str, columns: Array) -> str:
    """The name of a table of int8 weights for the kernels of products.

    Args:
        builder: gets the table.
        hint: for its name.
        columns: `[width, depth]`, the weights of one output behind the other.
    """
    rest = padded(columns.shape[1]) - columns.shape[1]
    return builder.table(hint, np.ascontiguousarray(np.pad(columns, ((0, 0), (0, rest)))), "int8_t")


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
