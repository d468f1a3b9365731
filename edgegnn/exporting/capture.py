"""From a PyTorch model to an ONNX graph: any module written with PyG layers, any number of nodes, edges and graphs."""

from __future__ import annotations

import inspect
import io
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import cycle
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from edgegnn.errors import ExportError
from edgegnn.exporting.cleanup import finish
from edgegnn.exporting.diagnostics import blame, layer_of, sentence
from edgegnn.exporting.lower_learnt import LEARNT
from edgegnn.exporting.lower_points import translation_table, without_points
from edgegnn.exporting.node_limits import complete
from edgegnn.exporting.operator_table import own_table
from edgegnn.exporting.point_operators import point_table
from edgegnn.exporting.recurrent import recurrent_table
from edgegnn.exporting.simplify import simplify
from edgegnn.exporting.table import table_sizes
from edgegnn.exporting.tracing import DataSizes, quiet, symbolic_int, uncollected, untouched
from edgegnn.exporting.untraceable import known_reason
from edgegnn.quantize import QuantModel
from edgegnn.runtime.roles import BATCH, FIXED, GRAPH, LEVELS, Role, find_names, role_of
from edgegnn.signature import Every, Output, Outputs, every_output
from edgegnn.tasks.points import point_graphs

__all__ = ["GRAPHS", "capture", "capture_program", "capture_with_twin", "copy_program", "program_inputs"]

INPUTS = ("x", "edge_index", "edge_attr", "edge_weight", "batch")
_MANY = 64  # nodes, enough for a few pools that halve them
_FEW = 4  # graphs, enough to leave some of them out
GRAPHS = "num_graphs"  # name of the helper input whose length is the number of graphs, while tracing


def capture(
    model: nn.Module | ExportedProgram,
    args: Mapping[str, Tensor],
    *,
    kind: str,
    output: str = "logits",
    roles: Mapping[str, Role] | None = None,
    outputs: Outputs | None = None,
) -> onnx.ModelProto:
    """Turn a model into an ONNX graph with free numbers of nodes, edges and graphs.

    The model is traced in eval mode and left as it was. Quantization points (`edgegnn::fake_quantize`) become
    QuantizeLinear/DequantizeLinear pairs, quantized weights integer initializers (see `edgegnn.exporting.qdq`).

    Args:
        model: a module whose forward takes `args` by name, or an exported program with free node and edge counts.
        args: input name -> example tensor, in the order of the graph's inputs (x, edge_index, edge_attr/edge_weight,
            batch); one graph, or a batch of several. Only shapes and dtypes count.
        kind: "node" (logits `[num_nodes, C]`), "edge" (logits `[num_edges, C]`), "graph" (logits `[num_graphs, C]`) or
            "link" (logits `[num_links, 1]`).
        output: name of the output.
        roles: what the inputs belong to; the usual ones of their names where that isn't said.
        outputs: what a model gives that gives several tensors, or one that is no matrix.

    Returns:
        A model with inputs named as `args`, one output or those of `outputs`, float32, opset 18 (21 when it holds
        4-bit codes). The same model gives the same bytes.

    Raises:
        ExportError: something in the model has no ONNX form (the message names the layer), or the model does not
            return what its `kind` says.
    """
    given = outputs or Outputs((Output(output, LEVELS[kind]),), output)
    return _capture(model, args, given, roles=roles or {}, prefixes=["model"])[0]


def capture_with_twin(
    model: QuantModel,
    args: Mapping[str, Tensor],
    *,
    kind: str,
    output: str = "logits",
    roles: Mapping[str, Role] | None = None,
    outputs: Outputs | None = None,
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """`capture` of a quantized model; and the same model without its quantization points, which is not traced again."""
    prefixes = ["model", "model.model"]
    given = outputs or Outputs((Output(output, LEVELS[kind]),), output)
    captured, twin = _capture(model, args, given, roles=roles or {}, prefixes=prefixes)
    return captured, twin


def _capture(
    model: nn.Module | ExportedProgram,
    args: Mapping[str, Tensor],
    outputs: Outputs,
    *,
    roles: Mapping[str, Role],
    prefixes: Sequence[str],
) -> list[onnx.ModelProto]:
    """The graph; and, with a second prefix (the path of the user's module in it), that without quantization points."""
    traced = isinstance(model, ExportedProgram)
    program, names = capture_program(model, args, roles)
    known = {name: role_of(roles, name) for name in names}
    with quiet(), uncollected(), torch.no_grad():
        models = [_convert(program, model)]
        if len(prefixes) > 1:
            models.append(without_points(models[0]))
        return [
            finish(m, known, outputs, helper=GRAPHS, prefix="" if traced else prefix)
            for m, prefix in zip(models, prefixes, strict=True)
        ]


@point_graphs()
def capture_program(
    model: nn.Module | ExportedProgram, args: Mapping[str, Tensor], roles: Mapping[str, Role] | None = None
) -> tuple[ExportedProgram, tuple[str, ...]]:
    """Trace a model with free numbers of nodes, edges and graphs; the first half of `capture`.

    Returns:
        The program, and the names of its inputs. A module's program has one input more where it takes `batch`: a uint8
        vector whose length is the number of graphs. The user's module is `model` in it.

    Raises:
        ExportError: as `capture`.
    """
    with quiet(), uncollected(), torch.no_grad():
        if isinstance(model, ExportedProgram):
            _check_program(model)
            return copy_program(model), program_inputs(model)
        return _trace(model, args, {name: role_of(roles or {}, name) for name in args}), tuple(args)


# Tracing ------------------------------------------------------------


class _ByName(nn.Module):
    """The model as a function of its inputs in graph order, and of a helper whose length is the number of graphs."""

    def __init__(self, model: nn.Module, roles: Mapping[str, Role]) -> None:
        super().__init__()
        self.model, self.roles = model, roles

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        given = dict(zip(self.roles, tensors, strict=False))
        inputs = complete(self.model, given, self.roles)
        batches = find_names(inputs, self.roles, BATCH)
        graphs: Any = 1 if batches and batches[0] not in given else None
        graphs = tensors[len(given)].shape[0] if len(tensors) > len(given) else graphs
        with DataSizes([inputs[name] for name in batches], graphs), every_output():
            out = self.model(**inputs)
        if isinstance(out, Every):
            return _apart(list(out.values()), tensors)
        if not isinstance(out, Tensor) or out.dim() != 2 or out.dtype != torch.float32:
            what = f"{out.dtype} {list(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise ExportError(f"the model must return one float32 matrix of logits, [rows, classes]; it returns {what}")
        return out


def _apart(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs, each a tensor of its own: what is an input, or another output too, is copied."""
    seen = [id(value) for value in inputs]
    apart: list[Tensor] = []
    for value in outputs:
        apart.append(value.clone() if id(value) in seen else value)
        seen.append(id(value))
    return tuple(apart)


def _trace(model: nn.Module, args: Mapping[str, Tensor], roles: Mapping[str, Role]) -> ExportedProgram:
    wrapped = _ByName(model, roles)
    fixed = table_sizes(model, args, roles)

    def export(least: int = 2) -> ExportedProgram:
        example, shapes = _example(args, roles, least, fixed)
        return torch.export.export(
            wrapped,
            tuple(example),
            dynamic_shapes=(tuple(shapes),),
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=least > 2,
        )

    with untouched(model), symbolic_int(model):
        wrapped.training = False
        least = max(getattr(module, "traced_nodes", 2) for module in model.modules())
        try:
            return export(least)
        except ExportError:
            raise
        except Exception as error:
            if "Constraints violated" in str(error) and least < _MANY:
                # Sizes made from sizes (half of the nodes) are 1 where those are small, which tracing tells apart. A
                # program for many nodes holds for few as well; what it gives there is compared with PyTorch's.
                with suppress(Exception):
                    return export(_MANY)
            raise ExportError(known_reason(model) or blame(model, error, args=args, retrace=export)) from error


def _example(
    args: Mapping[str, Tensor], roles: Mapping[str, Role], least: int, fixed: Collection[str] = ()
) -> tuple[list[Tensor], list[dict[int, Any]]]:
    """Inputs to trace with, and their free dimensions.

    Tracing tells sizes apart by their values, and takes 0 and 1 for constants: the counts are made unlike each other by
    repeating rows, which is harmless since no value is looked at. There are at least `least` nodes, and of sizes
    that are `fixed` as many as in `args`.
    """
    batches = [args[name] for name in find_names(args, roles, BATCH)]
    batch = batches[0] if batches else None
    counts = _counts(args, roles, batches, least, fixed)
    of_nodes = {size for size in counts if _counts_nodes(size)}
    lowest = {size: least if size in of_nodes else min(least, _FEW) if size == "num_graphs" else 2 for size in counts}
    free = {size: Dim(f"{size.partition('.')[0]}_{i}", min=lowest[size], max=2**31) for i, size in enumerate(counts)}
    example: list[Tensor] = []
    shapes: list[dict[int, Any]] = []
    for name, value in args.items():
        role = roles[name]
        if role == FIXED or (role == GRAPH and batch is None):  # its own shape, or one graph
            example.append(value.new_zeros(value.shape))
            shapes.append({})
            continue
        size = [counts[role.size] if axis == role.axis else own for axis, own in enumerate(value.shape)]
        example.append(value.new_zeros(size))
        shapes.append({} if role.size in fixed else {role.axis: free[role.size]})
    if batch is not None:
        example.append(torch.zeros(counts["num_graphs"], dtype=torch.uint8))
        shapes.append({0: free["num_graphs"]})
    return example, shapes


def _counts(
    args: Mapping[str, Tensor],
    roles: Mapping[str, Role],
    batches: Sequence[Tensor],
    least: int,
    fixed: Collection[str],
) -> dict[str, int]:
    """Numbers of nodes, edges, pairs and graphs to trace with: no two are equal, and none equals another size."""
    given: dict[str, int] = {}
    other_sizes: set[int] = set()
    for name, role in roles.items():
        if role == FIXED:
            other_sizes.update(args[name].shape)
            continue
        given.setdefault(role.size, args[name].shape[role.axis])
        if _counts_nodes(role.size):
            other_sizes.update(size for axis, size in enumerate(args[name].shape) if axis != role.axis)
    nodes = [size for size in given if _counts_nodes(size)]
    counts: dict[str, int] = {}
    for size in nodes:
        own = given[size]
        count = own if size in fixed else own * max(1 if own > 1 else 3, -(-least // max(own, 1)))
        while (
            len(nodes) > 1 and size not in fixed and (count < least or count in counts.values() or count in other_sizes)
        ):
            count += 5
        counts[size] = count
    many = max((int(batch.max()) + 1 for batch in batches if batch.numel()), default=0)
    graphs = 0 if not batches else max(min(least, _FEW), many * max(1, counts[nodes[0]] // max(given[nodes[0]], 1)))
    while batches and graphs in counts.values():
        graphs += 1
    taken = {graphs, *other_sizes, *(given[size] for size in nodes)}
    rest = [size for size in given if size not in counts and size != "num_graphs"]
    for size, step in zip(rest, cycle((7, 11)), strict=False):
        count = given[size]
        while count < 2 or count in taken or count in counts.values():
            count += step
        counts[size] = count
    return {**counts, "num_graphs": graphs}


def _counts_nodes(size: str) -> bool:
    return size.partition(".")[0] == "num_nodes"


# Programs (.pt2) ------------------------------------------------------------


def program_inputs(program: ExportedProgram) -> tuple[str, ...]:
    """The graph inputs of an exported program, in its own order, by their usual names.

    Inputs that have other names are recognised by dtype and rank: the first float matrix is `x`, a later one
    `edge_attr`, a float vector `edge_weight`, an int64 matrix `edge_index`, an int64 vector `batch`.

    Raises:
        ExportError: it takes no graph.
    """
    found: list[str] = []
    for own, value in _program_values(program).items():
        kind = (value.dtype.is_floating_point, value.dim())
        by_type = {(True, 2): "edge_attr" if "x" in found else "x", (True, 1): "edge_weight", (False, 2): "edge_index"}
        by_type[False, 1] = "batch"
        name = own if own in INPUTS else by_type.get(kind, "")
        if not name or name in found:
            raise ExportError(
                f"the program's input {own!r} ({value.dtype}, {value.dim()}-d) is no graph input: {_WANTED}"
            )
        found.append(name)
    if not {"x", "edge_index"} <= set(found):
        raise ExportError(f"the program takes ({', '.join(_program_values(program))}), not a graph: {_WANTED}")
    return tuple(found)


_WANTED = "it must take x, edge_index and, as needed, edge_attr, edge_weight, batch"


def _program_values(program: ExportedProgram) -> dict[str, Tensor]:
    names = program.graph_signature.user_inputs
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    values = {str(name): nodes[str(name)].meta.get("val") for name in names if str(name) in nodes}
    if len(values) != len(names) or not all(isinstance(v, Tensor) for v in values.values()):
        raise ExportError(f"the program takes something that is not a tensor: {_WANTED}")
    return values


def _check_program(program: ExportedProgram) -> None:
    values = dict(zip(program_inputs(program), _program_values(program).values(), strict=True))
    fixed = [
        what
        for what, size in (("num_nodes", values["x"].shape[0]), ("num_edges", values["edge_index"].shape[1]))
        if isinstance(size, int)
    ]
    if fixed:
        raise ExportError(
            f"the program was exported with a fixed {' and '.join(fixed)}: export it again with "
            "torch.export.export(..., dynamic_shapes=...) that leaves nodes and edges free"
        )
    if len(program.graph_signature.user_outputs) != 1:
        raise ExportError("the program must return one matrix of logits")
    for node in program.graph.nodes:
        name = getattr(node.target, "__name__", "")
        if name == "dropout.default" and len(node.args) > 2 and node.args[2] is True:
            raise ExportError(
                "the program was exported in training mode (dropout is on): call model.eval() before torch.export"
            )


def copy_program(program: ExportedProgram) -> ExportedProgram:
    """A program can be decomposed only once: its symbols are used up."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    return torch.export.load(buffer)


# Conversion ------------------------------------------------------------


def _convert(program: ExportedProgram, model: nn.Module | ExportedProgram) -> ir.Model:
    bits = [8]
    for node in program.graph.nodes:
        name = getattr(node.target, "_name", "")
        if name == "edgegnn::fake_quantize":
            bits.append(node.args[4])
        elif name == LEARNT:
            bits.append(4)  # widths are stored as 4-bit numbers
        elif name.startswith("aten::scatter_reduce") and "mean" in node.args:
            why = "scatter_reduce(reduce='mean') has no ONNX form; use torch_geometric.utils.scatter(reduce='mean')"
            raise ExportError(sentence(model, layer_of(node), why))
    _remember_torchlib()
    try:
        converted = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            optimize=False,  # its optimizer takes small constants for 0
            opset_version=21 if min(bits) <= 4 else 18,
            custom_translation_table={**translation_table(), **recurrent_table(), **point_table(), **own_table()},
        )
    except Exception as error:
        raise ExportError(blame(model, error, program=program)) from error
    assert converted is not None
    simplify(converted.model)
    return converted.model


def _remember_torchlib() -> None:
    """Build the exporter's table of operators once a process instead of once an export (a second each time)."""
    from torch.onnx._internal import _lazy_import

    apis: Any = getattr(_lazy_import, "onnxscript_apis", None)
    table = getattr(apis, "get_torchlib_ops", None)
    if inspect.isfunction(table):
        apis.get_torchlib_ops = cache(table)
