"""Models of several entry points: an encoder that is run once for a graph, say, and a decoder that is run for a query.

Each entry point is an ONNX file of its own. What it takes are inputs of the artifact, or what entries before it
give, so that one after the other they compute the whole; and each can be run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError, UsageError, first_line
from edgegnn.runtime.inputs import PAIRS, check_inputs
from edgegnn.runtime.manifest import Entry, Manifest

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["EntrySession", "check_outputs", "entry_steps", "find_entry", "run_entry"]

Array = npt.NDArray[Any]


class EntrySession:
    """Sessions of all entry points, with the `run` of a single onnxruntime session for the whole.

    Args:
        entries: the entry points in the order in which they compute the whole.
        sessions: name of an entry -> its session.

    Raises:
        ArtifactError: a session has other inputs or outputs than its entry says.
    """

    def __init__(self, entries: Sequence[Entry], sessions: Mapping[str, InferenceSession]) -> None:
        self.entries, self.sessions = tuple(entries), dict(sessions)
        self.edgegnn_native = any(getattr(s, "edgegnn_native", False) for s in self.sessions.values())
        for entry in self.entries:
            session = self.sessions[entry.name]
            for what, found, said in (
                ("takes", session.get_inputs(), entry.inputs),
                ("gives", session.get_outputs(), entry.outputs),
            ):
                have, want = sorted(v.name for v in found), sorted(spec.name for spec in said)
                if have != want and not (what == "gives" and set(want) <= set(have)):  # watched tensors are outputs
                    raise ArtifactError(f"{entry.file} {what} {', '.join(have)}, the manifest says {', '.join(want)}")

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Array]) -> list[Array]:
        """All entries, one after the other: the named outputs, or those of the last entry."""
        known = dict(inputs)
        for entry in self.entries:
            names = [spec.name for spec in entry.outputs]
            found = self.sessions[entry.name].run(names, {spec.name: known[spec.name] for spec in entry.inputs})
            known.update(zip(names, found))  # noqa: B905 (Python 3.9; as many as asked for)
        return [known[name] for name in outputs or [spec.name for spec in self.entries[-1].outputs]]

    def run_entry(self, name: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One entry on checked inputs: output name -> array."""
        entry = find_entry(self.entries, name)
        names = [spec.name for spec in entry.outputs]
        return dict(zip(names, self.sessions[name].run(names, dict(inputs))))  # noqa: B905 (as above)


def find_entry(entries: Sequence[Entry], name: str) -> Entry:
    """The entry of that name.

    Raises:
        UsageError: there is none.
    """
    for entry in entries:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in entries)
    raise UsageError(
        f"the model has no entry point {name[:40]!r}: " + (f"choose one of {known}" if known else "it has only one")
    )


def run_entry(session: Any, manifest: Manifest, name: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """One entry point on inputs that are checked first.

    Args:
        session: of `make_session`; keep it for the next query.
        manifest: the artifact's.
        name: of the entry point, "encode" or "decode" of a link task.
        inputs: input name -> array.

    Returns:
        Output name -> float array with finite values.

    Raises:
        UsageError: no such entry point.
        DataError: the inputs don't fit it.
        ArtifactError: it fails to run.
    """
    entry = find_entry(manifest.entries, name)
    if not isinstance(session, EntrySession):
        raise UsageError(f"{manifest.runtime} runs the whole model at once: entry points need --runtime onnxruntime")
    checked = check_inputs(entry.inputs, inputs)
    try:
        found = session.run_entry(name, checked)
    except Exception as error:
        raise ArtifactError(f"{entry.file} fails to run: {first_line(error, 300)}") from error
    return check_outputs(entry, found)


def check_outputs(entry: Entry, outputs: dict[str, Array]) -> dict[str, Array]:
    """Return what an entry point gave, as it is.

    Raises:
        ArtifactError: a value is NaN or infinite.
    """
    for key, value in outputs.items():
        if not np.isfinite(value).all():
            raise ArtifactError(f"{entry.file} gives NaN or infinite {key}")
    return outputs


def entry_steps(
    session: EntrySession, inputs: Mapping[str, Array]
) -> list[tuple[str, int | None, Callable[[], object]]]:
    """What to time of each entry point on one sample: its name, how many pairs it scores (None: none), and one run.

    An entry that scores pairs is timed on one pair, and on all of the sample's.
    """
    known = dict(inputs)
    steps: list[tuple[str, int | None, Callable[[], object]]] = []
    for entry in session.entries:
        own = {spec.name: known[spec.name] for spec in entry.inputs}
        if PAIRS not in own:
            steps.append((entry.name, None, partial(session.run_entry, entry.name, own)))
        else:
            for count in sorted({1, own[PAIRS].shape[1]}):
                some = {**own, PAIRS: np.ascontiguousarray(own[PAIRS][:, :count])}
                steps.append((entry.name, count, partial(session.run_entry, entry.name, some)))
        known.update(session.run_entry(entry.name, own))
    return steps
