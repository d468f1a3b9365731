"""The ONNX form of a model: captured, quantized, its aggregations rewritten."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgegnn.checkpoint import Checkpoint
from edgegnn.checkpoint.onnx_module import OnnxModule
from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture, capture_with_twin
from edgegnn.exporting.entry_points import EntryPoint, chained, entry_points, whole_io
from edgegnn.exporting.foreign.prepare import prepare
from edgegnn.exporting.formats import Form, FormFacts
from edgegnn.exporting.guarded_points import range_facts
from edgegnn.exporting.learnt_bits import fixed_sizes, integer_operators, learnt_facts, with_fixed_nodes
from edgegnn.exporting.pack_zeros import pack_zeros, spell_int4
from edgegnn.exporting.qdq import qdq_points, stayed_float
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.exporting.rewrite.constant import fix_graph
from edgegnn.exporting.rewrite.sparse import sparse_features
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.manifest import Aggregation, Refusal, StayedFloat
from edgegnn.quantize import QuantModel, Recipe
from edgegnn.runtime import make_session
from edgegnn.runtime.roles import role_of
from edgegnn.tasks import Task

__all__ = ["onnx_form"]

Array = npt.NDArray[np.generic]


def onnx_form(
    checkpoint: Checkpoint,
    recipe: Recipe,
    task: Task,
    names: tuple[str, ...],
    example: dict[str, Array],
    constant_graph: bool,
) -> Form:
    """The model as ONNX: captured, quantized, its aggregations rewritten."""
    points = entry_points(checkpoint.model, task, names, example)
    models, plains, floats, operators, aggregations, refusals = [], [], [], Counter[str](), [], []
    twins: list[tuple[onnx.ModelProto, onnx.ModelProto]] = []
    found: set[str] = set()
    for point in points:
        captured, plain = _captured(checkpoint, point)
        quantized = with_fixed_nodes(_quantize(captured, recipe, point), fixed_sizes(checkpoint.model, task))
        if quantized is not captured and not recipe.trains:
            twins.append((captured, quantized))
        found.update(qdq_points(quantized))
        rewritten = rewrite_proto(quantized, sparse_input=_sparse(point), idle_pairs=recipe.does.post_training)
        model = rewritten.model
        if constant_graph and "edge_index" in point.example:
            model = _with_graph(model, task)
        model = spell_int4(pack_zeros(unsigned_weights(model)))
        models.append(model)
        floats += _float_tensors(checkpoint, quantized, model)
        operators.update(integer_operators(model))
        aggregations += [Aggregation(**asdict(outcome)) for outcome in rewritten.aggregations]
        refusals += [Refusal(**asdict(refusal)) for refusal in rewritten.refusals]
        plains.append(rewrite_proto(plain, sparse_input=_sparse(point)).model)
    sessions = [make_session(model.SerializeToString()) for model in models]
    guarded = recipe.does.one_scale
    each = [range_facts(m, p.file, p.calibrate()) for p, m in zip(points, models, strict=True)] if guarded else []
    average_bits, learnt_bits = learnt_facts(checkpoint.model)
    facts = FormFacts(
        quantized_points=_assert_planned(checkpoint, found),
        stayed_float=floats,
        aggregations=aggregations,
        refusals=refusals,
        fp32_model_file=sum(len(model.SerializeToString()) for model in plains),
        integer_operators=dict(operators),
        average_bits=average_bits,
        learnt_bits=learnt_bits,
        ranges=[point for points_of in each for point in points_of],
    )
    more = {p.file: m.SerializeToString(deterministic=True) for p, m in zip(points[1:], models[1:], strict=True)}
    first = twins[0] if twins else None
    every, io = chained(points, sessions), whole_io(points, models)
    main = points[-1].gives.main
    in_codes = recipe.does.post_training or isinstance(checkpoint.model, QuantModel)
    single = plains[0] if in_codes and len(plains) == 1 else None
    if single is not None and constant_graph and "edge_index" in points[0].example:
        single = _with_graph(single, task)
    return Form(
        "onnxruntime",
        every,
        main,
        io,
        facts,
        onnx=models[0],
        files=more,
        twins=first,
        quantized=in_codes,
        float_model=single,
    )


def _sparse(point: EntryPoint) -> bool:
    return sparse_features(point.example["x"]) if "x" in point.example else False


def _quantize(captured: onnx.ModelProto, recipe: Recipe, point: EntryPoint) -> onnx.ModelProto:
    products = any(node.op_type in {"MatMul", "Gemm"} for node in captured.graph.node)
    if not recipe.does.post_training or (point.kind == "link" and not products):
        return captured
    from edgegnn.exporting.ptq import dynamic_int8, static_int8

    return dynamic_int8(captured) if recipe.method == "dynamic" else static_int8(captured, point.calibrate())


def _assert_planned(checkpoint: Checkpoint, found: set[str]) -> int:
    """Every point that training put into the model is a pair in the file: PyG's own hooks vanish while exporting."""
    if not isinstance(checkpoint.model, QuantModel):
        return 0
    planned = set(checkpoint.model.structure()["points"])
    missing = sorted(planned - found)
    if missing:
        raise ExportError(
            f"{len(missing)} of {len(planned)} quantization points are not in the exported graph: {missing[0]}, ..."
        )
    return len(planned)


def _float_tensors(checkpoint: Checkpoint, model: onnx.ModelProto, rewritten: onnx.ModelProto) -> list[StayedFloat]:
    reasons = checkpoint.model.stayed_float if isinstance(checkpoint.model, QuantModel) else {}
    entries = []
    for entry in stayed_float(model, rewritten):
        name = entry["tensor"].removeprefix("model.")
        entries.append(StayedFloat(**{**entry, "why": reasons.get(name, entry["why"])}))
    return entries


def _captured(checkpoint: Checkpoint, point: EntryPoint) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The captured graph, and the same model's without quantization, which sizes are compared with."""
    model = checkpoint.model
    if isinstance(model, OnnxModule):
        known = {name: role_of(point.roles, name) for name in point.example}
        prepared = prepare(model, known, point.gives, kind=point.kind)
        return prepared, prepared
    if isinstance(model, QuantModel):
        return capture_with_twin(model, point.tensors, kind=point.kind, roles=point.roles, outputs=point.gives)
    captured = capture(model, point.tensors, kind=point.kind, roles=point.roles, outputs=point.gives)
    return captured, captured


def _with_graph(model: onnx.ModelProto, task: Task) -> onnx.ModelProto:
    data = task.graphs[0]
    own = ir.from_proto(model)
    fix_graph(own, data.edge_index.numpy(), int(data.num_nodes))
    proto = ir.to_proto(own)
    del proto.graph.value_info[:]  # sizes of the graph that is gone
    return proto
