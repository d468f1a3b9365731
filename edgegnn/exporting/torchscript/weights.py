"""Constant weights: quantized ones as integer codes, pruned ones without their zeros.

A pruned weight is multiplied in CSR form where that is faster on a real graph, and densely where not; a file holds it
without its zeros either way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from edgegnn.exporting.torchscript import kernels
from edgegnn.exporting.torchscript.program import Program
from edgegnn.exporting.torchscript.timing import evaluate, milliseconds
from edgegnn.quantize.ops import code_range

__all__ = ["LayerChoice", "compact_weights", "is_quantizer", "sparse_layers"]

_ATEN = torch.ops.aten
MOST = 0.9  # share of entries that are not zero, up to which a weight counts as pruned
_PRODUCTS = (_ATEN.linear.default, _ATEN.mm.default, _ATEN.matmul.default)


@dataclass(frozen=True)
class LayerChoice:
    """How the product with a pruned weight is computed; field names are those of the manifest.

    Attributes:
        layer: path of the weight.
        density: share of entries that are not zero.
        dense_ms: milliseconds of the dense product on the graph that was measured, all uses together.
        sparse_ms: the same in CSR form.
        choice: "sparse" or "dense".
    """

    layer: str
    density: float
    dense_ms: float
    sparse_ms: float
    choice: str


@dataclass
class _Weight:
    """A constant matrix: `node` gives its values; codes, scale and zero point when it is quantized."""

    node: fx.Node
    name: str
    values: Tensor
    codes: Tensor | None = None
    scale: Tensor | None = None
    zero_point: Tensor | None = None


def sparse_layers(program: Program, inputs: Mapping[str, Tensor], *, always: bool | None = None) -> list[LayerChoice]:
    """Multiply pruned weights in CSR form where that is faster, in place.

    Args:
        program: the model.
        inputs: the graph to measure on.
        always: True: all of them; False: none; None: as measured.

    Returns:
        One entry for each pruned weight that is multiplied with.
    """
    choices = []
    for weight in _weights(program):
        density = float(torch.count_nonzero(weight.values)) / max(1, weight.values.numel())
        uses = [use for use in weight.node.users if _is_product(use, weight.node)]
        if density > MOST or weight.values.dim() != 2 or not uses:
            continue
        found = evaluate(program, inputs, {use.args[0] for use in uses})  # type: ignore[misc]
        dense = sparse = 0.0
        matrix = _csr(_oriented(weight.values, uses[0]))
        for use in uses:
            x, bias = found[use.args[0]], _bias(program, use)  # type: ignore[index]
            dense += milliseconds(partial(_dense, use, x, weight.values, bias))
            sparse += milliseconds(partial(kernels.sparse_linear, x, *matrix, bias))
        chosen = (sparse < dense if always is None else always) and len({_transposed(use) for use in uses}) == 1
        if chosen:
            _multiply_sparse(program, weight, uses)
        times = (round(dense, 4), round(sparse, 4))
        choices.append(LayerChoice(weight.name, round(density, 4), *times, "sparse" if chosen else "dense"))
    program.tidy()
    return choices


def compact_weights(program: Program) -> None:
    """Hold quantized weights as codes and pruned ones without their zeros, in place."""
    for weight in _weights(program):
        stored = weight.values if weight.codes is None else weight.codes
        full = program.constant(f"{weight.name}.codes", stored) if weight.codes is not None else weight.node
        nonzero = int(torch.count_nonzero(stored))
        if nonzero * stored.element_size() + stored.numel() / 8 < MOST * stored.numel() * stored.element_size():
            bits = program.constant(f"{weight.name}.bits", _packed(stored != 0))
            values = program.constant(f"{weight.name}.values", stored[stored != 0])
            full = _before_uses(program, weight.node, kernels.filled, (bits, values, list(stored.shape)))
        elif weight.codes is None:
            continue
        if weight.codes is not None:
            full = _before_uses(program, weight.node, kernels.dequantize, (full, *_parameters(program, weight)))
        weight.node.replace_all_uses_with(full)
    program.tidy()


# Weights ------------------------------------------------------------


def _weights(program: Program) -> list[_Weight]:
    """All float constants of two or more dimensions, and the quantized ones among them."""
    found = []
    for node, value in list(program.constants.items()):
        for user in list(node.users):
            if str(user.target) == "edgegnn.fake_quantize.default" and user.args[0] is node:
                quantized = _quantized(program, node, user)
                if quantized is not None:
                    found.append(quantized)
        if value.is_floating_point() and value.dim() >= 2 and any(not is_quantizer(u) for u in node.users):
            found.append(_Weight(node, program.names[node], value))
    return found


def is_quantizer(node: fx.Node) -> bool:
    """Whether a node is a quantization point."""
    return str(node.target) in ("edgegnn.fake_quantize.default", "edgegnn.learnt_quantize.default")


def _quantized(program: Program, node: fx.Node, user: fx.Node) -> _Weight | None:
    x, scale, zero_point = (program.constants.get(a) for a in user.args[:3])  # type: ignore[arg-type]
    if x is None or scale is None or zero_point is None:
        return None
    axis, bits = user.args[3:5]
    assert isinstance(axis, int)
    assert isinstance(bits, int)
    if axis >= 0:
        shape = [1] * x.dim()
        shape[axis] = -1
        scale, zero_point = scale.view(shape), zero_point.view(shape)
    codes = torch.div(x, scale).round_().add_(zero_point).clamp_(*code_range(bits)).to(torch.int8)
    values = kernels.dequantize(codes, scale, zero_point)
    return _Weight(user, str(user.args[5]), values, codes, scale, zero_point)


def _parameters(program: Program, weight: _Weight) -> tuple[fx.Node, fx.Node]:
    assert weight.scale is not None
    assert weight.zero_point is not None
    scale = program.constant(f"{weight.name}.scale", weight.scale)
    return scale, program.constant(f"{weight.name}.zero_point", weight.zero_point.to(torch.int8))


def _packed(flags: Tensor) -> Tensor:
    """Eight flags in a byte, the lowest bit first."""
    flat = flags.reshape(-1).to(torch.uint8)
    flat = torch.cat([flat, flat.new_zeros(-flat.numel() % 8)]).view(-1, 8)
    return (flat << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


# Products ------------------------------------------------------------


def _is_product(node: fx.Node, weight: fx.Node) -> bool:
    return node.target in _PRODUCTS and len(node.args) > 1 and node.args[1] is weight and node.args[0] is not weight


def _transposed(use: fx.Node) -> bool:
    """Whether the weight is [in, out]."""
    return use.target is not _ATEN.linear.default


def _oriented(values: Tensor, use: fx.Node) -> Tensor:
    """The weight as [out, in]."""
    return values.t() if _transposed(use) else values


def _bias(program: Program, use: fx.Node) -> Tensor | None:
    node = use.args[2] if len(use.args) > 2 else None
    return program.constants.get(node) if isinstance(node, fx.Node) else None


def _dense(use: fx.Node, x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
    return _ATEN.linear(x, weight, bias) if use.target is _ATEN.linear.default else torch.matmul(x, weight)


def _csr(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers and columns (int32), and values of what is not zero in a matrix."""
    rows, columns = torch.nonzero(matrix, as_tuple=True)
    rowptr = torch.zeros(matrix.shape[0] + 1, dtype=torch.int32)
    rowptr[1:] = torch.bincount(rows, minlength=matrix.shape[0]).cumsum(0)
    return rowptr, columns.to(torch.int32), matrix[rows, columns]


def _multiply_sparse(program: Program, weight: _Weight, uses: list[fx.Node]) -> None:
    parts = zip(("rowptr", "columns", "values"), _csr(_oriented(weight.values, uses[0])), strict=True)
    matrix = [program.constant(f"{weight.name}.{what}", value) for what, value in parts]
    for use in uses:
        bias = use.args[2] if len(use.args) > 2 else None
        with program.graph.inserting_before(use):
            new = program.graph.call_function(kernels.sparse_linear, (use.args[0], *matrix, bias))
        new.meta = dict(use.meta)
        use.replace_all_uses_with(new)
        program.graph.erase_node(use)


def _before_uses(program: Program, node: fx.Node, function: Any, args: tuple[Any, ...]) -> fx.Node:
    """A call in front of every computation: what it takes is constant."""
    first = next(n for n in program.graph.nodes if n.op != "placeholder")
    previous = [a for a in args if isinstance(a, fx.Node) and a.op == "call_function"]
    with program.graph.inserting_after(previous[-1]) if previous else program.graph.inserting_before(first):
        new = program.graph.call_function(function, args)
    new.meta = {"val": node.meta.get("val")}
    return new
