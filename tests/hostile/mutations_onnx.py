"""Ways to damage an ONNX file: any field of its protocol buffer, and what a stranger would try on purpose."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from mutations import ODD_TEXTS, damage_bytes
from onnx import TensorProto, helper

_INTEGERS = (-1, 0, 1, 2, 3, 7, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**62, -(2**63), 2**63 - 1, -(2**31))
_FLOATS = (0.0, -0.0, 1e-45, -1.0, 3.4e38, float("inf"), float("-inf"), float("nan"), 1e10)
_NAMES = ("", "int", 'a??/";b', "a\nb", "../x", "x" * 3000, "$name", "${NAME}", "%s%n", "é", "\x1b[2J", "*/ int z; /*")
_PLACES = ("/etc/passwd", "../../etc/passwd", "data.bin", "", ".", "\0", "a/../../b", "C:\\x", "/dev/zero", "x" * 3000)
_WHOLE = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_REAL = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def damage_onnx(rng: random.Random, content: bytes) -> bytes:
    """A file with up to three fields changed, or a trick played; sometimes with damaged bytes."""
    if rng.random() < 0.15:
        return damage_bytes(rng, content)
    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.randrange(1, 4)):
        try:
            rng.choice((_field, _field, _field, _node, _trick))(rng, model)
        except (TypeError, ValueError, IndexError, DecodeError):
            continue
    try:
        return model.SerializeToString()
    except Exception:  # what can't be written can't be sent
        return damage_bytes(rng, content)


def _messages(message: Any, depth: int = 0) -> Iterator[Any]:
    yield message
    if depth > 12:
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if _is_list(value) else (value,):
                yield from _messages(each, depth + 1)


def _is_list(value: Any) -> bool:
    return hasattr(value, "append") or hasattr(value, "add")


def _field(rng: random.Random, model: onnx.ModelProto) -> None:
    """Another value in a field that is set; or one of a list gone, twice or somewhere else."""
    message = rng.choice(list(_messages(model)))
    field, value = rng.choice(message.ListFields())
    if not _is_list(value):
        if field.message_type is not None:
            rng.choice((lambda: message.ClearField(field.name), value.Clear))()
        else:
            setattr(message, field.name, _odd(rng, field, value))
        return
    at = rng.randrange(len(value))
    if rng.random() < 0.4:
        del value[at]
    elif field.message_type is not None:
        value.add().CopyFrom(value[at])
        if rng.random() < 0.5:
            items = [type(each).FromString(each.SerializeToString()) for each in value]
            rng.shuffle(items)
            del value[:]
            value.extend(items)
    elif rng.random() < 0.5:
        value.append(_odd(rng, field, value[at]))
    else:
        value[at] = _odd(rng, field, value[at])


def _odd(rng: random.Random, field: FieldDescriptor, value: Any) -> Any:
    if field.cpp_type in _WHOLE:
        return rng.choice((*_INTEGERS, value + 1, value - 1, value * 2))
    if field.cpp_type in _REAL:
        return rng.choice(_FLOATS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if isinstance(value, bytes):
            return rng.choice((damage_bytes(rng, value), bytes(len(value)), value[:-1], b"\xff" * len(value)))
        return rng.choice((*_NAMES, *ODD_TEXTS[:6]))
    return rng.choice([each.number for each in field.enum_type.values]) if field.enum_type else value


def _node(rng: random.Random, model: onnx.ModelProto) -> None:
    """Another operator, input or output of a node; or an attribute of another one."""
    nodes = model.graph.node
    node, other = rng.choice(nodes), rng.choice(nodes)
    names = [name for each in nodes for name in (*each.input, *each.output)]
    names += [each.name for each in (*model.graph.input, *model.graph.initializer)]
    match rng.randrange(5):
        case 0 | 1:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 2:
            node.op_type, node.domain = other.op_type, other.domain
        case 3:
            node.attribute.add().CopyFrom(rng.choice(other.attribute))
        case _:
            values = [each for each in (*model.graph.input, *model.graph.output) if each.type.tensor_type.shape.dim]
            dim = rng.choice(rng.choice(values).type.tensor_type.shape.dim)
            if rng.random() < 0.5:
                dim.dim_value = rng.choice((*_INTEGERS, 5))
            else:
                dim.dim_param = rng.choice((*_NAMES, "num_nodes", "num_edges", "num_graphs", "n"))


def _trick(rng: random.Random, model: onnx.ModelProto) -> None:
    """What a stranger would do on purpose."""
    graph = model.graph
    tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]
    match rng.randrange(8):
        case 0:  # data in files beside the model, or anywhere
            tensor = rng.choice(tensors)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", rng.choice(_PLACES)), ("offset", "0"), ("length", str(2**40))):
                if key == "location" or rng.random() < 0.5:
                    tensor.external_data.add(key=key, value=rng.choice((value, "-1", "x", value)))
        case 1:  # a shape of which there is no such data
            tensor = rng.choice(tensors)
            tensor.dims[:] = [rng.choice(_INTEGERS) for _ in range(rng.randrange(5))]
            if rng.random() < 0.5:
                tensor.ClearField("raw_data")
        case 2:  # graphs in graphs
            empty = helper.make_graph([], "g", [], [])
            for _ in range(rng.choice((1, 3, 20, 40))):
                inner = helper.make_graph([graph.node[0]], "g", [], list(graph.output))
                node = helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=empty)
                graph.node.insert(0, node)
        case 3:  # a constant that grows
            size = helper.make_tensor("", TensorProto.INT64, [2], [rng.choice((2**10, 2**20, 2**35)), 2**10])
            graph.initializer.add().CopyFrom(size)
            graph.initializer[-1].name = "grown_size"
            graph.node.insert(0, helper.make_node("ConstantOfShape", ["grown_size"], ["grown"]))
            node = rng.choice(graph.node[1:])
            node.input[rng.randrange(len(node.input))] = "grown"
        case 4:  # a function of its own
            body = [helper.make_node("Neg", ["a"], ["b"])]
            own = helper.make_function("", rng.choice(("Relu", "Mine")), ["a"], ["b"], body, list(model.opset_import))
            model.functions.add().CopyFrom(own)
        case 5:  # sizes of sizes
            node = rng.choice([n for n in graph.node if n.output])
            last = node.output[0]
            for i in range(rng.choice((5, 60))):
                op = rng.choice(("Add", "Mul", "Sub", "Concat"))
                more = {"axis": 0} if op == "Concat" else {}
                graph.node.add().CopyFrom(helper.make_node(op, [last, last], [f"grown{i}"], **more))
                last = f"grown{i}"
            graph.output[0].name = last
        case 6:  # many of one
            node = rng.choice(graph.node)
            node.input.extend([node.input[0]] * rng.choice((10, 300)))
        case _:  # another operator of its domain
            node = rng.choice(graph.node)
            node.op_type = rng.choice(("Loop", "Scan", "Reshape", "Gather", "Expand", "Tile", "TopK", "Where", "Max"))
