"""`edgegnn profile`: an artifact, a target, and the record of the measurement."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

import edgegnn
from edgegnn.errors import ArtifactError, TargetError, UsageError
from edgegnn.profile.carbon import CarbonReader, carbon_reader
from edgegnn.profile.record import ProfileRecord, check_place, write_record
from edgegnn.profile.runner import follow
from edgegnn.profile.target import Target, load_target
from edgegnn.runtime import Artifact, build_runner, open_artifact, read_manifest
from edgegnn.runtime.benchmark import BENCH_FORMAT, FULL, QUICK, Plan
from edgegnn.runtime.energy import Reading, Window, find_rapl, summarize
from edgegnn.runtime.facts import arch

__all__ = ["newest_artifact", "profile"]

Progress = Callable[[str], None]
TIMEOUT = 1800.0


def profile(
    artifact: Path | str,
    *,
    target: str | None = None,
    quick: bool = False,
    threads: int | None = None,
    out: Path | None = Path("profiles"),
    progress: Progress | None = None,
    plan: Plan | None = None,
    timeout: float = TIMEOUT,
) -> ProfileRecord:
    """Measure an artifact.

    Args:
        artifact: its folder or zip.
        target: a target's name; None or "local" is this machine.
        quick: short windows; the record says so.
        threads: threads of one inference; None: as the target says.
        out: the record goes to `<out>/<target>/<artifact>.json`; None: no file. An older record there is replaced.
        progress: told in a few words what is being done, and how long it will still take.
        plan: durations; None: the protocol's, or short ones with `quick`.
        timeout: seconds after which the runner is stopped.

    Returns:
        The record.

    Raises:
        ArtifactError: the artifact is damaged.
        TargetError: the target is not this machine, the runner failed, or the record can't be written.
        UsageError: an unknown target, negative `threads`.
    """
    tell = progress or _quiet
    where = load_target(target or "local")
    if where.arch != arch():
        raise TargetError(f"the target {where.name} is {where.arch}, this machine is {arch()}: choose --target local")
    if threads is not None and threads < 0:
        raise UsageError(f"threads must be 0 (one per core) or more, not {threads}")
    opened = open_artifact(artifact)
    path = None if out is None else Path(out) / where.name / f"{opened.manifest.name}.json"
    if path is not None:
        check_place(path)
        _check_writable(path)
    chosen = plan or (QUICK if quick else FULL)
    tell("preparing")
    with contextlib.ExitStack() as stack:
        mode, reader, reasons = _choose_energy(where, stack)
        runner, origin = stack.enter_context(_runner(opened))
        command = _command(runner, opened, where, chosen, mode, threads)
        events = _Events(tell, chosen, energy=mode != "none")
        result, readings, problem = follow(command, timeout=timeout, reader=reader, on_event=events)
    if reader is not None:
        result = _with_energy(result, reader, readings, problem)
    elif mode == "none":
        result["energy_reason"] = ""  # the reasons of the choice say it all
    record = _record(result, where, reasons, origin)
    if path is not None:
        write_record(record, path)
    return record


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


class _Events:
    """Turns the runner's events into words."""

    def __init__(self, tell: Progress, plan: Plan, *, energy: bool) -> None:
        self._tell, self._plan = tell, plan
        self._windows = (plan.windows + 1) * plan.window_seconds * energy

    def __call__(self, event: dict[str, Any]) -> None:
        plan, kind = self._plan, event.get("event")
        if kind == "phase":
            latency = plan.seconds + self._windows
            left = {"warm-up": plan.warmup_seconds + latency, "latency": latency}
            phase = str(event.get("phase"))
            if phase in left:
                self._say(phase, left[phase])
        elif kind == "window_start" and event.get("kind") == "idle":
            self._say("energy, idle", self._windows)
        elif kind == "window_start":
            window = int(event.get("index", 0))
            text = f"energy, window {window + 1} of {plan.windows}"
            self._say(text, self._windows - (window + 1) * plan.window_seconds)

    def _say(self, text: str, left: float) -> None:
        self._tell(f"{text} (about {max(1.0, left):.0f} s left)")


def _quiet(text: str) -> None:
    """Nobody wants to know."""


def _choose_energy(target: Target, stack: contextlib.ExitStack) -> tuple[str, CarbonReader | None, list[str]]:
    """Who reads the energy ("device", "host", "none"), the host's reader, and why nothing better."""
    reasons: list[str] = []
    for kind in target.energy:
        if kind == "rapl":
            rapl, reason = find_rapl()
            if rapl is not None:
                return "device", None, reasons
        else:
            reader, reason = stack.enter_context(carbon_reader())
            if reader is not None:
                return "host", reader, reasons
        reasons.append(reason)
    return "none", None, reasons or ["the target has no energy reader"]


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


def _command(
    runner: Path, artifact: Artifact, target: Target, plan: Plan, energy: str, threads: int | None
) -> list[str]:
    command = [sys.executable, str(runner), "bench", "--events", "--artifact", str(artifact.folder.resolve())]
    command += ["--energy", energy, "--threads", str(target.threads if threads is None else threads)]
    command += ["--quick"] * plan.quick + ["--no-spinning"] * (not target.spinning)
    for name in ("warmup_runs", "warmup_seconds", "runs", "seconds", "windows", "window_seconds", "window_iterations"):
        command += [f"--{name.replace('_', '-')}", str(getattr(plan, name))]
    return command


def _with_energy(
    result: dict[str, Any], reader: CarbonReader, readings: list[Reading | None], problem: str
) -> dict[str, Any]:
    """Put the host's readings into the runner's windows."""
    try:
        windows = msgspec.convert(result.get("windows", []), list[Window])
    except msgspec.ValidationError as error:
        raise TargetError(f"the runner's windows are no windows: {error}") from error
    if problem or len(windows) != len(readings):
        return {**result, "energy_j": None, "energy_reason": problem or "not every window was read"}
    filled = [
        window if reading is None else replace(window, joules=reading.joules, steps=reading.steps)
        for window, reading in zip(windows, readings, strict=True)
    ]
    energy, reason = summarize(filled, source=reader.source, scope=reader.scope, kind=reader.kind)
    return {**result, "energy_j": energy, "energy_reason": reason}


def _record(result: dict[str, Any], target: Target, reasons: list[str], origin: str) -> ProfileRecord:
    if result.get("format") != BENCH_FORMAT:
        raise TargetError(f"the runner speaks {result.get('format')!r}, this edgegnn understands {BENCH_FORMAT!r}")
    values = {key: value for key, value in result.items() if key not in ("format", "windows")}
    values["energy_reason"] = "; ".join(filter(None, [*reasons, str(result.get("energy_reason", ""))]))
    values["how"] = {**result.get("how", {}), "runner": origin}
    try:
        return msgspec.convert({**values, "target": target.name, "edgegnn": edgegnn.__version__}, ProfileRecord)
    except msgspec.ValidationError as error:
        raise TargetError(f"the runner's result is no profile record: {error}") from error


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
