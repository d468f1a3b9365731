"""Doing the steps of a study on a Ray cluster.

Every training and every compression is a Ray task; Ray chooses the node, and starts a task again whose node is lost. A
task gets the files that it needs and returns those that it makes: no shared disk is assumed, and only the driver (the
process that `edgegnn study run` is) writes to the study's folder and store. Named data sets are the workers' own:
EDGEGNN_DATA, or a download.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import math
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import edgegnn
from edgegnn.errors import StudyError, UsageError, first_line
from edgegnn.profiling import machine_lock
from edgegnn.studies import steps
from edgegnn.studies.config import Study, beside
from edgegnn.studies.local import Ended, attempt, perform
from edgegnn.studies.plan import Step
from edgegnn.utils.extras import need

__all__ = ["Cluster", "Parcel", "check_address", "unpack", "work"]

RETRIES = 3  # of a task whose worker or node is lost
_ANSWER = 5.0  # seconds within which whatever listens at the address accepts a connection
_CONNECT = 30.0  # seconds for Ray to connect
_CHECK = 60.0  # seconds for every node to tell its version
_HOW = "give the HOST:PORT that `ray start --head` prints, or ray://HOST:10001 on a machine that is no node of it"


@dataclass(frozen=True)
class Parcel:
    """What a worker has to know to do a step; large files travel beside it.

    Attributes:
        study: whose step; paths in it are the driver's.
        step: what to do.
        version: of the driver's edgegnn.
        files: the driver's paths of a data file and of a recipe's file, where the cell has such.
    """

    study: Study
    step: Step
    version: str
    files: list[str]


class Cluster:
    """A Ray cluster that is there already.

    Args:
        study: whose steps.
        address: of the cluster.
        status: told what is being done.

    Raises:
        UsageError: no address, or ray is not installed.
        StudyError: no cluster there, or one that can't run this edgegnn.
    """

    slots = sys.maxsize  # Ray keeps what waits

    def __init__(self, study: Study, address: str, status: Callable[[str], None]) -> None:
        need("cluster", "--ray needs")
        status(f"connecting to the Ray cluster {address}")
        self._study = msgspec.structs.replace(study, path=str(Path(study.path).absolute()))
        self._running: dict[Any, Step] = {}
        self._shared: dict[str, Any] = {}
        self._open = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            # Ray prints what happens to nodes to stdout; the study says what became of its steps.
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            self._ray = _connect(address)
            stack.callback(self._ray.shutdown)
            status("asking the nodes for their versions")
            _check_nodes(self._ray)
            self._work = self._ray.remote(num_cpus=1, max_retries=RETRIES, retry_exceptions=False)(work)
            self._open = stack.pop_all()

    @property
    def width(self) -> int:
        """See `edgegnn.studies.local.Executor`."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def begin(self, step: Step) -> None:
        """See `edgegnn.studies.local.Executor`."""
        study, cell = self._study, step.cell
        files = [path for name in (cell.dense["data"], cell.quant) if (path := beside(study, name)) != name]
        parcel = Parcel(study, step, edgegnn.__version__, files)
        dense = self._share(steps.dense_path(study, cell)) if step.kind == "compress" else None
        ref = self._work.remote(parcel, dense, *(self._share(Path(path)) for path in files))
        self._running[ref] = step

    def wait(self, seconds: float = math.inf) -> list[tuple[Step, Ended]]:
        """See `edgegnn.studies.local.Executor`.

        Raises:
            StudyError: the cluster is gone.
        """
        end = time.monotonic() + seconds
        done: list[Any] = []
        try:
            while self._running and not done:
                refs = list(self._running)
                done, _ = self._ray.wait(refs, num_returns=1 if seconds else len(refs), timeout=min(seconds, 1.0))
                if time.monotonic() >= end:
                    break
            ended = [(self._running[ref], self._take(ref, self._running[ref])) for ref in done]
        except ConnectionError as error:
            raise StudyError(
                f"the Ray cluster is gone ({_said(error)}): the same command goes on with what is missing"
            ) from error
        for ref in done:
            del self._running[ref]
        return ended

    def close(self) -> None:
        """See `edgegnn.studies.local.Executor`."""
        for ref in self._running:
            with contextlib.suppress(Exception):
                self._ray.cancel(ref, force=True)
        self._running.clear()
        self._shared.clear()
        self._open.close()

    def _share(self, path: Path) -> Any:
        """A file's content for any number of tasks."""
        if str(path) not in self._shared:
            self._shared[str(path)] = self._ray.put(path.read_bytes())
        return self._shared[str(path)]

    def _take(self, ref: Any, step: Step) -> Ended:
        try:
            ended, files = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            lost = (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError)
            what = f"lost {RETRIES + 1} times with its worker (out of memory?)" if isinstance(error, lost) else None
            return Ended({}, f"on the cluster: {what or _said(error)}; --retry-failed tries again", 0.0)
        if ended.reason:
            return dataclasses.replace(ended, disk_full=False)  # a worker's disk is not the study's

        def keep() -> dict[str, Any]:
            unpack(self._study, step, files)
            return ended.result

        return dataclasses.replace(attempt(step.kind, self._study.files, keep), seconds=ended.seconds)


def work(parcel: Parcel, dense: bytes | None, *contents: bytes) -> tuple[Ended, dict[str, bytes]]:
    """Do a step on a worker, in a folder that is removed again.

    Args:
        parcel: what to do.
        dense: the dense model's checkpoint, to compress it.
        contents: of the parcel's files.

    Returns:
        How it ended; the files it made: "checkpoint", "artifact" (a zip), as far as there are any.
    """
    if parcel.version != edgegnn.__version__:
        return Ended({}, _versions(parcel.version, edgegnn.__version__, socket.gethostname()), 0.0), {}

    import torch

    from edgegnn.utils.files import stand_in

    torch.set_num_threads(1)  # a task is given one CPU
    step = parcel.step
    with tempfile.TemporaryDirectory(prefix="edgegnn-") as name:
        study = msgspec.structs.replace(parcel.study, store=str(Path(name) / "study.db"))
        study.files.mkdir()
        if dense is not None:
            steps.dense_path(study, step.cell).write_bytes(dense)
        copies = {}
        for number, (path, content) in enumerate(zip(parcel.files, contents, strict=True)):
            copies[path] = Path(name) / f"{number}{Path(path).suffix}"
            copies[path].write_bytes(content)
        with stand_in(copies):
            ended = perform(study, step, machine_lock.lock_path())
        return ended, {} if ended.reason else _made(study, step)


def unpack(study: Study, step: Step, files: Mapping[str, bytes]) -> None:
    """Put the files that a worker made where a local run has them, all or nothing; an artifact is checked first.

    Raises:
        ArtifactError: the artifact is damaged, or has a file that its manifest doesn't list.
        StudyError: it can't be written.
    """
    from edgegnn.runtime.artifact import open_artifact
    from edgegnn.utils.files import replacing

    place = steps.dense_path if step.kind == "dense" else steps.checkpoint_path
    if "checkpoint" in files:
        with replacing(place(study, step.cell), force=True, error=StudyError) as temporary:
            temporary.write_bytes(files["checkpoint"])
    if step.kind == "compress":
        with tempfile.TemporaryDirectory(dir=study.files, prefix=".", suffix=".tmp") as name:
            archive = Path(name) / "artifact.zip"
            archive.write_bytes(files["artifact"])
            artifact = open_artifact(archive, scratch=Path(name))
            target = steps.artifact_path(study, step.cell)
            with replacing(target, force=True, error=StudyError, folder=True) as temporary:
                shutil.copytree(artifact.folder, temporary, dirs_exist_ok=True)


def check_address(address: str) -> None:
    """Whether this could be the address of a cluster.

    Raises:
        UsageError: it couldn't.
    """
    host, port = _host_and_port(address)
    if address != "auto" and not (host and 0 < port < 65536):
        raise UsageError(f"--ray {address!r} is no address of a Ray cluster: say HOST:PORT, ray://HOST:PORT, or auto")


def _host_and_port(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:ray://)?(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):([0-9]{1,5})", address)
    return (found[1].strip("[]"), int(found[2])) if found else ("", 0)


def _made(study: Study, step: Step) -> dict[str, bytes]:
    checkpoint = (steps.dense_path if step.kind == "dense" else steps.checkpoint_path)(study, step.cell)
    made = {"checkpoint": checkpoint.read_bytes()} if checkpoint.exists() else {}
    if step.kind == "compress":
        packed = io.BytesIO()
        folder = steps.artifact_path(study, step.cell)
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                archive.write(path, path.relative_to(folder))
        made["artifact"] = packed.getvalue()
    return made


# Connecting ---------------------------------------------------------------------------------------------------------


def _connect(address: str) -> Any:
    """Connect to a cluster, within some seconds and without a word from Ray.

    Returns:
        The module ray.

    Raises:
        StudyError: nothing answers there, or not as this Ray does.
    """
    if address != "auto":
        _knock(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    errors: list[BaseException] = []

    def connect() -> None:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except BaseException as error:
            errors.append(error)

    # In a thread: Ray tries for minutes, and takes over SIGTERM where it can.
    thread = threading.Thread(target=connect, daemon=True)
    with _quiet():
        thread.start()
        thread.join(_CONNECT)
    if thread.is_alive():
        raise StudyError(f"{address} does not answer as a Ray cluster does: {_HOW}")
    if errors:
        raise StudyError(f"can't connect to the Ray cluster {address}: {_said(errors[0])}") from errors[0]
    return ray


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries that are not Python write to stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123 (no file)
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _knock(address: str) -> None:
    """Whether anything that speaks gRPC, as Ray does, listens there.

    Raises:
        StudyError: nothing does.
    """
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=_ANSWER).close()
    except OSError as error:
        raise StudyError(f"no Ray cluster at {address} ({first_line(error)}): {_HOW}") from error
    if os.environ.get("RAY_USE_TLS", "0") == "1":
        return
    import grpc

    with grpc.insecure_channel(f"{f'[{host}]' if ':' in host else host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER)
        except grpc.FutureTimeoutError as error:
            raise StudyError(f"what listens at {address} is no Ray cluster: {_HOW}") from error


def _said(error: BaseException) -> str:
    """What Ray says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _check_nodes(ray: Any) -> None:
    """Every node that takes tasks has the edgegnn of the driver.

    Raises:
        StudyError: one hasn't, there is none, or one doesn't answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def version() -> str:  # sent by value: it runs where there is no edgegnn

        try:
            import edgegnn

            return edgegnn.__version__
        except ImportError:
            return ""

    nodes = {
        node["NodeID"]: node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    }
    if not nodes:
        raise StudyError("the Ray cluster has no node with a CPU for tasks")
    look = ray.remote(num_cpus=0, max_retries=0)(version)
    asked = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(): place
        for node, place in nodes.items()
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=_CHECK)
    for ref in ready:
        try:
            found = ray.get(ref)
        except ray.exceptions.RayError as error:
            raise StudyError(f"the node {asked[ref]} of the Ray cluster can't run a task: {_said(error)}") from error
        if found != edgegnn.__version__:
            raise StudyError(_versions(edgegnn.__version__, found, asked[ref]))
    if late:
        raise StudyError(f"the node {asked[late[0]]} of the Ray cluster gave no answer within {_CHECK:.0f} s")


def _versions(driver: str, worker: str, where: str) -> str:
    has = f"edgegnn {worker}" if worker else "no edgegnn"
    return f"the node {where} of the Ray cluster has {has}: install edgegnn {driver} there, as here"
