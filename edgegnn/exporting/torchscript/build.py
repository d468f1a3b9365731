"""Build, time and save a TorchScript model."""

from __future__ import annotations

import io
import math  # noqa: F401 (the source of a model may name it)
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgegnn.errors import ExportError, first_line
from edgegnn.exporting.torchscript import kernels  # noqa: F401 (the source of a model names it)
from edgegnn.exporting.torchscript.aggregate import AggregationChoice, sparse_sums
from edgegnn.exporting.torchscript.program import Program, flatten
from edgegnn.exporting.torchscript.source import source
from edgegnn.exporting.torchscript.timing import milliseconds
from edgegnn.exporting.torchscript.weights import LayerChoice, compact_weights, is_quantizer, sparse_layers
from edgegnn.exporting.tracing import quiet
from edgegnn.runtime.script import ScriptSession

__all__ = ["Script", "to_torchscript"]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Script:
    """A TorchScript model.

    Attributes:
        content: bytes of `model.ts.pt`.
        layers: how the product with each pruned weight is computed.
        aggregation: how each sum over edges is computed.
        model_ms: milliseconds of the whole model on the graph that was measured: "dense" with dense kernels only,
            "chosen" as it is in the file.
        threads: threads that the measurements used.
        points: names of the quantization points in it.
        floats: constants that are held in float, path -> bytes.
    """

    content: bytes
    layers: list[LayerChoice]
    aggregation: list[AggregationChoice]
    model_ms: dict[str, float]
    threads: int
    points: frozenset[str]
    floats: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """What the manifest says about it: plain JSON-able values."""
        return {
            "layers": [asdict(choice) for choice in self.layers],
            "aggregation": [asdict(choice) for choice in self.aggregation],
            "model_ms": self.model_ms,
            "threads": self.threads,
        }


def to_torchscript(
    program: ExportedProgram,
    names: Sequence[str],
    measured: Mapping[str, Tensor],
    *,
    prefix: str = "model",
    always: bool | None = None,
) -> Script:
    """Turn a model into a TorchScript file.

    Args:
        program: what `capture_program` gave, which is used up.
        names: the model's inputs.
        measured: a real graph, on which dense and sparse kernels are compared with the current number of threads.
        prefix: path of the user's module in the program.
        always: sparse kernels wherever there is one (True), nowhere (False), or where they are faster (None).

    Raises:
        ExportError: something in the model has no TorchScript form.
    """
    with quiet(), torch.no_grad():
        plain = flatten(program, names, prefix=prefix)
    points = frozenset(str(node.args[-1]) for node in plain.graph.nodes if is_quantizer(node))
    floats = {
        plain.names[node]: value.numel() * value.element_size()
        for node, value in plain.constants.items()
        if value.is_floating_point() and value.numel() > 1 and not all(map(is_quantizer, node.users))
    }
    chosen = plain.copy()
    layers = sparse_layers(chosen, measured, always=always)
    aggregation = sparse_sums(chosen, measured, always=always)
    with quiet():
        content = _save(chosen)
        times = {"dense": _time(_save(plain), measured), "chosen": _time(content, measured)}
    return Script(content, layers, aggregation, times, torch.get_num_threads(), points, floats)


def _save(program: Program) -> bytes:
    """Compile a program and write it as a file."""
    compact_weights(program)
    # TorchScript compiles a class once, and shares it between modules with the same attributes.
    holder = type("Model", (nn.Module,), {"__module__": "edgegnn"})()
    attributes = {}
    for node, value in program.constants.items():
        name = _attribute(program.names[node], holder)
        holder.register_buffer(name, value.detach().clone().contiguous())
        attributes[node] = name
    text = source(program, attributes)
    try:
        scripted = torch.jit.script(holder.eval())
        scripted.define(text)
    except Exception as error:
        raise ExportError(f"the model has no TorchScript form: {first_line(error)}") from error
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    return _without_debug(buffer)


def _without_debug(content: io.BytesIO) -> bytes:
    """The file without its source positions: they name folders of this machine, and nothing runs them."""
    content.seek(0)
    reader, out = torch._C.PyTorchFileReader(content), io.BytesIO()
    writer = torch._C.PyTorchFileWriter(out)
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in ("version", "byteorder", ".data/serialization_id"):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return out.getvalue()


def _time(content: bytes, measured: Mapping[str, Tensor]) -> float:
    """Milliseconds of a model as the runtime runs it."""
    session = ScriptSession(content)
    inputs = {name: value.numpy() for name, value in measured.items()}
    for _ in range(3):  # TorchScript looks at the first runs to specialize
        session.run(None, inputs)
    return round(milliseconds(lambda: session.run(None, inputs)), 4)


def _attribute(path: str, holder: nn.Module) -> str:
    """A name for a constant that says where it comes from and that no other has."""
    name = "_".join("".join(c if c.isalnum() else "_" for c in part) for part in path.split(".")) or "constant"
    name = name if name[0].isalpha() else f"w{name}"
    unique, count = name, 1
    while hasattr(holder, unique):
        count += 1
        unique = f"{name}_{count}"
    return unique
