"""What a search is asked for: checked before torch and optuna are imported."""

from __future__ import annotations

import math

from edgegnn.devices.target import Target
from edgegnn.errors import UsageError
from edgegnn.plain_c.values import Limits
from edgegnn.utils.extras import need

__all__ = ["MINIMIZE", "c_form_limits", "check_request"]

MINIMIZE = ("size", "latency", "energy")
ON_MICROCONTROLLERS = ("size", "ram", "instructions")
_WHAT = (*MINIMIZE, *ON_MICROCONTROLLERS[1:])


def check_request(minimize: str, max_drop: float | None, budget: float, trials: int | None) -> None:
    """Refuse what can't be searched for.

    Raises:
        UsageError: an unknown name, a value out of range, or optuna is not installed.
    """
    if minimize not in _WHAT:
        raise UsageError(f"can't minimize {minimize!r}: choose {_or(_WHAT)}")
    if max_drop is not None and not 0 <= max_drop < math.inf:
        raise UsageError(f"--max-accuracy-drop must be 0 or more, not {max_drop:g}")
    if not 0 < budget < math.inf:
        raise UsageError(f"--budget must be more than 0 minutes, not {budget:g}")
    if trials is not None and trials < 1:
        raise UsageError(f"--trials must be 1 or more, not {trials}")
    need("tune", "edgegnn tune needs")


def c_form_limits(device: Target, minimize: str, max_nodes: int | None, max_edges: int | None) -> Limits | None:
    """The largest graph that candidates' C forms take; None for a device that runs artifacts with Python.

    Raises:
        UsageError: the device takes the C form and a limit is missing, or it takes none and there is one; or what is
            to be minimized can't be told of this device.
    """
    small = device.transport == "microcontroller"
    measured = ON_MICROCONTROLLERS if small else MINIMIZE
    if minimize not in measured:
        raise UsageError(f"{minimize} can't be told of {device.name}: choose --minimize {_or(measured)}")
    if not small and device.runner != "native":
        if max_nodes is not None or max_edges is not None:
            raise UsageError(f"--max-nodes and --max-edges are for devices that take the C form: not for {device.name}")
        return None
    if max_nodes is None or max_edges is None:
        raise UsageError(f"{device.name} takes the C form: give --max-nodes and --max-edges, its largest graph")
    return Limits.checked(max_nodes, max_edges)


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
