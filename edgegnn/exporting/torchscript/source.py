"""A flat graph of torch operators as TorchScript source."""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgegnn.errors import ExportError
from edgegnn.exporting.torchscript import kernels
from edgegnn.exporting.torchscript.program import Program
from edgegnn.runtime.roles import BATCH, argument_name, usual_role

__all__ = ["source"]

_BINARY = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "floordiv": "//",
    "truediv": "/",
    "mod": "%",
    "pow": "**",
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "and_": "and",
    "or_": "or",
}
_CALLS = {
    "neg": "-{}",
    "not_": "not {}",
    "sym_not": "not {}",
    "sym_max": "max({}, {})",
    "sym_min": "min({}, {})",
    "sym_float": "float({})",
    "sym_int": "int({})",
    "sym_sqrt": "math.sqrt({})",
    "_sym_sqrt": "math.sqrt({})",
    "sym_ite": "({1} if {0} else {2})",
    "ceil": "int(math.ceil({}))",
    "floor": "int(math.floor({}))",
    "trunc": "int({})",
    "getitem": "{}[{}]",
    "sym_size": "{}.size({})",
    "sym_stride": "{}.stride({})",
    "sym_numel": "{}.numel()",
    "sym_storage_offset": "{}.storage_offset()",
}
_SCALARS = {"item", "_local_scalar_dense"}
# Aten operators that Python sees as methods of numbers, or that TorchScript knows by another name.
_KERNELS: dict[Any, str] = {function: name for name, function in vars(kernels).items() if inspect.isfunction(function)}


def source(program: Program, attributes: dict[fx.Node, str]) -> str:
    """The method `forward` of a TorchScript module.

    Args:
        program: its graph.
        attributes: placeholder of a constant -> name of the module's attribute that holds it.

    Raises:
        ExportError: something in the graph has no TorchScript form.
    """
    names: dict[fx.Node, str] = {node: f"self.{name}" for node, name in attributes.items()}
    names.update({node: argument_name(name) for node, name in program.inputs.items()})
    arguments = ", ".join(f"{argument_name(name)}: Tensor" for name in program.inputs.values())
    given = next(node.args[0] for node in program.graph.nodes if node.op == "output")
    outputs: tuple[Any, ...] = given if isinstance(given, tuple) else (given,)
    returned = "Tensor" if len(outputs) == 1 else f"Tuple[{', '.join('Tensor' for _ in outputs)}]"
    lines = [f"def forward(self, {arguments}) -> {returned}:"]
    counted = list(program.counts.users) if program.counts is not None else []
    if counted:
        batches = [argument_name(name) for name in program.inputs.values() if usual_role(name) == BATCH]
        every = batches[0] if len(batches) == 1 else f"torch.cat([{', '.join(batches)}])"
        lines.append(f"    num_graphs = int({every}.max()) + 1")
    for node in program.graph.nodes:
        if node.op == "call_function":
            if node in counted:
                if _packet(node.target) != "sym_size":
                    raise ExportError(f"the number of graphs is used in an unexpected way ({node.target})")
                names[node] = "num_graphs"
                continue
            names[node] = f"{node.name}_"  # no operator, keyword or input has such a name
            lines.append(f"    {names[node]} = {_call(node, names)}")
        elif node.op == "output":
            lines.append(f"    return {', '.join(names[value] for value in outputs)}")
    return "\n".join(lines) + "\n"


def _packet(target: Any) -> str:
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet))


def _call(node: fx.Node, names: dict[fx.Node, str]) -> str:
    target, name = node.target, _packet(node.target)
    if target in _KERNELS:
        return f"kernels.{_KERNELS[target]}({', '.join(_value(a, names) for a in node.args)})"
    if str(target) == "edgegnn.fake_quantize.default":
        x, scale, zero_point, axis, bits = (_value(a, names) for a in node.args[:5])
        return f"kernels.fake_quantize({x}, {scale}, {zero_point}, {axis}, {bits})"
    if str(target) == "edgegnn.learnt_quantize.default":
        return f"kernels.learnt_quantize({', '.join(_value(a, names) for a in node.args[:6])})"
    if name in _SCALARS:
        kind = {torch.SymInt: "int", torch.SymFloat: "float", torch.SymBool: "bool"}
        value = node.meta.get("val")
        return f"{kind.get(type(value), type(value).__name__)}({_value(node.args[0], names)})"
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten" or name.startswith("sym_"):
        given = [_value(a, names) for a in node.args]
        if name in _CALLS:
            return _CALLS[name].format(*given)
        if name in _BINARY and getattr(operator, name, None) is target:
            return f"{given[0]} {_BINARY[name]} {given[1]}"
        raise ExportError(f"{target} has no TorchScript form")
    schema = target._schema.arguments
    positional = [a for a in schema if not a.kwarg_only]
    given = [_value(v, names, _type(a)) for v, a in zip(node.args, positional, strict=False)]
    types = {a.name: _type(a) for a in schema}
    given += [f"{k}={_value(v, names, types[k])}" for k, v in node.kwargs.items()]
    return f"torch.ops.aten.{name}({', '.join(given)})"


def _type(argument: Any) -> str:
    return str(argument.type.annotation_str).replace("SymInt", "int")


_TORCH: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (torch.dtype, str),
    (torch.layout, str),
    (torch.memory_format, str),
    (torch.device, lambda device: f'torch.device("{device}")'),
)


def _value(value: Any, names: dict[fx.Node, str], kind: str = "") -> str:
    """An argument; `kind` is its type in the operator's schema."""
    if isinstance(value, fx.Node):
        return names[value]
    plain = kind[len("Optional[") : -1] if kind.startswith("Optional[") else kind
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_value(v, names) for v in value)
        # An empty list, or one of tensors and None, has no type of its own.
        typed = plain.startswith("List[") and (not value or None in value)
        return f"torch.jit.annotate({plain}, [{inner}])" if typed else f"[{inner}]"
    if plain == "float" and type(value) is int:
        return f"{value}.0"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    for of, text in _TORCH:
        if isinstance(value, of):
            return text(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise ExportError(f"a {type(value).__name__} has no TorchScript form")
