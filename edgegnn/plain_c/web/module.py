"""The ES module around model.wasm, and its types."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from edgegnn.plain_c.generate import Argument, PlainC

__all__ = ["asset", "module_text", "type_script"]

_ARRAYS = {
    "float": "Float32Array",
    "double": "Float64Array",
    "int32": "Int32Array",
    "uint8": "Uint8Array",
    "int8": "Int8Array",
}
_TYPES = Template("""\
/* Written by edgegnn.
 *
 *   import { load } from "./model.mjs";
 *   const model = await load();
 *   const { $output } = model.run({ $call });
 *
 * Matrices lie row by row; an edge index has all sources, then all destinations.
 * Browsers need WebAssembly with 128-bit vectors: Chrome 91, Firefox 89, Safari 16.4 or newer.
 */

/** One graph. Sizes are told by the arrays; give one that no array tells as a number. */
export interface Graph {
$inputs
$sizes
}

export interface Outputs {
$outputs
}

/** What an array is. A name in `shape` is a size that differs from graph to graph. */
export interface Tensor {
  name: string;
  type: "float" | "double" | "int32" | "uint8" | "int8";
  shape: (number | string)[];
}

export const info: {
  name: string;
  function: string;
  maxNodes: number;
  maxEdges: number;
  arenaBytes: number;
  sizes: string[];
  fixed: Record<string, number>;
  needed: string[];
  inputs: Tensor[];
  outputs: Tensor[];
};

/** The model refuses a graph; `code` is one of those in model.h. */
export class GraphError extends Error {
  code: number;
}

export class Model {
  /** Run the model on one graph. The arrays that it returns are the caller's. */
  run(graph: Graph): Outputs;
}

/**
 * Load the model.
 *
 * @param source - model.wasm: where it lies (default: beside this module), its answer, its bytes, or compiled.
 */
export function load(source?: string | URL | Response | BufferSource | WebAssembly.Module): Promise<Model>;
""")


@cache
def asset(name: str) -> str:
    """The text of a file in assets/."""
    return resources.files("edgegnn.plain_c.web").joinpath("assets", name).read_text(encoding="utf-8")


def module_text(code: PlainC) -> str:
    """The text of model.mjs."""
    return asset("model.mjs").replace("$info", json.dumps(_facts(code), indent=2))


def type_script(code: PlainC) -> str:
    """The text of model.d.ts."""
    sizes = [size.member for size in code.sizes]
    members = [f"  {json.dumps(a.name)}: {_array(a, given=True)}; // {_written(code, a)}" for a in code.inputs]
    needed = _facts(code)["needed"]
    return _TYPES.substitute(
        inputs="\n".join(members),
        sizes="\n".join(f"  {name}{'' if name in needed else '?'}: number;" for name in sizes),
        outputs="\n".join(f"  {json.dumps(a.name)}: {_array(a)}; // {_written(code, a)}" for a in code.outputs),
        output=", ".join(a.name for a in code.outputs if a.name.isidentifier()) or "...",
        call=", ".join(a.name if a.name.isidentifier() else f'"{a.name}": ...' for a in code.inputs),
    )


def _facts(code: PlainC) -> dict[str, Any]:
    """What model.mjs knows of the C function."""
    inputs = [_tensor(code, argument) for argument in code.inputs]
    told = {size for tensor in inputs for size in tensor["shape"]}
    nodes = code.nodes
    fixed = {"num_nodes": nodes.fixed} if nodes.fixed is not None else {}
    untold = [size.member for size in code.sizes if size.member not in told and size.member not in fixed]
    return {
        "name": code.name,
        "function": f"edgegnn_{code.name}_run",
        "maxNodes": code.limits.nodes,
        "maxEdges": code.limits.edges,
        "arenaBytes": code.arena_bytes,
        "sizes": [size.member for size in code.sizes],
        "fixed": {name: value for name, value in fixed.items() if any(s.member == name for s in code.sizes)},
        "needed": [size.member for size in code.sizes if size.member in untold and size.least > 0],
        "inputs": inputs,
        "outputs": [_tensor(code, argument) for argument in code.outputs],
    }


def _tensor(code: PlainC, argument: Argument) -> dict[str, Any]:
    return {"name": argument.name, "type": _type(argument), "shape": _shape(code, argument)}


def _shape(code: PlainC, argument: Argument) -> list[int | str]:
    """Its sizes; those that differ from graph to graph by their names."""
    names = {size.dim.text: size.member for size in code.sizes}
    return [names[dim.text] if dim.fixed is None else dim.fixed for dim in argument.shape]


def _type(argument: Argument) -> str:
    return argument.ctype.removesuffix("_t")


def _array(argument: Argument, given: bool = False) -> str:
    kind = _ARRAYS[_type(argument)]
    wide = " | BigInt64Array" if kind == "Int32Array" else ""
    return f"{kind}{wide} | number[]" if given else kind


def _written(code: PlainC, argument: Argument) -> str:
    return f"[{', '.join(map(str, _shape(code, argument)))}]"
