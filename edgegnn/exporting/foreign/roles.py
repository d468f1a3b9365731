"""What each input of an ONNX file belongs to: told by how the file uses it, and by the sizes of the user's graphs.

An int64 input that looks rows up and scatters them is an edge list (or its row of sources, or of targets); one that
scatters one row a node is `batch`; the rest belong to nodes, edges or graphs by how many rows they have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgegnn.checkpoint.onnx_module import OnnxInput, OnnxModule
from edgegnn.errors import UsageError
from edgegnn.runtime.roles import BATCH, EDGE, EDGES, GRAPH, NODE, PAIRS, ROLES, Role

__all__ = ["Arrangement", "arrange_inputs", "find_edges", "index_uses"]

Array = npt.NDArray[Any]
_PASS = {
    *(
        "Abs",
        "Add",
        "Cast",
        "Compress",
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
    ),
    *("Max", "Min", "Mul", "Reshape", "Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where"),
}
_INDEXED = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1}
_SOURCES = re.compile(r"(^|_)(src|source|sources|from|sender|senders|row|u|j|head)($|_|\d)", re.IGNORECASE)
_TARGETS = re.compile(r"(^|_)(dst|dest|target|targets|to|receiver|receivers|col|v|i|tail)($|_|\d)", re.IGNORECASE)
_OF_EDGES = re.compile(r"edge|bond|link|rel|(^|_)(e|w|weight|weights)($|_)", re.IGNORECASE)
_OF_GRAPHS = re.compile(r"graph|global|(^|_)u($|_)|molecule|state", re.IGNORECASE)


@dataclass(frozen=True)
class Arrangement:
    """How the inputs of a file become inputs of an artifact.

    Attributes:
        roles: name in the artifact -> role, in order.
        names: name in the file -> name in the artifact, of those that keep their values.
        joined: the two inputs of the file that are rows of `edge_index`: (sources, targets); () where it has an edge
            list of its own.
        turned: the edge list of the file that has a row for each edge, `[E, 2]`; "" for none.
    """

    roles: dict[str, Role]
    names: dict[str, str]
    joined: tuple[str, ...] = ()
    turned: str = ""

    def graph(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The artifact's inputs out of arrays under the file's names, or under the artifact's."""
        found = {name: given[own] for own, name in self.names.items() if own in given}
        found |= {name: given[name] for name in self.roles if name in given and name not in found}
        if "edge_index" not in found and self.joined and all(name in given for name in self.joined):
            found["edge_index"] = np.stack([np.asarray(given[name]) for name in self.joined])
        if "edge_index" not in found and self.turned in given:
            found["edge_index"] = np.ascontiguousarray(np.asarray(given[self.turned]).T)
        return found


@dataclass(frozen=True)
class _Found:
    """What is known of the edges of a file.

    Attributes:
        edges: name of the edge list `[2, E]`, "" for none.
        turned: name of an edge list `[E, 2]`.
        joined: names of the inputs with sources and with targets.
        pairs: name of the pairs that are scored.
        batches: inputs that scatter one row a node.
    """

    edges: str = ""
    turned: str = ""
    joined: tuple[str, ...] = ()
    pairs: str = ""
    batches: tuple[str, ...] = field(default_factory=tuple)


def index_uses(proto: onnx.ModelProto) -> dict[str, set[str]]:
    """How each input of a file is used as an index: "look-up", "scatter", or "table" for rows of a constant."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    comes_from = {value.name: {value.name} for value in proto.graph.input if value.name not in constants}
    uses: dict[str, set[str]] = {name: set() for name in comes_from}
    for node in proto.graph.node:
        if node.op_type == "Constant" or (node.input and all(i in constants for i in node.input if i)):
            constants.update(node.output)
            continue
        at = _INDEXED.get(node.op_type)
        if at is not None and at < len(node.input):
            how = "scatter" if node.op_type.startswith("Scatter") else "look-up"
            how = "table" if how == "look-up" and node.input[0] in constants else how
            for name in comes_from.get(node.input[at], ()):
                uses[name].add(how)
        if node.op_type in _PASS:
            passed = node.input[:1] if at is not None else node.input
            origin = set().union(*(comes_from.get(name, set()) for name in passed))
            for out in node.output:
                comes_from[out] = origin
    return uses


def find_edges(module: OnnxModule, graphs: Sequence[Mapping[str, Array]], told: Mapping[str, str]) -> _Found:
    """Which inputs are edges, pairs and `batch`.

    Args:
        module: the file.
        graphs: arrays under the file's names; () where the user gave none.
        told: name -> role, from the user.

    Raises:
        UsageError: no input can be the edges.
    """
    uses = index_uses(module.proto)
    numbered = [e for e in module.inputs if e.dtype == "int64" and uses[e.own] & {"look-up", "scatter"}]
    numbered = [e for e in numbered if told.get(e.name) not in ("node", "edge", "graph")]
    said = {role: [e for e in module.inputs if told.get(e.name) == role] for role in ("edges", "pairs", "batch")}
    said["batch"] = said["batch"] or [e for e in module.inputs if e.name == "batch" and e.dtype == "int64"]
    named = [e for e in module.inputs if e.name == "edge_index" and e.name not in told and e.dtype == "int64"]
    tables = [e for e in numbered if _shape(e, graphs)[:1] == (2,) and len(_shape(e, graphs)) == 2]
    named = [e for e in named if _shape(e, graphs)[:1] == (2,)]
    edges = said["edges"] or [e for e in tables if "scatter" in uses[e.own]] or tables or named
    pairs = said["pairs"] or [e for e in tables if e not in edges and "scatter" not in uses[e.own]]
    if edges:
        batches = said["batch"] or [e for e in numbered if len(_shape(e, graphs)) == 1 and "scatter" in uses[e.own]]
        return _Found(edges[0].own, pairs=pairs[0].own if pairs else "", batches=tuple(e.own for e in batches))
    turned = [e for e in numbered if len(_shape(e, graphs)) == 2 and _shape(e, graphs)[1] == 2]
    if turned:
        batches = said["batch"] or [e for e in numbered if len(_shape(e, graphs)) == 1 and "scatter" in uses[e.own]]
        return _Found(turned=turned[0].own, batches=tuple(e.own for e in batches))
    lines = [e for e in numbered if len(_shape(e, graphs)) == 1 and e not in said["batch"]]
    source, target = _ends(lines, uses, graphs)
    if source is None or target is None:
        return _Found(batches=tuple(e.own for e in said["batch"]))
    rest = [e for e in lines if e not in (source, target) and "scatter" in uses[e.own]]
    return _Found(joined=(source.own, target.own), batches=tuple(e.own for e in said["batch"] or rest))


def _ends(
    lines: Sequence[OnnxInput], uses: Mapping[str, set[str]], graphs: Sequence[Mapping[str, Array]]
) -> tuple[OnnxInput | None, OnnxInput | None]:
    """The inputs with the sources and with the targets of edges, among vectors of node numbers."""
    for source in sorted(lines, key=lambda e: not _SOURCES.search(e.name)):
        for target in sorted(lines, key=lambda e: not _TARGETS.search(e.name)):
            alike = _sizes(source, graphs) == _sizes(target, graphs)
            if source is target or not alike or "look-up" not in uses[source.own] or "scatter" not in uses[target.own]:
                continue
            if _SOURCES.search(target.name) and _TARGETS.search(source.name):
                continue
            return source, target
    return None, None


def arrange_inputs(module: OnnxModule, graphs: Sequence[Mapping[str, Array]], told: Mapping[str, str]) -> Arrangement:
    """Find the role of every input.

    Args:
        module: the file.
        graphs: arrays under the file's names (or `edge_index`, for the two ends); () where the user gave none.
        told: name -> role, from the user.

    Raises:
        UsageError: a role can't be told; the message shows the flag that says it.
    """
    found = find_edges(module, graphs, told)
    roles: dict[str, Role] = {}
    names: dict[str, str] = {}
    ends = (found.edges, found.turned, *found.joined[:1])
    number = _number_of_edges(found, graphs)
    nodes = _number_of_nodes(module, found, graphs, number, told)
    for each in module.inputs:
        if each.own in found.joined[1:]:
            continue
        if each.own and each.own in ends:
            roles["edge_index"] = EDGES
            if each.own == found.edges:
                names[each.own] = "edge_index"
            continue
        name, role = each.name, ROLES.get(told.get(each.name, ""))
        if each.own == found.pairs:
            name, role = "edge_label_index", PAIRS
        elif found.batches and each.own == found.batches[0] and (role is None or role == BATCH):
            name, role = "batch", BATCH
        elif role is None:
            role = _role(each, graphs, number, nodes, found, module)
        if role is None:
            raise UsageError(
                f"what the input {each.name} of the file belongs to can't be told: say --input {each.name}=ROLE, with "
                f"{', '.join(ROLES)} for ROLE"
            )
        roles[name], names[each.own] = role, name
    return Arrangement(roles, names, found.joined, found.turned)


def _role(
    each: OnnxInput,
    graphs: Sequence[Mapping[str, Array]],
    edges: list[int],
    nodes: list[int],
    found: _Found,
    module: OnnxModule,
) -> Role | None:
    """The role by how many rows there are; by names where the user gave no graphs."""
    if graphs:
        rows = _sizes(each, graphs)
        fits = [r for r, n in ((NODE, nodes), (EDGE, edges), (GRAPH, [1] * len(graphs))) if rows == n and rows]
        if len(fits) > 1 and EDGE in fits and (_OF_EDGES.search(each.name) is not None):
            return EDGE
        return fits[0] if fits else None
    if not each.shape:
        return None
    size = each.shape[0]
    of_edges = _free_size(module, found)
    if size == 1:
        return GRAPH
    if isinstance(size, str) and size and size == of_edges:
        return EDGE
    if _OF_EDGES.search(each.name) and not (size and of_edges and size != of_edges):
        return EDGE
    return GRAPH if _OF_GRAPHS.search(each.name) else NODE


def _free_size(module: OnnxModule, found: _Found) -> str:
    """What the file calls the number of edges; "" where it has no name."""
    for each in module.inputs:
        axis = 1 if each.own == found.edges else 0
        if each.own in (found.edges, found.turned, *found.joined) and each.shape and len(each.shape) > axis:
            size = each.shape[axis]
            return size if isinstance(size, str) else ""
    return ""


def _shape(each: OnnxInput, graphs: Sequence[Mapping[str, Array]]) -> tuple[int | str, ...]:
    """The shape in the file, with sizes that are the same in all graphs; of the first graph if the file says none."""
    given = [np.shape(graph[each.own]) for graph in graphs if each.own in graph]
    if each.shape is None:
        return tuple(given[0]) if given else ()
    same = [len({shape[i] for shape in given if len(shape) > i}) == 1 for i in range(len(each.shape))]
    first = given[0] if given else ()
    return tuple(
        size if isinstance(size, int) or not same[i] or i >= len(first) else first[i]
        for i, size in enumerate(each.shape)
    )


def _sizes(each: OnnxInput, graphs: Sequence[Mapping[str, Array]]) -> list[int]:
    return [np.shape(graph[each.own])[0] for graph in graphs if each.own in graph and np.ndim(graph[each.own])]


def _number_of_edges(found: _Found, graphs: Sequence[Mapping[str, Array]]) -> list[int]:
    name = found.edges or found.turned or (found.joined[0] if found.joined else "")
    rows = [graph.get(name, graph.get("edge_index")) for graph in graphs]
    return [
        max(np.shape(value)) if np.ndim(value) > 1 and not found.turned else len(value)
        for value in rows
        if value is not None
    ]


def _number_of_nodes(
    module: OnnxModule,
    found: _Found,
    graphs: Sequence[Mapping[str, Array]],
    edges: list[int],
    told: Mapping[str, str],
) -> list[int]:
    """Rows of what belongs to nodes: what the user says, else `batch`, else what most inputs have that fits."""
    for each in module.inputs:
        rows = _sizes(each, graphs)
        if rows and (told.get(each.name) == "node" or each.own in found.batches):
            return rows
    least = [_least_nodes(found, graph) for graph in graphs]
    votes: dict[tuple[int, ...], int] = {}
    for each in module.inputs:
        several = tuple(_sizes(each, graphs))
        if each.own in (found.edges, found.turned, *found.joined, found.pairs) or len(several) != len(graphs):
            continue
        if all(n >= m for n, m in zip(several, least, strict=True)) and (
            list(several) != edges or not _OF_EDGES.search(each.name)
        ):
            votes[several] = votes.get(several, 0) + 1 + (each.name in ("x", "pos", "z")) * 10
    if not votes:
        return []
    return list(max(votes.items(), key=lambda vote: (vote[1], [-n for n in vote[0]]))[0])


def _least_nodes(found: _Found, graph: Mapping[str, Array]) -> int:
    ends = [np.asarray(graph[n]) for n in (found.edges, found.turned, *found.joined, "edge_index") if n and n in graph]
    return max((int(values.max(initial=-1)) + 1 for values in ends), default=0)
