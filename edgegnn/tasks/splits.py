"""Train/validation/test splits, every one a function of its seed alone."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from edgegnn.errors import DataError, UsageError

__all__ = ["FOLDS", "as_index", "digest", "fold", "random", "stratified"]

FOLDS = 10
_FOLD_SEED = 12345  # of the Degree-Quant reference and its 10-fold results


def as_index(*parts: np.ndarray) -> dict[str, Tensor]:
    """Return three arrays of indices as "train", "val" and "test" -> sorted int64 tensor."""
    ordered = (torch.from_numpy(np.sort(np.asarray(part, dtype=np.int64))) for part in parts)
    return dict(zip(("train", "val", "test"), ordered, strict=True))


def digest(index: dict[str, Tensor]) -> str:
    """A checksum by which two splits can be told apart."""
    parts = (f"{part}:{','.join(map(str, ids.tolist()))}" for part, ids in sorted(index.items()))
    return hashlib.sha256(";".join(parts).encode()).hexdigest()


def stratified(labels: np.ndarray, seed: int, val: float = 0.1, test: float = 0.1) -> dict[str, Tensor]:
    """Split so that every part has about the same share of each class; single members of a class go to training.

    Args:
        labels: [n] integers.
        seed: of the shuffle.
        val: share of validation.
        test: share of test.

    Returns:
        "train", "val" and "test" -> sorted int64 indices.
    """
    rng = np.random.default_rng(seed)
    parts: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = ([], [], [])
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        n = len(members)
        # A class of three or more is in every part; smaller ones train only.
        n_val, n_test = (max(1, round(n * val)), max(1, round(n * test))) if n >= 3 else (0, 0)
        for part, chosen in zip(parts, np.split(members, [n - n_val - n_test, n - n_test]), strict=True):
            part.append(chosen)
    return as_index(*(np.concatenate(p) for p in parts))


def random(n: int, seed: int, val: float | int = 0.1, test: float | int = 0.1) -> dict[str, Tensor]:
    """Split at random; `val` and `test` are shares (float) or counts (int)."""
    n_val, n_test = (v if isinstance(v, int) else max(1, round(n * v)) for v in (val, test))
    if n_val + n_test >= n:
        raise DataError(f"{n} items are too few for a split: bring more data, or masks of your own")
    order = np.random.default_rng(seed).permutation(n)
    return as_index(*np.split(order, [n - n_val - n_test, n - n_test]))


def fold(labels: np.ndarray | int, k: int) -> dict[str, Tensor]:
    """Return fold `k` of a 10-fold: test is fold k, validation the fold before it, the rest is training.

    Args:
        labels: classes [n], by which the folds are stratified; or n where there are none.
        k: 0 to 9.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if not 0 <= k < FOLDS:
        raise UsageError(f"there is no fold {k}: use fold:0 to fold:{FOLDS - 1}")
    if isinstance(labels, int):
        if labels < FOLDS:
            raise DataError(f"{labels} items are too few for {FOLDS} folds: use --split random")
        plain = KFold(FOLDS, shuffle=True, random_state=_FOLD_SEED).split(np.zeros(labels))
        return _of_folds([test for _, test in plain], labels, k)
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    if smallest < FOLDS:
        raise DataError(
            f"a class has only {smallest} members, {FOLDS} folds need {FOLDS} of each: use --split stratified"
        )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=_FOLD_SEED)
    return _of_folds([test for _, test in folds.split(np.zeros(len(labels)), labels)], len(labels), k)


def _of_folds(tests: list[np.ndarray], count: int, k: int) -> dict[str, Tensor]:
    train = np.ones(count, dtype=bool)
    train[tests[k]] = train[tests[k - 1]] = False
    return as_index(np.flatnonzero(train), tests[k - 1], tests[k])
