"""Products and sums over neighbours commute; the narrower side of the product is where the sum is cheaper.

    TransformFirst  (sum of neighbours of x) W -> sum of neighbours of (x W), where W makes rows narrower
    AggregateFirst  sum of neighbours of (x W) -> (sum of neighbours of x) W, where W makes rows wider
    BiasJoins       (a + bias) + x W -> a + Gemm(x, W, bias): one pass over the rows less (SAGE)

Sums, means and weighted sums, with scales of rows in between; GIN's own row, added to the sum, goes along. A tensor
that a quantization point rounds stays where training put it: nothing moves past a point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from edgegnn.exporting.rewrite.codes import dequantized_weight
from edgegnn.exporting.rewrite.functions import DOMAIN
from edgegnn.exporting.rewrite.graph_editor import Sheet, alone, made_by, number, rank, tail_of, uniform
from edgegnn.exporting.rewrite.rule import M, Miss, Rule

__all__ = ["AggregateFirst", "BiasJoins", "TransformFirst"]

_LINEAR = {"SpMM", "SpMMMean", "SpMMWeighted"}


@dataclass(frozen=True)
class _Chain:
    """Sums over neighbours and scales of rows, one after the other.

    Attributes:
        product: the Gemm or MatMul.
        start: what goes in first, [N, K].
        steps: the nodes, in order; each takes its rows as input 0 but for Mul, where they may be either.
        own: the value, computed from `start`, that is added at the end, or None; and the Add.
    """

    product: ir.Node
    start: ir.Value
    steps: tuple[ir.Node, ...]
    own: ir.Value | None = None
    add: ir.Node | None = None


def _product(node: ir.Node | None) -> ir.Node | None:
    """A product of rows with a weight."""
    if node is None or node.domain or node.op_type not in {"Gemm", "MatMul"} or number(node, "transA"):
        return None
    weight = node.inputs[1]
    dequantize = dequantized_weight(weight)
    constant = weight if dequantize is None else dequantize.inputs[0]
    return node if constant is not None and constant.is_initializer() and rank(weight) == 2 else None


def _widths(node: ir.Node) -> tuple[int, int]:
    """Channels in and out; (0, 0) when they are not known."""
    weight = node.inputs[1]
    sizes = [] if weight is None or weight.shape is None else [s for s in weight.shape if isinstance(s, int)]
    if len(sizes) != 2:
        return 0, 0
    return (sizes[1], sizes[0]) if number(node, "transB") else (sizes[0], sizes[1])


def _rows_of(node: ir.Node) -> ir.Value | None:
    """The rows that a step of a chain takes; None when the node is no such step."""
    if node.domain == DOMAIN:
        x = node.inputs[0] if node.op_type in _LINEAR else None
        return x if rank(x) == 2 and (node.op_type != "SpMMWeighted" or _one_weight(node.inputs[1])) else None
    if node.op_type != "Mul":
        return None
    for rows, scale in (node.inputs, reversed(node.inputs)):
        if rows is not None and scale is not None and rank(rows) == 2 and _per_row(scale):
            return rows
    return None


def _one_weight(w: ir.Value | None) -> bool:
    tail = None if w is None else tail_of(w)
    return tail is not None and all(size == 1 for size in tail)


def _per_row(value: ir.Value) -> bool:
    """Whether a factor is the same for all channels."""
    return uniform(value) is not None or (rank(value) == 2 and tail_of(value) == (1,))


def _down(value: ir.Value | None) -> tuple[ir.Value | None, tuple[ir.Node, ...]]:
    """Follow steps upstream as far as nothing else uses what is between them."""
    steps: list[ir.Node] = []
    while value is not None and alone(value) and (node := value.producer()) is not None:
        rows = _rows_of(node)
        if rows is None:
            break
        steps.insert(0, node)
        value = rows
    while steps and steps[0].domain != DOMAIN:  # scales alone are no reason to move anything
        node = steps.pop(0)
        value = node.outputs[0]
    return value, tuple(steps)


class _Float(Rule[M]):
    """A rule for models without quantization."""

    def check(self, match: M, sheet: Sheet) -> str | None:
        """No integers anywhere."""
        quantized = any(n.op_type.endswith(("QuantizeLinear", "Integer")) for n in sheet.graph)
        return "quantized models keep the order that they were trained in" if quantized else None


class TransformFirst(Rule[_Chain]):
    """A product after a sum, that makes rows narrower; in a quantized model, one that reads the sum itself."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Chain | Miss | None:
        """The product."""
        product = _product(node)
        if product is None or _widths(product)[0] <= _widths(product)[1]:
            return None
        start, steps = _down(product.inputs[0])
        if start is not None and steps:
            return _Chain(product, start, steps)
        before = made_by(product.inputs[0], *_LINEAR)
        if before is not None and before.domain == DOMAIN and not alone(before.outputs[0]):
            return Miss("the product makes rows narrower, but other nodes use the sum in front of it, too", before)
        add = made_by(product.inputs[0], "Add")
        if add is None or not alone(add.outputs[0]):
            return None
        for summed, own in (add.inputs, reversed(add.inputs)):
            start, steps = _down(summed)
            if start is not None and steps and own is not None and _own_row(own, start):
                return _Chain(product, start, steps, own, add)
        return None

    def rewrite(self, match: _Chain, sheet: Sheet) -> ir.Value:
        """The product first, then the steps, then the bias."""
        node, out = match.product, match.product.outputs[0]
        width = _widths(node)[1]
        first = match.steps[0]

        def narrow(value: ir.Value) -> list[int | ir.SymbolicDim | None]:
            return [None if value.shape is None else value.shape[0], width]

        attributes = {k: v for k, v in node.attributes.items() if k in {"alpha", "transB"}}
        inputs = [match.start, node.inputs[1]]
        new = sheet.make(node.op_type, inputs, attributes, at=node, dtype=out.dtype, shape=narrow(match.start))
        transformed = new
        for step in match.steps:
            new = _again(sheet, step, new, node, narrow(step.outputs[0]))
        if match.own is not None:
            own = transformed
            scale = made_by(match.own, "Mul")
            if match.own is not match.start and scale is not None:
                own = _again(sheet, scale, own, node, narrow(match.own))
            new = sheet.make("Add", [new, own], at=node, like=out)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        assert first.domain == DOMAIN
        return new if bias is None else sheet.make("Add", [new, bias], at=node, like=out)


def _own_row(own: ir.Value, start: ir.Value) -> bool:
    """Whether a value is the rows themselves, times a number at most."""
    if own is start:
        return True
    scale = made_by(own, "Mul")
    return scale is not None and alone(own) and _rows_of(scale) is start


def _again(
    sheet: Sheet, step: ir.Node, rows: ir.Value, at: ir.Node, shape: list[int | ir.SymbolicDim | None]
) -> ir.Value:
    """A step once more, for other rows."""
    old = _rows_of(step)
    inputs = [rows if value is old else value for value in step.inputs]
    made = sheet.make(step.op_type, inputs, step.attributes, at=at, like=rows, shape=shape, domain=step.domain)
    node = made.producer()
    assert node is not None
    node.metadata_props.clear()
    node.metadata_props.update(step.metadata_props)
    node.name = step.name
    return made


class AggregateFirst(_Float[_Chain]):
    """A product before a sum, that makes rows wider."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> _Chain | Miss | None:
        """The last step, a sum or a scale, before rows are used for something else."""
        if _rows_of(node) is None or self._goes_on(node):
            return None
        steps: list[ir.Node] = []
        value: ir.Value | None = node.outputs[0]
        while value is not None and (made := value.producer()) is not None and (rows := _rows_of(made)) is not None:
            if steps and not alone(value):
                return None
            steps.insert(0, made)
            value = rows
        product = _product(None if value is None else value.producer())
        summed = next((step for step in steps if step.domain == DOMAIN), None)
        start = None if product is None else product.inputs[0]
        if product is None or value is None or summed is None or start is None:
            return None
        if _widths(product)[0] >= _widths(product)[1]:
            return None
        if not alone(value):
            return Miss("the product in front makes rows wider, but other nodes use them, too", summed)
        if len(product.inputs) > 2:
            return Miss("the product in front makes rows wider, but it has a bias", summed)
        return _Chain(product, start, tuple(steps))

    @staticmethod
    def _goes_on(node: ir.Node) -> bool:
        out = node.outputs[0]
        users: Callable[[], list[ir.Node]] = lambda: [use.node for use in out.uses()]  # noqa: E731
        return alone(out) and any(_rows_of(user) is out for user in users())

    def rewrite(self, match: _Chain, sheet: Sheet) -> ir.Value:
        """The steps first, then the product."""
        node, out = match.steps[-1], match.steps[-1].outputs[0]
        width = _widths(match.product)[0]
        new = match.start
        for step in match.steps:
            value = step.outputs[0]
            shape = [None if value.shape is None else value.shape[0], width]
            new = _again(sheet, step, new, node, shape)
        inputs = [new, match.product.inputs[1]]
        made = sheet.make(match.product.op_type, inputs, match.product.attributes, at=node, like=out)
        product = made.producer()
        assert product is not None
        product.name = match.product.name
        product.metadata_props.clear()
        product.metadata_props.update(match.product.metadata_props)
        return made


class BiasJoins(_Float[tuple[ir.Node, ir.Value, ir.Value, ir.Node]]):
    """A bias beside a sum, which a product added to the same sum can take."""

    def pattern(self, node: ir.Node, sheet: Sheet) -> tuple[ir.Node, ir.Value, ir.Value, ir.Node] | Miss | None:
        """(the last Add, what the bias is added to, the bias, the product)."""
        if node.op_type != "Add":
            return None
        miss = None
        for left, right in (node.inputs, reversed(node.inputs)):
            product, inner = _product(made_by(right, "Gemm")), made_by(left, "Add")
            if product is None or inner is None or left is None or right is None:
                continue
            summed, bias = inner.inputs
            if summed is None or bias is None or not bias.is_initializer():
                continue
            if rank(bias) != 1 or bias.shape is None or bias.shape[0] != _widths(product)[1]:
                miss = Miss("what is added to the sum is not one number for each column of the product")
            elif len(product.inputs) > 2:
                miss = Miss("the product that could take the bias has one of its own")
            elif not alone(left) or not alone(right):
                miss = Miss("other nodes use the sum or the product that the bias is added to, too")
            else:
                return node, summed, bias, product
        return miss

    def rewrite(self, match: tuple[ir.Node, ir.Value, ir.Value, ir.Node], sheet: Sheet) -> ir.Value:
        """The bias as the product's third input."""
        node, summed, bias, product = match
        out = product.outputs[0]
        attributes = {k: v for k, v in product.attributes.items() if k in {"alpha", "transB"}}
        with_bias = sheet.make("Gemm", [*product.inputs[:2], bias], attributes, at=node, like=out)
        made = with_bias.producer()
        assert made is not None
        made.name = product.name
        return sheet.make("Add", [summed, with_bias], at=node, like=node.outputs[0])
