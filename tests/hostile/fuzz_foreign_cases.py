"""More cases of `fuzz_code_files`: files of other programs, models for the C generator, words of runners and boards."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import c_models
import c_operators
import numpy as np
import onnx
import torch
from c_artifact import make_c_artifact
from foreign_files import graph_arrays, message_file
from mutations import ODD_NUMBERS, ODD_TEXTS, damage_bytes, damage_json, damage_zip
from mutations_onnx import damage_onnx

from edgegnn.checkpoint import Checkpoint
from edgegnn.checkpoint.foreign_files import read_safetensors, state_beside_objects
from edgegnn.checkpoint.foreign_names import find_state_dict
from edgegnn.checkpoint.onnx_module import load_onnx
from edgegnn.compression.model_source import DataSource
from edgegnn.compression.onnx_source import fit_onnx
from edgegnn.devices.microcontroller.boards import BOARDS
from edgegnn.devices.microcontroller.emulate import _read
from edgegnn.devices.native_runner.talk import Talk
from edgegnn.errors import EdgeGNNError
from edgegnn.exporting.inspection import describe
from edgegnn.plain_c.driver import driver_source
from edgegnn.plain_c.generate import generate
from edgegnn.plain_c.run_program import run_source
from edgegnn.plain_c.values import Limits
from edgegnn.profiling.footprint import _check_place
from edgegnn.runtime import Artifact, open_artifact
from edgegnn.runtime.archive import verified

Outcome = str
LIMITS = Limits(64, 256)
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "aggregations": c_models.aggregations,
    "gin": c_models.gin,
    "operators": c_operators.operators,
    "points": c_operators.points,
}
FILES = (
    {},
    {"ends": "edges", "layout": "slice"},
    {"ends": "src/dst", "layout": "elements", "opset": 18},
    {"channels": True, "reduction": "max", "opset": 18},
)


class Callbacks:
    """An object of another program beside a state dict."""

    def __init__(self) -> None:
        self.kept = {"a": [1, 2]}


@dataclass(frozen=True)
class ForeignBases:
    """What is damaged: whole, honest files and answers."""

    onnx_files: tuple[tuple[bytes, str], ...]
    models: tuple[bytes, ...]
    safetensors: bytes
    lightning: bytes
    artifact: Artifact
    said: tuple[str, ...]
    results: bytes


def foreign_bases(scratch: Path) -> ForeignBases:
    """Make them."""
    from safetensors.torch import save

    files = []
    for i, options in enumerate(FILES):
        np.savez(scratch / f"graph{i}.npz", **graph_arrays(options.get("ends", "edge_index"), nodes=7, edges=9))
        files.append((message_file(width=4, **options).SerializeToString(), str(scratch / f"graph{i}.npz")))
    state = OrderedDict((f"model.{name}", torch.arange(6.0).view(2, 3)) for name in ("a.weight", "b.weight"))
    lightning = io.BytesIO()
    torch.save({"state_dict": state, "callbacks": Callbacks(), "hyper_parameters": {"lr": 0.1}}, lightning)
    artifact = open_artifact(make_c_artifact(scratch / "gin"))
    return ForeignBases(
        tuple(files),
        tuple(make().SerializeToString() for make in MODELS.values()),
        save(dict(state)),
        lightning.getvalue(),
        artifact,
        runner_lines(artifact),
        _results(artifact),
    )


def runner_lines(artifact: Artifact) -> tuple[str, ...]:
    """What the native runner says."""
    lines = ["format edgegnn-native/1", f"fact time {int(time.time())}", "fact cores 4", "fact memory 1000000"]
    lines += ["warmup 5", "pass 1000 1000", "times 100 200 300", "memory 1 2 3", "window 1 10 5000000"]
    lines += [
        f"output {i} {sample.expected.astype('<f4').tobytes().hex()}" for i, sample in enumerate(_samples(artifact))
    ]
    return (*lines, '{"event": "result"')


def _samples(artifact: Artifact) -> list[Any]:
    from edgegnn.runtime.samples import read_samples

    return list(read_samples(artifact))


def _results(artifact: Artifact) -> bytes:
    """What an emulated board writes."""
    parts = [struct.pack("<II", 100, 800)]
    for sample in _samples(artifact):
        parts += [struct.pack("<IIII", 0, 200, 30, 2), sample.expected.astype("<f4").tobytes()]
    return b"".join(parts)


def _onnx_file(rng: random.Random, made: ForeignBases, place: Path) -> Outcome:
    """An ONNX file of another program: `inspect`, and what `export` does before it captures."""
    content, data = rng.choice(made.onnx_files)
    path = place / "case" / "model.onnx"
    path.write_bytes(damage_onnx(rng, content))
    describe(path)
    source = DataSource(data=data if rng.random() < 0.7 else None)
    fit_onnx(Checkpoint(load_onnx(path), {"onnx": path.name}, None), source)
    return "other"


def _safetensors(rng: random.Random, made: ForeignBases, place: Path) -> Outcome:
    """A safetensors file: bytes, or its header."""
    content = made.safetensors
    if rng.random() < 0.6:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        entry = header[rng.choice([key for key in header if key != "__metadata__"])]
        key = rng.choice(list(entry))
        entry[key] = rng.choice(([], [2**62, 2], [-1], [0, 2**40], "F64", "BOOL", None, [3, 2], "I4", [24, 0]))
        text = json.dumps(header).encode()
        content = struct.pack("<Q", rng.choice((len(text), len(text) + 1, 2**40))) + text + content[8 + length :]
    else:
        content = damage_bytes(rng, content)
    path = place / "case" / "model.safetensors"
    path.write_bytes(content)
    read_safetensors(path)
    return "other"


def _lightning(rng: random.Random, made: ForeignBases, place: Path) -> Outcome:
    """A checkpoint with objects of other programs: bytes, entries, or its pickle."""
    content = made.lightning
    if rng.random() < 0.7:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        name = next(key for key in entries if key.endswith("data.pkl"))
        entries[name] = _damaged_pickle(rng, entries[name])
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for key, value in entries.items():
                archive.writestr(key, value)
        content = out.getvalue()
    else:
        content = rng.choice((damage_zip, damage_bytes))(rng, content)
    found = state_beside_objects(verified(content, "model.ckpt", EdgeGNNError))
    if found is None:
        return "refused"
    state = find_state_dict(found)
    assert state is not None
    values = state.values() if isinstance(state, dict) else ()
    assert not any(callable(v) and not isinstance(v, (dict, torch.Tensor)) for v in values), "an object came through"
    return "other"


def _damaged_pickle(rng: random.Random, content: bytes) -> bytes:
    """Another class or function named in it, or damaged bytes."""
    named = (
        b"cposix\nsystem\n",
        b"cbuiltins\nexec\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nload\n",
        b"cbuiltins\nset\n",
        b"ccollections\nOrderedDict\n",
    )
    if rng.random() < 0.5:
        start = content.find(b"c", rng.randrange(len(content)))
        end = content.find(b"\n", content.find(b"\n", start) + 1) + 1
        if 0 < start < end:
            return content[:start] + rng.choice(named) + content[end:]
    if rng.random() < 0.3:
        return content[:2] + rng.choice(named) + b"(X\x06\x00\x00\x00touch x" + b"tR" + content[2:]
    if rng.random() < 0.2:
        return pickle.dumps([[[]]] * 3, 2)
    return damage_bytes(rng, content)


def _c_form(rng: random.Random, made: ForeignBases, place: Path) -> Outcome:
    """A model for the C generator; what it writes is of a bounded size and has no name of the file but as a word."""
    model = onnx.ModelProto()
    content = damage_onnx(rng, rng.choice(made.models))
    try:
        model.ParseFromString(content)
    except Exception:  # as `generate_apart` refuses it
        return "refused"
    try:
        code = generate(model, rng.choice(("gin", *(t for t in ODD_TEXTS if t.isprintable()))), LIMITS)
        texts = [*code.files.values(), run_source(code), driver_source(code, "a name")]
    except EdgeGNNError:
        raise
    except Exception:  # a process of its own turns what a stranger's graph breaks into one line
        return "refused"
    assert sum(map(len, texts)) < 2**27, "code without end"
    assert not any("??/" in text or "\x1b" in text for text in texts), "a name came through"
    return "other"


class Lines:
    """A program whose stdout is this."""

    def __init__(self, lines: list[str]) -> None:
        self.left = iter(lines)

    def next_line(self, deadline: float) -> str | None:
        return next(self.left, None)

    def open_gate(self) -> None: ...

    def finish(self, deadline: float) -> tuple[int, str]:
        return 0, ""

    def end(self) -> None: ...


def _runner(rng: random.Random, made: ForeignBases, place: Path) -> Outcome:
    """What the native runner on a device says."""
    lines = list(made.said)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                words = lines[at].split(" ")
                words[rng.randrange(len(words))] = str(rng.choice((*ODD_NUMBERS, *ODD_TEXTS, "9" * 400, "nan")))
                lines[at] = " ".join(words)
            case 1:
                lines[at] = damage_bytes(rng, lines[at].encode("utf-8", "replace")).decode("utf-8", "replace")
            case 2:
                del lines[at]
            case 3:
                lines.insert(rng.randrange(len(lines)), lines[at])
            case _:
                lines[at] += " " + lines[at]
    samples = _samples(made.artifact)
    talk = Talk(Lines(lines), made.artifact, samples, len(samples), "box")
    while (line := talk.next_line(0.0)) is not None:
        json.loads(line, parse_constant=_no_constant) if line.startswith('{"event": "result", "result"') else None
    return "other"


def _no_constant(name: str) -> None:
    raise AssertionError(f"a result with {name}")


def _board(rng: random.Random, made: ForeignBases, place: Path) -> Outcome:
    """What the program on an emulated board writes."""
    samples = _samples(made.artifact)
    found = _read(BOARDS["cortex-m4"], damage_bytes(rng, made.results), samples, "qemu")
    assert [out.shape for out in found.outputs] == [sample.expected.shape for sample in samples]
    return "other"


def _footprint(rng: random.Random, made: ForeignBases, place: Path) -> Outcome:
    """A record of an emulated board, which a new one would replace."""
    path = place / "case" / "footprint.json"
    content = json.dumps(damage_json(rng, {"format": "edgegnn-footprint/1", "needs": {"flash": 1}})).encode()
    path.write_bytes(damage_bytes(rng, content) if rng.random() < 0.3 else content)
    _check_place(path)
    return "other"


FOREIGN: dict[str, Callable[[random.Random, ForeignBases, Path], Outcome]] = {
    "onnx file": _onnx_file,
    "safetensors": _safetensors,
    "lightning": _lightning,
    "c form": _c_form,
    "runner": _runner,
    "board": _board,
    "footprint": _footprint,
}
