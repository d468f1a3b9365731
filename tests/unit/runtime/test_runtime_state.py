"""How warm, how fast and how throttled a machine is, by recorded sysfs trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegnn.runtime.state import machine_state, throttled_words


def tree(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


ZONES = "sys/class/thermal/thermal_zone"
FREQUENCY = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"


def test_a_raspberry_pi(tmp_path: Path) -> None:
    files = {
        f"{ZONES}0/temp": "61355\n",
        f"{ZONES}0/type": "cpu-thermal\n",
        FREQUENCY.format(0): "1500000\n",
        FREQUENCY.format(1): "2400000\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n",
    }
    expected = {"temperature": 61.355, "frequency_mhz": 2400.0, "throttled": "50000"}
    assert machine_state(tree(tmp_path, files)) == expected


def test_the_warmest_sensor_of_the_cpu(tmp_path: Path) -> None:
    files = {
        f"{ZONES}0/temp": "90000",
        f"{ZONES}0/type": "acpitz",
        f"{ZONES}1/temp": "40000",
        f"{ZONES}1/type": "CPU-therm",
        f"{ZONES}2/temp": "45000",
        f"{ZONES}2/type": "SOC0-therm",
    }
    assert machine_state(tree(tmp_path, files))["temperature"] == 45.0


@pytest.mark.parametrize("text", ["", "garbage", "nan", "999999999", "-300000"])
def test_garbage_is_no_temperature(tmp_path: Path, text: str) -> None:
    files = {
        f"{ZONES}0/temp": text,
        FREQUENCY.format(0): "x",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "?",
    }
    assert machine_state(tree(tmp_path, files)) == {"temperature": None, "frequency_mhz": None, "throttled": ""}


def test_nothing_there(tmp_path: Path) -> None:
    assert machine_state(tmp_path) == {"temperature": None, "frequency_mhz": None, "throttled": ""}


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("0", []),
        ("", []),
        ("no", []),
        ("1", ["under-voltage now"]),
        ("50005", ["under-voltage now", "throttled now"]),
        ("50000", ["under-voltage since boot", "throttled since boot"]),
        ("80002", ["frequency capped now", "soft temperature limit since boot"]),
    ],
)
def test_words_for_the_throttling_bits(word: str, words: list[str]) -> None:
    assert throttled_words(word) == words
