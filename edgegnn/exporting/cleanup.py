"""From what the exporter wrote to a small file: names, free dimensions, quantization points, nothing superfluous."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from edgegnn.errors import ExportError
from edgegnn.exporting.lower_learnt import lower_learnt_quantize
from edgegnn.exporting.lower_points import keep_products_exact, lower_fake_quantize
from edgegnn.exporting.qdq import constant, fold_weights_ir
from edgegnn.exporting.rewrite.functions import add_functions
from edgegnn.exporting.score_order import rank_exactly
from edgegnn.exporting.simplify import keep_small_shares, share_constants
from edgegnn.runtime.roles import BATCH, FIXED, GRAPH, Role, find_names
from edgegnn.signature import Outputs

__all__ = ["PATH", "finish"]

PATH = "edgegnn.module"  # what a node's metadata call the module that it comes from


def finish(
    model: ir.Model, roles: Mapping[str, Role], outputs: Outputs, *, helper: str, prefix: str
) -> onnx.ModelProto:
    """Name inputs, outputs and dimensions, put in the quantization points, and strip what no runtime reads.

    Args:
        model: the exporter's result.
        roles: names of its inputs, in order, and what they belong to; the helper, when it has one, follows them.
        outputs: its outputs, in order.
        helper: the input that stands for the number of graphs.
        prefix: path of the user's module in what was exported.

    Raises:
        ExportError: an operator that is known to compute something wrong, or a main output of another level.
    """
    graph = model.graph
    _strip_wrapper(model, prefix)
    for value, name in zip(graph.inputs, [*roles, helper], strict=False):
        value.name = name
    if graph.inputs[-1].name == helper:
        _count_graphs(graph, graph.inputs[-1], find_names(roles, roles, BATCH))
    lower_fake_quantize(model)
    lower_learnt_quantize(model)
    fold_weights_ir(model)
    keep_products_exact(model)
    keep_small_shares(graph)
    rank_exactly(graph)
    _scatter_rows(graph)
    _count_axes_from_the_front(graph)
    _name_dimensions(graph, roles, outputs)
    for step in (
        passes.InlinePass(),
        passes.RemoveUnusedNodesPass(),
        passes.IdentityEliminationPass(),
        passes.CommonSubexpressionEliminationPass(),
        share_constants(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.NameFixPass(),  # a parameter may have the name of an input or of a result
    ):
        step(model)
    add_functions(model)
    _name_nodes(graph)
    passes.ClearMetadataAndDocStringPass()(model)
    model.metadata_props.clear()
    model.doc_string = None
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    proto = ir.to_proto(model)
    # onnxruntime 1.17 reads version 9; 4-bit types (opset 21) came with version 10.
    proto.ir_version = 9 if model.opset_imports[""] < 21 else 10
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto)
    return proto


def _strip_wrapper(model: ir.Model, prefix: str) -> None:
    """Parameters and nodes get the paths that they have in the user's module."""
    for value in list(model.graph.initializers.values()):
        if value.name is not None and prefix and value.name.startswith(f"{prefix}."):
            value.name = value.name[len(prefix) + 1 :]
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        known = node.metadata_props.get(PATH, "")
        path: str = (ast.literal_eval(scopes)[-2:-1] or [""])[0] if scopes else known
        if prefix:
            path = path[len(prefix) + 1 :] if path.startswith(f"{prefix}.") else ""
        node.metadata_props[PATH] = "" if path.startswith("_empty") else path


def _count_graphs(graph: ir.Graph, helper: ir.Value, names: Sequence[str]) -> None:
    """Compute the number of graphs, `max(batch) + 1`, where tracing had a helper input of that length."""
    graph.inputs.remove(helper)
    if not helper.uses():
        return
    batches = [value for value in graph.inputs if value.name in names]
    every = ir.node("Concat", batches, {"axis": 0}, name="Concat")
    several = len(batches) > 1
    last = ir.node("ReduceMax", every.outputs if several else batches, {"keepdims": 1}, name="ReduceMax")
    last.outputs[0].name = "last_graph"
    count = ir.node("Add", [last.outputs[0], _integers(graph, "one", [1])], name="Add")
    count.outputs[0].name = "num_graphs"
    count.outputs[0].shape, count.outputs[0].dtype = ir.Shape([1]), ir.DataType.INT64
    graph.insert_before(graph[0], [*([every] if several else []), last, count])
    for node, _ in list(helper.uses()):
        if node.op_type != "Shape":
            raise ExportError(
                f"the number of graphs is used in an unexpected way ({node.op_type}): please report this model"
            )
        ir.convenience.replace_nodes_and_values(graph, node, [node], [], node.outputs, count.outputs)


def _scatter_rows(graph: ir.Graph) -> None:
    """Sum rows by ScatterElements: ScatterND loses updates with more than one thread (ONNX Runtime issue 18048)."""
    for node in list(ir.traversal.RecursiveGraphIterator(graph)):
        if node.op_type != "ScatterND" or node.attributes.get_string("reduction", "none") == "none":
            continue
        data, index, rows = node.inputs
        rank = None if data is None or data.shape is None else len(data.shape)
        shape = None if index is None else index.shape
        if node.graph is not graph or rank is None or shape is None or len(shape) != 2 or shape[1] != 1:
            raise ExportError(
                f"{_path(node) or 'the model'} can't be exported: its indexed sum becomes ScatterND with a reduction, "
                "which ONNX Runtime computes wrongly with several threads; use torch_geometric.utils.scatter instead"
            )
        column = ir.node("Reshape", [index, _integers(graph, f"column_{rank}", [-1] + [1] * (rank - 1))])
        size = ir.node("Shape", [rows])
        full = ir.node("Expand", [column.outputs[0], size.outputs[0]])
        reduction = node.attributes.get_string("reduction", "add")
        scatter = ir.node("ScatterElements", [data, full.outputs[0], rows], {"axis": 0, "reduction": reduction})
        new = [column, size, full, scatter]
        for n in new:
            n.metadata_props.update(node.metadata_props)
        scatter.outputs[0].type, scatter.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
        ir.convenience.replace_nodes_and_values(graph, node, [node], new, node.outputs, scatter.outputs)


def _count_axes_from_the_front(graph: ir.Graph) -> None:
    """ONNX Runtime 1.31 forgets to reduce an empty tensor (a graph without edges) over an axis that is negative."""
    for node in graph:
        if not node.op_type.startswith("Reduce") or len(node.inputs) < 2 or node.inputs[0] is None:
            continue
        shape = node.inputs[0].shape
        axes = None if node.inputs[1] is None else ir.convenience.get_const_tensor(node.inputs[1])
        if axes is not None and shape is not None and (axes.numpy() < 0).any():
            front: list[int] = (axes.numpy() % len(shape)).tolist()
            node.replace_input_with(1, _integers(graph, "axes_" + "_".join(map(str, front)), front))


def _integers(graph: ir.Graph, name: str, values: Sequence[int]) -> ir.Value:
    if name not in graph.initializers:
        constant(graph, name, values, ir.DataType.INT64)
    return graph.initializers[name]


def _name_dimensions(graph: ir.Graph, roles: Mapping[str, Role], outputs: Outputs) -> None:
    sizes: dict[str, str] = {}  # the exporter's name of a size -> ours
    for value, role in zip(graph.inputs, roles.values(), strict=True):
        assert value.shape is not None
        if role == FIXED:
            continue
        own = value.shape[role.axis]
        if isinstance(own, ir.SymbolicDim) and own.value:
            sizes[own.value] = role.size
        free = role.size if role.size != "num_graphs" or isinstance(own, ir.SymbolicDim) else own
        value.shape = ir.Shape([free if i == role.axis else size for i, size in enumerate(value.shape)])
    for value, output in zip(graph.outputs, outputs.each, strict=True):
        assert value.shape is not None
        shape = [
            sizes.get(size.value or "", size) if isinstance(size, ir.SymbolicDim) else size for size in value.shape
        ]
        if shape and output.role != FIXED and not isinstance(shape[0], int):
            if output.name == outputs.main:
                _check_rows(shape[0], output.role, set(sizes.values()))
            shape[0] = output.role.size
        value.shape, value.name = ir.Shape(shape), output.name


def _check_rows(found: object, role: Role, known: set[str]) -> None:
    """Refuse a main output that has a row for something else than the task is about."""
    if role == GRAPH and str(found).partition(".")[0] == "num_nodes":
        raise ExportError(
            "the model returns one row for each node, but the task is about graphs: pool over batch (global_mean_pool)"
        )
    if role != GRAPH and role.size in known and found != role.size:
        what = role.size.removeprefix("num_").replace("s.", " of type ").removesuffix("s")
        raise ExportError(f"the model returns {found} rows, not one for each {what}: is it a model for another task?")


def _path(node: ir.Node) -> str:
    """Path of the module that made a node; "" for the model itself."""
    return node.metadata_props.get(PATH, "")


def _name_nodes(graph: ir.Graph) -> None:
    """`<module path>/<operator>`; quantization points keep the names they have."""
    used: dict[str, int] = {}
    for node in graph:
        name = node.name or ""
        if name.endswith(("/Q", "/DQ", "/Clip")):
            continue
        name = "/".join(filter(None, (_path(node), node.op_type)))
        used[name] = used.get(name, -1) + 1
        node.name = f"{name}_{used[name]}" if used[name] else name
