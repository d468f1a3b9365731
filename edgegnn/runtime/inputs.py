"""Is this a graph that the model can run on? Asked before every run: the kernels trust what passes here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import DataError
from edgegnn.runtime.manifest import Manifest, TensorSpec
from edgegnn.runtime.roles import BATCH, EDGES, FIXED, GRAPH, Role, find_name, find_names, flat_inputs, size_of
from edgegnn.runtime.roles import PAIRS as PAIRS_ROLE

__all__ = ["PAIRS", "check_inputs", "rows_of"]

Array = npt.NDArray[Any]
PAIRS = "edge_label_index"  # of link tasks: the pairs of nodes [2, P] that are asked about


def check_inputs(
    specs: Sequence[TensorSpec],
    inputs: Mapping[str, Any],
    *,
    cast: bool = True,
    limits: Mapping[str, int] | None = None,
) -> dict[str, Array]:
    """Check one graph against the inputs of a model.

    Args:
        specs: the model's inputs (`manifest.inputs`).
        inputs: name -> array, of the shape that its role has (`edgegnn.runtime.roles`): `x` [N, F], `edge_index`
            [2, E] with values in [0, N), `edge_attr` [E, D] or `edge_weight` [E], `batch` [N] sorted and without gaps,
            `edge_label_index` [2, P] with values in [0, N), ... E may be 0, N and P may not. Of several types of nodes,
            `x.paper`, `edge_index.author__writes__paper`, or dictionaries: `x_dict` {"paper": ...}.
        cast: convert other float types, bool and integers up to 2^24 to float32, and other integer types to int64.
        limits: name of a size -> its largest value, and what each graph needs at least (`manifest.limits`).

    Returns:
        The arrays in the model's order and types, C-contiguous.

    Raises:
        DataError: a missing or unknown name, a wrong type, rank or size, NaN or infinite values, an index out of range.
    """
    inputs, known = flat_inputs(inputs), [spec.name for spec in specs]
    missing = [name for name in known if name not in inputs]
    extra = [str(name)[:40] for name in inputs if name not in known]
    if missing or extra:
        problem = f"{', '.join(missing)} missing" if missing else f"{', '.join(extra)} unknown"
        cure = _no_edges(specs, missing)
        raise DataError(f"wrong inputs: {problem}; the model takes {', '.join(known)}{cure}")
    sizes: dict[str, tuple[int, str]] = {}
    arrays = {}
    for spec in specs:
        array = _typed(spec, np.asarray(inputs[spec.name]), cast)
        _check_shape(spec, array, sizes)
        _check_limits(sizes, limits or {})
        _check_finite(spec.name, array)
        arrays[spec.name] = array
    roles = {spec.name: spec.belongs for spec in specs}
    nodes = _check_nodes(arrays, roles) or (limits or {}).get("num_nodes", 0)
    counts = {**(limits or {}), **{role.size: arrays[name].shape[role.axis] for name, role in roles.items()}}
    for name, role in roles.items():
        for row, size in enumerate(role.ends):
            _check_ends(name, row, np.atleast_2d(arrays[name]), size, counts.get(size))
        if role.is_a(PAIRS_ROLE) and arrays[name].shape[1] == 0:
            raise DataError(f"{name} has no pairs of nodes to score: give at least one")
    _check_graphs(arrays, roles)
    _check_least(arrays, roles, nodes, limits or {})
    _check_values(arrays, limits or {})
    return arrays


def _no_edges(specs: Sequence[TensorSpec], missing: Sequence[str]) -> str:
    """Advice for a missing relation: how to say that it has no edges."""
    relations = [spec for spec in specs if spec.belongs.is_a(EDGES)]
    if len(relations) < 2 or not any(spec.name in missing for spec in relations):
        return ""
    return " (a relation without edges is an int64 array of shape [2, 0])"


def rows_of(manifest: Manifest, output: TensorSpec, inputs: Mapping[str, Array]) -> int | None:
    """Rows that an output must have; None where its sizes don't depend on the graph."""
    role, rows = manifest.level(output), output.shape[0]
    if role == FIXED:
        return None
    if role == GRAPH:
        return _graphs(inputs, manifest.roles)
    return size_of(inputs, manifest.roles, role.size) or (rows if isinstance(rows, int) else 0)


def _graphs(inputs: Mapping[str, Array], roles: Mapping[str, Role]) -> int:
    batches = find_names(inputs, roles, BATCH)
    return max(int(inputs[name].max(initial=-1)) for name in batches) + 1 if batches else 1


def _check_nodes(arrays: Mapping[str, Array], roles: Mapping[str, Role]) -> int:
    """The number of nodes of all types."""
    nodes = {role.size: (name, len(arrays[name])) for name, role in roles.items() if role.size.startswith("num_nodes")}
    total = sum(count for _, count in nodes.values())
    if nodes and total == 0:
        names = " or ".join(name for name, _ in nodes.values())
        raise DataError(f"the graph has no nodes: {names} needs at least one row")
    return total


def _check_graphs(arrays: Mapping[str, Array], roles: Mapping[str, Role]) -> None:
    batches = find_names(arrays, roles, BATCH)
    for batch in batches:
        _check_batch(batch, arrays[batch], gaps=len(batches) > 1)
    for name, role in roles.items():
        graphs = _graphs(arrays, roles)
        if role == GRAPH and len(arrays[name]) != graphs:
            raise DataError(f"{name} has {len(arrays[name])} rows for {graphs} graphs: give one row for each graph")


_EXACT_IN_FLOAT32 = 2**24
# Kind of type that a model takes -> kinds that are converted to it: b bool, f float, i integer, u unsigned.
_CONVERTED = {"i": "iu", "f": "biuf"}


def _typed(spec: TensorSpec, array: Array, cast: bool) -> Array:
    want = np.dtype(spec.dtype)
    if array.dtype == want:
        return np.ascontiguousarray(array) if array.ndim else array
    if not cast or array.dtype.kind not in _CONVERTED.get(want.kind, ""):
        raise DataError(f"{spec.name} has the type {array.dtype}, the model takes {spec.dtype}")
    if array.size and want.kind == "i":
        limits = np.iinfo(want)
        if int(array.max()) > limits.max or int(array.min()) < limits.min:
            raise DataError(f"{spec.name} holds integers that don't fit into {spec.dtype}")
    if (
        want.kind == "f"
        and array.dtype.kind in "iu"
        and array.size
        and np.abs(array.astype(np.float64)).max() > _EXACT_IN_FLOAT32
    ):
        raise DataError(f"{spec.name} holds integers beyond 2^24, which {spec.dtype} rounds: give it as floats")
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
        return np.ascontiguousarray(array.astype(want)) if array.ndim else array.astype(want)


def _check_shape(spec: TensorSpec, array: Array, sizes: dict[str, tuple[int, str]]) -> None:
    want = f"[{', '.join(str(size) for size in spec.shape)}]"
    found = list(array.shape)
    if array.ndim != len(spec.shape):
        raise DataError(f"{spec.name} has the shape {found}, the model takes {want}")
    for size, length in zip(spec.shape, array.shape):  # noqa: B905 (Python 3.9; equal lengths, just checked)
        if isinstance(size, int):
            if length != size:
                raise DataError(f"{spec.name} has the shape {found}, the model takes {want}")
            continue
        first, owner = sizes.setdefault(size, (length, spec.name))
        if length != first:
            raise DataError(f"{spec.name} has the shape {found}, but {owner} says that {size} is {first}")


def _check_limits(sizes: Mapping[str, tuple[int, str]], limits: Mapping[str, int]) -> None:
    for name, (length, _) in sizes.items():
        if length > limits.get(name, length):
            what, option = name.removeprefix("num_"), name.replace("num_", "--max-")
            raise DataError(
                f"the graph is too large: {length} {what}, the artifact takes at most {limits[name]} (a limit set when "
                f"it was exported: edgegnn export {option})"
            )


def _check_least(arrays: Mapping[str, Array], roles: Mapping[str, Role], nodes: int, limits: Mapping[str, int]) -> None:
    """The model itself fails on graphs with less (`edgegnn.exporting.smallest_graphs`)."""
    if not any(name.startswith("least_") for name in limits):
        return
    batch = arrays.get(find_name(arrays, roles, BATCH) or "", np.zeros(nodes, np.int64))
    edges = find_name(arrays, roles, EDGES)
    sources, targets = arrays.get(edges or "", np.zeros((2, 0), np.int64))
    graphs = int(batch[-1]) + 1
    counts: dict[str, tuple[Callable[[], Array], str, str]] = {
        "least_nodes": (lambda: np.bincount(batch), "graph", "nodes"),
        "least_edges": (lambda: np.bincount(batch[sources], minlength=graphs), "graph", "edges"),
        "least_in_degree": (lambda: np.bincount(targets, minlength=nodes), "node", "incoming edges"),
        "least_out_degree": (lambda: np.bincount(sources, minlength=nodes), "node", "outgoing edges"),
        "least_degree": (lambda: np.bincount(np.concatenate([sources, targets]), minlength=nodes), "node", "edges"),
    }
    for name, (count, owner, what) in counts.items():
        if limits.get(name, 0) < 1 or (edges is None and name != "least_nodes"):
            continue
        found = count()
        fewest = int(found.argmin())
        if found[fewest] < limits[name]:
            place = "the graph" if owner == "graph" and graphs == 1 else f"{owner} {fewest}"
            raise DataError(
                f"{place} has {found[fewest]} {what}, the model needs at least {limits[name]} (PyTorch fails, or gives "
                "NaN, with fewer: found when the artifact was exported)"
            )


def _check_values(arrays: Mapping[str, Array], limits: Mapping[str, int]) -> None:
    """Whole numbers by which the model looks up rows: onnxruntime would count negative ones from the end."""
    for name, array in arrays.items():
        least = limits.get(f"least_value_{name}")
        if least is not None and array.size and int(array.min()) < least:
            raise DataError(
                f"{name} holds {int(array.min())}, the model takes {least} and more (PyTorch fails with less, found at "
                "export)"
            )


def _check_finite(name: str, array: Array) -> None:
    if array.dtype.kind != "f" or array.size == 0:
        return
    # One pass without a mask in the usual case: a NaN or an infinity makes the sum not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):
            return
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        at = ", ".join(str(i) for i in bad[0])
        raise DataError(f"{name}[{at}] is {array[tuple(bad[0])]}: values must be finite numbers ({len(bad)} are not)")


def _check_ends(name: str, row: int, edges: Array, size: str, nodes: int | None) -> None:
    ends = edges[row]
    if ends.size == 0 or (int(ends.min()) >= 0 and (nodes is None or int(ends.max()) < nodes)):
        return
    what = size.partition(".")[0].removeprefix("num_")
    most = np.iinfo(np.int64).max if nodes is None else nodes
    column = int(np.flatnonzero((ends < 0) | (ends >= most))[0])
    kind = size.partition(".")[2]
    what = f"{what} of type {kind}" if kind else what
    have = f"numbers of {what} start at 0" if nodes is None else f"but the graph has {nodes} {what} (0 to {nodes - 1})"
    raise DataError(f"{name}[{row}, {column}] is {ends[column]}, {have}")


def _check_batch(name: str, batch: Array, *, gaps: bool) -> None:
    """A graph has nodes; with several types of nodes (`gaps`), perhaps none of one type."""
    if gaps:
        if batch.size and (int(batch[0]) < 0 or (np.diff(batch) < 0).any()):
            raise DataError(f"{name} must hold numbers of graphs, 0 and more, in ascending order")
        return
    if batch[0] != 0:
        raise DataError(f"{name} must start with graph 0, it starts with {batch[0]}")
    steps = np.diff(batch)
    wrong = np.flatnonzero((steps < 0) | (steps > 1))
    if len(wrong):
        i = int(wrong[0])
        why = "is not sorted" if steps[i] < 0 else "has a graph without nodes"
        raise DataError(f"{name} {why}: {batch[i]} at node {i} is followed by {batch[i + 1]}")
