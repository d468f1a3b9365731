"""Sparse matrices as lists of edges: every product and sum is PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.utils import to_torch_csc_tensor, to_torch_csr_tensor

from edgegnn.errors import ExportError
from edgegnn.training.sparse_matrices import sparse_matrices

USES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "spmm": lambda a, x: torch.spmm(a, x),
    "sparse.mm": lambda a, x: torch.sparse.mm(a, x),
    "mm": lambda a, x: torch.mm(a, x),
    "matmul": lambda a, x: a.coalesce() @ x,
    "transposed": lambda a, x: a.t() @ x[:5],
    "T": lambda a, x: torch.sparse.mm(a.transpose(0, 1), x[:5]),
    "scaled": lambda a, x: (a * 2.0) @ x,
    "dense": lambda a, _: a.to_dense(),
    "product of two": lambda a, _: (a @ a.t()).to_dense(),
    "columns": lambda a, _: a.index_select(1, torch.tensor([6, 0, 0, 3])).to_dense(),
    "rows": lambda a, _: torch.index_select(a, 0, torch.tensor([4, 1])).to_dense(),
    "sum of two": lambda a, _: (a + a * 3.0).to_dense(),
    "entries": lambda a, _: torch.cat([a.coalesce().indices().float(), a.coalesce().values()[None]]),
    "by rows": lambda a, x: to_torch_csr_tensor(a.coalesce().indices(), a.coalesce().values(), (5, 7)) @ x,
    "by columns": lambda a, x: to_torch_csc_tensor(a.coalesce().indices(), a.coalesce().values(), (5, 7)) @ x,
    "sums of rows": lambda a, _: torch.sparse.sum(a, dim=1).to_dense(),
    "sums of columns": lambda a, _: torch.sparse.sum(a, dim=0).to_dense(),
}


@pytest.mark.parametrize("name", USES)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks", "ignore:Sparse CSR", "ignore:Sparse CSC")
def test_it_computes_what_pytorch_computes(name: str) -> None:
    torch.manual_seed(0)
    indices = torch.stack([torch.randint(5, (20,)), torch.randint(7, (20,))])  # some entries have the same place
    values, x = torch.rand(20), torch.randn(7, 3)
    want = USES[name](torch.sparse_coo_tensor(indices, values, (5, 7)), x)
    with sparse_matrices():
        got = USES[name](torch.sparse_coo_tensor(indices, values, (5, 7)), x)
    assert got.shape == want.shape
    assert torch.allclose(got, want.to_dense() if want.is_sparse else want, atol=1e-6)


def test_what_it_cannot_do_is_said() -> None:
    with sparse_matrices():
        matrix = torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.int64), torch.ones(1), (2, 2))
        with pytest.raises(ExportError, match="exp of a sparse matrix can't be traced"):
            torch.exp(matrix)
        with pytest.raises(ExportError, match=r"values of shape \[1, 1\]: give one number an entry"):
            torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.int64), torch.ones(1, 1), (2, 2))
