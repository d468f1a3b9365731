"""`edgegnn profile`: an artifact, a target, and the record of the measurement."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from edgegnn.devices.carbon import carbon_reader
from edgegnn.devices.cuda import cuda_runtime
from edgegnn.devices.meter import meter_reader
from edgegnn.devices.target import Target, load_target
from edgegnn.devices.transport.device import NoPythonError
from edgegnn.errors import ArtifactError, TargetError, UsageError
from edgegnn.manifest import typed_manifest
from edgegnn.profiling.native import NO_ENERGY, follow_native
from edgegnn.profiling.record import Instructions, ProfileRecord, check_place, write_record
from edgegnn.profiling.remote import follow_there
from edgegnn.profiling.result import Asked, HostEnergy, Instructed, make_record
from edgegnn.profiling.runner import Event, follow
from edgegnn.runtime import Artifact, Manifest, build_runner, open_artifact, read_manifest
from edgegnn.runtime.benchmark import FULL, QUICK, Plan
from edgegnn.runtime.energy import READERS, EnergyReader, find_reader
from edgegnn.runtime.facts import arch
from edgegnn.runtime.session import has_native_ops

__all__ = ["Peer", "newest_artifact", "profile"]

Progress = Callable[[str], None]
TIMEOUT = 1800.0


def profile(
    artifact: Path | str,
    *,
    target: str | Target | None = None,
    quick: bool = False,
    threads: int | None = None,
    out: Path | None = Path("profiles"),
    progress: Progress | None = None,
    plan: Plan | None = None,
    timeout: float = TIMEOUT,
    stop: threading.Event | None = None,
    runtime: str | None = None,
    keep: Path | None = None,
    operators: bool = False,
    sweep: Sequence[int] = (),
    repeats: int = 1,
    sustained: float = 0.0,
    peer: Peer | None = None,
) -> ProfileRecord:
    """Measure an artifact.

    Args:
        artifact: its folder or zip.
        target: a target or its name; None or "local" is this machine.
        quick: short windows; the record says so.
        threads: threads of one inference; None: as the target says.
        out: the record goes to `<out>/<target>/<artifact>.json`; None: no file. An older record there is replaced.
        progress: told in a few words what is being done, and how long it will still take.
        plan: durations; None: the protocol's, or short ones with `quick`.
        timeout: seconds after which the runner is stopped.
        stop: gives up when it is set (by another thread).
        runtime: "onnxruntime" or "torchscript", for an artifact with a model for both; None: as its manifest says. The
            record of another one than that goes to `<artifact>-<runtime>.json`.
        keep: a record that must not be replaced (the one that a comparison starts from): where the new one would take
            its place, it goes to `<artifact>-new.json`.
        operators: also time each operator of the model, with onnxruntime on the CPU of a real device.
        sweep: also time the largest shipped graph made smaller and larger, to about so many edges each.
        repeats: processes that measure one after the other. The record is of the one with the median p50, and holds
            the p50 of all.
        sustained: then run for so many seconds without a pause; not on emulated boards, nor in the native runner.
        peer: another runtime that runs the artifact's model, on this machine.

    Returns:
        The record.

    Raises:
        ArtifactError: the artifact is damaged.
        TargetError: the target can't be reached or is not ready, the runner failed, or the record can't be written.
        UsageError: an unknown target, negative `threads`.
    """
    tell = progress or _quiet
    where = target if isinstance(target, Target) else load_target(target or "local")
    if where.transport == "local" and where.arch != arch():
        raise TargetError(f"the target {where.name} is {where.arch}, this machine is {arch()}: choose --target local")
    if where.transport == "microcontroller":
        raise UsageError(f"{where.name} is a microcontroller: edgegnn.footprint weighs a model on it")
    if repeats < 1:
        raise UsageError(f"repeats must be 1 or more, not {repeats}")
    if threads is not None and threads < 0:
        raise UsageError(f"threads must be 0 (one per core) or more, not {threads}")
    opened = open_artifact(artifact, runtime=runtime)
    if operators:
        _check_operators(opened, where)
    if sweep and (where.transport == "emulated" or _native_only(where)):
        raise UsageError(f"{where.name} can't time graphs of other sizes: leave --sweep-edges out")
    if sustained and (where.transport == "emulated" or _native_only(where)):
        raise UsageError(f"{where.name} can't run for minutes and tell how it went: leave --sustained out")
    if peer is not None and (where.transport != "local" or _native_only(where) or operators or sweep):
        raise UsageError(f"{peer.runtime} runs on this machine only, without --operators and --sweep-edges")
    if where.processor == "cuda" and where.transport == "local":
        runtime = cuda_runtime(opened.manifest, where, runtime)
        opened = open_artifact(artifact, runtime=runtime)
    path = None if out is None else Path(out) / where.name / f"{_record_name(opened.manifest)}.json"
    if path is not None and keep is not None and path.exists() and path.samefile(keep):
        path = path.with_name(f"{path.stem}-new.json")
    if path is not None:
        check_place(path)
        _check_writable(path)
    chosen = plan or (QUICK if quick else FULL)
    options = _Options(threads, runtime, operators, tuple(sweep), timeout + sustained, stop, sustained, peer)
    records = [
        _measured(opened, where, chosen, options, tell if repeats == 1 else _numbered(tell, i + 1, repeats))
        for i in range(repeats)
    ]
    record = sorted(records, key=lambda one: one.latency_ms.p50)[(repeats - 1) // 2]
    if repeats > 1:
        every = [one.latency_ms.p50 for one in records]
        record = msgspec.structs.replace(record, latency_ms=msgspec.structs.replace(record.latency_ms, repeats=every))
    if path is not None:
        write_record(record, path)
    return record


@dataclasses.dataclass(frozen=True)
class Peer:
    """Another runtime that runs an artifact's model on this machine.

    Attributes:
        command: starts a program that takes the place of run.pyz: the same arguments and the same events.
        runtime: its name, for the record.
        model_bytes: size of the file that it opens.
    """

    command: tuple[str, ...]
    runtime: str
    model_bytes: int


@dataclasses.dataclass(frozen=True)
class _Options:
    """How the runner is started: see `profile`."""

    threads: int | None
    runtime: str | None
    operators: bool
    sweep: tuple[int, ...]
    timeout: float
    stop: threading.Event | None
    sustained: float
    peer: Peer | None


def _further(options: _Options) -> list[str]:
    """What the runner's `bench` is told beside the target's own."""
    command = ["--runtime", options.runtime] if options.runtime else []
    command += ["--operators"] * options.operators
    command += ["--sustained", f"{options.sustained:g}"] if options.sustained else []
    return command + (["--sweep-edges", ",".join(map(str, options.sweep))] if options.sweep else [])


def _numbered(tell: Progress, number: int, of: int) -> Progress:
    return lambda text: tell(f"process {number} of {of}: {text}")


def _measured(opened: Artifact, where: Target, chosen: Plan, options: _Options, tell: Progress) -> ProfileRecord:
    """One process that measures, and its record."""
    threads, timeout, stop = options.threads, options.timeout, options.stop
    tell("preparing")
    instructed = Instructed()
    with contextlib.ExitStack() as stack:
        mode, reader, reasons, kinds = _choose_energy(where, stack)
        runner, origin = stack.enter_context(_runner(opened))
        arguments = _arguments(where, chosen, mode, threads, kinds) + _further(options)
        events = _Events(tell, chosen, energy=mode != "none")
        asked = Asked(opened, where, chosen, where.threads if threads is None else threads, origin, tuple(reasons))
        if options.peer is not None:
            asked = _of_peer(asked, options.peer)
        if where.transport == "local" and not _native_only(where):
            start = (sys.executable, str(runner)) if options.peer is None else options.peer.command
            command = [*start, "bench", "--events"]
            command += ["--artifact", str(opened.folder.resolve()), *arguments]
            followed = follow(command, timeout=timeout, reader=reader, on_event=events, stop=stop)
        else:
            if not _native_only(where):
                try:
                    followed = follow_there(
                        opened,
                        runner,
                        where,
                        arguments,
                        timeout=timeout,
                        tell=tell,
                        reader=reader,
                        on_event=events,
                        stop=stop,
                    )
                except NoPythonError as error:
                    if (
                        where.python
                        or options.operators
                        or options.sweep
                        or typed_manifest(opened.manifest.raw).c is None
                    ):
                        raise _or_native(error) from error
                    where = msgspec.structs.replace(where, runner="native")
            if _native_only(where):
                followed, asked = follow_native(
                    opened, where, chosen, timeout=timeout, tell=tell, reader=reader, on_event=events, stop=stop
                )
                mode, reasons = "host", reasons if reader is not None else [*reasons, NO_ENERGY]
                asked = dataclasses.replace(asked, reasons=tuple(reasons))
    if where.transport == "emulated":
        instructed = _emulated(opened, where, tell)
    return make_record(followed, asked, HostEnergy(mode == "device", reader), instructed)


def _of_peer(asked: Asked, peer: Peer) -> Asked:
    return dataclasses.replace(
        asked, runner="peer", same_model=False, runtime=peer.runtime, model_bytes=peer.model_bytes
    )


def _check_operators(artifact: Artifact, target: Target) -> None:
    """Say before anything is measured that operators can't be timed.

    Raises:
        UsageError: they can't be.
    """
    why = ""
    if target.transport == "emulated":
        why = f"{target.name} is emulated: its times are not a measurement"
    elif _native_only(target):
        why = f"{target.name} runs the C form, whose functions are not timed one by one"
    elif target.processor != "cpu":
        why = f"{target.name} runs the model on the GPU: operators are timed on the CPU only"
    elif artifact.manifest.runtime != "onnxruntime":
        why = f"operators are timed by onnxruntime, {artifact.manifest.name} runs in {artifact.manifest.runtime}"
    if why:
        raise UsageError(f"{why}: leave --operators out")


def newest_artifact(folder: Path | str = ".") -> Path:
    """The artifact in a folder that was made last, by the time in its manifest.

    Raises:
        UsageError: there is none.
    """
    found = []
    with contextlib.suppress(OSError):
        for path in Path(folder).iterdir():
            if path.name.startswith(".") or not (path.is_dir() or path.suffix == ".zip"):
                continue
            with contextlib.suppress(ArtifactError, OSError):
                manifest = read_manifest(path)
                modified = path.stat().st_mtime
                found.append((_timestamp(manifest.created, modified), modified, path.is_dir(), path))
    if not found:
        raise UsageError(f"no artifact in {Path(folder).resolve()}: name one, or make one with `edgegnn export`")
    return max(found)[-1]


def _record_name(manifest: Manifest) -> str:
    """Records of the two models of an artifact don't replace each other."""
    own = typed_manifest(manifest.raw).runtime
    return manifest.name if manifest.runtime == own else f"{manifest.name}-{manifest.runtime}"


def _native_only(target: Target) -> bool:
    return target.runner == "native" and target.transport in ("ssh", "local")


def _or_native(error: NoPythonError) -> TargetError:
    """What helps on a device without Python: a C form, too."""
    return TargetError(
        f"{error}; or export the model with --format c --max-nodes N --max-edges N: that needs no Python there"
    )


class _Events:
    """Turns the runner's events into words."""

    def __init__(self, tell: Progress, plan: Plan, *, energy: bool) -> None:
        self._tell, self._plan = tell, plan
        self._windows = (plan.windows + 1) * plan.window_seconds * energy

    def __call__(self, event: Event) -> None:
        plan = self._plan
        if event.event == "phase":
            latency = plan.seconds + self._windows
            left = {"warm-up": plan.warmup_seconds + latency, "latency": latency, "operators": 1 + self._windows}
            if event.phase.startswith("graphs of "):
                self._tell(event.phase)
            if event.phase in left:
                self._say(event.phase, left[event.phase])
        elif event.event == "window_start" and event.kind == "idle":
            self._say("energy, idle", self._windows)
        elif event.event == "window_start":
            text = f"energy, window {event.index + 1} of {plan.windows}"
            self._say(text, self._windows - (event.index + 1) * plan.window_seconds)

    def _say(self, text: str, left: float) -> None:
        self._tell(f"{text} (about {max(1.0, left):.0f} s left)")


def _quiet(text: str) -> None:
    """Nobody wants to know."""


def _choose_energy(
    target: Target, stack: contextlib.ExitStack
) -> tuple[str, EnergyReader | None, list[str], Sequence[str]]:
    """Who reads the energy ("device", "host", "none"), the host's reader, why nothing better, the device's kinds."""
    if target.transport == "emulated":
        return "none", None, ["emulated: not a measurement"], ()
    reasons: list[str] = []
    reader: EnergyReader | None
    for kind in target.energy:
        if kind == "meter":
            reader, reason = (None, "") if target.meter is None else meter_reader(target.meter)
            if reader is not None:
                stack.callback(reader.close)
                return "host", reader, reasons, ()
        elif kind in READERS:
            if target.transport != "local":  # what there is to read is there, not here
                return "device", None, reasons, [k for k in target.energy if k in READERS]
            reader, reason = find_reader(kind)
            if reader is not None:
                reader.close()
                return "device", None, reasons, [kind]
        elif target.transport != "local":
            reason = "codecarbon's model is for this machine only"
        else:
            reader, reason = stack.enter_context(carbon_reader())
            if reader is not None:
                return "host", reader, reasons, ()
        reasons += [reason] if reason else []
    return "none", None, reasons or ["the target has no energy reader"], ()


@contextlib.contextmanager
def _runner(artifact: Artifact) -> Iterator[tuple[Path, str]]:
    """The artifact's run.pyz when it is the one that this edgegnn writes; otherwise our own.

    An artifact may come from anyone, and measuring it must not run code that came with it.
    """
    with tempfile.TemporaryDirectory(prefix="edgegnn-") as folder:
        own = Path(folder) / "run.pyz"
        build_runner(own)
        entry = artifact.manifest.files.get("run.pyz")
        if entry is not None and entry.sha256 == hashlib.sha256(own.read_bytes()).hexdigest():
            yield artifact.folder / "run.pyz", "artifact"
        else:
            yield own, "installed"


def _arguments(target: Target, plan: Plan, energy: str, threads: int | None, readers: Sequence[str]) -> list[str]:
    """What the runner's `bench` is told, but for the artifact."""
    command = ["--energy", energy, "--threads", str(target.threads if threads is None else threads)]
    command += ["--readers", ",".join(readers)] if readers else []
    command += ["--processor", target.processor] if target.processor != "cpu" else []
    command += ["--quick"] * plan.quick + ["--no-spinning"] * (not target.spinning)
    for name in ("warmup_runs", "warmup_seconds", "runs", "seconds", "windows", "window_seconds", "window_iterations"):
        command += [f"--{name.replace('_', '-')}", str(getattr(plan, name))]
    return command


def _emulated(artifact: Artifact, target: Target, tell: Progress) -> Instructed:
    """What the record of an emulated device says instead of times."""
    from edgegnn.devices.emulated.instructions import count_instructions
    from edgegnn.native.provide import provide

    said = f"{target.cpu} by qemu-user: its times are not a measurement"
    if artifact.manifest.runtime != "onnxruntime":
        return Instructed(said, None, f"they are counted for onnxruntime, not for {artifact.manifest.runtime}")
    tell("counting executed instructions")
    library = provide(target.arch, target=target.name).path if has_native_ops(artifact.model) else None
    try:
        counted = count_instructions(artifact.folder, target.cpu, library)
    except TargetError as error:
        return Instructed(said, None, str(error))
    return Instructed(said, Instructions(**counted.to_dict()))


def _check_writable(path: Path) -> None:
    """Say before a minute of measuring that the record can't be written."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise TargetError(f"can't write the record to {path}: {folder} can't be written; choose another")


def _timestamp(created: str, otherwise: float) -> float:
    try:
        return datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        return otherwise
