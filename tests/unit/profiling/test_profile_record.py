"""Records, tables of them, and what goes into them: latency and memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from profile_example import record
from rich.console import Console

from edgegnn.errors import DataError
from edgegnn.profiling import ratios, read_record, render, write_record
from edgegnn.profiling.record import Metric, ProfileRecord
from edgegnn.runtime.benchmark import FULL, QUICK
from edgegnn.runtime.measure import Memory as MemoryBefore
from edgegnn.runtime.measure import baseline_memory, latency_pass, peak_memory


def test_latency_pass_times_whole_rounds() -> None:
    calls: list[int] = []
    steps = [lambda i=i: (calls.append(i), time.sleep(0.002 * (i + 1))) for i in range(3)]
    latency = latency_pass(steps, runs=7, seconds=0.0)
    assert calls == [0, 1, 2] * 3
    assert len(latency.times) == 9
    assert 2 <= min(latency.times) < latency.percentile(50) < latency.percentile(99) <= max(latency.times)
    assert latency.wall_seconds >= 0.036
    assert latency.cpu_seconds < latency.wall_seconds
    assert len(latency_pass([lambda: time.sleep(0.001)], runs=1, seconds=0.2).times) > 1


def test_peak_memory_sees_what_was_freed_again() -> None:
    """In a fresh process, as it is used: a large one's pages may be taken away meanwhile."""
    code = """
from edgegnn.runtime.measure import baseline_memory, peak_memory
before = baseline_memory()
block = bytearray(40_000_000)
block[::4096] = b"x" * len(block[::4096])
del block
print(peak_memory(before))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 38_000_000 < int(done.stdout) < 80_000_000


def test_memory_of_a_recorded_process_and_without_proc(tmp_path: Path) -> None:
    (tmp_path / "clear_refs").write_text("")
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    3000 kB\nVmRSS:\t    2000 kB\n")
    before = baseline_memory(tmp_path)
    assert before == MemoryBefore(2000 * 1024, True)
    assert (tmp_path / "clear_refs").read_text() == "5"
    assert peak_memory(before, tmp_path) == 1000 * 1024
    assert peak_memory(MemoryBefore(2**40, False), tmp_path) == 0
    fallback = baseline_memory(tmp_path / "nothing")
    assert fallback.baseline > 1_000_000
    assert not fallback.exact


def test_protocol_and_quick_durations() -> None:
    assert (FULL.windows, FULL.window_seconds, FULL.window_iterations, FULL.quick) == (5, 10.0, 10, False)
    assert QUICK.quick
    assert QUICK.total_seconds(energy=True) < 6
    assert FULL.total_seconds(energy=True) < 120


def test_record_round_trip(tmp_path: Path) -> None:
    for made in (record(), record(energy_j=None, energy_reason="no meter", metric=None)):
        path = tmp_path / "new" / "folder" / "r.json"
        write_record(made, path)
        assert read_record(path) == made
        assert msgspec.convert(json.loads(path.read_text()), ProfileRecord) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format="edgegnn-profile/2"), r'the format "edgegnn-profile/2", this edgegnn reads'),
        (lambda v: v.update(format=3), "is no profile record"),
        (lambda v: v.pop("format"), "is no profile record"),
        (lambda v: v.pop("latency_ms"), "damaged profile record: .*missing required field `latency_ms`"),
        (lambda v: v["latency_ms"].update(p50="fast"), r"\$.latency_ms.p50"),
        (lambda v: v["latency_ms"].update(p50=-1), r"\$.latency_ms.p50"),
        (lambda v: v["energy_j"].update(kind="guessed"), r"\$.energy_j.kind"),
        (lambda v: v["metric"].update(value=80), r"\$.metric"),
        (lambda v: v["metric"].update(name="rmse", value=-1), r"\$.metric.value"),
    ],
)
def test_bad_record(tmp_path: Path, change: Any, message: str) -> None:
    values = record().to_dict()
    change(values)
    (tmp_path / "r.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=message) as error:
        read_record(tmp_path / "r.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"{}", b"null"])
def test_file_that_is_no_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(DataError, match="no profile record"):
        read_record(tmp_path / "r.json")
    with pytest.raises(DataError, match="can't read"):
        read_record(tmp_path / "nothing.json")


def test_unknown_fields_of_a_later_edgegnn_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({**record().to_dict(), "temperature": 50}))
    assert read_record(tmp_path / "r.json") == record()


def text_of(*records: ProfileRecord) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(render(records))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def smaller() -> ProfileRecord:
    base = record()
    return msgspec.structs.replace(
        base,
        artifact="b",
        latency_ms=msgspec.structs.replace(base.latency_ms, p50=1.0),
        memory_bytes=msgspec.structs.replace(base.memory_bytes, model_file=200),
        metric=Metric(name="accuracy", value=0.6, n=1000),
    )


def test_ratios() -> None:
    found = ratios(record(), smaller())
    assert (found["p50"], found["model_file"], found["p99"]) == (0.5, 0.25, 1.0)
    assert found["metric"] == pytest.approx(0.75)
    assert found["energy_gross"] == 1.0
    base = record()
    assert base.energy_j is not None
    other = msgspec.structs.replace(base, energy_j=msgspec.structs.replace(base.energy_j, source="a model"))
    assert ratios(base, other)["energy_gross"] is None
    assert ratios(base, record(energy_j=None))["energy_net"] is None
    assert ratios(record(metric=None), base)["metric"] is None


def test_table_of_one() -> None:
    text = text_of(record())
    for part in ("a\n", "0.8000 (n=1000)", "800 B", "2.000 ms", "400.0 /s", "56 %", "2.0 MB", "9 J", "4 J"):
        assert part.strip() in text
    assert "energy measured: RAPL (package-0); CPU package" in text
    assert "x86: A CPU, 2 cores, onnxruntime 1.31.1" in text
    assert "quick" not in text
    assert "~" not in text
    assert "0.50x" not in text


def test_table_of_two_has_ratios_and_footnotes() -> None:
    base = smaller()
    assert base.energy_j is not None
    estimated = msgspec.structs.replace(
        base,
        energy_j=msgspec.structs.replace(base.energy_j, kind="estimated", source="a model", gross=3e-3, net=None),
        how=msgspec.structs.replace(base.how, quick=True),
        device=msgspec.structs.replace(base.device, load_average=3.5),
    )
    text = text_of(record(), estimated)
    assert "0.50x" in text
    assert "0.25x" in text
    assert "~3 mJ *" in text
    assert "not above idle" in text
    assert "energy ~ estimated: a model" in text
    assert "* quick: short windows" in text
    assert "load average up to 3.5" in text
    assert "no energy: no meter" in text_of(record(energy_j=None, energy_reason="no meter"))
    assert "50 to 100 times slower" in text_of(record(native_kernels=False))
    assert "times slower" not in text_of(record(native_kernels=True))
    assert "times slower" not in text_of(record(native_kernels=False, runtime="torchscript"))
