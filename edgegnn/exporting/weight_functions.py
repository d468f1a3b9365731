"""Functions of the domain `edgegnn.weights`, which put constant weights into shape while a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx.parser
from onnx import helper

__all__ = ["DOMAIN", "add_functions", "free_name", "standard_opset", "weight_function"]

DOMAIN, VERSION = "edgegnn.weights", 1


def weight_function(body: str, opset: int) -> onnx.FunctionProto:
    """The function with this body in ONNX's textual form, which uses standard operators of `opset`."""
    made = onnx.parser.parse_function(f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>{body}')
    for node in made.node:
        node.name = node.output[0]  # onnxruntime's own steps name nodes after those they replace
    return made


def add_functions(model: onnx.ModelProto, functions: Sequence[onnx.FunctionProto]) -> None:
    """Add functions to a model, in place, and import their domain once."""
    model.functions.extend(functions)
    if all(o.domain != DOMAIN for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))


def standard_opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators that a model uses; 0 for none."""
    return next((o.version for o in model.opset_import if not o.domain), 0)


def free_name(name: str, names: set[str]) -> str:
    """The name, with a number behind it where it is among `names`."""
    free, number = name, 0
    while free in names:
        number += 1
        free = f"{name}_{number}"
    return free
