"""Give an ONNX file the inputs that its artifact has: an edge list as `edge_index` [2, E], `batch` by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgegnn.checkpoint.onnx_module import OnnxModule
from edgegnn.errors import ExportError, UsageError
from edgegnn.exporting.foreign.roles import Arrangement
from edgegnn.runtime.roles import BATCH, NODE, Role, number_of_nodes

__all__ = ["arranged", "one_at_a_time"]


def arranged(module: OnnxModule, how: Arrangement) -> OnnxModule:
    """The file with its inputs under the artifact's names; what it computes stays the same."""
    renamed = {own: name for own, name in how.names.items() if own != name}
    if not renamed and not how.joined and not how.turned:
        return module
    proto = onnx.ModelProto()
    proto.CopyFrom(module.proto)
    graph = proto.graph
    notes = list(module.notes)
    said = {each.own: each.name for each in module.inputs}
    for own, name in renamed.items():
        _rename(graph, own, name)
        if said[own] != name:
            notes.append(f"the file's input {own} is {name} in the artifact")
    if how.joined:
        source, target = how.joined
        _edge_list(graph, how.joined, [_row(source, 0), _row(target, 1)], how.joined)
        notes.append(f"the file's inputs {source} and {target} are the rows of edge_index in the artifact")
    elif how.turned:
        turn = [
            helper.make_node("Transpose", ["edge_index.typed"], [how.turned], name="edge_index/Transpose", perm=[1, 0])
        ]
        _edge_list(graph, [how.turned], turn, [how.turned])
        notes.append(f"the file's input {how.turned} [E, 2] is edge_index [2, E] in the artifact")
    return OnnxModule(proto, notes)


def one_at_a_time(
    module: OnnxModule, roles: Mapping[str, Role], graphs: Sequence[Mapping[str, Any]]
) -> tuple[OnnxModule, dict[str, Role]]:
    """The file without `batch`, and the roles of its other inputs, where it takes one graph at a time all the same.

    PyTorch's older exporter writes the number of graphs down as a constant: the one that it had as an example.

    Args:
        module: the file, with the artifact's inputs.
        roles: of its inputs.
        graphs: one or two, with the artifact's inputs.

    Raises:
        UsageError: the number that was written down isn't 1.
    """
    own = next((name for name, role in roles.items() if role == BATCH), None)
    if own is None or not graphs:
        return module, dict(roles)
    first = dict(graphs[0])
    nodes = number_of_nodes({k: v for k, v in first.items() if k != own}, {k: r for k, r in roles.items() if k != own})
    one, two = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    two[nodes // 2 :] = 1
    if nodes < 2:
        return module, dict(roles)
    rows: list[int] = []
    for batch in (one, two):
        with suppress(ExportError, IndexError, KeyError):  # of one graph: said by the checks that follow
            rows.append(np.shape(module.run({**first, own: batch})[0])[0])
    if not rows or rows[0] != rows[-1] or rows[0] == nodes:
        return module, dict(roles)
    if rows[0] != 1:
        raise UsageError(
            f"the file gives {rows[0]} rows for one graph and for two: the number of graphs of the example that it was "
            "exported with is a constant in it; export it with one graph as the example, or with dynamo=True"
        )
    proto = onnx.ModelProto()
    proto.CopyFrom(module.proto)
    kept = [value for value in proto.graph.input if value.name != own]
    like = next(name for name, role in roles.items() if role == NODE)
    kind = next(value for value in proto.graph.input if value.name == own).type.tensor_type.elem_type
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    make, axis = helper.make_node, numpy_helper.from_array(np.array([0]), "batch.axis")
    zero = numpy_helper.from_array(np.zeros(1, helper.tensor_dtype_to_np_dtype(kind)), "batch.zero")
    nodes_before = [
        make("Shape", [like], ["batch.shape"], name="batch/Shape"),
        make("Gather", ["batch.shape", "batch.axis"], ["batch.nodes"], name="batch/Gather", axis=0),
        make("ConstantOfShape", ["batch.nodes"], [own], name="batch/ConstantOfShape", value=zero),
    ]
    proto.graph.initializer.append(axis)
    before = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes_before, *before])
    note = "the file takes one graph at a time, whatever its batch says: the artifact has no batch"
    return OnnxModule(proto, [*module.notes, note]), {name: role for name, role in roles.items() if name != own}


def _row(name: str, at: int) -> onnx.NodeProto:
    return helper.make_node(
        "Gather", ["edge_index.typed", f"edge_index.row_{at}"], [name], name=f"edge_index/{at}", axis=0
    )


def _edge_list(
    graph: onnx.GraphProto, olds: Sequence[str], nodes: Sequence[onnx.NodeProto], typed: Sequence[str]
) -> None:
    """Put `edge_index` in the place of inputs that nodes make of it."""
    _rename(graph, "edge_index", "edge_index.of_file")
    old = {value.name: value for value in graph.input}
    kind = old[typed[0]].type.tensor_type.elem_type
    kept = [value for value in graph.input if value.name not in olds]
    del graph.input[:]
    sizes = helper.make_tensor_value_info("edge_index", TensorProto.INT64, [2, "num_edges"])
    graph.input.extend([sizes, *kept])
    if any(node.op_type == "Gather" for node in nodes):
        graph.initializer.extend(numpy_helper.from_array(np.array(i, np.int64), f"edge_index.row_{i}") for i in (0, 1))
    cast = helper.make_node("Cast", ["edge_index"], ["edge_index.typed"], name="edge_index/Cast", to=kind)
    before = list(graph.node)
    del graph.node[:]
    graph.node.extend([cast, *nodes, *before])


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Another name for a value, wherever it is used; a value that has the new name already gets another one."""
    names = {value.name for value in (*graph.input, *graph.initializer)} | {o for n in graph.node for o in n.output}
    if old not in names:
        return
    if new in names:
        _rename(graph, new, f"{new}.of_file")
    _swap(graph, old, new)


def _swap(graph: onnx.GraphProto, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _swap(inner, old, new)
