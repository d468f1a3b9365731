"""From a model's ONNX graph to C99: model.h, model.c, an example and a CMakeLists.txt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

import onnx

from edgegnn.errors import ExportError, printable
from edgegnn.plain_c.builder import CTYPES, Builder, constant_tensor
from edgegnn.plain_c.folding import Folded, fold
from edgegnn.plain_c.kernels import kernel_sources
from edgegnn.plain_c.literals import identifier
from edgegnn.plain_c.operators import EMITTERS
from edgegnn.plain_c.templates import CMAKE, EXAMPLE, HEADER, SOURCE
from edgegnn.plain_c.values import Batch, Dim, Limits, Shape, Tensor, Value, WideIndex, count, fixed

__all__ = ["Argument", "PlainC", "Size", "generate"]

# The first part of a size's name -> the code that is returned where it is beyond its limit.
_CODES = {"num_nodes": "BAD_NODES", "num_edges": "BAD_EDGES", "num_links": "BAD_EDGES"}
_MOST_BYTES = 2**30  # of the arena
_MOST_NODES = 20_000


@dataclass(frozen=True)
class Argument:
    """An input or an output of the C function.

    Attributes:
        name: in the ONNX graph.
        member: in the C structure.
        ctype: of its elements.
        shape: its sizes, in terms of `n` nodes and `e` edges.
    """

    name: str
    member: str
    ctype: str
    shape: Shape

    @property
    def lists_edges(self) -> bool:
        """Whether it holds sources and destinations."""
        return self.ctype == "int32_t" and [dim.text for dim in self.shape] == ["2", "e"]


@dataclass(frozen=True)
class Size:
    """A size that differs from graph to graph.

    Attributes:
        dim: it in the C code; the largest value is the limit.
        member: in the C structure of the inputs.
        refused: the code that is returned where it is beyond its limit.
        least: its smallest value.
    """

    dim: Dim
    member: str
    refused: str
    least: int = 0


@dataclass(frozen=True)
class PlainC:
    """A model as C.

    Attributes:
        name: of the C function, between "edgegnn_" and "_run".
        files: name -> text.
        arena_bytes: memory that the caller lends to each run.
        limits: the largest graph.
        nodes: the number of nodes.
        sizes: of a graph, in the order of the C structure.
        inputs: without `batch`, as the C code takes one graph.
        outputs: in the order of the ONNX graph.
        codes: names of the tensors of uint8 codes inside the ONNX graph.
    """

    name: str
    files: dict[str, str]
    arena_bytes: int
    limits: Limits
    nodes: Dim
    sizes: tuple[Size, ...]
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    codes: tuple[str, ...]


def generate(model: onnx.ModelProto, name: str, limits: Limits) -> PlainC:
    """Write a model as C.

    Args:
        model: an artifact's final ONNX graph; any number of outputs.
        name: of the artifact.
        limits: the largest graph that the C code will take.

    Raises:
        ExportError: an operator without a C form, by its layer.
    """
    try:
        try:
            return _generate(model, name, limits, 2 if limits.edges + limits.nodes < 2**16 else 4)
        except WideIndex:
            return _generate(model, name, limits, 4)
    except ExportError as error:  # it repeats names of the file
        raise ExportError(" ".join(printable(str(error)).split())) from error


def _generate(model: onnx.ModelProto, name: str, limits: Limits, index_bytes: int) -> PlainC:
    own = identifier(name)
    if len(model.graph.node) > _MOST_NODES:
        raise ExportError(f"the model has no C form: it has more than {_MOST_NODES:,} operators")
    folded = fold(model)
    sizes = _sizes_of(model, limits)
    dims = {**{name: size.dim for name, size in sizes.items()}, "num_graphs": fixed(1)}
    inputs, values = _inputs(model, dims)
    nodes = _node_count(inputs, folded)
    if nodes.fixed is not None and nodes.fixed > limits.nodes:
        raise ExportError(f"the model is for graphs of {nodes.fixed:,} nodes: give --max-nodes {nodes.fixed} or more")
    edges = next((a for a in inputs if a.lists_edges), None)
    builder = Builder(limits, nodes, edges.name if edges else "", index_bytes, values)
    for key, array in folded.constants.items():
        builder.values[key] = constant_tensor(key, array)
    builder.quantized.update(folded.quantized)
    members = {value.name: identifier(value.name) for value in model.graph.output}
    builder.outputs.update({key: f"out->{member}" for key, member in members.items()})
    builder.declared.update({value.name: _declared(value, dims) for value in model.graph.output})
    _emit(builder, folded)
    known = {size.dim.text for size in sizes.values()}
    outputs = tuple(_output(builder, key, member, known) for key, member in members.items())
    plan = builder.plan()
    if plan.size > _MOST_BYTES:
        raise ExportError(
            f"the C form would need {plan.size / 1e6:,.0f} MB for a graph of {limits.nodes:,} nodes and "
            f"{limits.edges:,} edges: give a smaller --max-nodes or --max-edges"
        )
    found = [f"size_t {name} = 0;" for name in builder.variables]
    macros = "".join(f"#define {name}\n" for name in sorted(builder.weight_forms))
    texts = {
        "name": own,
        "NAME": own.upper(),
        "max_nodes": str(limits.nodes),
        "max_edges": str(limits.edges),
        "arena": str(max(plan.size, 4)),
        "alignment": str(builder.alignment),
        "index": "uint16_t" if builder.index_bytes == 2 else "uint32_t",
        "size_members": "\n".join(f"  int32_t {size.member};" for size in sizes.values()),
        "size_variables": ", ".join(size.dim.text for size in sizes.values()),
        "size_checks": "\n".join(_size_check(size, nodes, own) for size in sizes.values()),
        "input_members": "\n".join(f"  const {a.ctype} *{a.member}; /* {_sizes(a)} */" for a in inputs),
        "output_members": "\n".join(f"  {a.ctype} *{a.member}; /* {_sizes(a)} */" for a in outputs),
        "nulls": " || ".join([*(f"in->{a.member} == NULL" for a in inputs if a.shape[0].fixed), "arena == NULL"]),
        "checks": _indented("\n".join([_edge_check(edges, nodes), *builder.checks]), own),
        "kernels": macros + kernel_sources(builder.kernels),
        "tables": "".join(builder.tables),
        "buffers": "\n".join(f"  {line}" for line in [*found, *builder.declarations(plan)]),
        "steps": _indented("\n".join(builder.steps), own),
        **_example(inputs, outputs, tuple(sizes.values()), nodes),
    }
    files = {
        "model.h": Template(HEADER).substitute(texts),
        "model.c": Template(SOURCE).substitute(texts),
        "example.c": Template(EXAMPLE).substitute(texts),
        "CMakeLists.txt": Template(CMAKE).substitute(texts),
    }
    return PlainC(
        own, files, max(plan.size, 4), limits, nodes, tuple(sizes.values()), inputs, outputs, _codes(builder, folded)
    )


def _node_count(inputs: tuple[Argument, ...], folded: Folded) -> Dim:
    """The number of nodes.

    Of a model for one graph it is fixed: the rows of its first input, or what the operator that groups edges is told.
    """
    dims = [dim for a in inputs for dim in a.shape]
    found = next((dim for dim in dims if dim.text == "n"), None)
    if found is None and inputs[0].lists_edges:
        rows = (folded.constants.get(node.inputs[1]) for node in folded.nodes if node.op == "CooToCsr")
        found = next((fixed(int(number.reshape(-1)[0])) for number in rows if number is not None), None)
    return found or inputs[0].shape[0]


def _sizes_of(model: onnx.ModelProto, limits: Limits) -> dict[str, Size]:
    """The sizes that differ from graph to graph, by their names in the ONNX graph.

    A graph with one type of nodes has a number of nodes and one of edges, whether the model asks for them or not.
    """
    names = [dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param]
    typed = any("." in name for name in names)
    usual = [] if typed else ["num_nodes", "num_edges"]
    found: dict[str, Size] = {}
    for name in dict.fromkeys([*usual, *names]):
        if name == "num_graphs":
            continue
        base = name.partition(".")[0]
        if base not in _CODES:
            raise ExportError(f"an input has no C form yet: its size {name} is not of one graph")
        text = {"num_nodes": "n", "num_edges": "e"}.get(name, identifier(name))
        least = 1 if name == "num_nodes" else 0
        found[name] = Size(Dim(text, limits.of(name)), identifier(name), _CODES[base], least)
    return found


def _inputs(model: onnx.ModelProto, dims: Mapping[str, Dim]) -> tuple[tuple[Argument, ...], dict[str, Value]]:
    """The arguments, and what they are in C."""
    arguments: list[Argument] = []
    values: dict[str, Value] = {}
    for value in model.graph.input:
        shape = _shape(value, dims)
        if value.name == "batch":
            values[value.name] = Batch(shape[0])
            continue
        type_name = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        if type_name not in CTYPES:
            raise ExportError(f"the input {value.name} has no C form yet: its type is {type_name}")
        argument = Argument(value.name, identifier(value.name), CTYPES[type_name], shape)
        arguments.append(argument)
        values[value.name] = Tensor(f"in->{argument.member}", argument.ctype, shape, source=value.name)
    return tuple(arguments), values


def _shape(value: onnx.ValueInfoProto, dims: Mapping[str, Dim]) -> Shape:
    found = []
    for dim in value.type.tensor_type.shape.dim:
        if dim.dim_param and dim.dim_param not in dims:
            raise ExportError(f"the input {value.name} has no C form yet: its size {dim.dim_param} is not of one graph")
        found.append(dims[dim.dim_param] if dim.dim_param else fixed(dim.dim_value))
    return tuple(found)


def _declared(value: onnx.ValueInfoProto, known: Mapping[str, Dim]) -> Shape:
    """The sizes of an output; one that is not of the graph has the text ""."""
    dims = value.type.tensor_type.shape.dim
    return tuple(fixed(d.dim_value) if d.HasField("dim_value") else known.get(d.dim_param, Dim("", 0)) for d in dims)


def _emit(builder: Builder, folded: Folded) -> None:
    for node in folded.nodes:
        for name in node.inputs:
            builder.uses.setdefault(name, []).append(node)
        for name in node.outputs:
            builder.producers[name] = node
    unknown = sorted({f"{n.op} ({n.name})" for n in folded.nodes if (n.domain, n.op) not in EMITTERS})
    if unknown:
        names = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise ExportError(f"no C form yet for {names}: export without --format c")
    for node in folded.nodes:
        if node.outputs[0] not in builder.fused:
            EMITTERS[node.domain, node.op](builder, node)


def _output(builder: Builder, name: str, member: str, known: set[str]) -> Argument:
    value = builder.values[name]
    if not isinstance(value, Tensor) or value.constant is not None or value.name != f"out->{member}":
        raise ExportError(f"the output {name} has no C form yet: it does not depend on the features")
    if any(dim.fixed is None and dim.text not in known for dim in value.shape):
        raise ExportError(f"the output {name} has no C form yet: its size is computed")
    return Argument(name, member, value.ctype, value.shape)


def _codes(builder: Builder, folded: Folded) -> tuple[str, ...]:
    made = [name for node in folded.nodes if (node.domain or node.op == "QuantizeLinear") for name in node.outputs]
    values = {name: builder.values[name] for name in made if name in builder.values}
    return tuple(
        name
        for name, value in values.items()
        if isinstance(value, Tensor)
        and value.ctype == "uint8_t"
        and name not in builder.outputs
        and not any(size in dim.text for dim in value.shape for size in builder.variables)
    )


def _size_check(size: Size, nodes: Dim, own: str) -> str:
    """Statements that check a size and set its C variable."""
    given = f"in->{size.member}"
    limit = f"EDGEGNN_{own.upper()}_MAX_{'NODES' if size.refused == 'BAD_NODES' else 'EDGES'}"
    test = f"{given} < {size.least} || {given} > {limit}"
    if size.dim.text == "n" and nodes.fixed is not None:
        test = f"{given} != {nodes.fixed}"
    refused = f"  if ({test}) return EDGEGNN_{own.upper()}_{size.refused};"
    return f"{refused}\n  {size.dim.text} = (size_t){given};\n  (void){size.dim.text};"


def _edge_check(edges: Argument | None, nodes: Dim) -> str:
    if edges is None:
        return ""
    place = f"in->{edges.member}[i]"
    test = f"if ({place} < 0 || (size_t){place} >= {nodes.text}) return BAD_INDEX;"
    return f"for (size_t i = 0; i < {count(edges.shape).text}; ++i) {{\n  {test}\n}}"


def _indented(text: str, own: str) -> str:
    for code in ("BAD_INDEX", "BAD_SIZES"):
        text = text.replace(code, f"EDGEGNN_{own.upper()}_{code}")
    return "\n".join(f"  {line}" for line in text.split("\n") if line)


def _sizes(argument: Argument) -> str:
    words = {"n": "num_nodes", "e": "num_edges"}
    return f"[{', '.join(words.get(dim.text, dim.text) for dim in argument.shape)}]"


def _example(
    inputs: tuple[Argument, ...], outputs: tuple[Argument, ...], given: tuple[Size, ...], nodes: Dim
) -> dict[str, str]:
    """The parts of the example: a graph of one or two nodes, or of as many as the model has, and one edge."""
    number = min(nodes.most, 2) if nodes.fixed is None else nodes.fixed
    sizes = {s.dim.text: number if s.refused == "BAD_NODES" else min(s.dim.most, 1) for s in given}
    arrays, assigned = [], [f"  in.{s.member} = {sizes[s.dim.text]};" for s in given]
    for argument in inputs:
        start = "0, 0" if len(argument.shape) == 2 and argument.ctype == "int32_t" else "0"
        size = _elements(argument, sizes)
        arrays.append(f"  static const {argument.ctype} {argument.member}[{size}] = {{{start}}};")
        assigned.append(f"  in.{argument.member} = {argument.member};")
    for argument in outputs:
        arrays.append(f"  static {argument.ctype} {argument.member}[{_elements(argument, sizes)}];")
        assigned.append(f"  out.{argument.member} = {argument.member};")
    return {"setup": "\n".join(arrays), "assign": "\n".join(assigned), "first": outputs[0].member}


def _elements(argument: Argument, sizes: dict[str, int]) -> int:
    return math.prod(dim.fixed if dim.fixed is not None else sizes[dim.text] for dim in argument.shape)
