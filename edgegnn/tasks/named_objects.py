"""Graphs that a program of the user's makes: `--data package.module:MyDataset`.

What is named is a class or function, which is called, or an object: a PyG data set, a graph, a list of graphs, a
dictionary of these by part of the split, or what gives batches of graphs, as a DataLoader does. Arguments stand in
parentheses, as literals: `mydata:Dataset(root="data", split="train")`.

Naming it imports the module, so only what the user names in the call itself is loaded. A file that names such data
(`restore_task`) imports nothing.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch_geometric.data import Batch, Data, HeteroData

from edgegnn.errors import DataError, first_line
from edgegnn.tasks.catalog import object_name
from edgegnn.tasks.datasets import cache_folder
from edgegnn.tasks.graph_checks import as_graphs
from edgegnn.tasks.notes import note

__all__ = ["literals", "object_graphs", "working_folder"]


def object_graphs(data: str, root: Path | None) -> list[Data]:
    """Import what the user named, and return its graphs.

    Args:
        data: "package.module:name" or "package.module:name(literal, key=literal)".
        root: folder of the data sets, for a class that needs a `root`; None: edgegnn's cache folder.

    Raises:
        DataError: it can't be imported or fails, or gives no graphs.
    """
    module, name, call = object_name(data) or ("", "", "")
    try:
        with working_folder():
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
            if callable(found) and not isinstance(found, (Data, HeteroData)):
                positional, named = literals(call, "--data")
                found = found(*positional, **_with_root(found, positional, named, root))
            content = _plain(found)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"--data {data} failed: {type(error).__name__}: {first_line(error)}") from error
    _say_transform(found, data)
    return as_graphs(content, data)


@contextmanager
def working_folder() -> Iterator[None]:
    """While this lasts, modules are looked for in the working folder first."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def literals(call: str, option: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments in parentheses; nothing but literals is evaluated.

    Args:
        call: "(root='data', size=3)", or "" for none.
        option: what they were given to, for a message.

    Raises:
        DataError: it is no list of arguments.
    """
    if not call:
        return [], {}
    parsed = ast.parse(f"f{call}", mode="eval").body
    if not isinstance(parsed, ast.Call) or any(keyword.arg is None for keyword in parsed.keywords):
        raise DataError(f"{option}: {call} is no list of arguments: write (root='data', size=3)")
    return (
        [ast.literal_eval(value) for value in parsed.args],
        {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in parsed.keywords},
    )


def _with_root(make: Any, positional: list[Any], named: dict[str, Any], root: Path | None) -> dict[str, Any]:
    """The arguments, with a `root` where one is needed and none is given."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return named
    wanted = parameters.get("root")
    if positional or "root" in named or wanted is None or wanted.default is not inspect.Parameter.empty:
        return named
    return {"root": str(root or cache_folder() / getattr(make, "__name__", "data")), **named}


def _plain(found: Any) -> Any:
    """Graphs in one of the layouts of a data file."""
    if isinstance(found, Batch):
        return found.to_data_list()
    if isinstance(found, (Data, HeteroData)):
        return found
    if isinstance(found, Mapping):
        parts = all(isinstance(value, Iterable) and not hasattr(value, "dim") for value in found.values())
        return {key: _plain(value) for key, value in found.items()} if parts else dict(found)
    if hasattr(found, "__getitem__") and hasattr(found, "__len__"):
        items = [found[i] for i in range(len(found))]
    elif isinstance(found, Iterable):
        items = list(found)
    else:
        raise DataError(f"it is a {type(found).__name__}, and gives no graphs: return PyG Data objects")
    return [graph for item in items for graph in (item.to_data_list() if isinstance(item, Batch) else [item])]


def _say_transform(found: Any, data: str) -> None:
    transform = getattr(found, "transform", None)
    if transform is not None:
        note(
            f"{data}: its transform {str(transform)[:80]} prepares each graph; an artifact will expect graphs that it "
            "has prepared (name it with --transform instead, and what traces becomes part of the artifact)"
        )
