"""A graph whose edges are a sparse matrix: rows are targets, entries are weights."""

from __future__ import annotations

import pytest
import torch

from edgegnn.tasks import load_task


@pytest.mark.filterwarnings("ignore:Sparse (CSR|invariant)")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_edges_of_a_sparse_matrix(layout: torch.layout, tmp_path) -> None:
    dense = torch.zeros(6, 6)
    dense[1, 0], dense[4, 2], dense[0, 5] = 0.5, 2.0, 1.0
    matrix = dense.to_sparse(layout=layout)
    torch.save({"x": torch.randn(6, 2), "adj": matrix, "y": torch.arange(6) % 2}, tmp_path / "g.pt")
    graph = load_task(str(tmp_path / "g.pt")).graphs[0]
    edges = dict(zip(map(tuple, graph.edge_index.t().tolist()), graph.edge_weight.tolist(), strict=True))
    assert edges == {(0, 1): 0.5, (2, 4): 2.0, (5, 0): 1.0}
