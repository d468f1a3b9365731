"""A model for one graph: the edges become part of the file, and what follows from them alone is computed at export.

onnxruntime folds no custom op, so `fix_graph` does it: CSRs, degrees and their powers, indices and sizes become
initializers. Edges are sorted by destination first where nothing else comes in their order, and a constant CSR holds
both forms: `indptr`, `col`, `perm` for kernels, `row` for function bodies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as passes
import onnxruntime as ort

from edgegnn.exporting.qdq import constant
from edgegnn.exporting.rewrite.functions import DOMAIN, OPS, add_functions
from edgegnn.exporting.rewrite.graph_editor import array, number
from edgegnn.native import reference

__all__ = ["fix_graph"]

Array = npt.NDArray[Any]
_BY_EDGE = {"w", "d", "features"}  # inputs in the order of the edge list, of operators with `col`
_COUNTED = {"CooToCsr", "IndexToCsr", "CsrDegree"}
_ROOM = 1 << 20  # bytes; what is folded may be this much larger than the edges
_INT32 = np.iinfo(np.int32).max


def fix_graph(model: ir.Model, edge_index: Array, num_nodes: int, *, keep_input: bool = False) -> None:
    """Bake a graph into a rewritten model, in place.

    Args:
        model: what `rewrite` returned; with an input `edge_index`, and sizes `num_nodes` and `num_edges`.
        edge_index: int64 [2, E], source and destination of each edge.
        num_nodes: N; afterwards `x` must have as many rows.
        keep_input: leave the input `edge_index` in place, where nothing reads it.

    Raises:
        ValueError: the edges are no edges of a graph of this size, or the model takes no edges.
    """
    edges = np.asarray(edge_index)
    if edges.dtype != np.int64 or edges.ndim != 2 or edges.shape[0] != 2 or edges.shape[1] > _INT32:
        raise ValueError("edge_index must be int64 of the shape [2, E]")
    if num_nodes < 0 or (edges.size and (edges.min() < 0 or edges.max() >= num_nodes)):
        raise ValueError(f"edge_index names nodes outside [0, {num_nodes})")
    graph = model.graph
    given = next((v for v in graph.inputs if v.name == "edge_index"), None)
    if given is None:
        raise ValueError("the model has no input edge_index")
    sizes = {"num_nodes": num_nodes, "num_edges": edges.shape[1]}
    if not any("num_edges" in _names(v) for v in graph.inputs if v is not given):
        edges = edges[:, np.argsort(edges[1], kind="stable")]
    _fix_sizes(graph, sizes, keep=given)
    baked = _Baked(graph, limit=4 * edges.nbytes + _ROOM)
    baked.put(given, edges, "graph.edge_index")
    if not keep_input:
        graph.inputs.remove(given)
    for node in graph:  # also those that are put in meanwhile
        baked.fold(node)
    passes.RemoveUnusedNodesPass()(model)
    add_functions(model)


def _names(value: ir.Value) -> set[str | None]:
    return {d.value for d in value.shape or () if isinstance(d, ir.SymbolicDim)}


def _fix_sizes(graph: ir.Graph, sizes: Mapping[str, int], keep: ir.Value) -> None:
    for value in (*graph.inputs, *(v for node in graph for v in node.outputs)):
        if value.shape is not None and value is not keep:
            fixed = [d if isinstance(d, int) else sizes.get(d.value or "", d) for d in value.shape]
            value.shape = ir.Shape(fixed)


class _Baked:
    """Values that the edges and the sizes determine."""

    def __init__(self, graph: ir.Graph, limit: int) -> None:
        self.graph, self.limit = graph, limit
        self.values: set[ir.Value] = set()

    def put(self, old: ir.Value, values: Array, name: str | None = None) -> None:
        """A constant in the place of a value."""
        if not old.is_graph_output():
            new = constant(self.graph, name or f"graph.{old.name}", values)
            self.values.add(new)
            old.replace_all_uses_with(new)

    def fold(self, node: ir.Node) -> None:
        """Replace a node's outputs when they are determined."""
        if node.op_type == "Shape" and not node.domain and node.inputs[0] is not None:
            sizes = node.inputs[0].shape
            wanted = None if sizes is None else tuple(sizes)[number(node, "start") : _end(node)]
            if wanted is not None and all(isinstance(s, int) for s in wanted):
                self.put(node.outputs[0], np.asarray(wanted, np.int64))
            return
        inputs = [array(v) for v in node.inputs]
        if "num_rows" in (names := _inputs(node)) and (rows := inputs[names.index("num_rows")]) is not None:
            sizes = node.outputs[0].shape
            if sizes is not None and node.op_type not in {"CooToCsr", "IndexToCsr", "SegmentSoftmax"}:
                node.outputs[0].shape = ir.Shape([int(rows), *tuple(sizes)[1:]])
        if not any(v in self.values for v in node.inputs) or any(v is None for v in inputs):
            return
        known = [v for v in inputs if v is not None]
        if node.domain == DOMAIN and node.op_type in _COUNTED:
            self._csr(node, known)
        elif not node.domain and not any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
            results = _run(node, known)
            if sum(v.nbytes for v in results) <= self.limit:
                for old, new in zip(node.outputs, results, strict=True):
                    self.put(old, new)

    def _csr(self, node: ir.Node, inputs: Sequence[Array]) -> None:
        attributes = {k: a.value for k, a in node.attributes.items()}
        results = reference.run(node.op_type, *inputs, **attributes)
        if node.op_type == "CsrDegree":
            self.put(node.outputs[0], results[0])
            return
        indptr, perm = results[0], results[-1]
        row = node.outputs[-2]
        by_row = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
        listed = by_row
        if perm.size:
            listed = np.empty_like(by_row)
            listed[perm] = by_row
            self._order_weights(node.outputs[-1], perm)
        names = [f"graph.{value.name}" for value in node.outputs]
        for use in list(row.uses()):  # a body reads messages in the order of the list, and rows with `col` beside it
            values, end = (listed, ".list") if "col" not in _inputs(use.node) else (by_row, "")
            use.node.replace_input_with(use.idx, self._shared(names[-2] + end, values))
        for value, result, name in zip(node.outputs, results, names, strict=True):
            if value is not row:
                self.put(value, result, name)

    def _order_weights(self, perm: ir.Value, order: Array) -> None:
        """Bring what a weighted sum reads by edge into row order, the order of `col` and `row` in function bodies."""
        for use in list(perm.uses()):
            node, names = use.node, _inputs(use.node)
            if "col" not in names:
                continue
            for place, name in enumerate(names):
                values = node.inputs[place]
                if name not in _BY_EDGE or values is None:
                    continue
                index = self._shared(f"graph.{perm.name}.order", order)
                ordered = ir.node("Gather", [values, index], {"axis": 0}, name=f"{node.name}/order")
                ordered.outputs[0].type, ordered.outputs[0].shape = values.type, values.shape
                ordered.metadata_props.update(node.metadata_props)
                self.graph.insert_before(node, ordered)
                node.replace_input_with(place, ordered.outputs[0])
            node.replace_input_with(use.idx, self._shared("graph.in_order", np.zeros(0, np.int32)))

    def _shared(self, name: str, values: Array) -> ir.Value:
        if name not in self.graph.initializers:
            self.values.add(constant(self.graph, name, values))
        return self.graph.initializers[name]


def _inputs(node: ir.Node) -> list[str]:
    """Names of an op's inputs."""
    return [name.strip() for name in OPS[node.op_type][1].split(",")] if node.domain == DOMAIN else []


def _end(node: ir.Node) -> int | None:
    end = node.attributes.get("end")
    return None if end is None else end.as_int()


def _run(node: ir.Node, inputs: Sequence[Array]) -> list[Array]:
    """The result of a standard operator, computed by onnxruntime."""
    values = [ir.Value(name=f"i{i}", shape=ir.Shape(v.shape)) for i, v in enumerate(inputs)]
    for value, given in zip(values, inputs, strict=True):
        value.dtype = ir.DataType.from_numpy(given.dtype)
    copy = ir.node(node.op_type, values, node.attributes, num_outputs=len(node.outputs))
    for i, out in enumerate(copy.outputs):
        out.name = f"o{i}"
    opsets = {"": node.version or 18} if node.graph is None else {"": node.graph.opset_imports[""]}
    alone = ir.Model(ir.Graph(values, copy.outputs, nodes=[copy], opset_imports=opsets, name="one"), ir_version=10)
    for out, old in zip(copy.outputs, node.outputs, strict=True):
        out.type, out.shape = old.type, None
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(ir.to_proto(alone).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {f"i{i}": v for i, v in enumerate(inputs)}))
