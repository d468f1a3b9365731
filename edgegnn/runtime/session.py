"""Run a model: in ONNX Runtime, or in torch where it is TorchScript; on the CPU, or on an NVIDIA GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from edgegnn.errors import ArtifactError, UsageError, first_line
from edgegnn.runtime.artifact import Artifact
from edgegnn.runtime.cuda import PROCESSORS, PROVIDERS, check_provider, cuda_problem
from edgegnn.runtime.entries import EntrySession
from edgegnn.runtime.manifest import Manifest
from edgegnn.runtime.metrics import as_rows
from edgegnn.runtime.native import ORT_NEEDED, find_library
from edgegnn.runtime.needs import needed_onnxruntime, version_pair
from edgegnn.runtime.outputs import check_every, named
from edgegnn.runtime.ranges import RangePoint, guarded_model
from edgegnn.runtime.roles import argument_name

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

    from edgegnn.runtime.script import ScriptSession

__all__ = [
    "available_cores",
    "has_native_ops",
    "make_session",
    "native_kernels",
    "run",
    "run_every",
]

Array = npt.NDArray[Any]
_FATAL = 4
_DOMAIN = b"ai.edgegnn"


def available_cores() -> int:
    """Logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_session(
    model: Artifact | str | os.PathLike[str] | bytes,
    *,
    threads: int = 0,
    spinning: bool = True,
    native: bool = True,
    processor: str = "cpu",
    library: Path | None = None,
    entries: Mapping[str, str] | None = None,
    watch: Sequence[RangePoint] = (),
    profile: Path | None = None,
) -> InferenceSession | ScriptSession | EntrySession:
    """Load a model, with onnxruntime's own messages turned off.

    Args:
        model: an artifact, the path of an ONNX file, or its bytes. A TorchScript artifact gives a `ScriptSession`,
            which is run in the same way and knows none of the settings but threads; one of several entry points an
            `EntrySession`.
        threads: threads of one inference; 0 leaves the choice to the runtime.
        spinning: worker threads wait busily between inferences (faster, and takes more energy).
        native: run `ai.edgegnn` operators on edgegnn's kernels where the library is found (see `native_kernels`), not
            on the function bodies that the model carries.
        processor: "cpu", or "cuda": the GPU, with the standard operators. What goes in and comes out are arrays on the
            CPU all the same, so that a run contains the copies, and has ended when it returns.
        library: the native library to use; None: the one that is found.
        entries: further entries of onnxruntime's session configuration.
        watch: quantization points whose tensors are further outputs (`edgegnn.runtime.ranges`).
        profile: onnxruntime times every operator; its `end_profiling()` writes a file whose name starts with this.

    Raises:
        ArtifactError: the runtime is missing, can't load the model or can't use the GPU, or an artifact's model has
            other inputs than its manifest says.
        UsageError: a negative number of threads, an unknown processor, a `library` that doesn't load here, or an entry
            that onnxruntime refuses.
    """
    if threads < 0:
        raise UsageError(f"threads must be 0 (automatic) or more, not {threads}")
    if processor not in PROCESSORS:
        raise UsageError(f"processor must be one of {', '.join(PROCESSORS)}, not {processor!r}")
    script = isinstance(model, Artifact) and model.manifest.runtime == "torchscript"
    problem = cuda_problem("torchscript" if script else "onnxruntime") if processor == "cuda" else ""
    if problem:
        raise ArtifactError(f"no CUDA here: {problem}")
    if isinstance(model, Artifact) and script:
        return _script_session(model, threads, processor)
    if isinstance(model, Artifact) and model.manifest.entries:
        sessions = {
            entry.name: make_session(
                model.folder / entry.file,
                threads=threads,
                spinning=spinning,
                native=native,
                processor=processor,
                library=library,
                entries=entries,
                watch=[point for point in watch if point.file == entry.file],
                profile=None if profile is None else profile.with_name(f"{profile.name}-{entry.name}"),
            )
            for entry in model.manifest.entries
        }
        return EntrySession(model.manifest.entries, sessions)
    onnxruntime = _onnxruntime()
    content = model.model if isinstance(model, Artifact) else model
    read = _content(content)
    if watch:
        content = guarded_model(read, watch)
    _check_version(read, onnxruntime.__version__)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    registered = native and processor == "cpu" and has_native_ops(read) and _register(options, library)
    if registered:  # products of codes are ours: what is still dequantized is a constant, and is folded
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    _configure(options, entries or {})
    try:
        session = onnxruntime.InferenceSession(
            content if isinstance(content, bytes) else os.fspath(content),
            options,
            providers=PROVIDERS if processor == "cuda" else ["CPUExecutionProvider"],
            enable_fallback=0,  # else it prints what a damaged model says
        )
    except Exception as error:  # onnxruntime raises a dozen types of its own, and RuntimeError
        name = "the model" if isinstance(content, bytes) else Path(content).name
        raise ArtifactError(
            f"onnxruntime {onnxruntime.__version__} can't load {name}: {first_line(error, 300)}"
        ) from error
    if processor == "cuda":
        check_provider(session)
    if isinstance(model, Artifact):
        _check_signature(session, model.manifest)
    session.edgegnn_native = registered
    return session


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ArtifactError("the model needs onnxruntime: python -m pip install onnxruntime") from error
    return onnxruntime


def _check_version(model: bytes, found: str) -> None:
    needed = needed_onnxruntime(model)
    if version_pair(found) < needed:
        least = f"{needed[0]}.{needed[1]}"
        raise ArtifactError(
            f"the model needs onnxruntime {least} or newer, this is {found}: "
            f'python -m pip install "onnxruntime>={least}", or export it without 4-bit codes'
        )


def _content(model: str | os.PathLike[str] | bytes) -> bytes:
    """The bytes of a model; none where it can't be read, and onnxruntime says why."""
    try:
        return model if isinstance(model, bytes) else Path(model).read_bytes()
    except OSError:
        return b""


def _script_session(artifact: Artifact, threads: int, processor: str) -> ScriptSession:
    from edgegnn.runtime.script import ScriptSession

    session = ScriptSession(artifact.model, threads=threads, device=processor)
    want = [spec.name for spec in artifact.manifest.inputs]
    if session.names != [argument_name(name) for name in want]:
        raise ArtifactError(f"model.ts.pt takes {', '.join(session.names)}, the manifest says {', '.join(want)}")
    return session


def native_kernels(session: InferenceSession | ScriptSession | EntrySession) -> bool:
    """Whether a session of `make_session` runs on edgegnn's kernels."""
    return bool(getattr(session, "edgegnn_native", False))


def has_native_ops(model: Artifact | str | os.PathLike[str] | bytes) -> bool:
    """Whether a model, or one of an artifact's, has operators of domain `ai.edgegnn`."""
    if isinstance(model, Artifact):
        files = [entry.file for entry in model.manifest.entries] or [model.manifest.model_file]
        return any(has_native_ops(model.folder / name) for name in files)
    return _DOMAIN in _content(model)


def _configure(options: SessionOptions, entries: Mapping[str, str]) -> None:
    for key, value in entries.items():
        try:
            options.add_session_config_entry(str(key), str(value))
        except Exception as error:  # onnxruntime raises types of its own
            raise UsageError(f"onnxruntime refuses the session option {key!r}: {first_line(error)}") from error


def _register(options: SessionOptions, named: Path | None) -> bool:
    """Give a session the native library; False where there is none, or none that loads here.

    Raises:
        UsageError: the library that the caller named doesn't load.
    """
    import onnxruntime

    library = named or find_library()
    if library is None or version_pair(onnxruntime.__version__) < ORT_NEEDED:
        return False
    try:
        options.register_custom_ops_library(str(library))
    except Exception as error:  # built for another system: the function bodies serve
        if named is not None:
            raise UsageError(f"{named} is no library that loads here: {first_line(error, 300)}") from error
        return False
    return True


def run_every(
    session: InferenceSession | ScriptSession | EntrySession, manifest: Manifest, inputs: dict[str, Array]
) -> dict[str, Array]:
    """Run a session on checked inputs.

    Returns:
        All outputs by name, as they are.

    Raises:
        ArtifactError: the model fails, or gives another shape than the manifest says.
    """
    try:
        values = session.run([spec.name for spec in manifest.outputs], inputs)
    except Exception as error:
        raise ArtifactError(f"the model fails to run: {first_line(error, 300)}") from error
    return check_every(manifest, named(manifest, values), inputs)


def run(
    session: InferenceSession | ScriptSession | EntrySession, manifest: Manifest, inputs: dict[str, Array]
) -> Array:
    """Run a session on checked inputs.

    Returns:
        The main output as a matrix `[rows, C]`.

    Raises:
        ArtifactError: as of `run_every`.
    """
    return as_rows(run_every(session, manifest, inputs)[manifest.main.name])


def _check_signature(session: InferenceSession, manifest: Manifest) -> None:
    have, want = [i.name for i in session.get_inputs()], [spec.name for spec in manifest.inputs]
    if sorted(have) != sorted(want):
        raise ArtifactError(f"model.onnx takes {', '.join(have)}, the manifest says {', '.join(want)}")
    given = [output.name for output in session.get_outputs()]
    for spec in manifest.outputs:
        if spec.name not in given:
            raise ArtifactError(f"model.onnx has no output {spec.name!r}, which the manifest says")
