"""What to prune, and what came of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from edgegnn.errors import UsageError
from edgegnn.prune.methods import METHODS, VARIANTS, check_sparsity

if TYPE_CHECKING:
    from torch import nn

    from edgegnn.tasks import Task
    from edgegnn.training import FitResult

__all__ = ["METHOD_NAMES", "SCHEDULES", "PrunePlan", "Pruned"]

METHOD_NAMES = (*METHODS, "regularized", "structured", "edges")
SCHEDULES = ("one-shot", "gradual")


@dataclasses.dataclass(frozen=True)
class PrunePlan:
    """What to prune.

    Attributes:
        method: "fine-grained", "global", "regularized", "structured" or "edges".
        sparsity: the share that goes, in [0, 1): of weights, of channels ("structured") or of edges ("edges").
        schedule: of "fine-grained" and "global": "one-shot", or "gradual" (over the first half of fine-tuning).
        variant: of "regularized": "l1" (single weights), "group-norm" or "growing" (whole channels); None for "l1".
        finetune: train after pruning.

    Raises:
        UsageError: a value that isn't one of these, or two that exclude each other.
    """

    method: str
    sparsity: float
    schedule: str = "one-shot"
    variant: str | None = None
    finetune: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHOD_NAMES:
            raise UsageError(f"unknown pruning method {self.method!r}: choose one of {', '.join(METHOD_NAMES)}")
        check_sparsity(self.sparsity)
        if self.schedule not in SCHEDULES:
            raise UsageError(f"unknown schedule {self.schedule!r}: choose {' or '.join(SCHEDULES)}")
        if self.schedule == "gradual" and self.method not in METHODS:
            raise UsageError(f"--schedule gradual is for {' and '.join(METHODS)}, not for {self.method}")
        if self.schedule == "gradual" and not self.finetune:
            raise UsageError("--schedule gradual prunes while fine-tuning: leave --no-finetune out")
        if self.variant is not None and self.method != "regularized":
            raise UsageError(f"--variant is for --prune regularized, not for {self.method}")
        if self.variant is not None and self.variant not in VARIANTS:
            raise UsageError(f"unknown variant {self.variant!r}: choose one of {', '.join(VARIANTS)}")


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What pruning gave.

    Attributes:
        model: the pruned float module, fine-tuned if that was asked.
        task: the task, with another graph where edges went.
        facts: what `Checkpoint.pruning` holds.
        fit: the last training; None where nothing was trained.
        seconds: of all trainings.
    """

    model: nn.Module
    task: Task
    facts: dict[str, Any]
    fit: FitResult | None
    seconds: float
