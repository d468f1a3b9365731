"""Molecules: the sets of MoleculeNet by name, and a user's CSV file of SMILES."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.data import Data

from edgegnn.errors import DataError, UsageError
from edgegnn.tasks.catalog import closest
from edgegnn.tasks.datasets import load_raw, quiet
from edgegnn.utils.extras import need

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["molecule_net", "read_csv", "require_rdkit"]

# Name -> metric, as in Wu et al. 2018 (1703.00564), which also says what is predicted.
_METRICS = {
    **dict.fromkeys(("esol", "freesolv", "lipo"), "rmse"),
    **dict.fromkeys(("bace", "bbbp", "hiv"), "roc_auc"),
    **dict.fromkeys(("tox21", "toxcast", "sider", "clintox", "muv", "pcba"), "mean_roc_auc"),
}
_SHOWN = 5


def molecule_net(name: str, root: Path | None) -> tuple[list[Data], str]:
    """Load a set of MoleculeNet: x and edge_attr are PyG's integer features of atoms and bonds, y [1, T] float.

    Molecules that rdkit can't read are left out (eleven of BBBP's): a line in the log says which.

    Returns:
        The graphs, and the metric.

    Raises:
        UsageError: unknown name.
        DataError: rdkit not installed, no raw files and no network, or files that can't be read.
    """
    from torch_geometric.datasets import MoleculeNet

    known = MoleculeNet.names
    if name not in _METRICS:
        hint = closest(name, list(_METRICS))
        raise UsageError(f"MoleculeNet has no data set {name!r}{hint}: choose one of {', '.join(sorted(_METRICS))}")
    require_rdkit()
    url = MoleculeNet.url.format(known[name][1])
    file = f"{known[name][2]}.csv"
    unread: set[int] = set()
    graphs = load_raw(name, [file], root, url, lambda at: MoleculeNet(at, name, from_smiles=_counting(unread)))
    if unread:
        lines = ", ".join(map(str, sorted(unread)[:_SHOWN])) + (", ..." if len(unread) > _SHOWN else "")
        which = f"line{'s' * (len(unread) > 1)} {lines}"
        logging.getLogger(__name__).warning("%s: left out what rdkit can't read as a molecule: %s", file, which)
    return graphs, _METRICS[name]


def read_csv(path: Path) -> list[Data]:
    """Read a CSV file with a column "smiles"; the other columns are the targets, and what is empty isn't known.

    Args:
        path: the file; its first line names the columns.

    Returns:
        Graphs with PyG's features of atoms and bonds, `smiles` and y [1, T] float (NaN: unknown).

    Raises:
        DataError: rdkit not installed, no such file, no such column, a molecule that can't be read, or a target that is
            no number.
    """
    require_rdkit()
    from torch_geometric.utils import from_smiles

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            names = [n for n in rows.fieldnames or [] if n]
            smiles = next((n for n in names if n.strip().lower() == "smiles"), None)
            targets = [n for n in names if n != smiles]
            if smiles is None or not targets:
                raise DataError(f"{path}: the first line must name a column smiles and one or more targets")
            graphs = []
            with quiet():
                for row in rows:
                    where = f"{path}, line {rows.line_num}"
                    text = (row[smiles] or "").strip()
                    graph = from_smiles(text)
                    if graph.num_nodes == 0:
                        raise DataError(f"{where}: rdkit can't read {text[:60]!r} as a molecule: correct or remove it")
                    graph.y = torch.tensor([[_number(row[n], n, where) for n in targets]])
                    graphs.append(graph)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} can't be read: {reason}") from error
    if not graphs:
        raise DataError(f"{path} has no molecules: add lines below the first")
    return graphs


def require_rdkit() -> None:
    """Raise a DataError that says what to install when rdkit is missing."""
    need("molecules", "molecules need", DataError)


def _counting(unread: set[int]) -> Callable[[str], Any]:
    """PyG's `from_smiles`, which notes the lines of what it can't read (the first line holds the names)."""
    from torch_geometric.utils import from_smiles

    line = 1

    def read(smiles: str) -> Any:
        nonlocal line
        line += 1
        graph = from_smiles(smiles)
        if graph.num_nodes == 0:
            unread.add(line)
        return graph

    return read


def _number(text: str | None, column: str, where: str) -> float:
    try:
        return float(text) if text and text.strip() else float("nan")
    except ValueError:
        raise DataError(f"{where}: {column} is {text!r:.60}, no number: leave such columns out") from None
