"""numpy's arrays in a pickle, read without numpy's own `__setstate__`, which trusts what it is given.

A pickle names `numpy.ndarray`, `numpy.dtype` and a few functions. The reader is given the classes and functions of this
module under these names: they take numbers and bools, and check the size of the content.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

__all__ = ["ARRAYS", "PickledArray"]

_KINDS = "biuf"


class _Dtype:
    """Stands for `numpy.dtype`: the type of numbers, and their byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.dtype = np.dtype(code if isinstance(code, str) else "O")
        if self.dtype.kind not in _KINDS:
            raise ValueError(f"an array of {self.dtype}")

    def __setstate__(self, state: Any) -> None:
        big = state[1] in (">", b">")
        self.dtype = self.dtype.newbyteorder(">" if big else "<")


class PickledArray:
    """Stands for `numpy.ndarray` while the pickle is read; `tensor()` is what it holds."""

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray = np.zeros(0, np.float32)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        self.values = _values(content, dtype, shape, "F" if fortran else "C")

    def tensor(self) -> torch.Tensor:
        """The same numbers as a tensor."""
        return torch.from_numpy(self.values)


def _values(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(content, (bytes, bytearray)) or not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
        raise ValueError("an array without its numbers")
    if any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(f"an array of shape {shape}")
    if math.prod(shape) * dtype.dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {shape} with {len(content)} bytes")
    values = np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")
    return np.array(values, dtype.dtype.newbyteorder("="), order="C")


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> PickledArray:
    array = PickledArray()
    array.values = _values(content, dtype, shape, order)
    return array


def _scalar(dtype: Any, content: Any = b"") -> Any:
    return _values(content, dtype, (), "C").item()


# What numpy's pickles name, over its versions.
ARRAYS: list[tuple[Any, str]] = [
    (_Dtype, "numpy.dtype"),
    (PickledArray, "numpy.ndarray"),
    *(
        (stand_in, f"numpy.{core}.{name}")
        for core in ("core", "_core")
        for stand_in, name in (
            (PickledArray, "multiarray._reconstruct"),
            (_scalar, "multiarray.scalar"),
            (_from_buffer, "numeric._frombuffer"),
        )
    ),
]
