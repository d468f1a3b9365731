"""What a file of graphs holds, in the layouts that people and PyG write, as one list.

a Data, or a dictionary of tensors or arrays       one graph
a list or tuple of these                           its graphs
{"train": graphs, "val": ..., "test": ...}         all of them, each with its part as `split`
(Data, slices), (dictionary, slices, class)        processed/data.pt of a PyG data set, older and newer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.separate import separate

from edgegnn.errors import DataError
from edgegnn.tasks.given import PARTS, part_of
from edgegnn.tasks.pickled_arrays import PickledArray

__all__ = ["graphs_in"]


def graphs_in(content: Any, where: str) -> list[dict[Any, Any]]:
    """The graphs of a file, each as a dictionary of its attributes; what they hold is not looked at.

    Args:
        content: what the file holds, or what a caller gave.
        where: what to call it in a message.

    Raises:
        DataError: none of the layouts, or no graph.
    """
    if isinstance(content, tuple) and len(content) in (2, 3) and _is_sliced(content):
        return [graph.to_dict() for graph in _separated(content[0], content[1], where)]
    if isinstance(content, Mapping) and content and all(isinstance(v, (list, tuple)) for v in content.values()):
        places = {key: part_of(key) for key in content}
        if all(place is not None and not isinstance(key, int) for key, place in places.items()):
            return _with_parts({PARTS[places[key] or 0]: graphs for key, graphs in content.items()}, where)
    items = [content] if isinstance(content, (Data, dict)) else content
    if not isinstance(items, (list, tuple)):
        raise DataError(f"{where} holds a {type(content).__name__}: save one PyG Data, or a list of them")
    if not items:
        raise DataError(f"{where} holds an empty list: save at least one graph")
    for i, item in enumerate(items):
        if not isinstance(item, (Data, dict)):
            raise DataError(f"{where}: item {i} is a {type(item).__name__}: save PyG Data objects, or dicts of tensors")
    return [_as_tensors(item.to_dict() if isinstance(item, Data) else item) for item in items]


def _is_sliced(content: tuple[Any, ...]) -> bool:
    """Whether a tuple is what a PyG data set saves: its graphs in one, and where each begins."""
    data, slices, *kind = content
    if not isinstance(data, (Data, dict)) or not all(isinstance(each, type) for each in kind):
        return False
    edges = slices.get("edge_index") if isinstance(slices, Mapping) else None
    return slices is None or bool(kind) or (isinstance(edges, Tensor) and edges.dim() == 1)


def _separated(data: Any, slices: Any, where: str) -> list[Data]:
    whole = Data.from_dict(data) if isinstance(data, dict) else data
    if not slices:
        return [whole]
    edges = slices.get("edge_index")
    if not isinstance(edges, Tensor) or edges.dim() != 1:
        raise DataError(f"{where} is no data set of plain graphs: save its graphs, torch.save(list(dataset), path)")
    return [separate(Data, whole, idx=i, slice_dict=slices, decrement=False) for i in range(len(edges) - 1)]


def _with_parts(parts: Mapping[str, Any], where: str) -> list[dict[Any, Any]]:
    return [{**graph, "split": part} for part, items in parts.items() for graph in graphs_in(items, f"{where}: {part}")]


def _as_tensors(values: dict[Any, Any]) -> dict[Any, Any]:
    return {key: value.tensor() if isinstance(value, PickledArray) else value for key, value in values.items()}
