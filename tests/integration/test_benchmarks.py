"""The benchmark scripts' own logic, on graphs of a few nodes: what they compare has to be right before it is timed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import aggregation
import aggregation_cases as cases
import compiled
import edge_models
import graphs
import int8_against_fp32
import models
import peers
import range_guard
import torch
from tables import goals_table, table
from timing import Plan, take_turns
from workers import finder, unquiet

FAST = Plan(runs=1, seconds=0.0, patience=0.0)


@pytest.mark.parametrize(
    "graph", [graphs.power_law(50, 400), graphs.cora_size(), graphs.molecules(3), graphs.power_law(5, 0)], ids=str
)
def test_generators_are_seeded_and_their_csr_is_that_of_the_edges(graph):
    indptr, col, perm = graph.csr
    src, dst = graph.edge_index
    assert graph.edge_index.min(initial=0) >= 0
    assert graph.edge_index.max(initial=0) < graph.nodes
    assert np.array_equal(src[perm], col)
    assert np.array_equal(np.repeat(np.arange(graph.nodes), graph.degree), dst[perm])
    assert indptr[-1] == graph.edges
    assert np.array_equal(graph.sorted().csr[2], np.arange(graph.edges))
    assert np.array_equal(graphs.power_law(50, 400).edge_index, graphs.power_law(50, 400).edge_index)


def test_the_sizes_are_those_that_the_tables_name():
    assert (graphs.cora_size().nodes, graphs.cora_size().edges) == (2708, 13264)
    assert (graphs.molecules(128).nodes, graphs.molecules(128).edges) == (3840, 8960)


@pytest.mark.skipif(compiled.load() is None, reason="no C compiler")
def test_the_counting_sort_refuses_an_index_out_of_range():
    call, _ = compiled.counting_sort(np.array([[0, 1], [1, 7]]), 3)
    assert call() == 1
    assert compiled.read_rows(np.array([0, 2, 1], np.int32), 3, 64, 1, runs=1) > 0


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_every_contender_that_is_there_computes_the_same():
    graph = graphs.power_law(40, 300, seed=3)
    for made in (cases.sums(graph, 16, 1), cases.sorts(graph, 1)):
        rows = aggregation._timed("sum", graph, made, 1, FAST)
        assert {r["contender"] for r in rows} == set(made)
        for row in rows:
            missing = row.get("missing", "")
            assert "wrong" not in missing, row
            assert missing or row["median_ms"] > 0


def test_reports_are_whole_and_with_holes():
    rows = [
        {"kind": "sum", "graph": aggregation.LARGE, "width": 64, "threads": 2, "contender": name, "edges": 2_000_000}
        for name in cases.SUMS
    ]
    text = aggregation.report(rows, [2])
    assert "not measured" in text
    for row, time in zip(rows, (400.0, 400.0, 40.0, 2500.0, 10.0, 10.0, 12.0, 2.0, 2.0, 3.0, 4.0), strict=True):
        row |= {"median_ms": time, "min_ms": time, "load": 0.1, "others": 0.5, "runs": 11, "repeats": 1}
    text = aggregation.report(rows, [2])
    assert "| SpMM f32, F = 64 " in text
    assert "250x" in text
    assert "reached" in text
    assert "not quiet" in unquiet(rows)[0]
    own = [{"case": "gcn-cora", "threads": 2, "contender": n} for n in (models.EAGER, models.INT8)]
    own[0] |= {"median_ms": 9.0, "load": 0.1, "others": 0.0, "runs": 11, "repeats": 1}
    own[1] |= {"missing": "not there"}
    assert "gcn-cora, ours INT8: not there" in models.report(own, [2])


def test_reports_on_models_of_edges():
    def row(contender, time, **more):
        found = {"threads": 1, "load": 0.1, "others": 0.0, "runs": 3, "repeats": 1, "model": "PNA", **more}
        return {**found, **({"median_ms": time} if time else {"missing": "not there"}), **contender}

    size = {"size": "Cora"}
    own = [row({"recipe": recipe}, time, **size) for recipe, time in (("none", 2.0), ("dq-int8", 4.0), ("a2q", 1.0))]
    text = int8_against_fp32.report(own, [1], {"PNA": {"static-int8": "no products"}})
    assert "**0.5x**" in text
    assert "2x" in text
    assert "slower than fp32: 1 cells, worst 0.5x" in text
    assert "* PNA, static-int8: no products" in text
    text = peers.report(
        [row({"contender": n}, t) for n, t in (("PyG eager", 9.0), ("OpenVINO", 0), ("ours INT8", 3))], [1]
    )
    assert "| PNA   |        3x |" in text
    assert "* PNA, OpenVINO: not there" in text


def test_peers_compare_before_they_time():
    model = edge_models.MODELS["GIN"]
    peers_rows = peers.measure(model, Path("nowhere"), [peers.EAGER, peers.FP32], 1, FAST)
    assert peers_rows[0]["relative_error"] == 0.0
    assert peers_rows[0]["median_ms"] > 0
    assert "missing" in peers_rows[1]
    with pytest.raises(ValueError, match="logits of shape"):
        peers._error(np.zeros(2), np.ones(3))


def test_turns_and_tables():
    timing = take_turns({"a": lambda: None, "b": lambda: sum(range(1000))}, FAST)
    assert timing["b"].median_ms > timing["a"].median_ms > 0
    assert finder([{"a": 1, "median_ms": 2.0}])(a=1) == 2.0
    assert finder([{"a": 1}])(a=1) is None
    assert goals_table([]).startswith("| what")
    assert table(["x"], [["long cell"]]).count("\n") == 2


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "warned"), [("GINE", 20), ("GATv2", 0)])
def test_the_guard_warns_of_ten_times_the_edges_where_they_change_a_range(layer: str, warned: int):
    torch.manual_seed(1)
    row = range_guard.measure(layer, range_guard.layers()[layer](), "static-int8")
    assert (row["alike"]["warned"], row["beyond"]["warned"]) == (0, warned)
    assert max(row[what]["largest_error_without_warning"] for what in ("alike", "beyond")) < 0.5
