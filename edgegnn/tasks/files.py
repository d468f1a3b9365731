"""Read a user's graphs from a .pt or .npz file without running any code in it."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.feature_store import TensorAttr
from torch_geometric.data.graph_store import EdgeAttr
from torch_geometric.data.storage import BaseStorage, EdgeStorage, GlobalStorage, NodeStorage

from edgegnn.errors import DataError
from edgegnn.runtime.npz import read_npz
from edgegnn.tasks.given import PARTS, part_of
from edgegnn.tasks.graph_checks import as_graphs
from edgegnn.tasks.notes import note
from edgegnn.tasks.pickled_arrays import ARRAYS
from edgegnn.utils.files import check_plain
from edgegnn.utils.torch_files import load_tensors

__all__ = ["read_graphs"]

_TYPED = [HeteroData, TensorAttr, EdgeAttr, BaseStorage]
_SAFE = [Data, DataEdgeAttr, DataTensorAttr, GlobalStorage, NodeStorage, EdgeStorage, *_TYPED]


def read_graphs(path: Path) -> list[Data]:
    """Return the graphs of a file that `torch.save` or `numpy.savez` wrote (`edgegnn.tasks.layouts`).

    Raises:
        DataError: no such file, a damaged one, or one with objects other than these.
    """
    if not path.exists():
        raise DataError(f"there is no data file {path}: check the path")
    check_plain(path, DataError)
    if path.is_dir():
        return _of_folder(path)
    try:
        if path.suffix == ".npz":
            content = {name: torch.from_numpy(array) for name, array in read_npz(path, DataError).items()}
        else:
            content = load_tensors(path.read_bytes(), str(path), DataError, [*_SAFE, *ARRAYS])
    except DataError:
        raise
    except pickle.UnpicklingError as e:
        if "GLOBAL" in str(e) or "unsafe" in str(e).lower() or "Unsupported class" in str(e):
            raise DataError(
                f"{path} holds Python objects other than PyG Data, and opening them could run their code: "
                "save a Data, a list of Data, or dicts of tensors (batch.to_data_list() for a Batch)"
            ) from e
        raise DataError(_damaged(path)) from e
    except OSError as e:
        raise DataError(f"{path} can't be read: {e.strerror or e}") from e
    except Exception as e:  # torch.load lets many kinds of error through for damaged files
        raise DataError(_damaged(path)) from e
    try:
        return as_graphs(content, str(path))
    except DataError:
        raise
    except Exception as e:  # a Data whose insides are not those of a Data
        raise DataError(_damaged(path)) from e


_NO_GRAPHS = ("pre_transform.pt", "pre_filter.pt")  # PyG writes them beside its graphs


def _of_folder(path: Path) -> list[Data]:
    """The graphs of all .pt files in a folder, or of a PyG data set's `processed`, in the order of their numbers.

    Files called train, val and test are the parts of the split.
    """
    for folder in (path, path / "processed"):
        files = sorted((file for file in folder.glob("*.pt") if file.name not in _NO_GRAPHS), key=_by_number)
        if files:
            break
    else:
        raise DataError(f"{path} is a folder without .pt files: name a data file")
    each = {file: read_graphs(file) for file in files}
    parts = {file: part_of(file.stem) for file in files}
    if len(files) > 1 and all(isinstance(part, int) and not file.stem.isdigit() for file, part in parts.items()):
        for file, graphs in each.items():
            for graph in graphs:
                graph.split = PARTS[parts[file] or 0]
    if len(files) > 1:
        note(f"{path}: {len(files)} files, {files[0].name} to {files[-1].name}, are read as one list of graphs")
    return [graph for graphs in each.values() for graph in graphs]


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them: graph_2 before graph_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.stem)]


def _damaged(path: Path) -> str:
    return f"{path} is damaged, or is no file that torch.save wrote: write it again with torch.save(graphs, path)"
