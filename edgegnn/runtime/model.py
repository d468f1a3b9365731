"""Call an artifact from a program: numpy arrays in, numpy arrays out.

    sys.path.insert(0, "model-dq-int8/run.pyz")  # only where edgegnn is not installed
    from edgegnn import runtime

    model = runtime.open("model-dq-int8")
    logits = model(x=x, edge_index=edge_index)

The model is opened, checked and loaded once; each call checks its inputs and runs.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgegnn.errors import EdgeGNNWarning, UsageError
from edgegnn.runtime.artifact import Artifact, open_artifact
from edgegnn.runtime.inference import GuardedModel, answer_entry, answers, guarded
from edgegnn.runtime.manifest import Manifest, TensorSpec
from edgegnn.runtime.metrics import as_rows, predictions
from edgegnn.runtime.native import why_no_library
from edgegnn.runtime.recurrent import Session
from edgegnn.runtime.samples import Sample, read_samples
from edgegnn.runtime.session import has_native_ops

__all__ = ["Model", "open"]

GUARDS = ("warn", "error", "off")
Array = npt.NDArray[Any]


class Model:
    """An open artifact that is called like a function. Made by `edgegnn.runtime.open`.

    A model may be called from several threads at once: nothing in it changes after it was opened.
    """

    def __init__(self, artifact: Artifact, loaded: GuardedModel, guard: str) -> None:
        self._artifact, self._loaded, self._strict = artifact, loaded, guard == "error"

    @property
    def manifest(self) -> Manifest:
        """What the artifact says about itself: recipe, task, limits, files."""
        return self._artifact.manifest

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.manifest.name

    @property
    def kernels(self) -> str:
        """What the graph operators run on: "edgegnn", "onnxruntime" or "torch"."""
        if self.manifest.runtime == "torchscript":
            return "torch"
        return "edgegnn" if self._loaded.native else "onnxruntime"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of each input, in order; a size that differs from graph to graph is a word."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, dtype and shape of each output."""
        return self.manifest.outputs

    def __call__(self, **inputs: Any) -> Array:
        """Run the model on one graph, or on a batch of graphs.

        Args:
            inputs: one array for each of `self.inputs`, by name: `x` float32 `[N, F]`, `edge_index` int64 `[2, E]`
                with values in [0, N), and what else the model takes. Other types are converted where no
                value changes but by rounding of floats.

        Returns:
            Float logits (or values, for a regression), `[N, C]` of a model for nodes, `[graphs, C]` of a model for
            graphs, `[P, 1]` of a model for pairs of nodes. Of a model with several outputs, the one that is scored,
            else the first; `every` gives all of them.

        Raises:
            DataError: an input is missing or unknown, or has a wrong type, shape, index or value; or the graph is
                beyond what the model was calibrated on, and `guard` is "error".
            ArtifactError: the model fails to run, or gives NaN or infinite logits.

        Warns:
            RangeWarning: the graph is beyond what the model was calibrated on, and `guard` is "warn".
        """
        return self.every(**inputs)[self.manifest.main.name]

    def every(self, **inputs: Any) -> dict[str, Array]:
        """All outputs by name, also of a model with one.

        Args and errors: as for a call.
        """
        return answers(self._loaded, self.manifest, inputs, guard=self._strict)

    def session(self, state: Mapping[str, Any] | None = None) -> Session:
        """Return a session that keeps the state of a recurrent model between its steps.

        Args:
            state: name of an input -> its first value; None: zeros.

        Raises:
            UsageError: the model has no state.
        """
        return Session(self, state)

    def classify(self, **inputs: Any) -> Array:
        """Return what the logits mean: int64 `[rows]` class numbers, bool `[rows, C]` labels, or the values themselves.

        Args and errors: as for a call.
        """
        found = answers(self._loaded, self.manifest, inputs, guard=self._strict)
        return predictions(as_rows(found[self.manifest.main.name]), self.manifest.target)

    def entry(self, name: str, **inputs: Any) -> dict[str, Array]:
        """Run one entry point of a model that has several ("encode" once for a graph, "decode" for each query).

        Args:
            name: of the entry point.
            inputs: its inputs, by name.

        Returns:
            Output name -> float array.

        Raises:
            UsageError: the model has no such entry point.
            DataError: the inputs don't fit it.
            ArtifactError: it fails to run.
        """
        return answer_entry(self._loaded, self.manifest, name, inputs, guard=self._strict)

    def samples(self) -> list[Sample]:
        """Return the graphs that the artifact ships, with PyTorch's logits: `model(**model.samples()[0].inputs)`.

        Raises:
            ArtifactError: samples.npz is damaged.
        """
        return read_samples(self._artifact)

    def __repr__(self) -> str:
        takes = ", ".join(f"{spec.name}{list(spec.shape)}" for spec in self.inputs)
        return f"<edgegnn model {self.name!r} ({self.manifest.recipe}, {self.kernels} kernels): {takes}>"


def open(
    artifact: str | os.PathLike[str],
    *,
    threads: int = 0,
    spinning: bool = True,
    library: str | os.PathLike[str] | None = None,
    processor: str = "cpu",
    runtime: str | None = None,
    session_options: Mapping[str, str] | None = None,
    guard: str = "warn",
) -> Model:
    """Open an artifact to call it from this program.

    Args:
        artifact: the artifact's folder, or a .zip of it.
        threads: threads of one inference; 0: one a core.
        spinning: worker threads wait busily between inferences (faster, and takes more energy).
        library: the native library to use, such as `model-dq-int8/native/libedgegnn_ops-x86_64.so`. A library is code:
            name one only from an artifact that you made or trust. None: the installed package's, or the one
            beside the run.pyz that this module was imported from.
        processor: "cpu", or "cuda" for an NVIDIA GPU.
        runtime: "onnxruntime" or "torchscript", for an artifact that has both; None: its own.
        session_options: entries of onnxruntime's session configuration, {"session.set_denormal_as_zero": "1"}.
        guard: what a graph beyond the calibrated range is: "warn" (a `RangeWarning`), "error" (a `DataError`), or
            "off": no range is looked at, which is the fastest.

    Returns:
        The model. `model.kernels` says whether edgegnn's kernels run it.

    Warns:
        EdgeGNNWarning: the model has graph operators, and they run on onnxruntime's standard ones, which is many times
            slower; the text says why and what to do.

    Raises:
        ArtifactError: it is damaged, foreign or newer, or the runtime that it needs is missing.
        UsageError: a wrong argument, or `library` is no library that loads here.

    Examples:
        >>> model = edgegnn.runtime.open("model-dq-int8", threads=1)
        >>> model.kernels
        'edgegnn'
        >>> logits = model(x=x, edge_index=edge_index)
    """
    if guard not in GUARDS:
        raise UsageError(f"guard must be one of {', '.join(GUARDS)}, not {guard!r}")
    opened = open_artifact(artifact, extra_files=True, runtime=runtime)
    loaded = guarded(
        opened,
        threads=threads,
        spinning=spinning,
        processor=processor,
        library=Path(library) if library is not None else None,
        entries=session_options,
        watch=guard != "off",
    )
    model = Model(opened, loaded, guard)
    if model.kernels == "onnxruntime" and processor == "cpu" and has_native_ops(opened):
        warnings.warn(
            f"{model.name} runs on onnxruntime's standard operators, which is many times slower than edgegnn's "
            f"kernels: {why_no_library()}",
            EdgeGNNWarning,
            stacklevel=2,
        )
    return model
