"""The cases of `fuzz_code_files`: what is damaged, how it is read, and when two contents are the same."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from device_facts import known
from fuzz_foreign_cases import FOREIGN, ForeignBases, foreign_bases
from msgspec import to_builtins
from mutations import ODD_NUMBERS, damage_bytes, damage_json, damage_zip
from tiny_artifact import make_artifact, seal

from edgegnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.devices.target import Target
from edgegnn.devices.transport.answers import Damaged, Facts, Message, Missing, Staged, Versions, decode
from edgegnn.errors import EdgeGNNError
from edgegnn.exporting.capture import capture_program
from edgegnn.exporting.torchscript import to_torchscript
from edgegnn.models import build
from edgegnn.profiling.result import Asked, Followed, HostEnergy, make_record
from edgegnn.runtime import Artifact, open_artifact, verify
from edgegnn.runtime.archive import pack_entries, read_entries
from edgegnn.runtime.benchmark import Plan, bench
from edgegnn.runtime.script import ScriptSession

Outcome = str
PLAN = Plan(True, 1, 0.001, 2, 0.001, 2, 0.001, 1)
SIZES = {"in_channels": 4, "out_channels": 2, "hidden": 3, "dropout": 0.0}
INPUTS = {"x": torch.arange(24.0).view(6, 4).sin(), "edge_index": torch.arange(10).view(2, 5) % 6}
_WORDS = ("save", "from_file", "set_", "load", "zeros", "add", "index_select", "_convert_indices_from_coo_to_csr", "x")


class Sums(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        h = self.linear(x)
        return torch.zeros_like(h).index_add(0, edge_index[1], h.index_select(0, edge_index[0]))


@dataclass(frozen=True)
class Bases:
    """What is damaged: whole, honest files and answers."""

    checkpoint: bytes
    program: bytes
    script: bytes
    folder: Path
    artifact: Artifact
    result: dict[str, Any]
    foreign: ForeignBases


def bases(scratch: Path) -> Bases:
    """Make them."""
    torch.manual_seed(0)
    save_checkpoint(Checkpoint(build("gcn", **SIZES).eval(), {"zoo": "gcn", "args": SIZES}), scratch / "model.pt")
    out = io.BytesIO()
    shapes = {"x": {0: torch.export.Dim("n", min=2)}, "edge_index": {1: torch.export.Dim("e", min=2)}}
    torch.export.save(torch.export.export(Sums().eval(), tuple(INPUTS.values()), dynamic_shapes=shapes), out)
    script = to_torchscript(*capture_program(Sums().eval(), INPUTS), INPUTS, prefix="model", always=True).content
    folder = make_artifact(scratch / "tiny")
    (folder / "run.pyz").unlink()
    seal(folder)
    artifact = open_artifact(folder)
    result = bench(artifact, plan=PLAN, threads=1, energy="none")
    (scratch / "case").mkdir()
    whole = (scratch / "model.pt").read_bytes()
    return Bases(whole, out.getvalue(), script, folder, artifact, result, foreign_bases(scratch))


def _same_state(found: Checkpoint, model: torch.nn.Module) -> bool:
    one, other = found.model.state_dict(), model.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def _checkpoint(rng: random.Random, made: Bases, place: Path) -> Outcome:
    """A checkpoint: bytes, entries, or fields with checksums that are right."""
    raw, forged = made.checkpoint, rng.random() < 0.6
    if rng.random() < 0.5 and forged:
        content = torch.load(io.BytesIO(raw), weights_only=True)
        state = content.pop("state_dict")
        content = damage_json(rng, content)
        if isinstance(content, dict):
            content["state_dict"] = _damaged_state(rng, state) if rng.random() < 0.3 else state
        out = io.BytesIO()
        torch.save(content, out)
        damaged = out.getvalue()
    else:
        damaged = damage_zip(rng, raw) if forged else damage_bytes(rng, raw)
    path = place / "case" / "model.pt"
    path.write_bytes(damaged)
    found = load_checkpoint(path)
    same = _same_state(found, build("gcn", **SIZES)) if found.source == {"zoo": "gcn", "args": SIZES} else False
    whole = isinstance(found.model, torch.nn.Module) and not forged
    if whole and (found.source, found.history, found.metrics) != ({"zoo": "gcn", "args": SIZES}, [], {}):
        raise AssertionError("a damaged byte was not seen")
    return "same" if same else "other"


def _damaged_state(rng: random.Random, state: dict[str, Any]) -> dict[str, Any]:
    name = rng.choice(list(state))
    changed = [state[name][:1], state[name].double(), state[name].to_sparse(), torch.full((3,), float("nan")), 7, None]
    return {**state, rng.choice((name, name + "x")): rng.choice(changed)}


def _program(rng: random.Random, made: Bases, place: Path) -> Outcome:
    """A program: bytes, entries, or its description; what is taken is run once."""
    raw = made.program
    if rng.random() < 0.6:
        entries = read_entries(raw, "it", EdgeGNNError)
        name = rng.choice([n for n in entries if n.endswith(".json")])
        entries[name] = json.dumps(damage_json(rng, json.loads(entries[name]))).encode()
        damaged = pack_entries(entries)
    else:
        damaged = rng.choice((damage_zip, damage_bytes))(rng, raw)
    path = place / "case" / rng.choice(("model.pt", "model.pt2"))
    path.write_bytes(damaged)
    model = load_checkpoint(path).model
    if isinstance(model, torch.export.ExportedProgram):
        try:
            model.module()(*INPUTS.values())
        except Exception:  # a program may fail in torch's words; what must not be is a crash
            return "other"
    return "same"


def _script(rng: random.Random, made: Bases, place: Path) -> Outcome:
    """A TorchScript model: bytes, entries, code or pickles; what is taken is run once."""
    raw, forged = made.script, rng.random() < 0.7
    if forged:
        entries = read_entries(raw, "it", EdgeGNNError)
        name = rng.choice([n for n in entries if n.endswith((".py", ".pkl"))])
        change = _damaged_code if name.endswith(".py") and rng.random() < 0.8 else damage_bytes
        entries[name] = change(rng, entries[name])
        damaged = pack_entries(entries)
    else:
        damaged = rng.choice((damage_zip, damage_bytes))(rng, raw)
    arrays = {name: value.numpy() for name, value in INPUTS.items()}
    session = ScriptSession(damaged)
    try:
        session.run(None, arrays)
    except Exception:  # as above
        return "other"
    return "same"


def _damaged_code(rng: random.Random, content: bytes) -> bytes:
    """Code with another name, number or line."""
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            lines[at] = re.sub(r"torch\.\w+", f"torch.{rng.choice(_WORDS)}", lines[at], count=1)
        case 1:
            lines[at] = re.sub(r"\b\d+\b", lambda m: str(rng.choice(ODD_NUMBERS[:8])), lines[at])
        case 2:
            lines.insert(at, rng.choice(lines))
        case 3:
            lines[at] = re.sub(r"\((\w+)", rf"(\1.{rng.choice(_WORDS)}('x')", lines[at], count=1)
        case _:
            del lines[at]
    return "\n".join(lines).encode() + b"\n"


def _artifact(rng: random.Random, made: Bases, place: Path) -> Outcome:
    """An artifact: bytes of a file, with or without checksums that are right, or its manifest."""
    folder = place / "case" / "tiny"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made.folder, folder)
    file = folder / rng.choice(("model.onnx", "manifest.json", "samples.npz"))
    forged = rng.random() < 0.7
    if file.suffix == ".json" and forged:
        changed = damage_json(rng, json.loads(file.read_text()))
        if isinstance(changed, dict):
            seal(folder, changed)
        else:
            file.write_text(json.dumps(changed))
    else:
        file.write_bytes(damage_bytes(rng, file.read_bytes()))
        if forged and file.suffix != ".json":
            seal(folder)
    opened = open_artifact(folder)
    same = all(
        (folder / name).read_bytes() == (made.folder / name).read_bytes() for name in ("model.onnx", "samples.npz")
    )
    if not forged and not (same and opened.manifest == made.artifact.manifest):
        raise AssertionError(f"damage of {file.name} was not seen")
    return "same" if verify(opened, threads=1).ok else "other"


def _answer(rng: random.Random, made: Bases, place: Path) -> Outcome:
    """What a device says: an answer of its agent, or the result of its runner."""
    if rng.random() < 0.4:
        target = Target(name="board", description="a board", arch="aarch64", transport="ssh")
        asked = Asked(made.artifact, target, PLAN, 1, "artifact", ())
        text = json.dumps(damage_json(rng, made.result)).encode()
        text = damage_bytes(rng, text) if rng.random() < 0.3 else text
        record = make_record(Followed(text, (), "", 60.0), asked, HostEnergy(by_runner=False, reader=None))
        if (record.artifact, record.metric and record.metric.n) != ("tiny", made.result["metric"]["n"]):
            raise AssertionError("a device was believed")
        return "other"
    version = f"0001-{'a' * 12}"
    kind, answer = rng.choice(
        (
            (Facts, to_builtins(known())),
            (Missing, {"missing": ["0" * 64], "free": 10}),
            (Staged, {"folder": "/x", "damaged": []}),
            (Versions, {"versions": [version], "current": version, "folder": "/x"}),
        )
    )
    text = json.dumps({"ok": damage_json(rng, answer)}).encode()
    text = damage_bytes(rng, text) if rng.random() < 0.3 else text
    decode(decode(text, Message).ok, kind)
    return "other"


def _foreign(run: Callable[[random.Random, ForeignBases, Path], Outcome]) -> Kind:
    return lambda rng, made, place: run(rng, made.foreign, place)


Kind = Callable[[random.Random, Bases, Path], Outcome]
KINDS: dict[str, Kind] = {
    "answer": _answer,
    "artifact": _artifact,
    "checkpoint": _checkpoint,
    "script": _script,
    "program": _program,
    **{name: _foreign(run) for name, run in FOREIGN.items()},
}
_SHARES = (
    20,
    10,
    10,
    10,
    3,
    12,
    8,
    8,
    12,
    4,
    3,
    2,
)  # of the cases; a program takes a hundred times as long as an answer


@dataclass(frozen=True)
class Case:
    """One case."""

    kind: str
    made: Bases
    seed: int
    place: Path

    @classmethod
    def of(cls, seed: int, made: Bases, place: Path) -> Case:
        """The case of a number."""
        (kind,) = random.Random(f"kind {seed}").choices(list(KINDS), _SHARES)
        return cls(kind, made, seed, place)

    def run(self) -> Outcome:
        """How it ended: "same", "other" or "refused"; any other exception than a refusal is passed on.

        Raises:
            AssertionError: damage was not seen, or a device was believed.
        """
        try:
            return KINDS[self.kind](random.Random(self.seed), self.made, self.place)
        except (EdgeGNNError, Damaged) as error:
            if "\n" in str(error) or len(str(error)) > 5000:
                raise AssertionError(f"a refusal of several lines: {error}") from error
            return "refused"
