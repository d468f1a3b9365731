"""Damages every kind of file that edgegnn reads, for as long as you like.

    python tests/hostile/fuzz_files.py --count 25000 --seed 0

A case is a valid file of which a part is changed: bits, bytes, entries of a zip, values of its JSON or TOML; or values
with a checksum that was made right again. It ends well when the file is refused with one of our own errors, or is read.
What was damaged below a checksum and is read all the same has to say what the whole file says. Anything else is a bug:
another exception, a case that takes longer than a minute, a file that is written.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import io
import json
import os
import random
import signal
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import numpy as np
import torch
from mutations import ODD_VALUES, damage_bytes, damage_json, damage_toml, damage_zip, flip_bit
from profile_example import record
from rich.console import Console
from tiny_artifact import make_artifact, seal
from torch_geometric.data import Data
from tune_example import SPACE, settings

from edgegnn.cli.render.inspection import described
from edgegnn.devices.target import load_target
from edgegnn.errors import DataError, EdgeGNNError
from edgegnn.exporting.inspection import describe
from edgegnn.profiling import read_record, render, write_record
from edgegnn.quantize import recipe
from edgegnn.runtime import open_artifact, predict
from edgegnn.runtime.checksum import sealed
from edgegnn.runtime.npz import read_npz
from edgegnn.studies import cells, read_study
from edgegnn.studies.store import Row, open_store
from edgegnn.tasks import load_task
from edgegnn.tasks.files import read_graphs
from edgegnn.tuning.store import open_memory

OTHER_TYPES = (torch.int32, torch.float64, torch.bool, torch.uint8, torch.float16, torch.complex64, torch.int8)
SECONDS = 60  # that a case may take
Damage = Callable[[random.Random, bytes], bytes]
# What is only shown of a manifest, as `export` writes it.
SHOWN: dict[str, Any] = {
    "task": {"data": "tiny", "kind": "node", "split": "given", "metric": "accuracy", "target": "classes"},
    "limits": {"num_nodes": 5000, "least_nodes": 1},
    "alone": "",
    "history": [
        {"step": "train", "recipe": "none", "epochs_run": 2, "best_epoch": 1},
        {"step": "prune", "method": "global", "sparsity": 0.5, "epochs_run": 2, "best_epoch": 1},
    ],
    "average_bits": {"rows": 2.0, "values": 2.5},
    "learnt_bits": {"conv.input": {"average": 2.0, "kind": "node", "columns": 3, "histogram": {"2": 5}}},
    "stayed_float": [{"tensor": "bias", "bytes": 32, "why": "added in float"}],
    "aggregations": [{"layer": "conv", "aggregation": "sum", "rule": "Sum", "reason": ""}],
    "integer_operators": {"QGemm": 1},
    "ranges": [{"tensor": "x", "low": 0, "high": None, "share": 0.0, "row": 0.0}],
    "validation": {"name": "accuracy", "pytorch": 1.0, "artifact": 1.0, "reason": "", "n": 18},
    "against_float": {
        "reference": "the float model",
        "metric": {"name": "accuracy", "float": 1.0, "quantized": 0.9, "drop": 10.0, "limit": 2.0, "n": 18},
        "signal_to_noise": {"outputs": 41.7, "layers": [{"layer": "conv", "decibels": 41.19}]},
        "inputs": [{"input": "x", "told": "used"}],
    },
}


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        path: where it lies, in the folder of the case.
        content: the whole file.
        read: reads the file and uses what it says; gives something that can be compared.
        damages: ways to change it.
        checked: those among them below a checksum, so that what is read has to be what the whole file says.
        weight: how often it is chosen.
    """

    path: str
    content: bytes
    read: Callable[[Path], Any]
    damages: tuple[Damage, ...]
    checked: tuple[Damage, ...] = ()
    weight: int = 10


def resealed(key: str | None) -> Damage:
    """Other values in a JSON file, with the checksum under `key` made right."""

    def damage(rng: random.Random, content: bytes) -> bytes:
        values = damage_json(rng, json.loads(content))
        if key is not None and isinstance(values, dict):
            with contextlib.suppress(TypeError, ValueError, RecursionError):
                values = sealed(values, key)
        return json.dumps(values).encode("utf-8", "replace")

    return damage


def whole_manifest(folder: Path) -> bytes:
    """A manifest with everything that one can have."""
    artifact = make_artifact(folder / "tiny", **SHOWN)
    (artifact / "run.pyz").unlink()
    path = artifact / "manifest.json"
    values = json.loads(path.read_text())
    values["parity"]["sensitive"] = []
    seal(artifact, values)
    return path.read_bytes()


def read_manifest_file(path: Path) -> Any:
    """`inspect`, and what `verify` does before it runs the model."""
    facts = describe(path.parent)
    described(facts, False, explain=True)
    described(facts, True)
    manifest = json.loads(path.read_text())
    return {key: manifest.get(key) for key in (*SHOWN, "files")}


def read_zip(path: Path) -> Any:
    """`inspect` of a zip, and the files that a device would get."""
    describe(path)
    with open_artifact(path, scratch=path.parent) as artifact:
        return {name: (artifact.folder / name).read_bytes() for name in artifact.manifest.files}


def read_inputs(path: Path) -> Any:
    """`predict`."""
    arrays = read_npz(path, DataError)
    predict(open_artifact(path.parent / "good"), arrays, threads=1, guard="off")
    return {name: (array.dtype, array.tobytes()) for name, array in arrays.items()}


def read_profile(path: Path) -> Any:
    """What `report` and `profile --compare` read."""
    found = read_record(path)
    Console(file=io.StringIO()).print(render([found]))
    return found


def read_store(path: Path) -> Any:
    """The rows of a study."""
    with open_store(path, create=False) as store:
        return store.rows()


def read_memory(path: Path) -> Any:
    """The candidates of a search."""
    with open_memory(path.parent, SPACE, {"data": "cora"}, seed=0, force=False) as memory:
        return memory.records, memory.spent


def read_target(path: Path) -> Any:
    """A target of the current folder."""
    before = Path.cwd()
    os.chdir(path.parent.parent)
    try:
        return load_target(path.stem)
    finally:
        os.chdir(before)


def read_data(path: Path) -> Any:
    """`train --data`, up to the training."""
    graphs = read_graphs(path)
    load_task(str(path))
    return [{key: data[key].tolist() for key in data.keys()} for data in graphs]  # noqa: SIM118


def odd_graph(rng: random.Random, content: bytes) -> bytes:
    """A graph in which up to two tensors have other values, another type or another shape, or are no tensors."""
    data = torch.load(io.BytesIO(content), weights_only=False)
    for _ in range(rng.randrange(1, 3)):
        key = rng.choice(list(data.keys()))
        value = data[key]
        if not isinstance(value, torch.Tensor) or not value.numel():
            continue
        ways: tuple[Callable[[], Any], ...] = (
            lambda value=value: value.to(rng.choice(OTHER_TYPES)),
            lambda value=value: value[: rng.randrange(len(value))],
            lambda value=value: value.flatten(),
            lambda value=value: value[None],
            lambda value=value: value.t() if value.dim() == 2 else value[:0],
            lambda value=value: value.masked_fill(torch.rand(value.shape) < 0.1, rng.choice((-1, 2, 127))),
            lambda value=value: value.double() * float("nan"),
            lambda value=value: value.long() * 2**40,
            lambda: copy.deepcopy(rng.choice(ODD_VALUES)),
        )
        data[key] = rng.choice(ways)()
    out = io.BytesIO()
    torch.save(data, out)
    return out.getvalue()


def kinds(folder: Path) -> dict[str, Kind]:
    """Every kind of file, whole, made in an empty folder."""
    manifest = whole_manifest(folder)
    make_artifact(folder / "good")
    (folder / "targets").mkdir()
    whole = folder / "tiny"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(p for p in whole.rglob("*") if p.is_file()):
            out.write(path, path.relative_to(whole).as_posix())
    write_record(record(), folder / "r.json")
    with open_store(folder / "study.db", create=True) as store:
        for i in range(12):
            store.end(f"{i:020x}", "dense", {"seed": i}, Row("done", "", {"test": i / 7, "val": [i] * 30}, i / 3))
    with open_memory(folder / "tuned", SPACE, {"data": "cora"}, seed=0, force=False) as memory:
        for number in range(3):
            trial, _ = memory.begin(dataclasses.replace(settings(), sparsity=0.1 * number))
            memory.end(trial, {"number": number, "drop": number / 7, "reason": "x" * 90}, 0.5)
        memory.keep("spent", 12.5)
    data = graph(90)
    saved, arrays = io.BytesIO(), io.BytesIO()
    torch.save(data, saved)
    np.savez(arrays, x=data.x[:, :3].numpy(), edge_index=data.edge_index.numpy())
    root = Path(__file__).parents[2]
    presets = root / "edgegnn" / "studies" / "presets"
    below = (damage_bytes, flip_bit)
    sealed_json = resealed("manifest_sha256")
    return {
        "manifest": Kind("tiny/manifest.json", manifest, read_manifest_file, (sealed_json, *below), (flip_bit,), 30),
        "zip": Kind("tiny.zip", archive.getvalue(), read_zip, (damage_zip, *below), (flip_bit,)),
        "record": Kind(
            "r.json",
            (folder / "r.json").read_bytes(),
            read_profile,
            (resealed("record_sha256"), *below),
            (flip_bit,),
            20,
        ),
        "study store": Kind("study.db", (folder / "study.db").read_bytes(), read_store, below, (flip_bit,), 20),
        "search": Kind("tuned/study.db", (folder / "tuned/study.db").read_bytes(), read_memory, below, (flip_bit,), 1),
        "npz": Kind("in.npz", arrays.getvalue(), read_inputs, (damage_zip, *below), (flip_bit,), 20),
        "data": Kind("data.pt", saved.getvalue(), read_data, (odd_graph, damage_zip, *below), (flip_bit,), 20),
        "target": Kind(
            "targets/rpi.toml",
            (root / "targets" / "rpi.toml").read_bytes(),
            read_target,
            (damage_toml, *below),
        ),
        "study": Kind(
            "study.toml", (presets / "example.toml").read_bytes(), lambda p: cells(read_study(p)), (damage_toml, *below)
        ),
        "recipe": Kind(
            "recipe.json",
            json.dumps(recipe("a2q").to_dict()).encode(),
            lambda p: recipe(str(p)),
            (resealed(None), *below),
        ),
    }


def graph(nodes: int) -> Data:
    """A graph with labels and masks."""
    g = torch.Generator().manual_seed(0)
    edges = torch.randint(nodes, (2, 3 * nodes), generator=g)
    masks = {f"{name}_mask": torch.arange(nodes) % 3 == i for i, name in enumerate(("train", "val", "test"))}
    return Data(x=torch.randn(nodes, 9, generator=g), edge_index=edges, y=torch.arange(nodes) % 3, **masks)


def run_case(seed: int, known: dict[str, Kind], folder: Path) -> str:
    """Run one case: the kind of file, and "refused" or "read".

    Raises:
        AssertionError: the file is not refused with an error of ours, or is read as something else than it was.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    name = rng.choices(list(known), [kind.weight for kind in known.values()])[0]
    kind = known[name]
    damage = rng.choice(kind.damages)
    path = folder / kind.path
    try:
        with quiet(), limited():
            path.write_bytes(damage(rng, kind.content))
            found = kind.read(path)
            path.write_bytes(kind.content)
            if damage in kind.checked:
                assert found == kind.read(path), "what is read is not what was written"
        return f"{name} read"
    except EdgeGNNError:
        return f"{name} refused"
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {name}, {damage}: {type(error).__name__}: {error}") from error
    finally:
        path.write_bytes(kind.content)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Print nothing."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """End what takes too long."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_cases(first: int, count: int) -> Counter[str]:
    """Run cases in a folder of their own, and look for files that they leave.

    Raises:
        AssertionError: of a case, or a file was left.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = kinds(folder)
        for kind in known.values():
            (folder / kind.path).write_bytes(kind.content)
        before = left(folder)
        ends = Counter(run_case(seed, known, folder) for seed in range(first, first + count))
        assert left(folder) == before, left(folder) ^ before
    return ends


def left(folder: Path) -> set[str]:
    """Names of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def main() -> None:
    """Run cases `seed * 10^9` on and print the count of each end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    first = arguments.seed * 10**9
    ends = run_cases(first, arguments.count)
    print(f"{arguments.count} cases from seed {first}: " + ", ".join(f"{n} {end}" for end, n in sorted(ends.items())))


if __name__ == "__main__":
    main()
