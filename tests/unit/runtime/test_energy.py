"""Energy readers on recorded sysfs trees, and the arithmetic of windows."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_artifact import make_artifact

from edgegnn.devices import carbon
from edgegnn.devices.carbon import carbon_reader
from edgegnn.errors import UsageError
from edgegnn.runtime import bench
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.energy import RaplReader, Reading, ReadingError, Window, find_rapl, measure_windows, summarize

LIMIT = 262_143_328_850


def zone(root: Path, zone_name: str, name: str, energy: object = 1_000_000, limit: object = LIMIT) -> Path:
    folder = root / zone_name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder / "energy_uj"


def add(counter: Path, microjoules: int) -> None:
    """Advance a counter like the CPU does: atomically, wrapping at the limit."""
    value = (int(counter.read_text()) + microjoules) % LIMIT
    new = counter.with_name("new")
    new.write_text(f"{value}\n")
    new.replace(counter)


@contextmanager
def ticking(*counters: Path, step: int = 1000) -> Iterator[None]:
    """Counters that move while a reader looks for their step."""
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.001):
            for counter in counters:
                add(counter, step)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def reader_of(root: Path, *counters: Path) -> RaplReader:
    with ticking(*counters):
        reader, reason = find_rapl(root, probe_seconds=1.0)
    assert reader is not None, reason
    return reader


def test_one_package(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl:0:0", "core")
    zone(tmp_path, "intel-rapl:1", "psys", 77)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    reader = reader_of(tmp_path, counter)
    assert (reader.source, reader.scope, reader.kind) == ("RAPL (package-0)", "CPU package", "measured")
    reader.start()
    add(counter, 2_500_000)
    reading = reader.stop()
    assert reading.joules == 2.5
    assert reading.steps == 2500


def test_wrap_around(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0")
    reader = reader_of(tmp_path, counter)
    counter.write_text(f"{LIMIT - 1_000_000}\n")
    reader.start()
    add(counter, 3_000_000)
    assert int(counter.read_text()) == 2_000_000
    assert reader.stop().joules == 3.0


def test_packages_are_summed_and_the_slowest_counts_the_steps(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0")
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    reader = reader_of(tmp_path, first, second)
    assert (reader.source, reader.scope) == ("RAPL (package-0, package-1)", "2 CPU packages")
    reader.start()
    add(first, 1_000_000)
    add(second, 20_000)
    assert reader.stop() == Reading(1.02, 20.0)


def test_dies_that_repeat_the_counter_of_their_package_count_once(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0-die-0", 8_000_000)
    zone(tmp_path, "intel-rapl:1", "package-0-die-1", 8_000_100)
    other = zone(tmp_path, "intel-rapl:2", "package-1-die-0", 8_000_200)
    reader = reader_of(tmp_path, first, other)
    assert reader.source == "RAPL (package-0-die-0, package-1-die-0)"


@pytest.mark.parametrize(
    ("zones", "reason"),
    [
        ([], "no RAPL package counter"),
        ([("intel-rapl:0", "psys")], "no RAPL package counter"),
        ([("intel-rapl:0", "package-0", "garbage")], "gives no number"),
        ([("intel-rapl:0", "package-0", "")], "gives no number"),
        ([("intel-rapl:0", "package-0", -5)], "is negative"),
        ([("intel-rapl:0", "package-0", 5, "x")], "gives no number"),
        ([("intel-rapl:0", "package-0", 5, 0)], "is 0"),
        ([("intel-rapl:0", "package-0")], "doesn't move"),
        ([("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1", "garbage")], "gives no number"),
    ],
)
def test_unusable_trees(tmp_path: Path, zones: list[Any], reason: str) -> None:
    for values in zones:
        zone(tmp_path, *values)
    reader, why = find_rapl(tmp_path, probe_seconds=0.01)
    assert reader is None
    assert reason in why


def test_no_tree_at_all_and_a_zone_without_files(tmp_path: Path) -> None:
    assert "no RAPL package counter" in find_rapl(tmp_path / "nothing")[1]
    (tmp_path / "intel-rapl:0").mkdir()
    assert "RAPL can't be read" in find_rapl(tmp_path)[1]
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0")
    assert "gives no number" in find_rapl(tmp_path)[1]


def test_missing_permission_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0")
    counter.chmod(0)
    if os.access(counter, os.R_OK):  # root reads everything
        real = Path.read_text

        def refuse(self: Path, *args: Any, **kwargs: Any) -> str:
            if self == counter:
                raise PermissionError(13, "Permission denied")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, "read_text", refuse)
    reader, reason = find_rapl(tmp_path)
    assert reader is None
    assert "run as root, or chmod a+r" in reason


def test_counter_that_fails_or_jumps_back_in_a_window(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", limit=10_000_000)
    reader = reader_of(tmp_path, counter)
    counter.write_text("50000000")
    reader.start()
    counter.write_text("20")
    with pytest.raises(ReadingError, match="more than one wrap"):
        reader.stop()
    reader.start()
    counter.write_text("oops")
    with pytest.raises(ReadingError, match="gives no number"):
        reader.stop()


class Constant:
    """A machine that takes 10 W always, and 5 W more for every second of work."""

    source, scope, kind = "test", "board", "measured"

    def __init__(self) -> None:
        self.work = 0.0

    def start(self) -> None:
        self._begin, self._work = time.perf_counter(), self.work

    def stop(self) -> Reading:
        seconds = time.perf_counter() - self._begin
        return Reading(10 * seconds + (self.work - self._work) * 5, steps=1000)


def test_windows_measure_what_the_work_takes() -> None:
    reader = Constant()

    def step() -> None:
        time.sleep(0.005)
        reader.work += 0.005

    events: list[dict[str, Any]] = []
    gates: list[dict[str, Any]] = []
    windows = measure_windows(
        step, reader, windows=3, seconds=0.05, iterations=4, announce=events.append, gate=gates.append
    )
    assert [w.load for w in windows] == [False, True, True, True]
    assert windows[0].iterations == 0
    assert all(w.seconds >= 0.05 for w in windows)
    assert [e["event"] for e in events] == ["window_start", "window_end"] * 4
    assert [(g["kind"], g["index"]) for g in gates] == [("idle", 0), ("load", 0), ("load", 1), ("load", 2)]
    energy, reason = summarize(windows, source="test", scope="board", kind="measured")
    assert reason == ""
    assert energy is not None
    assert energy["idle_watts"] == pytest.approx(10, rel=0.02)
    assert energy["net"] == pytest.approx(0.025, rel=0.05)
    per_step = sum(w.seconds for w in windows[1:]) / sum(w.iterations for w in windows[1:])
    assert energy["gross"] == pytest.approx(10 * per_step + 0.025, rel=0.2)


def test_a_window_has_the_least_number_of_inferences_too() -> None:
    windows = measure_windows(lambda: time.sleep(0.002), None, windows=1, seconds=0.0, iterations=7)
    assert windows[1].iterations == 7
    assert windows[1].joules is None


def window(load: bool, joules: float | None, iterations: int = 10, steps: float | None = None) -> Window:
    return Window(load, 10.0, iterations if load else 0, joules, steps)


def test_summary_is_the_median_with_its_range() -> None:
    windows = [window(False, 50.0), *(window(True, j) for j in (70.0, 150.0, 90.0, 80.0, 100.0))]
    energy, _ = summarize(windows, source="s", scope="c", kind="measured")
    assert energy is not None
    assert (energy["gross"], energy["gross_range"]) == (9.0, [7.0, 15.0])
    assert (energy["net"], energy["net_range"]) == (4.0, [2.0, 10.0])
    assert (energy["idle_watts"], energy["load_watts"]) == (5.0, 9.0)


def test_net_energy_below_idle_is_no_number() -> None:
    energy, _ = summarize([window(False, 100.0), window(True, 99.0)], source="s", scope="c", kind="measured")
    assert energy is not None
    assert energy["net"] is None
    assert energy["gross"] == 9.9


@pytest.mark.parametrize(
    ("windows", "reason"),
    [
        ([], "no reading"),
        ([window(True, 5.0)], "no reading"),
        ([window(False, 5.0)], "no reading"),
        ([window(False, None), window(True, 5.0)], "no reading"),
        ([window(False, 0.0), window(True, 0.0)], "counted 0 J"),
        ([window(False, 1.0, steps=90), window(True, 5.0, steps=49.9)], "moved by 50 steps in a window, 50 are needed"),
        ([window(False, 1.0, steps=90), window(True, 5.0, steps=7)], "moved by 7 steps in a window, 50 are needed"),
    ],
)
def test_refused_numbers(windows: list[Window], reason: str) -> None:
    energy, why = summarize(windows, source="s", scope="c", kind="measured")
    assert energy is None
    assert reason in why


def test_an_idle_counter_may_stand_still() -> None:
    energy, _ = summarize(
        [window(False, 0.0, steps=0), window(True, 5.0, steps=50)], source="s", scope="c", kind="measured"
    )
    assert energy is not None
    assert energy["net"] == energy["gross"]


@pytest.mark.slow
def test_bench_reads_the_counter_of_its_machine(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "tiny")
    counter = zone(tmp_path / "sys/class/powercap", "intel-rapl:0", "package-0")
    plan = Plan(True, 1, 0.0, 2, 0.0, windows=2, window_seconds=0.3, window_iterations=2)
    # In a process of its own: a thread would get no turn beside the inferences.
    code = f"""
        import os, time
        value = 1_000_000
        while True:
            value += 1000
            with open({str(counter) + ".new"!r}, "w") as file:
                file.write(str(value))
            os.replace({str(counter) + ".new"!r}, {str(counter)!r})
            time.sleep(0.0005)
    """
    ticker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        while counter.read_text() == "1000000\n":
            assert ticker.poll() is None
        result = bench(artifact, plan=plan, threads=1, system=tmp_path, readers=("rapl",))
    finally:
        ticker.kill()
        ticker.wait()
    energy = result["energy_j"]
    assert energy is not None, result["energy_reason"]
    assert energy["source"] == "RAPL (package-0)"
    assert energy["kind"] == "measured"
    assert energy["gross"] > 0
    assert [w["load"] for w in energy["windows"]] == [False, True, True]
    assert all(w["steps"] >= 50 for w in energy["windows"])
    counter.write_text("broken")
    result = bench(artifact, plan=plan, threads=1, system=tmp_path, readers=("rapl",))
    assert result["energy_j"] is None
    assert "gives no number" in result["energy_reason"]
    with pytest.raises(UsageError, match="energy must be one of"):
        bench(artifact, plan=plan, energy="nuclear")


def test_codecarbon_estimates_silently_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODECARBON_SAVE_TO_API", "true")
    monkeypatch.setenv("CODECARBON_EMISSIONS_ENDPOINT", "http://127.0.0.1:9")
    threads = threading.active_count()
    with carbon_reader() as (reader, reason):
        assert reader is not None, reason
        assert reason == ""
        assert reader.kind == "estimated"
        assert reader.source.startswith("codecarbon 3.")
        assert "RAM model" in reader.source
        reader.start()
        busy_until = time.perf_counter() + 0.3
        while time.perf_counter() < busy_until:
            pass
        busy = reader.stop()
        reader.start()
        time.sleep(0.3)
        idle = reader.stop()
        reader.start()  # left open, as by Ctrl-C
    assert busy.joules > idle.joules >= 0
    assert busy.steps is None
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("codecarbon").disabled
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= threads


def test_broken_codecarbon_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode() -> None:
        raise RuntimeError("no power\nhere")

    monkeypatch.setattr(carbon, "_tracker", explode)
    with carbon_reader() as (reader, reason):
        assert reader is None
        assert reason == "codecarbon doesn't work here: RuntimeError: no power"
