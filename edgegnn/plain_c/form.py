"""`edgegnn export --format c`: the C form of an artifact, with the proof that it computes the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from edgegnn.errors import ExportError
from edgegnn.manifest import CForm
from edgegnn.plain_c.check import TOLERANCE, check
from edgegnn.plain_c.compiler import find_compiler, graph_size
from edgegnn.plain_c.generate import PlainC, generate
from edgegnn.plain_c.values import Limits

__all__ = ["CFiles", "Graph", "c_form", "fits", "fitting_graphs"]

_UNVERIFIED = "no C compiler here: install gcc or clang, or pip install ziglang, and export again"
_MOST_GRAPHS = 500


class Graph(Protocol):
    """A graph to compare on."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def inputs(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """Name of an input -> array, as the artifact takes them."""


@dataclass(frozen=True)
class CFiles:
    """The C form, its files by path in the artifact, and what the manifest says of it.

    Attributes:
        tied: names of graphs in which a float fell to the other side of the border between two codes.
    """

    code: PlainC
    files: dict[str, bytes]
    facts: CForm
    tied: frozenset[str] = frozenset()


def c_form(
    model: onnx.ModelProto | None, name: str, limits: Limits, graphs: Sequence[Graph], status: Callable[[str], None]
) -> CFiles:
    """Generate the C form of a model, and compare it with onnxruntime on graphs.

    Args:
        model: the artifact's ONNX graph; None for a model that has none.
        name: the artifact's name.
        limits: the largest graph that the C code will take.
        graphs: real and awkward ones; those beyond the limits are left out.
        status: told in a few words what is being done.

    Raises:
        ExportError: something in the model has no C form, or the C compiler fails.
        ParityError: the C form computes something else.
    """
    if model is None:
        raise ExportError("--format c is made from an ONNX graph, and this model has none: choose another format")
    status("writing C")
    code = generate(model, name, limits)
    files = {f"c/{file}": text.encode() for file, text in code.files.items()}
    facts = CForm(
        function=f"edgegnn_{code.name}_run",
        max_nodes=limits.nodes,
        max_edges=limits.edges,
        arena_bytes=code.arena_bytes,
    )
    fitting = fitting_graphs(code, graphs)
    compiler = find_compiler()
    if compiler is None or not fitting:
        why = _UNVERIFIED if compiler is None else "none of the model's graphs is within the limits"
        return CFiles(code, files, msgspec.structs.replace(facts, unverified=why))
    status("compiling and comparing the C form")
    found = check(model, code, [(g.name, g.inputs) for g in fitting], compiler)
    facts = msgspec.structs.replace(
        facts,
        graphs=found.graphs,
        exact_tensors=found.codes,
        equal_graphs=found.equal,
        error=found.error,
        tolerance=TOLERANCE,
        tied_graphs=len(found.tied),
    )
    return CFiles(code, files, facts, found.tied)


def fitting_graphs(code: PlainC, graphs: Sequence[Graph]) -> list[Graph]:
    """The first graphs within the limits, as many as are compared."""
    return [graph for graph in graphs if fits(code, graph.inputs)][:_MOST_GRAPHS]


def fits(code: PlainC, inputs: Mapping[str, npt.NDArray[np.generic]]) -> bool:
    """Whether a graph is within the limits."""
    try:
        found = graph_size(code, inputs)
    except ExportError:
        return False
    return all(size.least <= found[size.dim.text] <= size.dim.most for size in code.sizes)
