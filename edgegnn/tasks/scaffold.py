"""Split molecules by scaffold, so that the test set holds ring systems the model has not seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from edgegnn.errors import DataError
from edgegnn.tasks.datasets import quiet
from edgegnn.tasks.molecules import require_rdkit
from edgegnn.tasks.splits import as_index

__all__ = ["scaffold"]


def scaffold(smiles: Sequence[str], train: float = 0.8, val: float = 0.1) -> dict[str, Tensor]:
    """Split by Bemis-Murcko scaffold as MoleculeNet does (Wu et al. 2018): deterministic, no seed.

    Molecules of one scaffold stay together. Scaffolds go to training from the most frequent on while they fit into its
    share, then to validation, then to test; of equally frequent ones the later in the data first, as DeepChem orders
    them (BBBP is sorted by label: the other way round, validation and test have one class only).

    Args:
        smiles: of each molecule.
        train: share of training.
        val: share of validation.

    Returns:
        "train", "val" and "test" -> sorted int64 indices.

    Raises:
        DataError: rdkit is missing, or can't read a molecule.
    """
    require_rdkit()
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    groups: dict[str, list[int]] = defaultdict(list)
    with quiet():
        for i, text in enumerate(smiles):
            try:
                groups[MurckoScaffoldSmiles(smiles=text, includeChirality=False)].append(i)
            except ValueError:
                raise DataError(f"molecule {i} ({text[:60]!r}) can't be read by rdkit: leave it out") from None
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    limits = (train * len(smiles), (train + val) * len(smiles))
    for group in sorted(groups.values(), key=lambda ids: (len(ids), ids[0]), reverse=True):
        if len(parts[0]) + len(group) <= limits[0]:
            parts[0].extend(group)
        elif len(parts[0]) + len(parts[1]) + len(group) <= limits[1]:
            parts[1].extend(group)
        else:
            parts[2].extend(group)
    return as_index(*(np.array(p, dtype=np.int64) for p in parts))
