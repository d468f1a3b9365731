"""What is asked of data that are loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgegnn.errors import UsageError
from edgegnn.tasks.catalog import TASKS, check_task

__all__ = ["Wanted", "wanted_of"]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What was asked for; None for what suits the data. `features` and `target` are named as in a `TaskSpec`.

    With `rows`, each row of x is divided by its sum. What `transforms` name takes the place of such defaults.
    """

    split: str | None = None
    seed: int = 0
    root: Path | None = None
    kind: str | None = None
    target: str | None = None
    metric: str | None = None
    one_hot: bool = False
    rows: bool = False
    features: dict[str, Any] | None = None
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    label: str | None = None
    of: str = ""
    transforms: tuple[str, ...] = ()

    def but(self, **defaults: Any) -> Wanted:
        """The same, with what suits the data where nothing was asked for."""
        if self.kind == "link":  # the published splits are of nodes
            defaults.pop("split", None)
        if self.transforms:
            defaults = {key: value for key, value in defaults.items() if key not in ("rows", "one_hot")}
        return dataclasses.replace(self, **{k: v for k, v in defaults.items() if getattr(self, k) in (None, False)})


def wanted_of(
    split: str | None, seed: int, root: Path | None, task: str | None, metric: str | None, one_hot: bool
) -> Wanted:
    """What the arguments of `load_task` ask for.

    Raises:
        UsageError: a negative seed, or an unknown task.
    """
    if seed < 0:
        raise UsageError(f"a seed must be 0 or more, not {seed}")
    check_task(task)
    name, _, of = (task or "").partition(":")
    kind, target = TASKS[name] if name else (None, None)
    return Wanted(split, seed, root, kind, target, metric, one_hot, of=of)
