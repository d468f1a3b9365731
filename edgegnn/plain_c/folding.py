"""Everything of a model that is the same for every graph, computed once while the C code is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from edgegnn.plain_c.builder import Node, QuantizedTable
from edgegnn.runtime import make_session

__all__ = ["Folded", "fold"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Folded:
    """A model without its constant part.

    Attributes:
        nodes: the operators that depend on the graph.
        constants: name -> array.
        quantized: name of float weights -> the codes that they are made of.
    """

    nodes: list[Node]
    constants: dict[str, Array]
    quantized: dict[str, QuantizedTable]


def fold(model: onnx.ModelProto) -> Folded:
    """Run the operators whose inputs are all constant, with onnxruntime, and leave them out."""
    graph = model.graph
    inputs = {value.name for value in graph.input}
    constants = {t.name: _array(t) for t in graph.initializer if t.name not in inputs}
    known = {*constants, ""}
    folded, left = [], []
    for node in graph.node:
        if set(node.input) <= known and not node.op_type.startswith("Random") and not _has_graphs(node):
            folded.append(node)
            known.update(node.output)
        else:
            left.append(node)
    quantized = _quantized(folded, constants)
    wanted = {name for node in left for name in node.input} | {value.name for value in graph.output}
    names = [name for node in folded for name in node.output if name in wanted]
    if names:
        constants.update(_run(model, folded, names))
    read = {name: array for name, array in constants.items() if name in wanted}
    return Folded([_node(node) for node in left], read, {n: q for n, q in quantized.items() if n in wanted})


def _has_graphs(node: onnx.NodeProto) -> bool:
    """Whether it holds graphs of its own: a loop, or branches that may read more than its inputs."""
    return any(attribute.graphs or attribute.HasField("g") for attribute in node.attribute)


def _array(tensor: onnx.TensorProto) -> Array:
    """An initializer; four-bit numbers become eight-bit ones."""
    array = numpy_helper.to_array(tensor)
    wider = {"int4": np.int8, "uint4": np.uint8}.get(array.dtype.name)
    return array if wider is None else array.astype(wider)


def _run(model: onnx.ModelProto, nodes: list[onnx.NodeProto], names: list[str]) -> dict[str, Array]:
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.input[:], part.graph.output[:], part.graph.value_info[:]
    part.graph.node.extend(nodes)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = make_session(part.SerializeToString(), threads=1)
    return dict(zip(names, session.run(None, {}), strict=True))


def _quantized(nodes: list[onnx.NodeProto], constants: dict[str, Array]) -> dict[str, QuantizedTable]:
    """Weights that DequantizeLinear makes of codes, also where an operator of one input passes them on."""
    found: dict[str, QuantizedTable] = {}
    for node in nodes:
        if node.op_type == "DequantizeLinear" and all(name in constants for name in node.input):
            codes, scale, *zero = (constants[name] for name in node.input)
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            if codes.dtype in (np.int8, np.int32) and not any(z.any() for z in zero):
                found[node.output[0]] = QuantizedTable(codes, scale, axis % max(codes.ndim, 1))
        elif node.op_type in ("Max", "Min", "Identity") and len(node.input) == 1 and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _node(node: onnx.NodeProto) -> Node:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return Node(node.domain, node.op_type, node.name, tuple(node.input), tuple(node.output), attributes)
