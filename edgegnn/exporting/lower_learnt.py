"""From points with learnt steps and widths (A2Q) to integer codes with a scale for each row or column.

`edgegnn::learnt_quantize` leaves as

    y = clip(x / step, low, top)     step and top: constants `[rows, 1]` or `[1, columns]`, or looked up by group
    Q -> DQ                          uint8, scale 1, zero point 128 (0 where there is no sign)
    x_q = DQ * step                  which a product or a sum takes into its epilogue (`rewrite/integer.py`)

A fixed graph's widths are stored as 4-bit numbers B - 1, and top = 2^(B - 1) - 1 is looked up. For any graph the
nearest group is found from its reach, by counting the boundaries below a row's largest value: all of them up to 64
groups, else in two steps of their square root, so that 1,000 groups cost a row 64 comparisons. In the file a group
takes 16 bits for its step and 4 for its width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnxscript.values import Op, Opset

from edgegnn.errors import ExportError
from edgegnn.exporting.qdq import constant

__all__ = ["LEARNT", "learnt_placeholder", "lower_learnt_quantize"]

LEARNT = "edgegnn::learnt_quantize"
_DOMAIN, _OP = "edgegnn", "LearntQuantize"
_ONE_STEP = 64  # groups, up to which every boundary is compared


def learnt_placeholder() -> Any:
    """How the exporter translates the operator: to a placeholder that no optimizer looks into."""
    parameter, kinds = onnx.defs.OpSchema.FormalParameter, onnx.defs.OpSchema.AttrType
    schema = onnx.defs.OpSchema(
        _OP,
        _DOMAIN,
        1,
        inputs=[
            parameter("x", "T"),
            parameter("step", "T"),
            parameter("bits", "tensor(int8)"),
            parameter("boundaries", "T"),
        ],
        outputs=[parameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[
            onnx.defs.OpSchema.Attribute("axis", kinds.INT),
            onnx.defs.OpSchema.Attribute("signed", kinds.INT),
            onnx.defs.OpSchema.Attribute("name", kinds.STRING),
        ],
    )
    placeholder = Op(Opset(_DOMAIN, 1), _OP, schema)

    def learnt_quantize(x, step, bits, boundaries, axis: int, signed: bool, name: str):  # type: ignore[no-untyped-def]
        return placeholder(x, step, bits, boundaries, axis=axis, signed=int(signed), name=name)

    return learnt_quantize


def lower_learnt_quantize(model: ir.Model) -> None:
    """Put codes in the place of the placeholders, in place.

    Raises:
        ExportError: a step is computed by the graph instead of being a constant.
    """
    used: dict[str, int] = {}
    for node in [n for n in model.graph if n.domain == _DOMAIN and n.op_type == _OP]:
        name = node.attributes["name"].as_string()
        used[name] = used.get(name, 0) + 1
        _Point(model.graph, node, name if used[name] == 1 else f"{name}:{used[name]}").lower()
    model.graph.opset_imports.pop(_DOMAIN, None)


class _Point:
    """One placeholder, and the nodes that take its place."""

    def __init__(self, graph: ir.Graph, node: ir.Node, name: str) -> None:
        tensors = [None if v is None else ir.convenience.get_const_tensor(v) for v in node.inputs[1:4]]
        if any(t is None for t in tensors):
            raise ExportError(f"the steps of quantization point {name} are no constants: freeze the model first")
        self.step, bits, self.boundaries = (t.numpy() for t in tensors if t is not None)
        self.bits = bits.astype(np.int64)
        self.graph, self.node, self.name = graph, node, name
        self.axis, self.signed = node.attributes["axis"].as_int(), node.attributes["signed"].as_int() == 1
        self.rows = None if node.inputs[0] is None or node.inputs[0].shape is None else node.inputs[0].shape[0]
        self.new: list[ir.Node] = []

    def lower(self) -> None:
        """Replace the placeholder."""
        x, old = self.node.inputs[0], self.node.outputs[0]
        assert x is not None
        step, top = self._looked_up(x) if self.boundaries.size else self._constant()
        scaled = self._make("Div", [x, step])
        if isinstance(top, float):
            limits = [self._number(end, np.float32(v)) for end, v in (("low", -top * self.signed), ("high", top))]
            inside = self._make("Clip", [scaled, *limits], name=f"{self.name}/Clip")
        else:
            low = self._make("Neg", [top]) if self.signed else self._number("low", np.float32(0))
            inside = self._make("Max", [self._make("Min", [scaled, top]), low])
        one, zero = self._number("one", np.float32(1)), self._number("zero_point", np.uint8(128 * self.signed))
        codes = self._make("QuantizeLinear", [inside, one, zero], name=f"{self.name}/Q", dtype=ir.DataType.UINT8)
        codes.name = f"{self.name}.codes"
        whole = self._make("DequantizeLinear", [codes, one, zero], name=f"{self.name}/DQ")
        out = self._make("Mul", [whole, step])
        for node in self.new:
            node.metadata_props.update(self.node.metadata_props)
            for value in node.outputs:
                if value.shape is None and value is not step and value is not top:
                    value.shape = old.shape
        out.name, out.type = old.name, old.type
        ir.convenience.replace_nodes_and_values(self.graph, self.node, [self.node], self.new, [old], [out])

    def _constant(self) -> tuple[ir.Value, ir.Value | float]:
        """Steps and largest codes, in the shape that spreads over rows or columns; a number where all are one."""
        shape = (1, -1) if self.axis else (-1, 1)
        step = self._number("step", self.step.reshape(shape))
        if (self.bits == self.bits[0]).all():
            return step, float(2.0 ** (self.bits[0] - 1) - 1)
        width = constant(self.graph, f"{self.name}.bits", self.bits.reshape(shape) - 1, ir.DataType.INT4)
        return step, self._top_of(width, list(self.bits.reshape(shape).shape))

    def _top_of(self, width: ir.Value, shape: list[Any]) -> ir.Value:
        """2^w - 1 of 4-bit widths w = B - 1."""
        table = self._number("tops", np.asarray([2.0**w - 1 for w in range(8)], np.float32))
        byte = self._make("Cast", [width], {"to": ir.DataType.INT8.value}, dtype=ir.DataType.INT8, shape=shape)
        index = self._make("Cast", [byte], {"to": ir.DataType.INT64.value}, dtype=ir.DataType.INT64, shape=shape)
        return self._make("Gather", [table, index], {"axis": 0}, shape=shape)

    def _looked_up(self, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Step and largest code of the group that reaches closest to a row's largest value, `[rows, 1]` each."""
        step, top, boundaries = self._groups()
        values = self._make("Abs", [x]) if self.signed else x
        axis = self._number("axis", np.asarray([1], np.int64))
        largest = self._make("ReduceMax", [values, axis], {"keepdims": 1}, shape=[self.rows, 1])
        groups = len(self.step)
        if groups <= _ONE_STEP:
            group = self._count_below(largest, self._shaped("row", boundaries, [1, groups - 1]))
        else:
            side = math.ceil(math.sqrt(groups))
            infinite = np.full(side * side - groups + 1, np.inf, np.float32)  # none reaches the last group's upper end
            padded = self._make("Concat", [boundaries, self._number("infinite", infinite)], {"axis": 0})
            padded.shape = ir.Shape([side * side])
            ends = self._shaped("row", self._sliced(padded, side - 1, side * (side - 1), side), [1, side - 1])
            block = self._count_below(largest, ends)
            blocks = self._shaped("square", padded, [side, side])
            within = self._make("Gather", [blocks, block], {"axis": 0}, shape=[self.rows, side])
            number, size = self._count_below(largest, within), self._number("side", np.asarray(side, np.int32))
            first = self._make("Mul", [block, size], dtype=ir.DataType.INT32, shape=[self.rows])
            group = self._make("Add", [first, number], dtype=ir.DataType.INT32, shape=[self.rows])
        tables = [self._shaped("column", values, [groups, 1]) for values in (step, top)]
        step, top = (self._make("Gather", [t, group], {"axis": 0}, shape=[self.rows, 1]) for t in tables)
        return step, top

    def _groups(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Steps and largest codes of the groups, `[groups]`, and where they meet, `[groups - 1]`.

        The file has two bytes and a half for each; the runtime works the rest out once, when it loads the model.
        """
        groups = len(self.step)
        short = constant(self.graph, f"{self.name}.step", self.step, ir.DataType.BFLOAT16)
        step = self._make("Cast", [short], {"to": ir.DataType.FLOAT.value}, shape=[groups])
        width = constant(self.graph, f"{self.name}.bits", self.bits - 1, ir.DataType.INT4)
        top = self._top_of(width, [groups])
        reach = self._make("Mul", [step, top], shape=[groups])
        lower, upper = self._sliced(reach, 0, groups - 1), self._sliced(reach, 1, groups)
        both = self._make("Add", [lower, upper], shape=[groups - 1])
        return step, top, self._make("Mul", [both, self._number("half", np.float32(0.5))], shape=[groups - 1])

    def _sliced(self, values: ir.Value, start: int, end: int, by: int = 1) -> ir.Value:
        """Every `by`th one of a constant row from `start`, before `end`."""
        place = [self._number(str(n), np.asarray([n], np.int64)) for n in (start, end, 0, by)]
        return self._make("Slice", [values, *place], shape=[len(range(start, end, by))])

    def _shaped(self, end: str, values: ir.Value, shape: list[int]) -> ir.Value:
        return self._make("Reshape", [values, self._number(end, np.asarray(shape, np.int64))], shape=list(shape))

    def _count_below(self, largest: ir.Value, boundaries: ir.Value) -> ir.Value:
        """How many boundaries of a row lie below its largest value, int32 `[rows]`."""
        sizes = [self.rows, None if boundaries.shape is None else boundaries.shape[1]]
        below = self._make("Less", [boundaries, largest], dtype=ir.DataType.BOOL, shape=sizes)
        ones = self._make("Cast", [below], {"to": ir.DataType.INT32.value}, dtype=ir.DataType.INT32, shape=sizes)
        axis = self._number("axis", np.asarray([1], np.int64))
        return self._make("ReduceSum", [ones, axis], {"keepdims": 0}, dtype=ir.DataType.INT32, shape=[self.rows])

    def _number(self, end: str, values: npt.ArrayLike) -> ir.Value:
        """A constant `<point>.<end>`; the same one when it is asked for again."""
        name = f"{self.name}.{end}"
        known = self.graph.initializers.get(name)
        return constant(self.graph, name, values) if known is None else known

    def _make(
        self,
        kind: str,
        inputs: list[ir.Value],
        attributes: dict[str, Any] | None = None,
        *,
        name: str = "",
        dtype: ir.DataType = ir.DataType.FLOAT,
        shape: list[Any] | None = None,
    ) -> ir.Value:
        node = ir.node(kind, inputs, attributes, name=name or None)
        (out,) = node.outputs
        out.dtype, out.shape = dtype, None if shape is None else ir.Shape(shape)
        self.new.append(node)
        return out
