"""An external meter: a command or a CSV file, as a target file names it."""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from tiny_artifact import make_artifact

from edgegnn.devices import load_target, meter, targets
from edgegnn.devices.meter import CounterReader, CsvReader, meter_reader
from edgegnn.devices.target import Meter
from edgegnn.errors import TargetError
from edgegnn.profiling import measure, profile
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.energy import ReadingError, SampledReader
from edgegnn.runtime.facts import arch

BASE = f'description = "a board"\narch = "{arch()}"\ntransport = "local"\n'
BLINK = Plan(True, 1, 0.01, 5, 0.02, 2, 0.3, 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "targets").mkdir()
    return tmp_path / "targets"


def prints(tmp_path: Path, text: str, code: int = 0) -> str:
    """A command that prints the content of `value`, which starts as `text`."""
    (tmp_path / "value").write_text(text)
    script = tmp_path / "read meter"
    script.write_text(f"#!/bin/sh\ncat '{tmp_path}/value'\nexit {code}\n")
    script.chmod(0o755)
    return f"'{script}'"


def test_watts_are_sampled(tmp_path: Path) -> None:
    command = prints(tmp_path, "2500 mW\n")
    reader, reason = meter_reader(Meter(command=command, unit="mW", scope="the plug", interval=0.01))
    assert isinstance(reader, SampledReader), reason
    assert (reader.source, reader.scope, reader.kind) == ("meter (read meter)", "the plug", "measured")
    assert reader.rate == 100
    before = time.perf_counter()
    reader.start()
    time.sleep(0.05)
    reading = reader.stop()
    assert reading.joules is not None
    assert 2.5 * 0.05 * 0.999 < reading.joules < 2.5 * (time.perf_counter() - before)
    (tmp_path / "value").write_text("oops")
    reader.start()
    with pytest.raises(ReadingError, match="printed 'oops', not one number"):
        reader.stop()


@pytest.mark.parametrize(
    ("unit", "before", "after", "joules", "steps"),
    [
        ("J", "1000", "1090", 90.0, 90.0),
        ("J", "1000.00", "1090.50", 90.5, 9050.0),
        ("Wh", "3.5", "3.6", 360.0, 1.0),
        ("kWh", "1.2e1", "12.5", 1.8e6, 5.0),
        ("mJ", "7", "7", 0.0, 0.0),
    ],
)
def test_joules_are_a_difference_whose_last_digit_is_the_step(
    tmp_path: Path, unit: str, before: str, after: str, joules: float, steps: float
) -> None:
    reader, reason = meter_reader(Meter(command=prints(tmp_path, before), unit=unit, scope="s"))  # type: ignore[arg-type]
    assert isinstance(reader, CounterReader), reason
    reader.start()
    (tmp_path / "value").write_text(after)
    reading = reader.stop()
    assert reading.joules == pytest.approx(joules)
    assert reading.steps == pytest.approx(steps)
    reader.start()
    (tmp_path / "value").write_text("-5")
    with pytest.raises(ReadingError, match="the counter went back"):
        reader.stop()


def test_commands_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(command: str) -> str:
        reader, why = meter_reader(Meter(command=command, scope="s"))
        assert reader is None
        return why

    assert "can't be run: No such file or directory" in reason("/no/such/meter")
    assert "ended with 3: no meter" in reason(
        f"{sys.executable} -c 'import sys; print(\"no meter\", file=sys.stderr); sys.exit(3)'"
    )
    assert "printed '', not one number" in reason(prints(tmp_path, ""))
    assert "printed '1 2', not one number" in reason(prints(tmp_path, "1 2"))
    assert "printed 'nan', not one number" in reason(prints(tmp_path, "nan"))
    assert "the meter tells -1 W" in reason(prints(tmp_path, "-1"))
    assert "No closing quotation" in reason("meter 'x")
    real = meter.subprocess.run
    monkeypatch.setattr(meter.subprocess, "run", lambda *a, **o: real(*a, **{**o, "timeout": 0.05}))
    assert "takes longer than" in reason("sleep 5")


def csv_meter(path: Path, unit: str = "W") -> CsvReader:
    return CsvReader(path, Meter(csv=str(path), unit=unit, scope="s"))  # type: ignore[arg-type]


def test_csv_is_integrated_over_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(meter.time, "time", lambda: clock[0])
    path = tmp_path / "log.csv"
    rows = [f"{t},{1000 * (2 + (t >= 1005))},note" for t in range(995, 1021)]
    path.write_text("time,milliwatts\n# a comment\n\n" + "\n".join(rows) + "\n1021,9999")
    reader = csv_meter(path, "mW")
    assert reader.source == "meter (log.csv)"
    clock[0] = 1000.5
    reader.start()
    clock[0] = 1010.5
    reading = reader.stop()
    # 2 W until 1004, 2.5 W on the way up in the next second, 3 W from 1005 on.
    assert reading.joules == pytest.approx(2 * 3.5 + 2.5 + 3 * 5.5)
    assert reading.steps == 10
    assert reader.rate == 1.0


def test_csv_with_iso_times_and_a_logger_that_is_late(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"

    def row(seconds: float) -> str:
        return f"{datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace('+00:00', 'Z')}, 4.0\n"

    path.write_text(row(time.time() - 5) + row(time.time() - 1))
    reader = csv_meter(path)
    reader.start()
    begin = time.time()

    def late() -> None:
        with path.open("a") as file:
            file.write(row(time.time() + 60))

    timer = threading.Timer(0.3, late)
    timer.start()
    reading = reader.stop()
    timer.join()
    assert reading.joules is not None
    assert 0 < reading.joules < 4 * (time.time() - begin + 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no rows of time and power yet"),
        ("time,watts\n", "has no rows"),
        ("1,2\nsoon,3\n", "'soon,3' is not a time and a power"),
        ("1,2\n3\n", "'3' is not a time and a power"),
    ],
)
def test_csv_that_is_none(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(content)
    found, why = meter_reader(Meter(csv=str(path), scope="s"))
    assert found is None
    assert reason in why
    assert "can't read" in meter_reader(Meter(csv=str(tmp_path / "nothing.csv"), scope="s"))[1]


def test_csv_that_does_not_cover_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "_PATIENCE", 0.0)
    path = tmp_path / "log.csv"
    path.write_text(f"{time.time() - 9},2\n{time.time() - 5},3\n")
    reader = csv_meter(path)
    reader.start()
    with pytest.raises(ReadingError, match="no rows that cover the window"):
        reader.stop()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[meter]\ncommand = 'm'\n", r"bad.toml, line 4: meter: the key 'scope' is missing"),
        ("[meter]\nscope = 's'\n", r"bad.toml, line 4: meter: needs one of command and csv"),
        ("[meter]\nscope = 's'\ncsv = 'a'\ncommand = 'b'\n", r"line 4: meter: needs one of command and csv"),
        ("[meter]\nscope = 's'\ncomand = 'b'\n", r"line 6: unknown key 'comand'; known are scope, command, csv, unit"),
        ("[meter]\nscope = 's'\ncommand = 'b'\nunit = 'V'\n", r"line 7: meter.unit: invalid enum value 'V'"),
        ("[meter]\nscope = 1\ncommand = 'b'\n", r"line 5: meter.scope: expected `str`, got `int`"),
        ("[meter]\nscope = 's'\ncommand = 'b'\ninterval = 0\n", r"line 7: meter.interval: expected `float` >= 0.01"),
        (
            "[meter]\nscope = 's'\ncsv = 'b'\nunit = 'J'\n",
            r"line 7: meter.unit: a csv file holds power, W or mW, not J",
        ),
        ("meter = 3\n", r"line 4: meter: expected `object \| null`, got `int`"),
        ("energy = ['meter', 'rapl']\n", r"line 4: energy: there is no table \[meter\]"),
        ("energy = ['rapl']\n[meter]\nscope = 's'\ncsv = 'b'\n", r"line 4: energy: 'meter' is not in it"),
    ],
)
def test_bad_meter_names_file_line_and_key(folder: Path, text: str, message: str) -> None:
    (folder / "bad.toml").write_text(BASE + text)
    with pytest.raises(TargetError, match=message) as error:
        load_target("bad")
    assert "\n" not in str(error.value)


def test_profile_with_a_meter(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make_artifact(tmp_path / "tiny")
    (tmp_path / "count").write_text("0")
    code = "import time; print(round(time.time() * 3, 4))"  # a counter of a machine that takes 3 W
    (tmp_path / "meter.py").write_text(code)
    text = f"[meter]\ncommand = '{sys.executable} {tmp_path}/meter.py'\nunit = 'J'\nscope = 'wall socket'\n"
    (folder / "board.toml").write_text(BASE + text)
    found = {info.name: info for info in targets()}["board"]
    assert found.energy.startswith("meter (")
    assert found.energy.endswith("meter.py), measured")
    made = profile(artifact, target="board", plan=BLINK, threads=1)
    energy = made.energy_j
    assert energy is not None, made.energy_reason
    assert (energy.source, energy.scope, energy.kind) == (
        f"meter ({Path(sys.executable).name})",
        "wall socket",
        "measured",
    )
    assert energy.gross > 0
    assert energy.rate_hz is None
    assert all(window.steps is not None and window.steps > 50 for window in energy.windows)
    # A meter that fails is a reason, and the next reader serves.
    monkeypatch.setattr(measure, "find_reader", lambda kind: (None, f"no {kind}"))
    monkeypatch.setattr(measure, "carbon_reader", no_carbon)
    (tmp_path / "meter.py").write_text("print('broken')")
    made = profile(artifact, target="board", plan=BLINK, threads=1, out=None)
    assert made.energy_j is None
    reasons = made.energy_reason.split("; ")
    assert "printed 'broken', not one number" in reasons[0]
    assert reasons[1:] == ["no hwmon", "no pmic", "no rapl", "no board", "no codecarbon"]
    json.dumps(made.to_dict())


class no_carbon:
    def __enter__(self) -> tuple[None, str]:
        return None, "no codecarbon"

    def __exit__(self, *_: object) -> None:
        pass


def test_a_relative_csv_lies_beside_the_target_file(folder: Path) -> None:
    (folder / "board.toml").write_text(BASE + "[meter]\nscope = 's'\ncsv = 'log.csv'\n")
    found = load_target("board").meter
    assert found is not None
    assert found.csv == str(folder / "log.csv")
