"""Coverage: every convolution of PyG and its models, exported with free sizes, rewritten, compared with PyTorch."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_geometric.nn as gnn
from capture_example import graph, other_graphs
from rewrite_example import WAYS, session
from rewrite_layers import CONVS, EDGE_ATTR, ELSEWHERE, MODELS
from sweep import sweep

from edgegnn.exporting.capture import capture
from edgegnn.exporting.rewrite import rewrite_proto

SHORT = ["GCNConv", "SAGEConv"]  # the others take a second or two each


def test_every_convolution_is_listed():
    assert set(gnn.conv.__all__) == set(CONVS) | set(ELSEWHERE)
    assert not set(CONVS) & set(ELSEWHERE)


def test_the_page_has_every_name_of_pyg():
    page = (Path(__file__).parents[3] / "docs" / "coverage.md").read_text()
    for module in (gnn.conv, gnn.aggr, gnn.pool, gnn.models):
        section = page.partition(f"## {module.__name__}\n")[2].partition("\n## ")[0]
        assert section.count("\n| `") == len(module.__all__)
        assert all(f"| `{name}` | " in section for name in module.__all__)
    assert "exported, but" not in page


def check(make, edge_attr):
    """Capture, rewrite, compare on three graphs and the awkward ones; the outcomes."""
    torch.manual_seed(0)
    model = make().eval()
    kind = {"edge_attr": 4} if edge_attr else {}
    captured = capture(model, graph(21, 50, **kind), kind="node")
    made = rewrite_proto(captured)
    rewritten, outcomes = made.model, made.aggregations
    assert outcomes
    runs = {way: run for way in WAYS if (run := session(rewritten, way)) is not None}
    exact = copy.deepcopy(model).double()
    for name, inputs in other_graphs(**kind).items():
        with torch.no_grad():
            want = model(**inputs).numpy()
            best = exact(**{k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}).numpy()
        rounding = float(np.abs(best - want).max(initial=0))  # how far PyTorch's own float32 is off
        for way, run in runs.items():
            (got,) = run.run(None, {k: v.numpy() for k, v in inputs.items() if k in {i.name for i in run.get_inputs()}})
            assert got.shape == want.shape
            tolerance = 2e-5 * max(1.0, float(np.abs(want).max(initial=0))) + 10 * rounding
            np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=f"{name}, {way}")
    return outcomes


def table(name, outcomes):
    lines = [f"{name}: {len([o for o in outcomes if o.rule])} of {len(outcomes)} aggregations on native ops"]
    for o in outcomes:
        lines.append(
            f"    {o.layer or '-'}: {o.aggregation}: {o.rule or 'stays'}{f' ({o.reason})' if o.reason else ''}"
        )
    return "\n".join(lines)


NAMES = sorted({**CONVS, **MODELS})


# Of what CI's sample leaves out here, test_torchscript.py has a sixth; random models draw from all layers.
@pytest.mark.parametrize("name", SHORT)
def test_common_convolution(name):
    test_convolution_or_model(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sweep(NAMES, lambda i: i % 4 == 0 and NAMES[i] not in SHORT))
def test_convolution_or_model(name):
    outcomes = check({**CONVS, **MODELS}[name], name in EDGE_ATTR)
    print(table(name, outcomes))
    assert all(o.rule is not None for o in outcomes), table(name, outcomes)
