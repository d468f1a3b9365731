"""Intel's OpenVINO on the CPU: model.onnx of the task, fp32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import openvino

__all__ = ["open_model"]

Array = npt.NDArray[Any]


class OpenVinoSession:
    """A compiled model as a session."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def run(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """One inference."""
        found = self._request.infer(dict(inputs))
        return [found[name] for name in names]


def open_model(folder: Path) -> Callable[[int], OpenVinoSession]:
    """See `edgegnn.bench.peers`."""
    core = openvino.Core()

    def opener(threads: int) -> OpenVinoSession:
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(str(folder / "model.onnx"), "CPU", settings)
        return OpenVinoSession(compiled.create_infer_request())

    return opener
