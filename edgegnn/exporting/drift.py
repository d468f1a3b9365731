"""How far a recurrent model and its artifact drift apart when each goes on with the state that it left itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn import manifest
from edgegnn.errors import ParityError
from edgegnn.exporting.parity import spread, torch_every
from edgegnn.exporting.samples import Sample, example_inputs
from edgegnn.quantize import Recipe
from edgegnn.runtime.metrics import as_rows
from edgegnn.tasks import Task

__all__ = ["drift"]

Array = npt.NDArray[np.generic]
Every = Callable[[dict[str, Array]], Mapping[str, Any]]
_FLOAT_LIMIT = 1e-3  # of the outputs' spread: 20 steps of a float artifact


def drift(model: Any, every: Every, task: Task, names: tuple[str, ...], recipe: Recipe) -> manifest.Drift | None:
    """Run both over consecutive times, from the same first state; None for a model without a state.

    Args:
        model: PyTorch's.
        every: the artifact, one graph's inputs to all outputs.
        task: with `steps` and `states`.
        names: the model's inputs.
        recipe: how the artifact is quantized: a float one must not drift.

    Raises:
        ParityError: the artifact gives NaN, or a float artifact is further away than rounding explains.
    """
    if not task.steps:
        return None
    main = task.gives.main
    theirs: dict[str, Array] = {}
    ours: dict[str, Array] = {}
    wanted: list[Any] = []
    apart: list[float] = []
    of_state = 0.0
    for graph in task.steps:
        inputs = example_inputs(names, graph)
        same = all(len(value) == len(inputs[name]) for name, value in theirs.items())
        sample = Sample("step", "data", inputs | (theirs if same else {}), roles=task.roles)
        (want,) = torch_every(model, [sample], main)
        got = every(inputs | (ours if same else {}))
        theirs = {name: np.ascontiguousarray(want[output]) for name, output in task.states.items()}
        ours = {name: np.ascontiguousarray(got[output]) for name, output in task.states.items()}
        pairs = [(as_rows(want[name]), as_rows(got[name])) for name in (main, *task.states.values())]
        if not all(np.isfinite(mine).all() for _, mine in pairs):
            raise ParityError(f"the artifact gives NaN or infinite numbers after {len(apart) + 1} steps of its state")
        wanted.append(pairs[0][0])
        errors = [float(np.abs(one - other).max(initial=0.0)) for one, other in pairs]
        apart.append(errors[0])
        of_state = max(of_state, *errors[1:])
    unit = max(spread(wanted))
    found = manifest.Drift(
        steps=len(apart), first=apart[0], last=apart[-1], worst=max(apart), spread=unit, state=of_state
    )
    if not recipe.does.quantizes and found.worst > _FLOAT_LIMIT * max(1.0, unit):
        raise ParityError(
            f"over {found.steps} steps, each with the state of the one before, the artifact's outputs differ from "
            f"PyTorch's by {found.worst:.3g} (allowed {_FLOAT_LIMIT * max(1.0, unit):.3g})"
        )
    return found
