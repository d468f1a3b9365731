"""Small constants count: what is added before a division, a root or a logarithm is in the artifact, however small."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as gnn
from capture_example import session
from torch import nn

from edgegnn.exporting.capture import capture
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.exporting.simplify import simplify

CONSTANTS = (1e-38, 1e-15, 1e-9, 1e-6, 1e38)
PATTERNS = {
    "x + c": lambda x, c: x + c,
    "x - c": lambda x, c: x - c,
    "c - x": lambda x, c: c - x,
    "x * c": lambda x, c: x * c,
    "x * (1 + c)": lambda x, c: x * (1 + c),
    "x / c": lambda x, c: x / c,
    "c / x": lambda x, c: c / x,
    "x / (|x| + c)": lambda x, c: x / (x.abs() + c),
    "1 / max(x, c)": lambda x, c: 1 / torch.maximum(x, torch.tensor(c)),
    "min": lambda x, c: torch.minimum(x, torch.tensor(c)),
    "clamp": lambda x, c: x.clamp(-c, c),
    "1 / clamp": lambda x, c: 1 / x.clamp(min=c),
    "clamp twice": lambda x, c: x.clamp(0, c).clamp(2 * c, 3 * c),
    "relu of clamp": lambda x, c: x.clamp(-2 * c, -c).relu(),
    "clamp of relu": lambda x, c: x.relu().clamp(c / 2, c),
    "where": lambda x, c: torch.where(x.abs() <= c, c, x),
    "sqrt": lambda x, c: torch.sqrt(x.abs() + c),
    "log": lambda x, c: torch.log(x.abs() + c),
    "rsqrt": lambda x, c: torch.rsqrt(x.abs() + c),
    "pow": lambda x, c: (x.abs() + c).pow(-0.5),
    "exp": lambda x, c: torch.exp(-x.abs() * c),
    "log1p": lambda x, c: torch.log1p(x.abs() * c),
    "expm1": lambda x, c: torch.expm1(-x.abs() * c),
}
VALUES = (
    0.0,
    1e-38,
    -1e-38,
    3e-30,
    -2e-15,
    1e-12,
    -1e-9,
    2e-8,
    1e-6,
    0.1,
    -0.5,
    1.0,
    3.0,
    -7.0,
    20.0,
    1e8,
    -1e20,
    1e38,
)


class Elementwise(nn.Module):
    def forward(self, x, edge_index):
        return torch.cat([pattern(x, c) for pattern in PATTERNS.values() for c in CONSTANTS], dim=1)


class Norms(nn.Module):
    """Constants inside norms, in a table of the smallest that people write."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(
            [
                nn.LayerNorm(4, eps=1e-12),
                nn.BatchNorm1d(4, eps=1e-12),
                nn.GroupNorm(2, 4, eps=1e-12),
                gnn.GraphNorm(4, eps=1e-12),
                gnn.PairNorm(),
                gnn.LayerNorm(4, eps=1e-9),
                gnn.MessageNorm(learn_scale=True),
            ]
        )
        self.norms[1].running_var.zero_()

    def forward(self, x, edge_index):
        *norms, message = self.norms
        found = [message(x, x), *(norm(x) for norm in norms)]
        found += [
            F.normalize(x, eps=1e-30),
            x / (x.sum(1, keepdim=True) + 1e-8),
            x / (x.norm(dim=1, keepdim=True) + 1e-12),
        ]
        vectors = torch.stack([x, x * 0], dim=-1)  # GVP: norms of vectors, kept above a small number
        found.append(x / torch.sqrt(torch.clamp(vectors.square().sum(-1), min=1e-16)))
        similar = x @ x.T  # mincut pooling: by the norm of a matrix
        found.append((similar / (similar.norm() + 1e-15)) @ x)
        p = torch.softmax(1e3 * x, dim=1)
        found += [-(p * torch.log(p + 1e-10)), 1 / torch.sqrt(x.square() + 1e-12)]
        found += [torch.log(torch.sigmoid(40 * x - 30) + 1e-20), F.logsigmoid(40 * x - 30)]
        found.append(torch.atan2(x, -x.abs() - 0.1))
        return torch.cat(found, dim=1)


def both(model, captured, x, edges):
    """PyTorch's answer and the artifact's, as it was captured and with `ai.edgegnn` operators."""
    with torch.no_grad():
        want = model(x, edges).numpy()
    got = []
    for form in (captured, rewrite_proto(captured).model):
        run = session(form)
        inputs = {"x": x.numpy(), "edge_index": edges.numpy()}
        got.append(run.run(None, {i.name: inputs[i.name] for i in run.get_inputs()})[0])
    return want, got


@pytest.mark.slow
def test_every_elementwise_pattern():
    x, edges = torch.tensor(VALUES)[:, None], torch.tensor([[0, 1], [1, 2]])
    model = Elementwise()
    want, got = both(model, capture(model, {"x": x, "edge_index": edges}, kind="node"), x, edges)
    names = [f"{name}, c = {c}" for name in PATTERNS for c in CONSTANTS]
    for answer in got:
        with np.errstate(all="ignore"):
            close = np.abs(want - answer) <= 2e-6 * np.abs(want) + 1e-44
        same = (want == answer) | (np.isnan(want) & np.isnan(answer)) | close
        wrong = [(names[j], VALUES[i], want[i, j], answer[i, j]) for i, j in np.argwhere(~same)]
        assert not wrong, wrong[:5]


@pytest.mark.slow
def test_norms_of_rows_of_zeros_and_of_tiny_numbers():
    torch.manual_seed(0)
    x, edges = torch.randn(9, 4), torch.tensor([[0, 1, 2], [1, 2, 0]])
    x[2], x[3], x[4], x[5] = 0.0, 1e-9, 1e-20, 3.0
    model = Norms().eval()
    want, got = both(model, capture(model, {"x": x, "edge_index": edges}, kind="node"), x, edges)
    assert np.isfinite(want).all()
    for answer in got:
        np.testing.assert_allclose(answer, want, rtol=2e-4, atol=2e-5)


def test_only_what_changes_no_bit_is_dropped():
    """x + 1e-9 is not x, and x + 0 is not where x is -0; x * 1, x - 0 and x + (-0) are."""
    x = ir.Value(name="x", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.FLOAT))
    numbers = {"tiny": 1e-9, "zero": 0.0, "minus_zero": -0.0, "one": 1.0, "nearly": 1.0000001}
    constants = {
        k: ir.Value(name=k, shape=ir.Shape([]), const_value=ir.tensor(np.float32(v))) for k, v in numbers.items()
    }
    steps = [
        ("Add", "tiny"),
        ("Add", "zero"),
        ("Add", "minus_zero"),
        ("Mul", "one"),
        ("Div", "nearly"),
        ("Sub", "zero"),
    ]
    nodes, value = [], x
    for kind, name in steps:
        nodes.append(ir.node(kind, [value, constants[name]]))
        value = nodes[-1].outputs[0]
        value.shape, value.type = x.shape, x.type
    graph = ir.Graph(
        [x], [value], nodes=nodes, initializers=list(constants.values()), opset_imports={"": 18}, name="steps"
    )
    simplify(ir.Model(graph, ir_version=9))
    assert [node.op_type for node in graph] == ["Add", "Add", "Div"]
