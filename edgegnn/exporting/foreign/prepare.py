"""From an ONNX file of another program to what `edgegnn.exporting.capture` gives for a PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import version_converter

from edgegnn.checkpoint.onnx_module import OnnxModule
from edgegnn.errors import ExportError, first_line
from edgegnn.exporting.cleanup import PATH, finish
from edgegnn.exporting.foreign.layouts import RULES
from edgegnn.exporting.foreign.sizes import fold_sizes, name_sizes
from edgegnn.exporting.rewrite.graph_editor import Sheet
from edgegnn.exporting.rewrite.rule import apply
from edgegnn.exporting.simplify import simplify
from edgegnn.exporting.tracing import quiet
from edgegnn.runtime.roles import FIXED, LEVELS, ROWS, Role
from edgegnn.signature import Output, Outputs

__all__ = ["prepare", "settle", "settled"]

_LEAST = 18  # opset of what edgegnn writes
_ROUNDS = 4


def prepare(module: OnnxModule, roles: Mapping[str, Role], outputs: Outputs, *, kind: str) -> onnx.ModelProto:
    """A graph that computes what the file computes, with the names and sizes of the artifact's inputs.

    Args:
        module: the file.
        roles: name of each input, in the artifact's order -> what it belongs to.
        outputs: what it gives, in the file's order.
        kind: what a row of the main output is.

    Returns:
        Float32, opset 18 or the file's own if newer, as `edgegnn.exporting.capture.capture` returns it.

    Raises:
        ExportError: an operator can't be brought to opset 18, or the output is not one table of numbers.
    """
    with quiet():
        return _prepared(module, roles, outputs, kind)


def _prepared(module: OnnxModule, roles: Mapping[str, Role], outputs: Outputs, kind: str) -> onnx.ModelProto:
    model = ir.from_proto(_converted(module.proto))
    _named(model.graph, module, roles)
    _layers(model.graph)
    settle(model)
    if len(outputs.each) > 1:
        _each_sized(model.graph, outputs)
    else:
        _as_table(model.graph, kind, roles)
        outputs = Outputs((Output(outputs.main, LEVELS[kind]),), outputs.main)
    return finish(model, roles, outputs, helper="", prefix="")


def settled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A file of any inputs and outputs, in opset 18 or newer, laid out as the rewrite rules know it.

    Raises:
        ExportError: an operator can't be brought to opset 18.
    """
    with quiet():
        model = ir.from_proto(_converted(proto))
        settle(model)
        return ir.to_proto(model)


def settle(model: ir.Model) -> None:
    """Simplify a file's graph, in place, until its shapes and look-ups are plain."""
    simplify(model)
    sheet = Sheet(model)
    for _ in range(_ROUNDS):
        found = fold_sizes(model.graph, name_sizes(model))
        found += sum(apply(rule, sheet) for rule in RULES)
        simplify(model)
        if not found:
            break


def _converted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The file in opset 18 or newer, without weights among its inputs."""
    new = onnx.ModelProto()
    new.CopyFrom(proto)
    stored = {tensor.name for tensor in new.graph.initializer}
    inputs = [value for value in new.graph.input if value.name not in stored]
    del new.graph.input[:]
    new.graph.input.extend(inputs)
    version = new.opset_import[0].version
    if version >= _LEAST:
        return new
    new.ir_version = max(new.ir_version, 8)
    try:
        return version_converter.convert_version(new, _LEAST)
    except Exception as error:  # onnx raises types of its own
        raise ExportError(f"the file can't be brought from opset {version} to {_LEAST}: {first_line(error)}") from error


def _named(graph: ir.Graph, module: OnnxModule, roles: Mapping[str, Role]) -> None:
    """Give inputs the artifact's order, names, types and sizes."""
    own = {value.name: value for value in graph.inputs}
    order = {each.name: own[each.own] for each in module.inputs}
    taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
    for name in order.keys() & taken - own.keys():
        _free(graph, name)
    for each in module.inputs:
        value, role = order[each.name], roles[each.name]
        sizes: list[Any] = list(value.shape) if value.shape is not None else []
        if value.shape is None or len(sizes) <= role.axis:
            raise ExportError(f"the file doesn't say the shape of its input {each.own}: export it with shapes")
        if isinstance(sizes[role.axis], int) and role.size != "num_graphs":
            raise ExportError(
                f"the file takes graphs of one size only ({each.own} has {sizes[role.axis]} of {role.size}): export it "
                "with free sizes (dynamic_axes or dynamic_shapes)"
            )
        sizes = [size if isinstance(size, int) else size.value or f"{each.name}_{i}" for i, size in enumerate(sizes)]
        sizes[role.axis] = role.size if not isinstance(sizes[role.axis], int) else sizes[role.axis]
        value.name, value.shape = each.name, ir.Shape(sizes)
        if value.dtype == ir.DataType.INT32:
            _as_int64(graph, value)
    graph.inputs.clear()
    graph.inputs.extend(order[name] for name in roles)


def _free(graph: ir.Graph, name: str) -> None:
    for value in (*graph.initializers.values(), *(v for node in graph for v in node.outputs)):
        if value.name == name:
            value.name = f"{name}.of_file"
            return


def _as_int64(graph: ir.Graph, value: ir.Value) -> None:
    """An input of whole numbers is int64, as in every artifact; the file's operators get its own type."""
    uses = list(value.uses())
    value.dtype = ir.DataType.INT64
    node = ir.node("Cast", [value], {"to": ir.DataType.INT32}, name=f"{value.name}/Cast")
    node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.INT32, value.shape
    graph.insert_before(graph[0], node)
    for use in uses:
        use.node.replace_input_with(use.idx, node.outputs[0])


def _layers(graph: ir.Graph) -> None:
    """The path of the layer that each node comes from, as far as its name says."""
    for node in graph:
        path = (node.name or "").rpartition("/")[0].strip("/")
        node.metadata_props[PATH] = path.replace("/", ".")


def _each_sized(graph: ir.Graph, outputs: Outputs) -> None:
    """Several outputs as they are, with the sizes of what they belong to."""
    if len(graph.outputs) != len(outputs.each):
        raise ExportError(f"the file has {len(graph.outputs)} outputs, {len(outputs.each)} were found")
    for value, output in zip(graph.outputs, outputs.each, strict=True):
        if value.shape is None:
            raise ExportError(f"the file doesn't say the shape of its output {value.name}: export it with shapes")
        sizes = list(value.shape)
        if sizes and output.role != FIXED and not isinstance(sizes[0], int):
            value.shape = ir.Shape([output.role.size, *sizes[1:]])


def _as_table(graph: ir.Graph, kind: str, roles: Mapping[str, Role]) -> None:
    """The output as float32 [rows, columns]."""
    if len(graph.outputs) != 1:
        raise ExportError(f"the file has {len(graph.outputs)} outputs: one is exported")
    (out,) = graph.outputs
    if out.dtype != ir.DataType.FLOAT:
        raise ExportError(f"the output {out.name} is {out.dtype}, not float32: leave the last step out of the file")
    size, column = ROWS[kind], None
    rank = None if out.shape is None else len(out.shape)
    if rank is not None and rank < 2:
        target = ir.tensor(np.array([-1, 1], np.int64), name="column_of_output")
        column = ir.Value(name="column_of_output", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.INT64))
        column.const_value = target
        graph.register_initializer(column)
        node = ir.node("Reshape", [out, column], name="Reshape")
        node.outputs[0].dtype, node.outputs[0].name = ir.DataType.FLOAT, f"{out.name}.column"
        node.outputs[0].shape = ir.Shape([None, 1])
        graph.append(node)
        graph.outputs[0] = node.outputs[0]
        out = node.outputs[0]
    columns = list(out.shape)[1:] if out.shape is not None else [None]
    free = kind != "graph" or any(role.name == "batch" for role in roles.values())
    out.shape = ir.Shape([size if free else 1, *columns])
