"""Collects the statements, tables and buffers of a model while its operators are turned into C."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from edgegnn.errors import ExportError
from edgegnn.plain_c.arena import Buffer, Plan, plan
from edgegnn.plain_c.literals import identifier, table
from edgegnn.plain_c.values import (
    Batch,
    Dim,
    Limits,
    Shape,
    Sizes,
    Tensor,
    Value,
    as_sizes,
    as_tensor,
    count,
    fixed,
    grouped,
)

if TYPE_CHECKING:
    from edgegnn.plain_c.rows import Csr

__all__ = ["CTYPES", "Builder", "Node", "QuantizedTable", "constant_tensor", "pointer"]

Array = npt.NDArray[np.generic]

# numpy type of a constant -> its C type. Index tensors are int32_t: a graph that fits a device has fewer nodes.
CTYPES: Mapping[str, str] = {
    "float32": "float",
    "float64": "double",
    "uint8": "uint8_t",
    "int8": "int8_t",
    "int32": "int32_t",
    "int64": "int32_t",
    "bool": "uint8_t",
}
_MOST_ELEMENTS, _MOST_LETTERS = 2**24, 2**24  # of tables, and of statements
_BYTES = {"float": 4, "double": 8, "int32_t": 4, "uint8_t": 1, "int8_t": 1, "int16_t": 2}


@dataclass(frozen=True)
class QuantizedTable:
    """Float weights that stay codes: `codes * scale`, the scale along `axis` or one for all."""

    codes: Array
    scale: Array
    axis: int


@dataclass(frozen=True)
class Node:
    """One operator of the model.

    Attributes:
        domain: of its type; "" for ONNX's own.
        op: its type.
        name: its name in the ONNX graph, which holds the layer's.
        inputs: names of its inputs, "" where one is left out.
        outputs: names of its outputs.
        attributes: by name.
    """

    domain: str
    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Operator and layer, for a message."""
        return f"the operator {self.op} of {self.name or 'a layer without a name'}"

    def refuse(self, why: str) -> ExportError:
        """The error that says why the operator has no C form."""
        return ExportError(f"{self.title} has no C form yet: {why}; export without --format c")


@dataclass
class Builder:
    """The C code of a model, as far as it is made.

    Attributes:
        limits: the largest graph.
        index_bytes: bytes of a row pointer or a column.
        values: name in the ONNX graph -> what it is in C.
        quantized: name in the ONNX graph -> weights that stay codes.
        outputs: name in the ONNX graph -> the C expression that it is written to.
        declared: name of an output -> its sizes as the ONNX graph has them; of one that it doesn't know, the text "".
        known: name of a float tensor -> the sizes that its elements are.
        uses: name in the ONNX graph -> the nodes that read it.
        producers: name in the ONNX graph -> the node that makes it.
        fused: names that an operator before them has made already.
        kernels: the C functions that are called (`edgegnn.plain_c.kernels`).
        weight_forms: macros that say which forms of weights the kernels of products meet.
        steps: statements, each a unit of the plan of the arena.
        nodes: the number of nodes.
        edges: name of the input that lists the edges, whose numbers are checked to be below `nodes`; "" for none.
        checks: C statements that look for an index out of range, before the first step.
        variables: names of the C variables of sizes that a step finds out.
        graphs: name of row pointers in the ONNX graph -> their graph.
        columns: name of columns in the ONNX graph -> their graph.
        orders: name of places in the edge list in the ONNX graph -> their graph.
    """

    limits: Limits
    nodes: Dim
    edges: str = ""
    index_bytes: int = 4
    values: dict[str, Value] = field(default_factory=dict)
    quantized: dict[str, QuantizedTable] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    known: dict[str, Shape] = field(default_factory=dict)
    declared: dict[str, Shape] = field(default_factory=dict)
    uses: dict[str, list[Node]] = field(default_factory=dict)
    producers: dict[str, Node] = field(default_factory=dict)
    fused: set[str] = field(default_factory=set)
    kernels: set[str] = field(default_factory=set)
    weight_forms: set[str] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    _graphs_of_nodes: dict[str, Tensor] = field(default_factory=dict)
    graphs: dict[str, Csr] = field(default_factory=dict)
    columns: dict[str, Csr] = field(default_factory=dict)
    orders: dict[str, Csr] = field(default_factory=dict)
    _same: set[tuple[str, str]] = field(default_factory=set)
    _tables: dict[str, str] = field(default_factory=dict)
    _table_names: dict[tuple[str, bytes], str] = field(default_factory=dict)
    _sizes: list[tuple[str, str, int, int | None]] = field(default_factory=list)
    _used: dict[int, list[int]] = field(default_factory=dict)
    _elements: int = 0
    _letters: int = 0

    def tensor(self, node: Node, place: int) -> Tensor:
        """The node's input as a tensor; sizes, and the graph of each node, are written to one."""
        name = node.inputs[place]
        value = self.values[name]
        if isinstance(value, Batch):  # written once; it stays a batch for the operators that pool by it
            if name not in self._graphs_of_nodes:
                made = self._graphs_of_nodes[name] = self._numbers(name, (value.nodes,))
                self.loop(value.nodes, f"{made.name}[i] = 0;")
            return self._graphs_of_nodes[name]
        if isinstance(value, Sizes):
            made = self._numbers(name, (fixed(len(value.dims)),))
            self.step("\n".join(f"{made.name}[{i}] = (int32_t){dim.text};" for i, dim in enumerate(value.dims)))
            return made  # it stays sizes for the operators that take sizes
        return as_tensor(value, node.title)

    def sizes(self, node: Node, place: int) -> Shape:
        """The node's input as sizes; those that the model computes are checked and become C variables."""
        value = self.values[node.inputs[place]]
        if not isinstance(value, Tensor) or value.constant is not None:
            return as_sizes(value, node.title)
        if value.elements.fixed is None or value.ctype != "int32_t":
            raise node.refuse("a size depends on more than the numbers of nodes and edges")
        most = self.limits.nodes + self.limits.edges
        found = []
        for i in range(value.elements.fixed):
            size = self.variable("size", most)
            test = f"if ({value.name}[{i}] < 0 || {value.name}[{i}] > {most}) return BAD_SIZES;"
            self.step(f"{test}\n{size.text} = (size_t){value.name}[{i}];")
            found.append(size)
        return tuple(found)

    def same(self, node: Node | None, dims: Sequence[Dim]) -> Dim:
        """The size that all of these are; equal sizes that are spelled in different ways are compared at run time.

        Raises:
            ExportError: two of them are different numbers.
        """
        dims = [Dim(grouped(dim.text), dim.most) for dim in dims]
        texts = list(dict.fromkeys(dim.text for dim in dims))
        known = {dim.fixed for dim in dims if dim.fixed is not None}
        if len(known) > 1:
            what = f"sizes {texts[0]} and {texts[-1]} don't match"
            raise node.refuse(what) if node else ExportError(f"an output has no C form yet: its {what}")
        best = min(dims, key=lambda dim: (dim.fixed is None, len(dim.text) > 1, dim.most))
        for text in texts:
            if text != best.text and (text, best.text) not in self._same:
                self._same.add((text, best.text))
                self.step(f"if ({text} != {best.text}) return BAD_SIZES;")
        return best

    def _numbers(self, name: str, shape: Shape) -> Tensor:
        place = self.buffer(name, "int32_t", count(shape))
        return Tensor(place.name, "int32_t", shape, place.buffer)

    def variable(self, hint: str, most: int) -> Dim:
        """A size that a step of the model finds out, as a C variable."""
        name = f"{hint}{len(self.variables)}"
        self.variables.append(name)
        return Dim(name, most)

    def constant(self, node: Node, place: int) -> Array:
        """The node's input as an array that is the same for every graph.

        Raises:
            ExportError: it differs from graph to graph.
        """
        value = self.tensor(node, place)
        if value.constant is None:
            raise node.refuse(f"its input {node.inputs[place]} differs from graph to graph")
        return value.constant

    def attribute_array(self, node: Node, name: str, default: Array) -> Array:
        """A tensor among the node's attributes, flat."""
        value = node.attributes.get(name)
        return default if value is None else numpy_helper.to_array(value).reshape(-1)

    def index(self, node: Node, place: int) -> Tensor:
        """The node's input as row pointers or columns; a constant graph's become a table."""
        value = self.tensor(node, place)
        if value.constant is None:
            return value
        name = self.table(node.inputs[place], value.constant, "index_t")
        return Tensor(name, "index_t", value.shape)

    def table(self, hint: str, values: Array, ctype: str) -> str:
        """The name of a constant array; equal ones are stored once."""
        key = (ctype, values.tobytes())
        if key not in self._table_names:
            self._elements += values.size
            if self._elements > _MOST_ELEMENTS:
                raise ExportError(
                    f"the model's constants have no C form: they have more than {_MOST_ELEMENTS:,} elements"
                )
            name = f"{identifier(hint)}_{len(self._tables)}"
            self._tables[name] = table(name, ctype, values)
            self._table_names[key] = name
        return self._table_names[key]

    def record(self, hint: str, ctype: str, text: str, number: int = 0) -> str:
        """The name of a constant structure, or of an array of `number` of them."""
        key = (ctype, text.encode())
        if key not in self._table_names:
            name = f"{identifier(hint)}_{len(self._tables)}"
            array = f"[{number}]" if number else ""
            self._tables[name] = f"static const {ctype} {name}{array} = {text};\n"
            self._table_names[key] = name
        return self._table_names[key]

    def buffer(self, hint: str, ctype: str, size: Dim, takes_over: Tensor | None = None) -> Tensor:
        """A new piece of the arena.

        Args:
            hint: for its name in C.
            ctype: type of its elements.
            size: how many elements it has.
            takes_over: a tensor whose memory it may use, since the next step reads it row by row before it writes.
        """
        number = len(self._sizes)
        name = f"{identifier(hint)}_b{number}"
        width = self.index_bytes if ctype == "index_t" else _BYTES[ctype]
        over = takes_over.buffer if takes_over is not None else None
        self._sizes.append((name, ctype, size.most * width, over))
        return Tensor(name, ctype, (size,), number)

    def result(self, name: str, ctype: str, shape: Shape, takes_over: Tensor | None = None) -> Tensor:
        """The tensor that an operator writes: an output of the model, or a piece of the arena."""
        if name in self.outputs:
            wanted = self.declared.get(name, ())
            wanted = wanted if len(wanted) == len(shape) else shape  # a tensor inside the model has no declared sizes
            shape = tuple(self._declared(w, s) for w, s in zip(wanted, shape, strict=True))
            made = Tensor(self.outputs[name], ctype, shape)
        else:
            place = self.buffer(name, ctype, count(shape), takes_over)
            made = Tensor(place.name, ctype, shape, place.buffer)
        self.values[name] = made
        return made

    def _declared(self, wanted: Dim, found: Dim) -> Dim:
        """A size of an output: one that only the run finds out is the number of graphs, which is 1."""
        if not wanted.text:
            wanted = fixed(1) if any(name in found.text for name in self.variables) else found
        return self.same(None, [wanted, found])

    def alias(self, name: str, of: Tensor, shape: Shape) -> None:
        """Give a tensor another shape; an output of the model gets a copy."""
        if name in self.outputs:
            made = self.result(name, of.ctype, shape)
            self.loop(count(shape), f"{made.name}[i] = {of.name}[i];")
        else:
            self.values[name] = Tensor(of.name, of.ctype, shape, of.buffer, None, of.source)
            if of.constant is not None:
                array = of.constant.reshape([d.fixed if d.fixed is not None else -1 for d in shape])
                self.values[name] = Tensor(of.name, of.ctype, shape, None, array)

    def pools_whole_graph(self, pool: Node) -> bool:
        """Whether a Segment operator pools all nodes of the one graph."""
        producer = next((p for p in map(self.producers.get, pool.inputs[:2]) if p and p.op == "IndexToCsr"), None)
        return producer is not None and isinstance(self.values.get(producer.inputs[0]), Batch)

    def is_read(self, name: str) -> bool:
        """Whether an operator reads this value."""
        return bool(name) and (name in self.uses or name in self.outputs)

    def check_below(self, node: Node, index: Tensor, limit: Dim) -> None:
        """Have the numbers of an index checked: before the first step, or now where they are computed.

        Raises:
            ExportError: a constant that is out of range.
        """
        if index.ctype in ("float", "double"):
            raise node.refuse("its index is no whole numbers")
        if index.constant is not None and limit.fixed is not None:
            if index.constant.size and not 0 <= int(index.constant.min()) <= int(index.constant.max()) < limit.fixed:
                raise node.refuse("its constant index is out of range")
            return
        if index.source and index.source == self.edges and limit == self.nodes:
            return
        place = f"{pointer(self, 'index', index)}[i]"
        test = f"if ({place} < 0 || (size_t){place} >= {limit.text}) return BAD_INDEX;"
        text = f"for (size_t i = 0; i < {index.elements.text}; ++i) {{\n  {test}\n}}"
        if not index.source or any(name in limit.text for name in self.variables):
            self.step(text)
        elif text not in self.checks:
            self.checks.append(text)

    def step(self, text: str) -> None:
        """Add statements: one step of the model, the unit of the plan of the arena."""
        here = len(self.steps)
        self._letters += len(text)
        if self._letters > _MOST_LETTERS:
            raise ExportError(f"the model has no C form: it would have more than {_MOST_LETTERS:,} letters of code")
        self.steps.append(text)
        for found in re.findall(r"\b\w+_b(\d+)\b", text):
            self._used.setdefault(int(found), []).append(here)

    def loop(self, times: Dim, body: str) -> None:
        """Add a loop over i, `times` turns."""
        self.step(f"for (size_t i = 0; i < {times.text}; ++i) {body}")

    @property
    def alignment(self) -> int:
        """Bytes to which the arena has to be aligned."""
        return 8 if any(ctype == "double" for _, ctype, _, _ in self._sizes) else 4

    def plan(self) -> Plan:
        """Where the buffers lie."""
        return plan(
            [
                Buffer(size, min(self._used.get(i, [0])), max(self._used.get(i, [0])), over)
                for i, (_, _, size, over) in enumerate(self._sizes)
            ],
            self.alignment,
        )

    def declarations(self, plan: Plan) -> list[str]:
        """The C variables of the buffers that are used."""
        return [
            f"{ctype} *const {name} = ({ctype} *)(void *)(base + {plan.offsets[i]});"
            for i, (name, ctype, _, _) in enumerate(self._sizes)
            if i in self._used
        ]

    @property
    def tables(self) -> list[str]:
        """The definitions of the constants that a step or a check reads."""
        read = set(re.findall(r"\w+", "\n".join([*self.steps, *self.checks])))
        found = []
        for name, text in reversed(self._tables.items()):  # a structure names tables that stand before it
            if name in read:
                found.append(text)
                read.update(re.findall(r"\b[a-z]\w*", text))
        return found[::-1]


def constant_tensor(name: str, array: Array) -> Tensor:
    """A constant of the model; its table is written when an operator asks for its name."""
    ctype = CTYPES.get(array.dtype.name)
    if ctype is None:
        raise ExportError(f"the constant {name} has no C form yet: its type is {array.dtype.name}")
    return Tensor("", ctype, tuple(fixed(size) for size in array.shape), None, array)


def pointer(builder: Builder, hint: str, value: Tensor) -> str:
    """The C expression that points to a tensor's elements; a constant gets its table."""
    if value.constant is None:
        return value.name
    return builder.table(hint, value.constant, value.ctype)
