"""The shipped graphs for the page: one block of bytes, and where each array lies in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.plain_c.compiler import NUMPY_TYPES, graph_size
from edgegnn.plain_c.generate import PlainC
from edgegnn.plain_c.literals import identifier

__all__ = ["Packed", "PageGraph", "pack"]

_MOST_BYTES = 24 * 2**20  # of all graphs, before they are packed; those beyond are left out of the page

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PageGraph:
    """A shipped graph.

    Attributes:
        name: "test/17".
        origin: "data" or "synthetic".
        edges: how many it has, as the manifest counts them.
        inputs: name -> array.
        expected: PyTorch's main output.
        label: of its rows; None where there is none.
        mask: which rows count; None for all.
    """

    name: str
    origin: str
    edges: int
    inputs: Mapping[str, Array]
    expected: Array
    label: Array | None = None
    mask: Array | None = None


@dataclass(frozen=True)
class Packed:
    """What the page gets.

    Attributes:
        main: name of the main output.
        block: the bytes of all arrays.
        graphs: for JSON, one for each graph.
        node_sizes: the sizes that count nodes.
        edge_inputs: the inputs that list edges, with the sizes of the nodes at their ends.
    """

    main: str
    block: bytes
    graphs: list[dict[str, Any]]
    node_sizes: list[str]
    edge_inputs: list[dict[str, str]]


def pack(code: PlainC, graphs: Sequence[PageGraph], main: str) -> Packed:
    """Put the arrays of graphs one behind the other.

    Args:
        code: the C form.
        graphs: those within its limits; the first ones fill the page.
        main: name of the main output.
    """
    node_sizes = [size.member for size in code.sizes if size.refused == "BAD_NODES"]
    rows = next((a.shape[0].text for a in code.outputs if a.name == main and a.shape), "")
    level = next((size.member for size in code.sizes if size.dim.text == rows), "")
    block, entries = bytearray(), []
    for graph in graphs:
        arrays = {a.name: np.ascontiguousarray(graph.inputs[a.name], NUMPY_TYPES[a.ctype]) for a in code.inputs}
        if block and len(block) + sum(array.nbytes for array in arrays.values()) > _MOST_BYTES:
            break
        found = graph_size(code, graph.inputs)
        sizes = {size.member: found[size.dim.text] for size in code.sizes}
        before = node_sizes[: node_sizes.index(level)] if level in node_sizes else []
        more = {"expected": graph.expected.astype(np.float32)}
        if graph.label is not None:
            more["label"] = graph.label
        if graph.mask is not None:
            more["mask"] = graph.mask.astype(np.uint8)
        places = _places(graph.inputs)
        if places is not None:
            more["places"] = places
        entries.append(
            {
                "name": graph.name,
                "origin": graph.origin,
                "nodes": sum(sizes[name] for name in node_sizes),
                "edges": graph.edges,
                "sizes": sizes,
                "width": int(np.prod(graph.expected.shape[1:])),
                "firstRow": sum(sizes[name] for name in before),
                "inputs": {name: _put(block, array) for name, array in arrays.items()},
                "more": {name: _put(block, array) for name, array in more.items()},
            }
        )
    return Packed(main, bytes(block), entries, node_sizes, _edge_inputs(code, node_sizes))


def _put(block: bytearray, array: Array) -> list[Any]:
    """Add an array, from a multiple of 8 bytes on; its type, and where it lies."""
    block.extend(bytes(-len(block) % 8))
    start = len(block)
    block.extend(np.ascontiguousarray(array).tobytes())
    return [array.dtype.name, start, array.nbytes]


def _places(inputs: Mapping[str, Array]) -> Array | None:
    """Where the nodes are, if the model takes that: the first two coordinates."""
    pos = inputs.get("pos")
    if pos is None or pos.ndim != 2 or pos.shape[1] < 2 or not np.isfinite(pos).all():
        return None
    return np.ascontiguousarray(pos[:, :2] * [1, -1], np.float32)  # the y axis of a page points down


def _edge_inputs(code: PlainC, node_sizes: list[str]) -> list[dict[str, str]]:
    """The inputs that list edges; a relation's name has the types of its ends."""
    found = []
    members = {name.removeprefix("num_nodes_"): name for name in node_sizes}
    for argument in code.inputs:
        if argument.ctype != "int32_t" or len(argument.shape) != 2 or argument.shape[0].text != "2":
            continue
        ends = argument.name.partition(".")[2].split("__")
        names = [members.get(identifier(end), "") for end in (ends[0], ends[-1])] if ends[0] else node_sizes[:1] * 2
        if names and all(names):
            found.append({"name": argument.name, "from": names[0], "to": names[1]})
    return found
