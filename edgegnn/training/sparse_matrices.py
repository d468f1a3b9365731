"""PyTorch's sparse matrices as lists of edges, while a model is traced or learns with rounded values.

    torch.sparse_coo_tensor(edge_index, weight, (n, n)) @ x  ->  sum of weight * x[column] over the entries of each row

`torch.export` has no sparse tensors, and a product with one hides the messages that quantization looks at. Models in
the manner of tkipf/pygcn make such a matrix of `edge_index` in their forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from edgegnn.errors import ExportError
from edgegnn.training.sparse_entries import Entries, product, summed

__all__ = ["SparseMatrix", "sparse_matrices"]


class SparseMatrix:
    """A sparse matrix [rows, columns], of which entries with the same place are added up.

    Args:
        indices: int64 [2, E], the row and the column of each entry.
        values: [E].
        size: rows and columns; None: the largest numbers, and one.
    """

    def __init__(self, indices: Tensor, values: Tensor, size: Sequence[Any] | None = None) -> None:
        if values.dim() != 1:
            raise ExportError(f"a sparse matrix has values of shape {list(values.shape)}: give one number an entry")
        self._i, self._v = indices, values
        rows, columns = [int(row.max()) + 1 for row in indices] if size is None else size
        self.shape: tuple[int, int] = (rows, columns)
        self.dtype, self.device = values.dtype, values.device
        self.is_sparse, self.layout, self.requires_grad = True, torch.sparse_coo, values.requires_grad

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Functions of torch that a sparse matrix is given to."""
        name = getattr(func, "__name__", str(func))
        if name == "index_select":
            return args[0].index_select(*args[1:], **(kwargs or {}))
        if name in _PRODUCTS and isinstance(args[0], SparseMatrix):
            return args[0] @ args[1]
        if name in _PRODUCTS and isinstance(args[0], Tensor) and isinstance(args[1], SparseMatrix):
            return (args[1].t() @ args[0].transpose(0, 1)).transpose(0, 1)
        if name in _SUMS:
            return args[0].sum(*args[1:], **(kwargs or {}))
        raise ExportError(f"{name} of a sparse matrix can't be traced: compute with edge_index and its weights instead")

    def __matmul__(self, other: Any) -> Any:
        """The product with a sparse matrix, a dense one [columns, F] or a vector [columns]."""
        if isinstance(other, SparseMatrix):
            made = product(self._entries, other._entries, self.shape[1], other.shape[1])
            return SparseMatrix(torch.stack([made.row, made.column]), made.value, (self.shape[0], other.shape[1]))
        rows, columns = self._i[0], self._i[1]
        picked = other[columns]
        weighted = picked * (self._v if other.dim() == 1 else self._v.unsqueeze(-1))
        return other.new_zeros((self.shape[0], *other.shape[1:])).index_add(0, rows, weighted)

    def __mul__(self, factor: Any) -> SparseMatrix:
        """The matrix times a number."""
        if isinstance(factor, SparseMatrix) or (isinstance(factor, Tensor) and factor.dim()):
            raise ExportError("a sparse matrix times a tensor can't be traced: multiply the weights of the edges")
        return SparseMatrix(self._i, self._v * factor, self.shape)

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Any:
        """The sum with a sparse matrix, or with a dense one."""
        if not isinstance(other, SparseMatrix):
            return self.to_dense() + other
        return SparseMatrix(torch.cat([self._i, other._i], 1), torch.cat([self._v, other._v]), self.shape)

    __radd__ = __add__

    @property
    def _entries(self) -> Entries:
        return Entries(self._i[0], self._i[1], self._v)

    def index_select(self, dim: int, index: Tensor) -> SparseMatrix:
        """Some of the rows (`dim` 0) or columns (1), in the order of `index`."""
        count = index.shape[0]
        picks = torch.stack([index, torch.arange(count, device=index.device)])
        if dim % 2 == 0:
            return self.t().index_select(1, index).t()
        return cast("SparseMatrix", self @ SparseMatrix(picks, self._v.new_ones(count), (self.shape[1], count)))

    def sum(self, dim: int | None = None) -> Tensor:
        """The sum of all entries, or of each row (`dim` 1) or column (0)."""
        if dim is None:
            return self._v.sum()
        kept = 1 - dim % 2
        return self._v.new_zeros(self.shape[kept]).index_add(0, self._i[kept], self._v)

    def t(self) -> SparseMatrix:
        """The transpose."""
        return SparseMatrix(self._i.flip(0), self._v, self.shape[::-1])

    def transpose(self, first: int, second: int) -> SparseMatrix:
        """The transpose; the matrix itself where both axes are the same."""
        return self if first % 2 == second % 2 else self.t()

    @property
    def T(self) -> SparseMatrix:
        """The transpose."""
        return self.t()

    def to_dense(self) -> Tensor:
        """The dense matrix."""
        rows, columns = self.shape
        places = self._i[0] * columns + self._i[1]
        return self._v.new_zeros(rows * columns).scatter_add(0, places, self._v).view(rows, columns)

    def coalesce(self) -> SparseMatrix:
        """The matrix, whose entries are sorted and in places of their own once somebody asks for them."""
        return _Coalesced(self._i, self._v, self.shape)

    to_sparse = to_sparse_coo = to_sparse_csr = to_sparse_csc = coalesce

    def _coalesced_(self, _: bool) -> SparseMatrix:
        return self

    def to(self, *args: Any, **kwargs: Any) -> SparseMatrix:
        """The matrix with values of another type."""
        return SparseMatrix(self._i, self._v.to(*args, **kwargs), self.shape)

    def float(self) -> SparseMatrix:
        """The matrix in float32."""
        return self.to(torch.float32)

    def indices(self) -> Tensor:
        """int64 [2, E]."""
        return self._i

    def values(self) -> Tensor:
        """[E]."""
        return self._v

    _indices, _values = indices, values

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one size."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of axes."""
        return 2

    mm = spmm = matmul = __matmul__


class _Coalesced(SparseMatrix):
    """A sparse matrix whose entries are sorted, and added up by place, when they are first looked at.

    Products don't look at them: they add up anyway.
    """

    _settled = False

    def coalesce(self) -> SparseMatrix:
        """The matrix."""
        return self

    to_sparse = to_sparse_coo = to_sparse_csr = to_sparse_csc = coalesce

    def indices(self) -> Tensor:
        """int64 [2, E]."""
        if not self._settled:
            found = summed(self._i[0], self._i[1], self.shape[1], self._v)
            self._i, self._v, self._settled = torch.stack([found.row, found.column]), found.value, True
        return self._i

    def values(self) -> Tensor:
        """[E]."""
        self.indices()
        return self._v

    _indices, _values = indices, values


_pytorchs_own = torch.sparse_coo_tensor
_save = FunctionCtx.save_for_backward


def _save_for_backward(context: Any, *values: Any) -> None:
    """For a `torch.autograd.Function` that keeps a sparse matrix for its backward: it gets PyTorch's own."""
    if torch.compiler.is_exporting():
        return
    kept = [
        _pytorchs_own(value.indices(), value.values(), value.shape, check_invariants=False)
        if isinstance(value, SparseMatrix)
        else value
        for value in values
    ]
    _save(context, *kept)


_PRODUCTS = {"spmm", "mm", "matmul", "_sparse_mm", "smm", "hspmm", "__matmul__", "__rmatmul__", "mv"}
_SUMS = {"sum", "_sparse_sum"}


def _made(indices: Tensor, values: Tensor, size: Any = None, **kwargs: Any) -> SparseMatrix:
    """As `torch.sparse_coo_tensor`; device and checks are left to the run."""
    dtype = kwargs.get("dtype")
    return SparseMatrix(indices, values if dtype is None else values.to(dtype), size)


def _made_of_rows(crow_indices: Tensor, col_indices: Tensor, values: Tensor, size: Any = None, **kwargs: Any) -> Any:
    """As `torch.sparse_csr_tensor`."""
    rows = torch.arange(crow_indices.shape[0] - 1, device=crow_indices.device)
    rows = rows.repeat_interleave(crow_indices[1:] - crow_indices[:-1], output_size=col_indices.shape[0])
    return _made(torch.stack([rows, col_indices]), values, size, **kwargs)


def _made_of_columns(ccol_indices: Tensor, row_indices: Tensor, values: Tensor, size: Any = None, **kwargs: Any) -> Any:
    """As `torch.sparse_csc_tensor`."""
    turned = None if size is None else (size[1], size[0])
    return _made_of_rows(ccol_indices, row_indices, values, turned, **kwargs).t()


@contextmanager
def sparse_matrices() -> Iterator[None]:
    """Let `torch.sparse_coo_tensor`, `torch.sparse.FloatTensor` and their like make a `SparseMatrix`."""
    maker: Callable[..., SparseMatrix] = _made
    with (
        patch.object(torch, "sparse_coo_tensor", maker),
        patch.object(torch, "sparse_csr_tensor", _made_of_rows),
        patch.object(torch, "sparse_csc_tensor", _made_of_columns),
        patch.object(torch.sparse, "FloatTensor", maker, create=True),
        patch.object(torch.sparse, "mm", torch.matmul),
        patch.object(FunctionCtx, "save_for_backward", _save_for_backward),
        patch.object(torch.sparse, "sum", lambda matrix, dim=None: _DenseSum(matrix.sum(dim))),
    ):
        yield


class _DenseSum:
    """What `torch.sparse.sum` gives: a vector that is dense already."""

    def __init__(self, values: Tensor) -> None:
        self._v = values

    def to_dense(self) -> Tensor:
        """The vector."""
        return self._v
