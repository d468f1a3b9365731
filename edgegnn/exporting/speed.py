"""How long an artifact takes beside the float form of the same model, on this machine: integers may also be slower."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError
from edgegnn.exporting.formats import Form
from edgegnn.exporting.samples import Sample
from edgegnn.manifest import SpeedAgainstFloat
from edgegnn.runtime.facts import device_facts
from edgegnn.runtime.session import make_session

__all__ = ["speed_against_float"]

Array = npt.NDArray[np.generic]
_GRAPHS = 8
_THREADS = 1
_SECONDS = 0.5
_SLOW = 0.15  # seconds of a round of both models, from which on nothing is measured
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 50


def speed_against_float(form: Form, samples: Sequence[Sample]) -> SpeedAgainstFloat | None:
    """Time the model and its float form in turns, on the first shipped graphs.

    Args:
        form: the form that the manifest names.
        samples: the shipped graphs.

    Returns:
        Both times, or why there are none; None for a model that isn't quantized.
    """
    if not form.quantized:
        return None
    if form.onnx is None or form.float_model is None:
        return SpeedAgainstFloat(reason="the model is in several files, or TorchScript")
    graphs = [dict(sample.inputs) for sample in samples[:_GRAPHS]]
    if not graphs:
        return SpeedAgainstFloat(reason="no graph is shipped")
    models = [model.SerializeToString() for model in (form.onnx, form.float_model)]
    try:
        sessions: list[Any] = [make_session(model, threads=_THREADS, spinning=False) for model in models]
        first = sum(_round(session, graphs) for session in sessions)
        if first > _SLOW and sum(_round(session, graphs) for session in sessions) > _SLOW:
            return SpeedAgainstFloat(reason=f"the shipped graphs take over {_SLOW:g} s")
        quantized, plain = _turns(sessions, graphs)
    except ArtifactError as error:
        return SpeedAgainstFloat(reason=str(error))
    except Exception as error:  # onnxruntime raises types of its own
        return SpeedAgainstFloat(reason=" ".join(str(error).split())[:200])
    return SpeedAgainstFloat(
        ms=_per_graph(quantized, graphs),
        float_ms=_per_graph(plain, graphs),
        graphs=len(graphs),
        rounds=len(quantized),
        threads=_THREADS,
        machine=str(device_facts()["model"]),
    )


def _round(session: Any, graphs: Sequence[Mapping[str, Array]]) -> float:
    """Seconds for all graphs, one after the other."""
    names = [value.name for value in session.get_inputs()]
    given = [{name: graph[name] for name in names} for graph in graphs]
    start = time.perf_counter()
    for inputs in given:
        session.run(None, inputs)
    return time.perf_counter() - start


def _turns(sessions: Sequence[Any], graphs: Sequence[Mapping[str, Array]]) -> list[list[float]]:
    """Seconds of each round of each session, in turns: a slow moment of the machine hits all of them."""
    times: list[list[float]] = [[] for _ in sessions]
    end = time.perf_counter() + _SECONDS
    while len(times[0]) < _LEAST_ROUNDS or (time.perf_counter() < end and len(times[0]) < _MOST_ROUNDS):
        for own, session in zip(times, sessions, strict=True):
            own.append(_round(session, graphs))
    return times


def _per_graph(seconds: Sequence[float], graphs: Sequence[Mapping[str, Array]]) -> float:
    """The median round as milliseconds of one graph, to four figures."""
    return float(f"{1000 * statistics.median(seconds) / len(graphs):.4g}")
