"""A model with a state: what an output gives at one call is an input at the next.

session = edgegnn.runtime.open("traffic-static-int8").session()
for x in series:
outputs = session.step(x=x, edge_index=edge_index)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError, DataError, UsageError
from edgegnn.runtime.manifest import Manifest
from edgegnn.runtime.roles import FIXED, number_of_nodes

if TYPE_CHECKING:
    from edgegnn.runtime.model import Model

__all__ = ["Session", "first_state", "next_state", "parse_states"]

Array = npt.NDArray[Any]


class Session:
    """A model that remembers its state between calls. Made by `edgegnn.runtime.Model.session`; for one thread.

    Attributes:
        state: name of an input -> its value at the next step; {} before the first, which starts from zeros. A state
            that belongs to no node (a weight that evolves) has to be given to the first step.
    """

    def __init__(self, model: Model, state: Mapping[str, Any] | None = None) -> None:
        if not parse_states(model.manifest):
            raise UsageError(f"{model.name} has no state: call it as it is (a model with one is exported with --state)")
        self._model = model
        self.state: dict[str, Any] = dict(state or {})

    def step(self, **inputs: Any) -> dict[str, Array]:
        """Run one step, and keep the state that it leaves.

        Args:
            inputs: of the model, by name, without the state; an input of the state's name replaces what is kept.

        Returns:
            All outputs by name.

        Raises:
            DataError: as of a call; and a state of another number of nodes, or of another width.
            ArtifactError: as of a call.
        """
        manifest = self._model.manifest
        kept = {**first_state(manifest, inputs), **self.state}
        outputs = self._model.every(**{**kept, **inputs})
        self.state = next_state(manifest, outputs)
        return outputs

    def reset(self) -> None:
        """Forget the state: the next step starts from zeros."""
        self.state = {}


def parse_states(manifest: Manifest) -> dict[str, str]:
    """Name of an input -> name of the output that feeds it at the next call; {} of a model without a state.

    Raises:
        ArtifactError: an entry names no input or no output.
    """
    entries = manifest.raw.get("state") or {}
    inputs = [spec.name for spec in manifest.inputs]
    outputs = [spec.name for spec in manifest.outputs]
    good = isinstance(entries, dict) and all(i in inputs and o in outputs for i, o in entries.items())
    if not good:
        raise ArtifactError("manifest.json: state names no inputs and outputs: export the artifact again")
    return dict(entries)


def first_state(manifest: Manifest, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Zeros for each state of nodes, for as many as the inputs have; one of its own shape has to be given at first.

    Raises:
        DataError: the inputs don't say how many nodes there are.
    """
    states = parse_states(manifest)
    arrays = {name: np.asarray(value) for name, value in inputs.items() if name not in states}
    known = {name: value for name, value in arrays.items() if value.ndim}
    nodes = number_of_nodes(known, manifest.roles)
    if not nodes:
        raise DataError("the inputs don't say how many nodes there are: give the features of the nodes")
    found = {}
    for spec in manifest.inputs:
        if spec.name in states and spec.belongs != FIXED:
            sizes = [size if isinstance(size, int) else nodes for size in spec.shape]
            found[spec.name] = np.zeros(sizes, spec.dtype)
    return found


def next_state(manifest: Manifest, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The state that a call leaves."""
    return {name: np.ascontiguousarray(outputs[output]) for name, output in parse_states(manifest).items()}
