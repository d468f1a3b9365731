"""What a search is asked for: checked before torch and optuna are imported."""

from __future__ import annotations

import math

from edgegnn.errors import UsageError
from edgegnn.utils.extras import need

__all__ = ["MINIMIZE", "check_request"]

MINIMIZE = ("size", "latency", "energy")


def check_request(minimize: str, max_drop: float | None, budget: float, trials: int | None) -> None:
    """Refuse what can't be searched for.

    Raises:
        UsageError: an unknown name, a value out of range, or optuna is not installed.
    """
    if minimize not in MINIMIZE:
        raise UsageError(f"can't minimize {minimize!r}: choose {', '.join(MINIMIZE[:-1])} or {MINIMIZE[-1]}")
    if max_drop is not None and not 0 <= max_drop < math.inf:
        raise UsageError(f"--max-accuracy-drop must be 0 or more, not {max_drop:g}")
    if not 0 < budget < math.inf:
        raise UsageError(f"--budget must be more than 0 minutes, not {budget:g}")
    if trials is not None and trials < 1:
        raise UsageError(f"--trials must be 1 or more, not {trials}")
    need("tune", "edgegnn tune needs")
