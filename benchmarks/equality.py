"""Does an artifact compute the same on an emulated Arm processor as here? Tensor by tensor, on every shipped graph.

Every value between the nodes of the model is looked at: what is an integer there has to be equal bit for bit. Logits
are compared as they come out of the model as it is shipped, and so are the classes they predict.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgegnn.devices.emulated import Board
from edgegnn.native import library_name
from edgegnn.native.provide import provide
from edgegnn.runtime import build_runner

GUEST = Path(__file__).with_name("equality_guest.py")
HOME = 512 * 2**20  # bytes; a home folder of its own, because the one that is kept may be in use by another command
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Equality:
    """One artifact on one emulated processor, with or without the library.

    Attributes:
        artifact: its name.
        cpu: the emulated processor.
        kernels: instruction set that the library chose there ("neon", "dotprod"); "onnxruntime" without the library.
        verified: `run.pyz verify` held there.
        graphs: shipped graphs.
        integer_tensors: integer tensors compared, over all graphs; and their elements.
        integer_elements: see above.
        integers_differ: elements that differ.
        predictions: predicted rows compared.
        predictions_differ: rows that differ.
        logits_differ: largest difference of a logit; 0: bit for bit.
    """

    artifact: str
    cpu: str
    kernels: str
    verified: bool
    graphs: int
    integer_tensors: int
    integer_elements: int
    integers_differ: int
    predictions: int
    predictions_differ: int
    logits_differ: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(artifact: Path, board: Board, *, native: bool) -> Equality:
    """Run an artifact here and on a board."""
    with tempfile.TemporaryDirectory(prefix="edgegnn-equality-") as temporary:
        folder = Path(temporary)
        for name in ("model.onnx", "samples.npz"):
            (folder / name).symlink_to((artifact / name).resolve())
        (folder / "traced.onnx").write_bytes(traced(artifact / "model.onnx"))
        (folder / "guest.py").write_bytes(GUEST.read_bytes())
        build_runner(folder / "run.pyz")
        here = _here(folder, str(provide("x86_64").path) if native else "none")
        there = _there(folder, artifact, board, native)
    verified = _verify(artifact, board, native)
    integers = [name for name in here if ":" in name]
    logits = [name for name in here if name.endswith(".logits")]
    assert set(here) == set(there), sorted(set(here) ^ set(there))[:5]
    classes = [(here[name].argmax(-1), there[name].argmax(-1)) for name in logits]
    return Equality(
        artifact.name,
        board.cpu,
        str(there["isa"]) or "onnxruntime",
        verified,
        len(logits),
        len(integers),
        sum(here[name].size for name in integers),
        sum(differ(here[name], there[name]) for name in integers),
        sum(a.size for a, _ in classes),
        sum(int((a != b).sum()) for a, b in classes),
        max(float(np.abs(here[name] - there[name]).max(initial=0.0)) for name in logits),
    )


def traced(path: Path) -> bytes:
    """The model with every value between its nodes as an output, of whatever type onnxruntime finds it to have."""
    model = onnx.load(path)
    known = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name and name not in known]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return model.SerializeToString()


def on_board(board: Board, command: str, *, content: bytes = b"") -> bytes:
    """Run a shell command on the board.

    Raises:
        RuntimeError: it fails.
    """
    done = subprocess.run(["ssh", "-F", str(board.config), "emulated-pi", command], input=content, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{command.splitlines()[0][:80]}: {done.stderr.decode(errors='replace')[-600:]}")
    return done.stdout


def differ(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> int:
    return a.size if a.shape != b.shape or a.dtype != b.dtype else int((a != b).sum())


def _here(folder: Path, library: str) -> Arrays:
    command = [sys.executable, *(str(folder / n) for n in ("guest.py", "run.pyz", "model.onnx", "traced.onnx"))]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [*command, str(folder / "samples.npz")], capture_output=True, env={**clean, "EDGEGNN_LIBRARY": library}
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-600:])
    return _arrays(done.stdout)


def _there(folder: Path, artifact: Path, board: Board, native: bool) -> Arrays:
    files = {path.name: path for path in folder.iterdir()}
    library = provide("aarch64").path if native else None
    if library is not None:
        files["library.so"] = library
    on_board(board, _UNPACK, content=_tar(files))
    chosen = "$HOME/equality/library.so" if native else "none"
    run = f'cd equality && EDGEGNN_LIBRARY="{chosen}" python3 guest.py run.pyz model.onnx traced.onnx samples.npz'
    return _arrays(on_board(board, run))


def _verify(artifact: Path, board: Board, native: bool) -> bool:
    """As an engineer would on a device: the folder as it was exported for it, and its own runner."""
    files = {path.relative_to(artifact).as_posix(): path for path in artifact.rglob("*") if path.is_file()}
    if native and f"native/{library_name('aarch64')}" not in files:
        raise RuntimeError(f"{artifact} was not exported for arm64: edgegnn export --target arm64")
    on_board(board, _UNPACK, content=_tar(files))
    run = f"cd equality && {'' if native else 'EDGEGNN_LIBRARY=none'} python3 run.pyz verify --json"
    report = json.loads(on_board(board, run))
    wanted = "edgegnn" if native else "onnxruntime"
    return bool(report["ok"]) and report["kernels"][0] == wanted


_UNPACK = "rm -rf equality && mkdir equality && exec tar -x -C equality"


def _tar(files: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for name, path in files.items():
            archive.add(path, name)
    return buffer.getvalue()


def _arrays(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content)) as file:
        return dict(file)
