"""`edgegnn profile` on an emulated microcontroller: bytes, executed instructions and agreement; never a time.

The file is JSON like a profile record's, with a format of its own: it has no latency, and none can be made of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import msgspec

import edgegnn
from edgegnn.devices.microcontroller.boards import BOARDS
from edgegnn.devices.microcontroller.build import build_firmware
from edgegnn.devices.microcontroller.emulate import Emulated, check_emulator, emulate
from edgegnn.devices.microcontroller.limits import Needs, needs_of, too_much
from edgegnn.devices.target import Target, load_target
from edgegnn.errors import DataError, TargetError, UsageError
from edgegnn.plain_c.own import fitting_samples, own_code, with_samples
from edgegnn.runtime import open_artifact
from edgegnn.runtime.checksum import intact, sealed
from edgegnn.runtime.manifest import SampleEntry
from edgegnn.runtime.proof import judge
from edgegnn.runtime.samples import Sample
from edgegnn.utils.files import check_plain, replacing

__all__ = ["Footprint", "InstructionCount", "footprint", "read_footprint"]

FORMAT = "edgegnn-footprint/1"
_CHECKSUM = "record_sha256"
Progress = Callable[[str], None]


class InstructionCount(msgspec.Struct, frozen=True, kw_only=True):
    """Executed instructions of one inference.

    Attributes:
        median: over the graphs.
        least: of the graph that takes fewest.
        most: of the graph that takes most.
        graphs: how many were run.
        nodes: of the graph that takes most.
        edges: of that graph.
    """

    median: int
    least: int
    most: int
    graphs: int
    nodes: int
    edges: int


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes of a microcontroller. In its file `record_sha256` is the checksum of all other fields.

    Attributes:
        format: "edgegnn-footprint/1".
        target: name of the target.
        cpu: the emulated processor.
        artifact: name of the artifact.
        recipe: how the model was quantized.
        model_sha256: checksum of its model.onnx.
        created: when, ISO 8601 in UTC.
        edgegnn: version.
        max_nodes: the limit of the C form.
        max_edges: the limit of the C form.
        needs: flash and RAM, in **bytes**, by part.
        flash_bytes: what the target has; 0: not said.
        ram_bytes: what the target has; 0: not said.
        too_much: what does not fit, in words; "" when all does.
        instructions: see `InstructionCount`. They are no time: no caches, no pipeline, no waiting for flash.
        agreement: share of predictions over these graphs that are PyTorch's, in [0, 1].
        max_abs_error: largest difference of an output from PyTorch's.
        beyond: shipped graphs that were left out, since they are beyond the limits.
        compiler: which, with its version.
        flags: those that decide on size and speed.
        emulator: which, with version and board.
        note: what has to be said of the emulation; "" mostly.
    """

    target: str
    cpu: str
    artifact: str
    recipe: str
    model_sha256: str
    created: str
    edgegnn: str
    max_nodes: int
    max_edges: int
    needs: Needs
    flash_bytes: int
    ram_bytes: int
    too_much: str
    instructions: InstructionCount
    agreement: float
    max_abs_error: float
    beyond: int
    compiler: str
    flags: str
    emulator: str
    note: str = ""
    format: Literal["edgegnn-footprint/1"] = "edgegnn-footprint/1"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values, `format` first."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return {"format": values.pop("format"), **values}


def footprint(
    artifact: Path | str,
    *,
    target: Target | str,
    out: Path | None = Path("profiles"),
    progress: Progress = lambda text: None,
) -> Footprint:
    """Compile an artifact's C form for a microcontroller, and run its samples on an emulated one.

    Args:
        artifact: its folder or zip; it needs a C form.
        target: a microcontroller, or its name.
        out: the record goes to `<out>/<target>/<artifact>.json`; None: no file. An older record there is replaced.
        progress: told in a few words what is being done.

    Raises:
        ArtifactError: the artifact is damaged, or has no C form.
        TargetError: the compiler or the emulator is missing or fails, or the model computes something else there.
        UsageError: the target is no microcontroller.
    """
    where = target if isinstance(target, Target) else load_target(target)
    board = BOARDS.get(where.cpu) if where.transport == "microcontroller" else None
    if board is None:
        raise UsageError(f"{where.name} is no microcontroller: edgegnn.profile measures on it")
    check_emulator(board)
    opened = open_artifact(artifact)
    manifest = opened.manifest
    code = own_code(opened)
    used, beyond = fitting_samples(opened, code)
    path = None if out is None else Path(out) / where.name / f"{manifest.name}.json"
    if path is not None:
        _check_place(path)
    progress(f"compiling for {where.cpu}")
    firmware = build_firmware(board, code, manifest.name, manifest.main.name)
    progress(f"{len(used)} graphs on the emulated {where.cpu}")
    found = emulate(board, firmware, code, used)
    only = with_samples(opened, used, beyond).manifest
    report = judge(only, list(used), [{manifest.main.name: value} for value in found.outputs])
    if report.problems:
        raise TargetError(f"{where.name}: the artifact doesn't hold there: {report.problems[0]}")
    needs = needs_of(code, firmware, found.stack_bytes)
    record = Footprint(
        target=where.name,
        cpu=where.cpu,
        artifact=manifest.name,
        recipe=manifest.recipe,
        model_sha256=manifest.files[manifest.model_file].sha256,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        edgegnn=edgegnn.__version__,
        max_nodes=code.limits.nodes,
        max_edges=code.limits.edges,
        needs=needs,
        flash_bytes=where.flash_bytes,
        ram_bytes=where.ram_bytes,
        too_much=too_much(needs, where),
        instructions=_counted(found, used, manifest.samples),
        agreement=report.agreement,
        max_abs_error=report.max_abs_error,
        beyond=beyond,
        compiler=firmware.compiler,
        flags=firmware.flags,
        emulator=found.source,
        note=board.note,
    )
    if path is not None:
        _write(record, path)
    return record


def read_footprint(path: Path) -> Footprint:
    """Read and check a record.

    Raises:
        DataError: no such file, another format, a field that is missing or wrong, another checksum.
    """
    check_plain(path, DataError)
    try:
        content = path.read_bytes()
        head = msgspec.json.decode(content, type=dict[str, Any])
        if not intact(head, _CHECKSUM):
            raise DataError(f"{path} is a damaged footprint record: its checksum differs; weigh the model again")
        return msgspec.json.decode(content, type=Footprint)
    except OSError as error:
        raise DataError(f"can't read the footprint record {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no footprint record of this edgegnn: {error}") from error


def _counted(found: Emulated, used: Sequence[Sample], entries: Sequence[SampleEntry]) -> InstructionCount:
    """Over the real graphs, where there are any."""
    counts = dict(zip((sample.name for sample in used), found.instructions, strict=True))
    own = [entry for entry in entries if entry.name in counts]
    real = [entry for entry in own if entry.origin == "data"] or own
    most = max(real, key=lambda entry: counts[entry.name])
    values = [counts[entry.name] for entry in real]
    return InstructionCount(
        median=round(statistics.median(values)),
        least=min(values),
        most=max(values),
        graphs=len(values),
        nodes=most.num_nodes,
        edges=most.num_edges,
    )


def _check_place(path: Path) -> None:
    """Refuse to replace anything but an older record of this kind."""
    if not path.exists():
        return
    check_plain(path, TargetError)
    try:
        head = msgspec.json.decode(path.read_bytes())
        known = isinstance(head, dict) and head.get("format") == FORMAT
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        known = False
    if not known:
        raise TargetError(f"{path} is in the way and is no footprint record: move it, or choose another --output")


def _write(record: Footprint, path: Path) -> None:
    content = msgspec.json.encode(sealed(record.to_dict(), _CHECKSUM))
    with replacing(path, force=True, error=TargetError) as temporary:
        temporary.write_bytes(msgspec.json.format(content, indent=1) + b"\n")
