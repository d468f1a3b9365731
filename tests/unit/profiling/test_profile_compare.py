"""`profile --compare`: what changed, how surely, and when it fails; and the schema of the records."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from profile_example import record
from tiny_artifact import make_artifact
from typer.testing import CliRunner

from edgegnn.cli.app import app
from edgegnn.errors import DataError, UsageError
from edgegnn.profiling import (
    Comparison,
    ProfileRecord,
    Spread,
    comparison,
    machine_spread,
    parse_limits,
    read_record,
    render_comparison,
    write_record,
)
from edgegnn.profiling.record import FORMAT, Instructions, record_schema
from edgegnn.runtime.measure import BLOCKS, Latency

SCHEMA = Path(__file__).parents[3] / "profiles" / "schema.json"


def measured(p50: float, spread: float = 0.01, blocks: int = 200, seed: int = 0, **changes: Any) -> ProfileRecord:
    """A record whose blocks vary by `spread` around p50."""
    base = record(**changes)
    times = p50 * (1 + spread * np.random.default_rng(seed).standard_normal(blocks))
    latency = msgspec.structs.replace(base.latency_ms, p50=p50, blocks=[float(t) for t in times])
    return msgspec.structs.replace(base, latency_ms=latency)


STEADY = Spread(0.001, 10, "of a test")  # from run to run


def compare(*records: ProfileRecord, machine: Spread | None = STEADY, **options: Any) -> Comparison:
    return comparison.compare(*records, machine=machine, **options)


def test_change_beyond_the_limit_fails() -> None:
    found = compare(measured(2.0), measured(2.3, seed=1), fail_above={"latency": 5.0})
    assert found.failed
    assert not found.p50.noise
    assert found.p50.percent == pytest.approx(15.0)
    assert found.p50.low is not None
    assert found.p50.high is not None
    assert 14 < found.p50.low < 15 < found.p50.high < 16
    assert "p50 +15.0 % (+14" in found.verdict
    assert found.verdict.endswith("; latency grew by 15 %, 5 are allowed")
    assert not compare(measured(2.0), measured(2.3, seed=1)).failed
    assert not compare(measured(2.0), measured(2.3, seed=1), fail_above={"latency": 20.0}).failed
    assert not compare(measured(2.3), measured(2.0, seed=1), fail_above={"latency": 5.0}).failed


def test_change_within_the_noise_is_said_to_be_so_and_does_not_fail() -> None:
    found = compare(measured(2.0, 0.2, blocks=20), measured(2.2, 0.2, blocks=20, seed=1), fail_above={"latency": 5.0})
    assert found.p50.percent == pytest.approx(10.0)
    assert found.p50.noise
    assert not found.failed
    assert "within the noise" in found.verdict
    assert [one.text for one in found.unclear] == [
        "latency grew by 10 %, 5 are allowed: can't tell that from noise, --repeat 5 says more"
    ]
    assert compare(measured(2.0), measured(2.0, seed=1)).p50.noise


def test_drift_makes_the_interval_wider() -> None:
    """Neighbours that are alike are fewer independent observations than as many that are not."""
    random = np.random.default_rng(0)
    drifting = np.repeat(2.0 * (1 + 0.05 * random.standard_normal(10)), 20)

    def width(blocks: Any) -> float:
        base = measured(2.0)
        latency = msgspec.structs.replace(base.latency_ms, blocks=[float(b) for b in blocks])
        change = compare(base, msgspec.structs.replace(base, latency_ms=latency)).p50
        assert change.low is not None
        assert change.high is not None
        return change.high - change.low

    assert width(drifting) > 1.5 * width(random.permutation(drifting))


def test_interval_is_the_same_every_time_and_contains_the_change() -> None:
    first = compare(measured(2.0), measured(2.1, seed=1))
    assert first == compare(measured(2.0), measured(2.1, seed=1))
    # The p50 of a record need not be the median of its blocks: the interval lies round the change of p50 all the same.
    base = measured(2.0)
    slower = msgspec.structs.replace(base, latency_ms=msgspec.structs.replace(base.latency_ms, p50=4.0))
    found = compare(base, slower, fail_above={"latency": 5.0}).p50
    assert found.low is not None
    assert found.high is not None
    assert found.low < 100 < found.high
    assert found.low > 90


@pytest.mark.parametrize("old", [record(), measured(2.0, blocks=7)])
def test_record_without_enough_blocks_has_an_interval_of_runs(old: ProfileRecord) -> None:
    found = compare(old, measured(2.5), fail_above={"latency": 5.0})
    assert found.p50.percent == pytest.approx(25.0)
    half = STEADY.half(1, 1)
    assert (found.p50.low, found.p50.high) == (pytest.approx(25.0 - half), pytest.approx(25.0 + half))
    assert found.failed
    assert found.reason == "how steady a run was is unknown: the older record holds fewer than 8 blocks of times"
    assert "newer" in compare(measured(2.0), record()).reason


def test_other_figures() -> None:
    old, new = record(), record(energy_j=None, metric=None)
    found = {change.name: change for change in compare(old, new).changes}
    assert list(found) == ["p50", "p99", "peak_delta", "model_file", "energy_gross", "energy_net", "metric"]
    assert (found["energy_gross"].old, found["energy_gross"].new, found["energy_gross"].percent) == (9.0, None, None)
    assert found["metric"].percent is None
    assert found["peak_delta"].percent == 0.0
    energy = old.energy_j
    assert energy is not None
    other = record(energy_j=msgspec.structs.replace(energy, gross=18.0))
    assert next(c for c in compare(old, other).changes if c.name == "energy_gross").percent == 100.0
    other = record(energy_j=msgspec.structs.replace(energy, gross=18.0, source="NVML (a GPU)"))
    found = {change.name: change for change in compare(old, other).changes}
    assert found["energy_gross"].percent is None
    assert compare(old, other).differences == ["energy source: RAPL (package-0), now NVML (a GPU)"]


def test_another_device_is_a_warning_and_no_base_for_a_verdict() -> None:
    old = measured(2.0)
    other = measured(
        2.0, target="rpi", device=msgspec.structs.replace(old.device, model="A board", governor="powersave")
    )
    found = compare(old, other)
    assert found.differences == [
        "target: x86, now rpi",
        "device: A CPU, now A board",
        "CPU governor: performance, now powersave",
    ]
    with pytest.raises(DataError, match=r"can't be judged, they differ: target: x86, now rpi; device: A CPU"):
        compare(old, other, fail_above={"latency": 5.0})
    threads = msgspec.structs.replace(old, latency_ms=msgspec.structs.replace(old.latency_ms, threads=1))
    with pytest.raises(DataError, match="threads: 2, now 1"):
        compare(old, threads, fail_above={"latency": 5.0})


def test_quick_and_estimated_numbers_are_marked_in_the_table() -> None:
    old = measured(2.0)
    assert old.energy_j is not None
    quick = measured(
        2.0,
        how=msgspec.structs.replace(old.how, quick=True),
        energy_j=msgspec.structs.replace(old.energy_j, kind="estimated"),
    )
    table = render_comparison(compare(old, quick))
    cells = {row[0]: row[1:3] for row in zip(*(column.cells for column in table.columns), strict=True)}
    assert cells["latency p50"] == ("2.000 ms", "2.000 ms *")
    assert cells["energy per inference"] == ("9 J", "~9 J *")
    assert cells["model file"] == ("800 B", "800 B")


def test_busy_machine_is_named() -> None:
    old = measured(2.0)
    busy = measured(2.0, device=msgspec.structs.replace(old.device, load_average=3.0))
    assert compare(old, busy, fail_above={"latency": 5.0}).differences == [
        "load average: 0.0, now 3.0: the machine was busy"
    ]


def test_emulated_times_are_not_compared() -> None:
    counted = Instructions(median=1000, graphs=1, cpu="a", source="b")
    old, new = measured(2.0), measured(3.0, emulated="a board: not a measurement", instructions=counted)
    found = compare(old, new)
    assert found.p50.percent is None
    assert "p50 can't be compared: an emulated device's times are not a measurement" in found.verdict
    table = render_comparison(found)
    cells = {row[0]: row[1:3] for row in zip(*(column.cells for column in table.columns), strict=True)}
    assert cells["latency p50"] == ("2.000 ms", "3.000 ms †")
    assert "† emulated: not a measurement" in str(table.caption)
    with pytest.raises(DataError, match="an emulated device can't be judged by latency"):
        compare(old, new, fail_above={"latency": 5.0})


def test_limits() -> None:
    assert [parse_limits(text)["latency"] for text in ("5%", "5", " 2.5 % ", "0%")] == [5.0, 5.0, 2.5, 0.0]
    assert parse_limits("latency=10 % size=1, accuracy=0.5") == {"latency": 10.0, "size": 1.0, "accuracy": 0.5}
    for text in ("", "five", "-1%", "nan", "5%%", "1e3", "size=", "speed=5%", "size 5"):
        with pytest.raises(UsageError, match=r"like 5%|is 5%"):
            parse_limits(text)


def test_every_figure_has_its_limit() -> None:
    old = measured(2.0)
    energy, metric = old.energy_j, old.metric
    assert energy is not None
    assert metric is not None
    energy = msgspec.structs.replace(energy, gross_range=(8.99, 9.01))
    old = msgspec.structs.replace(old, energy_j=energy)
    memory = msgspec.structs.replace(old.memory_bytes, model_file=808, peak_delta=2_500_000)
    new = measured(
        2.0,
        seed=1,
        memory_bytes=memory,
        energy_j=msgspec.structs.replace(energy, gross=10.8, gross_range=(10.79, 10.81)),
        metric=msgspec.structs.replace(metric, value=0.79),
    )

    def state(limits: str) -> dict[str, str]:
        return {one.name: one.state for one in compare(old, new, fail_above=parse_limits(limits)).judged}

    assert state("size=0.9 energy=19 accuracy=0.9") == dict.fromkeys(("size", "energy", "accuracy"), "exceeded")
    assert state("size=1.1 energy=21 accuracy=1.1 latency=1") == dict.fromkeys(
        ("size", "energy", "accuracy", "latency"), "held"
    )
    wide = msgspec.structs.replace(energy, gross=10.8, gross_range=(8.0, 12.0))
    unsteady = msgspec.structs.replace(new, energy_j=wide)
    (judged,) = compare(old, unsteady, fail_above={"energy": 10.0}).judged
    assert (judged.state, judged.unit) == ("unclear", "%")
    assert state("memory=10") == {"memory": "unclear"}  # by less than a megabyte
    with pytest.raises(DataError, match="--fail-above instructions: one of the records has none"):
        state("instructions=1")
    counted = [
        msgspec.structs.replace(
            old, emulated="a board", instructions=Instructions(median=n, graphs=1, cpu="a", source="b")
        )
        for n in (1000, 1030)
    ]
    assert compare(*counted, fail_above={"instructions": 2.0}).failed
    assert not compare(*counted, fail_above={"instructions": 4.0}).failed


def test_spread_from_run_to_run_widens_the_interval() -> None:
    """Processes whose p50 differ by some percent can't tell a change of as many."""
    old, new = measured(2.0), measured(2.2, seed=1)
    assert compare(old, new, fail_above={"latency": 5.0}).failed
    repeats = [1.8, 1.9, 2.0, 2.1, 2.3]
    unsteady = msgspec.structs.replace(old, latency_ms=msgspec.structs.replace(old.latency_ms, repeats=repeats))
    found = compare(unsteady, new, fail_above={"latency": 5.0})
    assert not found.failed
    assert found.unclear
    assert compare(unsteady, measured(4.0), fail_above={"latency": 5.0}).failed
    steady = msgspec.structs.replace(old.latency_ms, repeats=[2.0, 2.001, 1.999])
    assert compare(msgspec.structs.replace(old, latency_ms=steady), new, fail_above={"latency": 5.0}).failed


def test_without_repeats_a_change_that_runs_may_differ_by_is_not_told() -> None:
    """One run of each: another run of the same artifact may be 10 % slower, so nobody is blamed for it."""
    old, new = measured(2.0), measured(2.2, seed=1)
    found = compare(old, new, fail_above={"latency": 5.0}, machine=None)
    assert [one.state for one in found.judged] == ["unclear"]
    assert found.spread is not None
    assert found.spread.words.startswith("assumed, since neither record has three runs")
    assert compare(old, measured(3.0, seed=1), fail_above={"latency": 5.0}, machine=None).failed
    repeats = [2.19, 2.2, 2.21]
    repeated = msgspec.structs.replace(new, latency_ms=msgspec.structs.replace(new.latency_ms, repeats=repeats))
    found = compare(old, repeated, fail_above={"latency": 5.0}, machine=None)
    assert found.failed
    assert found.spread is not None
    assert found.spread.words == "of 3 processes"


def test_other_records_of_the_machine_tell_its_spread(tmp_path: Path) -> None:
    def kept(name: str, *repeats: float, **changes: Any) -> None:
        base = measured(2.0, artifact=name, **changes)
        latency = msgspec.structs.replace(base.latency_ms, repeats=list(repeats))
        write_record(msgspec.structs.replace(base, latency_ms=latency), tmp_path / f"{name}.json")

    like = measured(2.0)
    (tmp_path / "other.json").write_text("{}")
    assert machine_spread([tmp_path], like) is None
    kept("two-runs-tell-nothing", 2.0, 9.0)
    kept("of-another-board", 1.0, 9.0, 5.0, target="rpi")
    assert machine_spread([tmp_path], like) is None
    kept("a", 2.0, 2.02, 1.98)
    found = machine_spread([tmp_path, tmp_path], like)
    assert found is not None
    assert found.relative == pytest.approx(0.01, rel=0.01)
    assert (found.freedom, found.words) == (2, "of this machine, by 1 record with --repeat")
    kept("b", 20.0, 20.2, 19.8)
    again = machine_spread([tmp_path], like)
    assert again is not None
    assert (again.freedom, again.relative) == (4, pytest.approx(found.relative))
    assert again.half(1, 1) < found.half(1, 1)  # of more runs it is known better


def test_two_records_are_compared_without_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, p50 in (("old", 2.0), ("same", 2.01), ("slow", 4.0)):
        write_record(measured(p50), Path(f"{name}.json"))
    held = run("same.json", "--compare", "old.json", "--fail-above", "latency=5% size=1%")
    assert held.exit_code == 0, held.output
    assert "5 %: held" in held.stdout
    exceeded = run("slow.json", "--compare", "old.json", "--fail-above", "5%", "--json")
    assert exceeded.exit_code == 1
    found = json.loads(exceeded.stdout)["comparison"]
    assert [one["state"] for one in found["judged"]] == ["exceeded"]
    assert found["spread"]["relative"] > 0
    assert "latency grew by 100 %, 5 are allowed" in exceeded.stderr
    measured_again = run("slow.json", "--compare", "old.json", "--repeat", 5)
    assert "slow.json is a profile record, nothing is measured: leave --target" in str(measured_again.exception)
    lone = run("slow.json")
    assert isinstance(lone.exception, UsageError)
    assert "slow.json is a profile record: compare it with an older one" in str(lone.exception)
    assert not Path("profiles").exists()


def test_blocks_hold_every_graph_equally_often() -> None:
    def blocks(n: int, graphs: int) -> list[float]:
        return Latency(np.arange(n, dtype=float), 1.0, 1.0).blocks(graphs)  # type: ignore[arg-type]

    assert blocks(200, 1) == [float(i) for i in range(200)]
    assert blocks(201, 1) == [0.5 + 2 * i for i in range(100)]
    assert blocks(6, 3) == [1.0, 4.0]
    assert len(blocks(100_000, 7)) <= BLOCKS
    assert blocks(2, 3) == []
    assert len(set(np.diff(blocks(100_000, 7)))) == 1


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["profile", *map(str, arguments)])


PLAN = ["--quick", "--threads", "1", "--target", "aa"]


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()
    from edgegnn.runtime.facts import arch

    text = f'description = "here"\narch = "{arch()}"\ntransport = "local"\nenergy = []\n'
    (tmp_path / "targets" / "aa.toml").write_text(text)
    return make_artifact(tmp_path / "tiny")


@pytest.mark.slow
def test_command_line(artifact: Path) -> None:
    first = run(artifact, *PLAN, "--json")
    assert first.exit_code == 0, first.output
    place = Path("profiles/aa/tiny.json")
    old = read_record(place)
    assert len(old.latency_ms.blocks) >= 8
    second = run(artifact, *PLAN, "--json", "--compare", place, "--fail-above", "100000%")
    assert second.exit_code == 0, second.output
    values = json.loads(second.stdout)
    assert values["format"] == FORMAT
    assert values["comparison"]["changes"]["p50"]["old"] == old.latency_ms.p50
    assert values["comparison"]["changes"]["p50"]["low"] < values["comparison"]["changes"]["p50"]["high"]
    assert [d for d in values["comparison"]["differences"] if not d.startswith("load average: ")] == []
    # The base of the comparison stays, the new record lies beside it.
    assert read_record(place) == old
    assert read_record(place.with_name("tiny-new.json")).created == values["created"]
    fast = msgspec.structs.replace(old.latency_ms, p50=old.latency_ms.p50 / 1000)
    write_record(msgspec.structs.replace(old, latency_ms=fast), Path("fast.json"))
    third = run(artifact, *PLAN, "--compare", "fast.json", "--fail-above", "5%", "--repeat", "3")
    assert third.exit_code == 1, third.output
    assert "5 are allowed" in third.stderr
    repeats = read_record(place).latency_ms.repeats
    assert len(repeats) == 3
    assert read_record(place).latency_ms.p50 == sorted(repeats)[1]
    assert "latency p50" in third.stdout


def test_usage(artifact: Path) -> None:
    write_record(record(), Path("old.json"))
    for arguments, error in [
        (["--fail-above", "5%"], UsageError),
        (["--compare", "old.json", "--fail-above", "much"], UsageError),
        (["--compare", "nothing.json"], DataError),
        (["--compare", "old.json", "tiny"], UsageError),
    ]:
        result = run(artifact, *PLAN, *arguments)
        assert isinstance(result.exception, error), arguments
    assert not Path("profiles").exists()


def test_schema_file_is_up_to_date() -> None:
    """After a change: python -m edgegnn.profiling.record > profiles/schema.json."""
    assert SCHEMA.read_bytes() == record_schema()
    module = [sys.executable, "-W", "ignore", "-m", "edgegnn.profiling.record"]
    assert subprocess.run(module, check=True, capture_output=True).stdout == SCHEMA.read_bytes()


def test_schema_describes_every_field_of_a_record() -> None:
    """Every field has a line in the docstring of its class, and every value that is written has its field."""
    schema = json.loads(SCHEMA.read_text())

    def check(value: Any, part: dict[str, Any], where: str) -> None:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        if "anyOf" in part:
            part = next(p for p in part["anyOf"] if p.get("type") != "null")
            check(value, part, where)
            return
        if isinstance(value, dict):
            assert set(value) == set(part["properties"]), where
            for name, entry in value.items():
                assert f"    {name}: " in part["description"], f"{where}.{name} is not documented"
                if entry is not None:
                    check(entry, part["properties"][name], f"{where}.{name}")

    check(record(instructions=Instructions(median=1, graphs=1, cpu="a", source="b")).to_dict(), schema, "record")


def test_record_of_an_older_edgegnn_is_read(tmp_path: Path) -> None:
    values = record().to_dict()
    for part, names in {
        "latency_ms": ["blocks"],
        "memory_bytes": ["gpu_peak"],
        "energy_j": ["rate_hz"],
        "how": ["processor", "transport", "host"],
        "device": ["gpu", "gpu_driver", "gpu_memory_bytes", "temperature_before", "throttled"],
    }.items():
        for name in names:
            del values[part][name]
    for name in ("runtime", "emulated", "instructions", "instructions_reason"):
        del values[name]
    (tmp_path / "old.json").write_text(json.dumps(values))
    assert read_record(tmp_path / "old.json") == record()


def test_repeatability_of_pairs() -> None:
    sys.path.insert(0, str(SCHEMA.parent.parent / "benchmarks"))
    from repeatability import pair, summary

    pairs = [pair(measured(2.0), measured(p50, seed=1)) for p50 in (2.0, 2.1, 2.4)]
    assert [entry["covered"] for entry in pairs] == [True, True, False]
    found = summary(pairs)
    assert found["median_percent"] == pytest.approx(100 * 0.1 / 2.05)
    assert found["largest_percent"] == pytest.approx(100 * 0.4 / 2.2)
    assert (found["p50"], found["covered"]) == (2.0, 2)
