"""Target files: found, read, checked; and what is known about this machine."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from edgegnn.devices import inventory, load_target, local_target, target, targets
from edgegnn.devices.target import target_files
from edgegnn.errors import TargetError, UsageError
from edgegnn.profiling import render_targets
from edgegnn.runtime.facts import arch, device_facts

GOOD = 'description = "a board"\narch = "aarch64"\ntransport = "local"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's ./targets; the user config folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "targets").mkdir()
    return tmp_path / "targets"


def on(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    for module in (target, inventory):
        monkeypatch.setattr(module, "arch", lambda: machine)


def test_built_in_targets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"arm64", "box", "emulated-pi", "jetson", "rpi", "x86"} <= set(target_files())
    for machine, name in (("x86_64", "x86"), ("aarch64", "arm64")):
        on(monkeypatch, machine)
        assert local_target().name == name
        assert load_target().name == name
        assert load_target("local").arch == machine
    on(monkeypatch, "riscv64")
    with pytest.raises(TargetError, match=r"no target for this machine \(riscv64\)"):
        local_target()


def test_own_targets_win(folder: Path, tmp_path: Path) -> None:
    (folder / "mine.toml").write_text(GOOD + "threads = 2\nspinning = false\n")
    mine = load_target("mine")
    assert (mine.name, mine.threads, mine.spinning) == ("mine", 2, False)
    assert mine.energy == ("meter", "hwmon", "pmic", "rapl", "board", "codecarbon")
    config = tmp_path / "config" / "edgegnn" / "targets"
    config.mkdir(parents=True)
    for name in ("mine", "x86"):
        (config / f"{name}.toml").write_text(GOOD.replace("a board", "from config"))
    assert load_target("mine").description == "a board"
    assert load_target("x86").description == "from config"
    (config / "Not A Name.toml").write_text(GOOD)
    assert {"arm64", "mine", "x86"} <= set(target_files())
    assert "Not A Name" not in target_files()


@pytest.mark.parametrize("name", ["rocket", "../x86", "", "/etc/passwd", "x86.toml", "X" * 1000])
def test_unknown_target(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown target .*choose one of local, arm64, .*x86") as error:
        load_target(name)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "thraeds = 2\n", r"bad.toml, line 4: unknown key 'thraeds'; known are description, arch, transport"),
        (GOOD + "\n# threads = 3\nthreads = 'two'\n", r"bad.toml, line 6: threads: expected `int`, got `str`"),
        (GOOD + "threads = -1\n", r"line 4: threads: expected `int` >= 0"),
        (GOOD + 'energy = ["rapl", "wind"]\n', r"line 4: energy: invalid enum value 'wind'"),
        (GOOD + 'name = "other"\n', r"line 4: unknown key 'name'"),
        (GOOD + "[ssh]\nhost = 'pi'\n", r"line 4: unknown key 'ssh'"),
        (GOOD.replace("local", "smoke"), r"line 3: transport: invalid enum value 'smoke'"),
        (GOOD + "port = 70000\n", r"line 4: port: expected `int` <= 65535"),
        ('arch = "x86_64"\ntransport = "local"\n', "the key 'description' is missing"),
        ("description = \n", r"bad.toml: no valid TOML: .*line 1"),
        ("a = 1\na = 2\n", r"no valid TOML: .*line 2"),
    ],
)
def test_bad_target_names_file_line_and_key(folder: Path, text: str, message: str) -> None:
    (folder / "bad.toml").write_text(text)
    with pytest.raises(TargetError, match=message) as error:
        load_target("bad")
    assert "\n" not in str(error.value)


def test_file_that_is_no_text(folder: Path) -> None:
    (folder / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError, match="can't read"):
        load_target("bad")


def test_what_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "zz.toml").write_text("oops")
    on(monkeypatch, "x86_64")
    monkeypatch.setattr(inventory, "find_reader", lambda kind: (None, "no counter"))
    found = {info.name: info for info in targets()}
    import onnxruntime

    assert found["x86"].reachable
    assert found["x86"].runtime == onnxruntime.__version__
    assert found["x86"].energy.startswith("codecarbon ")
    assert found["x86"].energy.endswith("estimated")
    assert found["x86"].energy_reason == "no counter"
    assert not found["arm64"].reachable
    assert found["arm64"].reason == "this machine is x86_64, and the target is reached locally only"
    assert "no valid TOML" in found["zz"].reason
    assert [t["name"] for t in json.loads(json.dumps([i.to_dict() for i in found.values()]))] == sorted(found)
    console = Console(file=io.StringIO(), width=200)
    console.print(render_targets(list(found.values())))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "arm64 is not reachable: this machine is x86_64" in text
    assert "x86, energy: no counter" in text
    monkeypatch.setattr(inventory, "carbon_version", lambda: "")
    found = {info.name: info for info in targets()}
    assert (found["x86"].energy, found["x86"].energy_reason) == ("", "no counter; codecarbon is not installed")


def test_facts_of_a_recorded_board(tmp_path: Path) -> None:
    for path, text in {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/cpuinfo": "processor : 0\nBogoMIPS : 108.00\n",
        "proc/meminfo": "MemTotal:        8245120 kB\nMemFree: 1 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    facts = device_facts(tmp_path)
    assert facts["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts["memory_bytes"] == 8245120 * 1024
    assert facts["governor"] == "ondemand"
    assert facts["os"] == "Debian GNU/Linux 12 (bookworm)"
    assert facts["arch"] == arch()
    assert device_facts(tmp_path / "nothing")["governor"] == ""
    (tmp_path / "proc/device-tree/model").unlink()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nmodel name\t: Intel(R) N100\n")
    assert device_facts(tmp_path)["model"] == "Intel(R) N100"
