"""A runner on a device that says what it likes: what this machine knows stays true, and the rest is its word."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_artifact import make_artifact

from edgegnn.devices.target import Target
from edgegnn.errors import DataError, TargetError
from edgegnn.profiling import read_record, write_record
from edgegnn.profiling.record import ProfileRecord
from edgegnn.profiling.result import Asked, Followed, HostEnergy, make_record
from edgegnn.profiling.table import notes
from edgegnn.runtime import Artifact, open_artifact
from edgegnn.runtime.benchmark import Plan, bench
from edgegnn.runtime.energy import Reading

PLAN = Plan(True, 2, 0.01, 5, 0.02, 2, 0.03, 2)
BOARD = Target(name="board", description="a board", arch="aarch64", transport="ssh", host="pi@10.0.0.9")
NOBODY = HostEnergy(by_runner=False, reader=None)
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return open_artifact(make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny"))


@pytest.fixture(scope="module")
def honest(artifact: Artifact) -> dict[str, Any]:
    """What our own runner says."""
    return bench(artifact, plan=PLAN, threads=1, energy="none")


def recorded(
    artifact: Artifact, said: dict[str, Any] | bytes, *, energy: HostEnergy = NOBODY, seconds: float = 60.0
) -> ProfileRecord:
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    asked = Asked(artifact, BOARD, PLAN, 1, "artifact", ())
    return make_record(Followed(text, (), "", seconds), asked, energy)


def test_what_the_host_knows_comes_from_the_host(artifact: Artifact, honest: dict[str, Any]) -> None:
    lies = copy.deepcopy(honest)
    lies |= {"artifact": "../../x", "recipe": "x" * 3_000_000, "runtime": None, "model_sha256": 5, "created": "never"}
    lies |= {"target": "/etc", "edgegnn": [], "reported_by_device": [], "data": "y", "emulated": 1, "metric_reason": {}}
    lies["memory_bytes"]["model_file"] = 1
    lies["how"] |= {"quick": False, "runs": 10**9, "graphs": 10**9, "host": "\x1b[2J", "spinning": None}
    lies["device"]["arch"] = "riscv64"
    assert without_time(recorded(artifact, lies)) == without_time(recorded(artifact, honest))
    made = recorded(artifact, lies)
    assert (made.artifact, made.target, made.device.arch, made.how.host) == ("tiny", "board", "aarch64", "10.0.0.9")
    assert (made.how.quick, made.how.runs, made.how.graphs) == (True, 5, 2)
    assert made.memory_bytes.model_file == artifact.manifest.model_bytes


def without_time(record: ProfileRecord) -> ProfileRecord:
    return msgspec.structs.replace(record, created="")


def test_the_device_s_word_is_marked(artifact: Artifact, honest: dict[str, Any], tmp_path: Path) -> None:
    made = recorded(artifact, honest)
    assert {"latency_ms", "metric.value", "agreement", "device"} <= set(made.reported_by_device)
    write_record(made, tmp_path / "r.json")
    assert read_record(tmp_path / "r.json") == made
    expected = "times, CPU use, memory, agreement, kernels, what it is, the metric's value"
    assert f"board: as reported by the device: {expected}" in notes([made])
    local = Asked(artifact, msgspec.structs.replace(BOARD, transport="local"), PLAN, 1, "artifact", ())
    assert make_record(Followed(json.dumps(honest).encode(), (), "", 60.0), local, NOBODY).reported_by_device == []


def sped_up(said: dict[str, Any]) -> None:
    said["latency_ms"] |= dict.fromkeys(("p50", "p90", "p99", "min", "mean"), 1e-6)
    said["throughput_per_s"] = 1e9


LIES: dict[str, Change] = {
    "a perfect metric": lambda s: s["metric"].update(value=1.0),
    "over a thousand million rows": lambda s: s["metric"].update(n=10**9),
    "of another name": lambda s: s["metric"].update(name="rmse"),
    "no metric": lambda s: s.update(metric=None),
    "agreement above 1": lambda s: s.update(agreement=1.5),
    "a text of 30 MB": lambda s: s["device"].update(model="x" * 30_000_000),
    "a negative time": lambda s: s["latency_ms"].update(min=-1.0),
    "no order": lambda s: s["latency_ms"].update(p99=s["latency_ms"]["p50"] / 2),
    "faster than its own throughput": sped_up,
    "inferences": lambda s: s["latency_ms"].update(n=10**15),
    "too few inferences": lambda s: s["latency_ms"].update(n=1),
    "a pass longer than the run": lambda s: s["how"].update(latency_seconds=3600.0),
    "threads": lambda s: s["latency_ms"].update(threads=64),
    "an entry point": lambda s: s.update(entries=[{"name": "x", "pairs": 1, "latency_ms": s["latency_ms"]}]),
    "a thousand entries": lambda s: s.update(entries=[{"name": "x", "pairs": 1, "latency_ms": s["latency_ms"]}] * 1000),
    "another language": lambda s: s.update(format="edgegnn-bench/9"),
    "a list": lambda s: s.update(latency_ms=[1, 2]),
    "no warm-up": lambda s: s["how"].update(warmup_runs=0),
}


@pytest.mark.parametrize("name", LIES)
def test_what_cannot_be_true_is_refused(artifact: Artifact, honest: dict[str, Any], name: str) -> None:
    lies = copy.deepcopy(honest)
    LIES[name](lies)
    with pytest.raises(TargetError, match=r"^board: the runner") as error:
        recorded(artifact, lies)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "text",
    [b"null", b"[]", b"7", b"{}", b"[" * 200_000, b'{"format": ' * 200_000, b"\xff", b'{"format": "edgegnn-bench/1"}'],
    ids=lambda text: text[:12],
)
def test_results_that_are_none(artifact: Artifact, text: bytes) -> None:
    with pytest.raises(TargetError, match=r"^board: the runner's result is none: ") as error:
        recorded(artifact, text)
    assert "\n" not in str(error.value)


def test_numbers_that_are_none(artifact: Artifact, honest: dict[str, Any]) -> None:
    for number in ("NaN", "Infinity", "1e999", "-1e300", '"1"', "null"):
        text = json.dumps({**honest, "throughput_per_s": "HERE"}).replace('"HERE"', number)
        with pytest.raises(TargetError, match=r"^board: the runner's result is none: "):
            recorded(artifact, text.encode())


ENERGY = {"gross": 1e-9, "net": None, "source": "RAPL", "scope": "CPU", "kind": "measured"}
ENERGY |= {"gross_range": [0, 0], "net_range": [0, 0], "idle_watts": 0.0, "load_watts": 0.0, "rate_hz": 1000.0}
IDLE = {"load": False, "seconds": 1.0, "iterations": 0, "joules": 5.0, "steps": 500.0}
LOAD = {"load": True, "seconds": 1.0, "iterations": 10, "joules": 9.0, "steps": 900.0}


def test_energy_is_computed_here_from_the_windows(artifact: Artifact, honest: dict[str, Any]) -> None:
    by_runner = HostEnergy(by_runner=True, reader=None)
    made = recorded(artifact, {**honest, "energy_j": {**ENERGY, "windows": [IDLE, LOAD, LOAD]}}, energy=by_runner)
    assert made.energy_j is not None
    assert (made.energy_j.gross, made.energy_j.net, made.energy_j.idle_watts) == (0.9, 0.4, 5.0)
    assert "energy_j" in made.reported_by_device
    for windows in (
        [],
        [LOAD, LOAD],
        [IDLE, LOAD, {**LOAD, "iterations": 10**9}],
        [IDLE, LOAD, {**LOAD, "seconds": 1e-9}],
        [IDLE, LOAD, {**LOAD, "seconds": 3600.0}],
    ):
        with pytest.raises(TargetError, match=r"^board: the runner's energy windows can't be true: "):
            recorded(artifact, {**honest, "energy_j": {**ENERGY, "windows": windows}}, energy=by_runner)


class Meter:
    source, scope, kind, rate = "meter", "board", "measured", None

    def start(self) -> None:
        raise AssertionError

    def stop(self) -> Reading:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def test_windows_round_which_the_host_reads(artifact: Artifact, honest: dict[str, Any]) -> None:
    asked = Asked(artifact, BOARD, PLAN, 1, "artifact", ())
    readings = (Reading(5.0), Reading(9.0), Reading(9.0))
    for last, good in ((LOAD, True), ({**LOAD, "iterations": 10**9}, False)):
        said = {**honest, "windows": [IDLE, LOAD, last]}
        followed = Followed(json.dumps(said).encode(), readings, "", 60.0)
        if good:
            made = make_record(followed, asked, HostEnergy(by_runner=False, reader=Meter()))
            assert made.energy_j is not None
            assert (made.energy_j.gross, made.energy_j.source) == (0.9, "meter")
            assert "energy_j" not in made.reported_by_device
        else:
            with pytest.raises(TargetError, match="energy windows can't be true"):
                make_record(followed, asked, HostEnergy(by_runner=False, reader=Meter()))


@pytest.mark.parametrize(("field", "value"), [("artifact", "../../x"), ("target", "a/b"), ("recipe", "x" * 10**6)])
def test_a_record_of_somebody_s(
    artifact: Artifact, honest: dict[str, Any], tmp_path: Path, field: str, value: str
) -> None:
    values = recorded(artifact, honest).to_dict()
    (tmp_path / "r.json").write_text(json.dumps({**values, field: value}))
    with pytest.raises(DataError, match=rf"is a damaged profile record: .*\$\.{field}"):
        read_record(tmp_path / "r.json")
