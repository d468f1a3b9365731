"""What a generic C program needs to know of one model: the file model_driver.c for `driver.h`."""

from __future__ import annotations

from dataclasses import dataclass

from edgegnn.errors import ExportError
from edgegnn.plain_c.generate import Argument, PlainC
from edgegnn.plain_c.literals import string_literal
from edgegnn.plain_c.values import Dim, count

__all__ = ["Accepted", "driver_source"]

_MOST_ARRAYS, _MOST_SIZES = 32, 8  # of driver.h
_LETTERS = {"float": "f", "int32_t": "i", "uint8_t": "u", "int8_t": "s"}


@dataclass(frozen=True)
class Accepted:
    """What a program on a device accepts when it compares outputs with the shipped ones.

    Attributes:
        target: "classes", "labels" or "values".
        max_error: largest difference of an output; None: any finite one.
        min_agreement: least share of equal predictions, in [0, 1].
        main: name of the output that predictions are read from; "": the first.
    """

    target: str = "classes"
    max_error: float | None = None
    min_agreement: float = 0.0
    main: str = ""


def driver_source(code: PlainC, name: str, accepted: Accepted = Accepted()) -> str:
    """The text of model_driver.c.

    Args:
        code: the model.
        name: the artifact's name, for messages.
        accepted: what `verify` on the device accepts.

    Raises:
        ExportError: it has more inputs, outputs or sizes than such a program takes.
    """
    ranks = [len(argument.shape) for argument in (*code.inputs, *code.outputs)]
    if max(len(code.inputs), len(code.outputs)) > _MOST_ARRAYS or max(ranks) > _MOST_SIZES:
        raise ExportError(
            f"programs for devices take at most {_MOST_ARRAYS} inputs and outputs of {_MOST_SIZES} sizes: "
            f"{name} has more"
        )
    call = f"edgegnn_{code.name}"
    rows = [argument.shape[0] if argument.shape else Dim("1", 1) for argument in code.outputs]
    nodes = next((a.shape[0] for a in code.inputs if a.shape), Dim("1", 1))
    free = any(dim.text == "n" for a in code.inputs for dim in a.shape)
    upper = code.name.upper()
    error = -1.0 if accepted.max_error is None else accepted.max_error
    lines = [
        "/* Written by edgegnn. */",
        '#include "driver.h"',
        '#include "model.h"',
        "",
        f"const char driver_name[] = {string_literal(name)};",
        f"const int32_t driver_max_nodes = EDGEGNN_{upper}_MAX_NODES, driver_max_edges = EDGEGNN_{upper}_MAX_EDGES;",
        f"const int32_t driver_fixed_nodes = {0 if free else nodes.most};",
        f"const size_t driver_arena_bytes = EDGEGNN_{upper}_ARENA_BYTES;",
        f"const char driver_target = '{accepted.target[0]}';",
        f"const double driver_max_error = {error!r}, driver_min_agreement = {accepted.min_agreement!r};",
        f"const int driver_num_inputs = {len(code.inputs)}, driver_num_outputs = {len(code.outputs)};",
        f"const int driver_main = {next((i for i, a in enumerate(code.outputs) if a.name == accepted.main), 0)};",
        f"const driver_input driver_inputs[] = {{{', '.join(map(_input, code.inputs))}}};",
        f"const char *const driver_output_names[] = {{{', '.join(string_literal(a.name) for a in code.outputs)}}};",
        f'const char driver_output_types[] = "{"".join(_LETTERS[a.ctype] for a in code.outputs)}";',
        "",
        "size_t driver_width(char type) { return type == 'f' || type == 'i' ? 4 : 1; }",
        _sizes("elements", [count(a.shape) for a in code.outputs]),
        _sizes("rows", rows),
        "int driver_run(int32_t nodes, int32_t edges, const void *const *inputs, void *const *outputs, void *arena) {",
        f"  {call}_inputs in = {{0}};",
        f"  {call}_outputs out = {{0}};",
        "  in.num_nodes = nodes;",
        "  in.num_edges = edges;",
        *(f"  in.{a.member} = (const {a.ctype} *)inputs[{i}];" for i, a in enumerate(code.inputs)),
        *(f"  out.{a.member} = ({a.ctype} *)outputs[{i}];" for i, a in enumerate(code.outputs)),
        f"  return {call}_run(&in, &out, arena);",
        "}",
        "",
    ]
    return "\n".join(lines)


def _input(argument: Argument) -> str:
    words = {"n": "DRIVER_NODES", "e": "DRIVER_EDGES"}
    dims = ", ".join(words.get(dim.text, dim.text) for dim in argument.shape) or "0"
    return f"{{{string_literal(argument.name)}, '{_LETTERS[argument.ctype]}', {len(argument.shape)}, {{{dims}}}}}"


def _sizes(what: str, dims: list[Dim]) -> str:
    cases = "".join(f"\n    case {i}: return {dim.text};" for i, dim in enumerate(dims))
    return (
        f"size_t driver_output_{what}(int output, size_t n, size_t e) {{\n  (void)n;\n  (void)e;\n"
        f"  switch (output) {{{cases}\n    default: return 0;\n  }}\n}}"
    )
