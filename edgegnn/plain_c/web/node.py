"""Run model.wasm in Node.js: an engine of the kind that browsers have."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ExportError, first_line
from edgegnn.plain_c.compiler import NUMPY_TYPES, graph_size
from edgegnn.plain_c.generate import Argument, PlainC
from edgegnn.plain_c.web.module import asset, module_text
from edgegnn.utils.limited import run_limited

__all__ = ["NO_NODE", "Answer", "find_node", "run_in_node"]

NO_NODE = "no Node.js 16.4 or newer here: apt-get install nodejs, or https://nodejs.org"
_OLDEST = (16, 4)
_SECONDS = 600  # of processor time, for all graphs
_ADDRESSES = 2**46  # Node.js reserves terabytes that it never uses; a module can have 4 GB

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Answer:
    """What the model gave for one graph.

    Attributes:
        outputs: by name; {} where the graph was refused.
        code: of the refusal; 0 for none.
        times: milliseconds of each further run of the same graph.
    """

    outputs: dict[str, Array]
    code: int = 0
    times: tuple[float, ...] = ()


def find_node() -> str | None:
    """The path of a Node.js that knows vectors in WebAssembly, else None."""
    path = shutil.which("node") or shutil.which("nodejs")
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"v(\d+)\.(\d+)", done.stdout)
    return path if found and tuple(map(int, found.groups())) >= _OLDEST else None


def run_in_node(
    code: PlainC, wasm: bytes, graphs: Sequence[Mapping[str, Array]], node: str, repeats: int = 0
) -> list[Answer]:
    """Run a module in a process of its own, through a model.mjs that is written here.

    Args:
        code: the C form that it was compiled from.
        wasm: the module. It has no way out of its memory.
        graphs: inputs by name, as the artifact takes them.
        node: the path of Node.js.
        repeats: how often to run each graph again, for times.

    Raises:
        ExportError: Node.js fails, or the module does.
    """
    with tempfile.TemporaryDirectory(prefix="edgegnn-node-") as place:
        folder = Path(place)
        (folder / "model.wasm").write_bytes(wasm)
        (folder / "model.mjs").write_text(module_text(code), encoding="utf-8")
        (folder / "run.mjs").write_text(asset("run.mjs"), encoding="utf-8")
        _write_graphs(code, graphs, folder, repeats)
        command = [node, str(folder / "run.mjs"), str(folder)]
        try:
            done = run_limited(command, seconds=_SECONDS, memory=_ADDRESSES, cwd=folder)
        except OSError as error:
            raise ExportError(f"Node.js can't be run: {error}") from error
        if done.why:
            raise ExportError(f"model.wasm {done.why} in Node.js")
        if done.status or not (folder / "answers.json").is_file():
            lines = [line for line in done.said if "Error" in line]
            raise ExportError(f"model.wasm fails in Node.js: {(lines or ['no reason given'])[0][:300]}")
        try:
            answers = json.loads((folder / "answers.json").read_text())
            return [
                _answer(code, found, graph_size(code, inputs)) for found, inputs in zip(answers, graphs, strict=True)
            ]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ExportError(f"model.wasm gives outputs of other sizes: {first_line(error)}") from error


def _write_graphs(code: PlainC, graphs: Sequence[Mapping[str, Array]], folder: Path, repeats: int) -> None:
    entries: list[dict[str, Any]] = []
    with (folder / "graphs.bin").open("wb") as block:
        for inputs in graphs:
            sizes = graph_size(code, inputs)
            entry: dict[str, Any] = {size.member: sizes[size.dim.text] for size in code.sizes}
            for argument in code.inputs:
                array = np.ascontiguousarray(inputs[argument.name], NUMPY_TYPES[argument.ctype])
                entry[argument.name] = [array.dtype.name, block.tell(), array.nbytes]
                block.write(array.tobytes())
            entries.append(entry)
    (folder / "graphs.json").write_text(json.dumps({"graphs": entries, "repeats": repeats}))


def _answer(code: PlainC, found: Mapping[str, Any], sizes: Mapping[str, int]) -> Answer:
    if "code" in found:
        return Answer({}, int(found["code"]))
    outputs = {a.name: _array(a, found["outputs"][a.name], sizes) for a in code.outputs}
    return Answer(outputs, 0, tuple(found["times"]))


def _array(argument: Argument, text: str, sizes: Mapping[str, int]) -> Array:
    shape = [dim.fixed if dim.fixed is not None else sizes[dim.text] for dim in argument.shape]
    return np.frombuffer(base64.b64decode(text), NUMPY_TYPES[argument.ctype]).reshape(shape)
