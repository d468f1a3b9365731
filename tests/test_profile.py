"""`profile`: the record, the runner in its own process, and what can go wrong with it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from tiny_artifact import change_samples, make_artifact, seal

from edgegnn.errors import ArtifactError, DataError, TargetError, UsageError
from edgegnn.profile import measure, newest_artifact, profile, ratios, read_record, render, target, write_record
from edgegnn.profile.record import Device, Energy, EnergyWindow, How, Latency, Memory, Metric, ProfileRecord
from edgegnn.profile.runner import follow
from edgegnn.runtime.benchmark import FULL, QUICK, Plan
from edgegnn.runtime.energy import Reading, ReadingError
from edgegnn.runtime.facts import arch
from edgegnn.runtime.measure import Memory as MemoryBefore
from edgegnn.runtime.measure import baseline_memory, latency_pass, peak_memory

BLINK = Plan(True, 1, 0.01, 5, 0.02, 2, 0.03, 2)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.fixture
def artifact(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


@pytest.fixture
def no_rapl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "find_rapl", lambda: (None, "no counter here"))


@pytest.fixture
def no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_choose_energy", lambda *_: ("none", None, ["no meter"]))


def record(**changes: Any) -> ProfileRecord:
    windows = [
        EnergyWindow(load=False, seconds=10.0, iterations=0, joules=50.0),
        EnergyWindow(load=True, seconds=10.0, iterations=10, joules=90.0, steps=900.0),
    ]
    energy = Energy(
        gross=9.0,
        net=4.0,
        source="RAPL (package-0)",
        scope="CPU package",
        kind="measured",
        gross_range=(8.0, 10.0),
        net_range=(3.0, 5.0),
        idle_watts=5.0,
        load_watts=9.0,
        windows=windows,
    )
    values: dict[str, Any] = {
        "target": "x86",
        "artifact": "a",
        "recipe": "none",
        "model_sha256": "0" * 64,
        "created": "2026-01-01T00:00:00Z",
        "edgegnn": "0",
        "latency_ms": Latency(p50=2.0, p90=3.0, p99=4.0, min=1.0, mean=2.5, n=200, threads=2),
        "throughput_per_s": 400.0,
        "cpu_percent": 55.5,
        "memory_bytes": Memory(peak_delta=2_000_000, model_file=800, baseline=50_000_000),
        "energy_j": energy,
        "energy_reason": "",
        "metric": Metric(name="accuracy", value=0.8, n=1000),
        "agreement": 1.0,
        "native_kernels": False,
        "how": How(
            quick=False,
            warmup_runs=10,
            warmup_seconds=1.0,
            runs=200,
            seconds=10.0,
            latency_seconds=10.1,
            windows=5,
            window_seconds=10.0,
            window_iterations=10,
            graphs=1,
            spinning=True,
            runner="artifact",
        ),
        "device": Device(
            model="A CPU",
            arch="x86_64",
            cores=2,
            memory_bytes=2**34,
            governor="performance",
            load_average=0.0,
            os="Linux",
            kernel="6",
            python="3.11",
            numpy="2",
            onnxruntime="1.31.1",
        ),
    }
    return ProfileRecord(**{**values, **changes})


def test_profile_with_an_estimate(artifact: Path, no_rapl: None) -> None:
    told: list[str] = []
    made = profile(artifact, quick=True, plan=BLINK, threads=1, progress=told.append)
    local = {"x86_64": "x86", "aarch64": "arm64"}[arch()]
    path = Path("profiles") / local / "tiny.json"
    assert read_record(path) == made
    assert [p.name for p in path.parent.iterdir()] == ["tiny.json"]
    values = json.loads(path.read_text())
    assert values == json.loads(json.dumps(made.to_dict()))
    assert next(iter(values)) == "format"
    assert values["format"] == "edgegnn-profile/1"
    assert (values["target"], values["artifact"], values["recipe"]) == (local, "tiny", "none")
    latency = values["latency_ms"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"]
    assert (latency["n"] >= 5, latency["threads"]) == (True, 1)
    assert values["throughput_per_s"] == pytest.approx(1e3 / latency["mean"], rel=0.5)
    assert 0 < values["cpu_percent"] <= 110
    assert values["memory_bytes"]["model_file"] == (artifact / "model.onnx").stat().st_size
    assert values["memory_bytes"]["peak_delta"] > 0
    assert values["metric"] == json.loads((artifact / "manifest.json").read_text())["samples_metric"]
    assert values["agreement"] == 1.0
    assert values["native_kernels"] is False
    assert values["how"]["runner"] == "artifact"
    assert values["how"]["quick"] is True
    energy = values["energy_j"]
    assert energy["kind"] == "estimated"
    assert energy["source"].startswith("codecarbon ")
    assert energy["gross"] > 0
    assert [w["load"] for w in energy["windows"]] == [False, True, True]
    assert "no counter here" in values["energy_reason"]
    words = [text.split(" (about")[0] for text in told]
    windows = ["energy, idle", "energy, window 1 of 2", "energy, window 2 of 2"]
    assert words == ["preparing", "warm-up", "latency", *windows]


def test_energy_that_the_device_reads(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where RAPL is readable the runner reads it itself; a test machine may have none, so the runner is replaced."""
    seen: list[list[str]] = []

    def answer(command: list[str], **options: Any) -> Any:
        seen.append(command)
        assert options["reader"] is None
        values = record().to_dict()
        for key in ("target", "edgegnn"):
            values.pop(key)
        values["how"].pop("runner")
        return {**values, "format": "edgegnn-bench/1"}, [], ""

    monkeypatch.setattr(measure, "find_rapl", lambda: (object(), ""))
    monkeypatch.setattr(target, "arch", lambda: "x86_64")
    monkeypatch.setattr(measure, "arch", lambda: "x86_64")
    monkeypatch.setattr(measure, "follow", answer)
    made = profile(artifact, target="x86", out=None, plan=FULL)
    assert made.energy_j == record().energy_j
    assert made.energy_reason == ""
    assert seen[0][seen[0].index("--energy") + 1] == "device"
    assert seen[0][:3] == [sys.executable, str(artifact / "run.pyz"), "bench"]


def test_no_energy_keeps_the_rest(artifact: Path, no_energy: None, tmp_path: Path) -> None:
    made = profile(artifact, plan=BLINK, threads=1, out=None)
    assert made.energy_j is None
    assert made.energy_reason == "no meter"
    assert not (tmp_path / "profiles").exists()


def test_a_zip_is_profiled_too(artifact: Path, no_energy: None) -> None:
    with zipfile.ZipFile("tiny.zip", "w") as archive:
        for file in artifact.iterdir():
            archive.write(file, f"tiny/{file.name}")
    assert profile("tiny.zip", plan=BLINK, threads=1, out=None).artifact == "tiny"


def test_runner_that_came_with_a_stranger_is_not_run(artifact: Path, no_energy: None, tmp_path: Path) -> None:
    (artifact / "run.pyz").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    seal(artifact)
    made = profile(artifact, plan=BLINK, threads=1, out=None)
    assert made.how.runner == "installed"
    assert not (tmp_path / "ran").exists()


def test_artifact_that_does_not_hold_gives_no_record(artifact: Path, no_energy: None, tmp_path: Path) -> None:
    change_samples(artifact, lambda a: a.update({"0000.expected": a["0000.expected"] + 1}))
    with pytest.raises(TargetError, match=r"the runner failed: the artifact doesn't hold on this machine: sample 0"):
        profile(artifact, plan=BLINK, threads=1)
    assert not (tmp_path / "profiles").exists()


def test_bad_requests(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown target"):
        profile(artifact, target="rocket")
    with pytest.raises(UsageError, match="threads"):
        profile(artifact, threads=-2)
    with pytest.raises(ArtifactError, match="there is no artifact"):
        profile("nothing")
    monkeypatch.setattr(measure, "arch", lambda: "riscv64")
    with pytest.raises(TargetError, match="this machine is riscv64"):
        profile(artifact, target="x86")


def test_place_of_the_record(artifact: Path, no_energy: None, tmp_path: Path) -> None:
    local = {"x86_64": "x86", "aarch64": "arm64"}[arch()]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TargetError, match="can't write the record"):
        profile(artifact, out=tmp_path / "file")
    place = tmp_path / "profiles" / local / "tiny.json"
    write_record(record(artifact="old"), place)
    assert profile(artifact, plan=BLINK, threads=1) == read_record(place)
    place.write_text("my notes")
    with pytest.raises(TargetError, match="is no profile record: move it"):
        profile(artifact)
    assert place.read_text() == "my notes"


# -- the runner's process ---------------------------------------------------------------------------------------------


def script(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def emit(**event: Any) -> str:
    return f"print({json.dumps(event)!r}, flush=True)"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", r"ended by SIGKILL \(out of memory\?\)"),
        ("import os; os.kill(os.getpid(), 4)", r"ended by SIGILL \(this onnxruntime uses instructions"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "ended by SIGTERM"),
        ("raise SystemExit('noise\\nedgegnn: error: no model\\nmore noise')", "^the runner failed: no model$"),
        ("import sys; sys.exit(7)", "exit status 7$"),
        ("raise ValueError('what')", "exit status 1: ValueError: what"),
        ("print('hello')", "ended without a result"),
        (emit(event="result", result=[1]), "ended without a result"),
        ("print('[' * 100000); print('{'); print('[]')", "ended without a result"),
    ],
)
def test_runner_dies(code: str, message: str) -> None:
    with pytest.raises(TargetError, match=message) as error:
        follow(script(code), timeout=30)
    assert "\n" not in str(error.value)


def test_runner_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="can't start"):
        follow([str(tmp_path / "nothing")], timeout=5)


def test_runner_that_hangs_is_ended_with_all_it_started() -> None:
    begin = time.monotonic()
    pids: list[int] = []
    code = """
        import subprocess, sys, time, json
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(json.dumps({"event": "phase", "phase": child.pid}), flush=True)
        time.sleep(60)
    """
    with pytest.raises(TargetError, match="took longer than 1 s"):
        follow(script(code), timeout=1.0, on_event=lambda e: pids.append(e["phase"]))
    assert time.monotonic() - begin < 10
    assert ended(pids[0])


def ended(pid: int) -> bool:
    """Gone, or dead and waiting for its parent to notice."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_python_settings_of_this_process_do_not_reach_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("KEPT", "yes")
    code = """
        import json, os
        names = {"result": {k: v for k, v in os.environ.items() if k in ("PYTHONPATH", "KEPT")}}
        print(json.dumps({"event": "result", **names}))
    """
    assert follow(script(code), timeout=30)[0] == {"KEPT": "yes"}


class Meter:
    source, scope, kind = "meter", "board", "measured"

    def __init__(self, fail_at: int = 99) -> None:
        self.calls: list[str] = []
        self.fail_at = fail_at

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> Reading:
        self.calls.append("stop")
        if len(self.calls) >= self.fail_at:
            raise ReadingError("the meter fell off")
        return Reading(float(len(self.calls)))


WINDOWS = f"""
    import sys
    for i in range(3):
        {emit(event="window_ready")}
        assert sys.stdin.readline() == "go\\n"
        {emit(event="window_end")}
    {emit(event="result", result={})}
"""


def test_reader_runs_round_every_window() -> None:
    meter = Meter()
    result, readings, problem = follow(script(WINDOWS), timeout=30, reader=meter)
    assert meter.calls == ["start", "stop"] * 3
    assert [r and r.joules for r in readings] == [2.0, 4.0, 6.0]
    assert (result, problem) == ({}, "")


def test_reader_that_fails_costs_the_energy_only() -> None:
    _, readings, problem = follow(script(WINDOWS), timeout=30, reader=Meter(fail_at=4))
    assert readings == [Reading(2.0), None, None]
    assert problem == "the meter fell off"


def test_interrupt_leaves_nothing_running(artifact: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle of the windows: the runner is gone, no record is left."""
    code = f"""
        import sys
        from edgegnn.profile import profile
        try:
            profile({str(artifact)!r}, threads=1, progress=lambda text: print(text, flush=True))
        except KeyboardInterrupt:
            sys.exit(130)
    """
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    process = subprocess.Popen(script(code), stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.startswith("warm-up"):
                break
        runner = [
            int(pid.name)
            for pid in Path("/proc").iterdir()
            if pid.name.isdigit() and str(artifact / "run.pyz") in cmdline(pid)
        ]
        assert len(runner) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert ended(runner[0])
    assert not (tmp_path / "profiles").exists()


def cmdline(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


# -- measuring --------------------------------------------------------------------------------------------------------


def test_latency_pass_times_whole_rounds() -> None:
    calls: list[int] = []
    steps = [lambda i=i: (calls.append(i), time.sleep(0.002 * (i + 1))) for i in range(3)]
    latency = latency_pass(steps, runs=7, seconds=0.0)
    assert calls == [0, 1, 2] * 3
    assert len(latency.times) == 9
    assert 2 <= min(latency.times) < latency.percentile(50) < latency.percentile(99) <= max(latency.times)
    assert latency.wall_seconds >= 0.036
    assert latency.cpu_seconds < latency.wall_seconds
    assert len(latency_pass([lambda: time.sleep(0.01)], runs=1, seconds=0.05).times) >= 4


def test_peak_memory_sees_what_was_freed_again() -> None:
    before = baseline_memory()
    block = bytearray(40_000_000)
    block[::4096] = b"x" * len(block[::4096])
    del block
    assert 38_000_000 < peak_memory(before) < 80_000_000


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


# -- records ----------------------------------------------------------------------------------------------------------


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
        (lambda v: v["metric"].update(value=80), r"\$.metric.value"),
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


# -- tables -----------------------------------------------------------------------------------------------------------


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


# -- which artifact ---------------------------------------------------------------------------------------------------


def test_newest_artifact_by_the_time_in_its_manifest(artifact: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(artifact, tmp_path / "older"))
    manifest = json.loads((artifact / "manifest.json").read_text())
    seal(artifact, {**manifest, "created": "2026-03-01T00:00:00Z"})
    seal(older, {**manifest, "created": "2026-02-28T23:00:00Z"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (tmp_path / "notes.zip").write_text("no zip")
    (tmp_path / "empty").mkdir()
    assert newest_artifact() == Path("tiny")
    with zipfile.ZipFile("newer.zip", "w") as archive:
        archive.writestr("manifest.json", json.dumps({**manifest, "created": "2026-04-01T00:00:00+02:00"}))
    assert newest_artifact(tmp_path) == tmp_path / "newer.zip"


def test_no_artifact_here(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UsageError, match=r"no artifact in .*edgegnn export"):
            newest_artifact(folder)
