"""PyTorch Geometric as it is: the fp32 checkpoint, eager, in inference mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgegnn.bench.files import read_task
from edgegnn.bench.prepare import data_source
from edgegnn.compression.model_source import ModelSource
from edgegnn.compression.model_source import open_model as open_checkpoint
from edgegnn.exporting.preprocessing import raw_features
from edgegnn.tasks.points import point_graphs

__all__ = ["open_model"]

Array = npt.NDArray[Any]


class EagerSession:
    """A module as a session.

    Args:
        module: takes the task's inputs by name.
        held: hooks of the module, which stay as long as the session.
    """

    def __init__(self, module: torch.nn.Module, held: ExitStack) -> None:
        self._module, self._held = module.eval(), held

    def run(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """One inference."""
        with torch.inference_mode():
            out = self._module(**{name: torch.from_numpy(value) for name, value in inputs.items()})
        return [np.asarray(out)]


def open_model(folder: Path) -> Callable[[int], EagerSession]:
    """See `edgegnn.bench.peers`."""
    data = data_source(folder, read_task(folder))
    held = ExitStack()
    held.enter_context(point_graphs())

    def opener(threads: int) -> EagerSession:
        torch.set_num_threads(threads)
        checkpoint, work, _ = open_checkpoint(folder / "model.pt", ModelSource(allow_import=True), data)
        assert isinstance(checkpoint.model, torch.nn.Module)
        held.enter_context(raw_features([checkpoint.model], work))
        return EagerSession(checkpoint.model, held)

    return opener
