"""Energy readers that live on the device, on recorded trees: hwmon, a Pi 5's PMIC, NVML, and the choice among them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import FakeNvml
from test_energy import ticking, zone
from tiny_artifact import make_artifact

from edgegnn.errors import UsageError
from edgegnn.runtime import bench, build_runner
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.energy import (
    EnergyReader,
    Reading,
    ReadingError,
    SampledReader,
    choose_reader,
    find_hwmon,
    find_nvml,
    find_pmic,
    measure_windows,
    summarize,
)
from edgegnn.runtime.energy.pmic import rails_watts
from edgegnn.runtime.energy.sampled import _mean

# `vcgencmd pmic_read_adc` of a Raspberry Pi 5 at rest.
PMIC = """\
   3V7_WL_SW_A current(0)=0.00390372A
   3V3_SYS_A current(1)=0.08489764A
   1V8_SYS_A current(2)=0.18148290A
  DDR_VDD2_A current(3)=0.01365756A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.18734520A
    0V8_SW_A current(6)=0.38837510A
  VDD_CORE_A current(7)=0.88296000A
   3V3_DAC_A current(17)=0.00006104A
   3V3_ADC_A current(18)=0.00054933A
   0V8_AON_A current(16)=0.00445567A
      HDMI_A current(22)=0.02307318A
   3V7_WL_SW_V volt(8)=3.71558300V
   3V3_SYS_V volt(9)=3.31550600V
   1V8_SYS_V volt(10)=1.80366800V
  DDR_VDD2_V volt(11)=1.10402600V
  DDR_VDDQ_V volt(12)=0.60695330V
   1V1_SYS_V volt(13)=1.10512500V
    0V8_SW_V volt(14)=0.80512200V
  VDD_CORE_V volt(15)=0.72086070V
   3V3_DAC_V volt(20)=3.30802200V
   3V3_ADC_V volt(21)=3.30618900V
   0V8_AON_V volt(19)=0.80109560V
      HDMI_V volt(23)=5.09556000V
     EXT5V_V volt(24)=5.08530600V
      BATT_V volt(25)=0.00710446V
"""
SHORT = Plan(True, 1, 0.0, 2, 0.0, windows=2, window_seconds=0.3, window_iterations=2)


def write(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def pi(root: Path, model: str = "Raspberry Pi 5 Model B Rev 1.0\0") -> Path:
    return write(root, {"proc/device-tree/model": model})


def ina(root: Path, number: int = 2, name: str = "ina226", power: object = 5_250_000) -> Path:
    base = f"sys/class/hwmon/hwmon{number}"
    write(root, {f"{base}/name": name, f"{base}/power1_input": power, f"{base}/in1_input": 5000})
    return root / base / "power1_input"


def jetson(root: Path, channels: dict[str, tuple[object, object]], number: int = 0) -> Path:
    base = f"sys/class/hwmon/hwmon{number}"
    write(root, {f"{base}/name": "ina3221", f"{base}/in4_input": 17, f"{base}/in4_label": "sum of shunt voltages"})
    for i, (label, (millivolts, milliamps)) in enumerate(channels.items(), 1):
        write(
            root,
            {
                f"{base}/in{i}_label": label,
                f"{base}/in{i}_input": millivolts,
                f"{base}/curr{i}_input": milliamps,
            },
        )
    return root / base


def use(reader: EnergyReader | None, reason: str = "", seconds: float = 0.25) -> Reading:
    """One window."""
    assert reader is not None, reason
    reader.start()
    time.sleep(seconds)
    reading = reader.stop()
    reader.close()
    return reading


def draws(found: tuple[EnergyReader | None, str], watts: float) -> None:
    """A window gives so many watts: no less than while it ran, no more than from before its start to after its end."""
    reader, reason = found
    assert reader is not None, reason
    times = [time.perf_counter()]
    reader.start()
    times.append(time.perf_counter())
    time.sleep(0.05)
    times.append(time.perf_counter())
    reading = reader.stop()
    times.append(time.perf_counter())
    assert reading.joules is not None
    assert watts * (times[2] - times[1]) * 0.999 < reading.joules < watts * (times[3] - times[0]) * 1.001


# ---------------------------------------------------------------------------------------------------------------------


def test_sampled_power_is_summed_over_the_window() -> None:
    assert _mean([(0.0, 0.0), (1.0, 10.0), (3.0, 10.0)]) == pytest.approx(25 / 3)
    assert _mean([(1.0, 7.0)]) == 7.0
    reader = SampledReader(lambda: 3.0, source="s", scope="c", interval=0.01)
    assert reader.rate == 100
    draws((reader, ""), 3.0)
    assert 0 < reader.rate < 1000


def test_sampling_ends_with_the_window_and_with_close() -> None:
    count = [0]

    def watts() -> float:
        count[0] += 1
        return float(count[0])

    reader = SampledReader(watts, source="s", scope="c", interval=0.005)
    threads = threading.active_count()
    reader.start()
    assert threading.active_count() == threads + 1
    reader.close()
    assert threading.active_count() == threads
    reader.start()
    reader.start()  # the first was left open
    assert threading.active_count() == threads + 1
    reader.stop()
    seen = count[0]
    time.sleep(0.05)
    assert count[0] == seen
    assert threading.active_count() == threads


def test_sensor_that_stands_still() -> None:
    reader = SampledReader(lambda: 5.0, source="hwmon ina219", scope="c", interval=0.01)
    assert use(reader, seconds=0.03).steps is not None
    with pytest.raises(ReadingError, match="hwmon ina219 stands still at 5 W, idle and under load"):
        use(reader, seconds=0.03)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e9])
def test_garbage_of_a_sensor(value: float) -> None:
    reader = SampledReader(lambda: value, source="hwmon ina219", scope="c", interval=0.01)
    with pytest.raises(ReadingError, match=r"hwmon ina219: .* W is no power"):
        use(reader, seconds=0.03)


def test_a_failure_now_and_then_costs_a_sample_many_cost_the_number() -> None:
    count = [0]

    def watts(every: int) -> float:
        count[0] += 1
        if count[0] % every == 1:
            raise ReadingError("the bus is busy")
        return 2.0

    rare = SampledReader(lambda: watts(1000), source="s", scope="c", interval=0.001)
    rare.start()
    while count[0] < 20:
        time.sleep(0.001)
    assert rare.stop().steps == count[0] - 1
    count[0] = 0
    often = SampledReader(lambda: watts(2), source="s", scope="c", interval=0.001)
    often.start()
    while count[0] < 20:
        time.sleep(0.001)
    with pytest.raises(ReadingError, match="s: the bus is busy"):
        often.stop()


def test_too_few_samples_are_refused() -> None:
    power = iter(range(1, 1000))
    reader = SampledReader(lambda: float(next(power)), source="a sensor", scope="c", interval=0.05)
    windows = measure_windows(lambda: time.sleep(0.01), reader, windows=1, seconds=0.2, iterations=1)
    energy, reason = summarize(windows, source=reader.source, scope=reader.scope, kind=reader.kind, rate=reader.rate)
    assert energy is None
    assert "50 are needed: use longer windows" in reason


# ---------------------------------------------------------------------------------------------------------------------


def test_ina2xx(tmp_path: Path) -> None:
    ina(tmp_path)
    write(tmp_path, {"sys/class/hwmon/hwmon0/name": "cpu_thermal", "sys/class/hwmon/hwmon0/power1_input": 1})
    reader, reason = find_hwmon(tmp_path)
    assert reader is not None, reason
    assert (reader.source, reader.scope, reader.kind) == (
        "hwmon ina226",
        "what the sensor measures (hwmon2)",
        "measured",
    )
    assert reader.rate == 10
    draws((reader, ""), 5.25)


def test_several_sensors_are_summed_and_said_to_be(tmp_path: Path) -> None:
    ina(tmp_path, 1, "ina219", 1_000_000)
    ina(tmp_path, 2, "ina260", 2_500_000)
    reader, _ = found = find_hwmon(tmp_path)
    assert reader is not None
    assert (reader.source, reader.scope) == ("hwmon ina219, ina260", "sum of 2 channels (hwmon1, hwmon2)")
    draws(found, 3.5)


def test_jetson_board_input_alone_or_the_sum_of_the_rails(tmp_path: Path) -> None:
    jetson(tmp_path / "nano", {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (5000, 400), "VDD_SOC": (5000, 300)})
    reader, _ = found = find_hwmon(tmp_path / "nano")
    assert reader is not None
    assert (reader.source, reader.scope) == ("hwmon ina3221", "board input (VDD_IN)")
    draws(found, 6.0)
    jetson(tmp_path / "agx", {"VDD_GPU_SOC": (19000, 100), "VDD_CPU_CV": (19000, 50), "VIN_SYS_5V0": (5000, 400)})
    write(tmp_path / "agx", {"sys/class/hwmon/hwmon0/in2_enable": 0})
    reader, _ = found = find_hwmon(tmp_path / "agx")
    assert reader is not None
    assert reader.scope == "sum of 2 channels (VDD_GPU_SOC, VIN_SYS_5V0)"
    draws(found, 3.9)


def test_current_that_flows_back_is_none(tmp_path: Path) -> None:
    jetson(tmp_path, {"VDD_GPU": (5000, -20), "VDD_CPU": (5000, 200)})
    draws(find_hwmon(tmp_path), 1.0)


@pytest.mark.parametrize("power", ["", "garbage", "1.5", "\0\0"])
def test_hwmon_garbage(tmp_path: Path, power: str) -> None:
    ina(tmp_path, power=power)
    reader, reason = find_hwmon(tmp_path)
    assert reader is None
    assert "power1_input gives no number" in reason


def test_hwmon_without_permission_or_sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no power sensor (INA2xx, INA3221)" in find_hwmon(tmp_path)[1]
    sensor = ina(tmp_path)
    sensor.chmod(0)
    if os.access(sensor, os.R_OK):  # root reads everything
        real = Path.read_text

        def refuse(self: Path, *args: Any, **kwargs: Any) -> str:
            if self == sensor:
                raise PermissionError(13, "Permission denied")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(Path, "read_text", refuse)
    reader, reason = find_hwmon(tmp_path)
    assert reader is None
    assert f"chmod a+r {sensor}" in reason


def test_sensor_that_goes_away_in_a_window(tmp_path: Path) -> None:
    sensor = ina(tmp_path)
    reader, reason = find_hwmon(tmp_path)
    assert reader is not None, reason
    reader.start()
    sensor.unlink()
    time.sleep(0.35)
    with pytest.raises(ReadingError, match="gives no number"):
        reader.stop()


# ---------------------------------------------------------------------------------------------------------------------


def test_pmic_rails() -> None:
    watts, rails = rails_watts(PMIC)
    assert rails == 12
    # VDD_CORE alone is 0.636 W; EXT5V and BATT have no current and don't count.
    assert watts == pytest.approx(1.9178, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "VCHI initialization failed",
        'error=1 error_msg="Command not registered"',
        PMIC.replace("VDD_CORE_A", "VDD_COER_A"),
        PMIC.replace("0.88296000A", "nanA"),
        "\n".join(PMIC.splitlines()[:12]),
    ],
)
def test_pmic_garbage(tmp_path: Path, text: str) -> None:
    reader, reason = find_pmic(pi(tmp_path), ask=lambda: text)
    assert reader is None
    assert "of 12 rails" in reason


def test_pmic_of_a_board(tmp_path: Path) -> None:
    reader, reason = find_pmic(pi(tmp_path), ask=lambda: PMIC)
    assert reader is not None, reason
    assert reader.source == "PMIC (vcgencmd pmic_read_adc, 12 rails)"
    assert "not its 5 V" in reader.scope
    assert (reader.kind, reader.rate) == ("measured", 8)
    draws((reader, ""), 1.9178)


def test_pmic_on_other_machines(tmp_path: Path) -> None:
    assert find_pmic(tmp_path, ask=lambda: PMIC) == (None, "no Raspberry Pi 5")
    reason = find_pmic(pi(tmp_path, "Raspberry Pi 4 Model B Rev 1.4\0"), ask=lambda: PMIC)[1]
    assert reason == "Raspberry Pi 4 Model B Rev 1.4 has no power sensor of its own (a Pi 5 has)"


def test_vcgencmd_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pi(tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    assert find_pmic(tmp_path)[1] == "vcgencmd is not installed: sudo apt install raspi-utils"
    tool = tools / "vcgencmd"
    tool.write_text('#!/bin/sh\necho "Can\'t open device file: /dev/vcio" >&2\nexit 255\n')
    tool.chmod(0o755)
    assert "Can't open device file: /dev/vcio): is the user in the group video?" in find_pmic(tmp_path)[1]
    text = tmp_path / "said"
    text.write_text(PMIC)
    tool.write_text(f'#!/bin/sh\n[ "$1" = pmic_read_adc ] || exit 1\nexec /bin/cat {text}\n')
    draws(find_pmic(tmp_path), 1.9178)


# ---------------------------------------------------------------------------------------------------------------------


def nvml(fake: FakeNvml) -> tuple[EnergyReader | None, str]:
    return find_nvml(load=fake.load)


def test_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake = FakeNvml()
    reader, reason = nvml(fake)
    assert reader is not None, reason
    assert (reader.source, reader.scope, reader.kind, reader.rate) == ("NVML (Fake GPU)", "GPU board", "measured", 10)
    reader.start()
    fake.millijoules += 2500
    time.sleep(0.2)
    reading = reader.stop()
    assert reading.joules == 2.5
    # Steps are the updates that fit into the window, however much the counter moved by.
    assert reading.steps is not None
    assert 2 <= reading.steps < 50
    reader.start()
    time.sleep(0.02)
    assert reader.stop() == Reading(0.0, 0.0)
    reader.start()
    fake.millijoules = 5
    with pytest.raises(ReadingError, match="went back"):
        reader.stop()
    reader.close()
    assert fake.open == 0


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (FakeNvml(missing=True), "no NVIDIA driver: libnvidia-ml.so.1 can't be loaded"),
        (FakeNvml(init=9), "NVML: Driver/library version mismatch"),
        (FakeNvml(gpus=0), "GPU 0: Invalid Argument"),
        (FakeNvml(counter=3), "the energy counter of Fake GPU: Not Supported"),
        (FakeNvml(counter=4), "the energy counter of Fake GPU: Insufficient Permissions"),
        (FakeNvml(foreign=True), "libnvidia-ml.so.1 is no NVML"),
    ],
)
def test_no_nvml(fake: FakeNvml, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert nvml(fake) == (None, reason)
    assert fake.open == 0


@pytest.mark.parametrize(
    ("visible", "handle"), [("1,0", 1), ("0", 0), ("GPU-abc", 1), ("", None), ("-1", None), ("7", None)]
)
def test_nvml_reads_the_gpu_that_cuda_uses(visible: str, handle: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake = FakeNvml(gpus=2)
    reader, reason = nvml(fake)
    assert (reader is None) == (handle is None), reason
    assert fake.asked == ([] if handle is None else [handle])


# ---------------------------------------------------------------------------------------------------------------------


def test_the_first_reader_that_is_there_is_used(tmp_path: Path) -> None:
    names = ["hwmon", "pmic", "rapl"]
    reader, reason = choose_reader(names, tmp_path)
    assert reader is None
    assert [part.split()[1] for part in reason.split("; ")] == ["power", "Raspberry", "RAPL"]
    counter = zone(tmp_path / "sys/class/powercap", "intel-rapl:0", "package-0")
    with ticking(counter):
        reader, reason = choose_reader(names, tmp_path)
    assert reader is not None
    assert reader.source == "RAPL (package-0)"
    assert reader.rate is not None
    assert 1 < reader.rate < 2000
    assert "no Raspberry Pi 5" in reason
    ina(tmp_path)
    reader, reason = choose_reader(names, tmp_path)
    assert reader is not None
    assert (reader.source, reason) == ("hwmon ina226", "")
    assert choose_reader([], tmp_path) == (None, "no energy reader was asked for")


@pytest.fixture
def drawn_power(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A sensor that moves, written by a process of its own."""
    sensor = ina(tmp_path, power=4_000_000)
    code = f"""
import itertools, os, time
for i in itertools.count():
    with open({str(sensor) + ".new"!r}, "w") as file:
        file.write(str(4_000_000 + i % 1000))
    os.replace({str(sensor) + ".new"!r}, {str(sensor)!r})
    time.sleep(0.002)
"""
    writer = subprocess.Popen([sys.executable, "-c", code])
    yield lambda: tmp_path
    writer.kill()
    writer.wait()


def test_bench_with_a_sensor(drawn_power: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegnn.runtime.energy.hwmon._INTERVAL", 0.002)
    artifact = make_artifact(drawn_power() / "tiny")
    result = bench(artifact, plan=SHORT, threads=1, system=drawn_power())
    energy = result["energy_j"]
    assert energy is not None, result["energy_reason"]
    assert (energy["source"], energy["kind"]) == ("hwmon ina226", "measured")
    assert energy["load_watts"] == pytest.approx(4.0, rel=0.01)
    assert energy["rate_hz"] > 0
    assert all(window["steps"] >= 50 for window in energy["windows"])
    json.dumps(result)
    with pytest.raises(UsageError, match="energy readers are hwmon, pmic, rapl, nvml, board, not sun, wind"):
        bench(artifact, plan=SHORT, readers=["wind", "rapl", "sun"])


def test_readers_travel_in_the_runner(tmp_path: Path) -> None:
    build_runner(tmp_path / "run.pyz")
    with zipfile.ZipFile(tmp_path / "run.pyz") as archive:
        names = archive.namelist()
    assert {f"edgegnn/runtime/energy/{n}.py" for n in ("__init__", "board", "hwmon", "pmic", "nvml", "rapl")} <= set(
        names
    )
    assert not any("__pycache__" in name for name in names)
