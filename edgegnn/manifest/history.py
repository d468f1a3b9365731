"""The steps by which a model was made, in a checkpoint and in a manifest: what is shown of them, checked before use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgegnn.errors import ArtifactError, CheckpointError, EdgeGNNError, first_line
from edgegnn.manifest.data import LinkSplit

__all__ = ["check_history"]


class _Frozen(msgspec.Struct):
    tensor: str
    step: int
    epoch: int
    value: float


class _Grades(msgspec.Struct):
    statistic: str
    planned_steps: int
    matrices: int
    frozen: list[_Frozen]


class _Step(msgspec.Struct):
    step: str
    recipe: str | None = None
    method: str = ""
    sparsity: float = 0.0
    epochs_run: int | None = None
    best_epoch: int | None = None
    link_split: LinkSplit | None = None
    caveat: str | None = None
    grades: _Grades | None = None


def check_history(history: Any, path: Path) -> None:
    """Check the steps of the history in a checkpoint, or in a manifest.

    Raises:
        CheckpointError, ArtifactError: they are not what edgegnn writes.
    """
    try:
        msgspec.convert(history, list[_Step])
    except (msgspec.ValidationError, ValueError, RecursionError) as failed:
        error: type[EdgeGNNError] = ArtifactError if path.name == "manifest.json" else CheckpointError
        raise error(f"{path} can't be shown, its history is damaged: {first_line(failed)}") from failed
