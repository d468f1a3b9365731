"""A device on loopback: what it is asked, what travels, and what happens when the device or the way to it fails."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_sshd import Loopback, with_settings

from edgegnn.devices import load_target
from edgegnn.devices.connection import connect
from edgegnn.devices.transport import agent as agent_module
from edgegnn.devices.transport import device as device_module
from edgegnn.devices.transport.agent import Agent, Host, Refused
from edgegnn.devices.transport.agent_facts import facts
from edgegnn.devices.transport.content import content
from edgegnn.devices.transport.device import open_device
from edgegnn.devices.transport.stopping import Stopped
from edgegnn.errors import TargetError

pytestmark = pytest.mark.slow  # each starts an SSH server and waits for what goes wrong


@contextlib.contextmanager
def locked(board: Loopback, **options: Any) -> Iterator[Any]:
    with connect(load_target("board"), **options) as device:
        device.lock()
        yield device


def test_ask_and_run(board: Loopback) -> None:
    with connect(load_target("board")) as device:
        known = device.facts(venv=True)
        assert known.agent_python == sys.executable
        assert known.root == str(board.root)
        done = device.run([sys.executable, "-c", "import sys; print(1); print(2); sys.exit('oh')"], limit=20)
        assert (done.code, done.out, done.stderr) == (1, ["1", "2"], "oh\n")
        assert device.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 4)"], limit=20).code == -4
        with pytest.raises(TargetError, match=r"^board: can't start /no/such: No such file"):
            device.run(["/no/such"], limit=20)
        assert device.ask("artifacts", list[str]) == []
    assert board.leftovers() == []
    assert not board.root.exists()  # asking leaves nothing


def test_python_settings_of_the_account_do_not_reach_the_program(board: Loopback) -> None:
    code = "import os; print([k for k in os.environ if k.startswith('PYTHON')], os.environ.get('MORE'))"
    target = board.target(python=board.python("with_settings"))
    with connect(target) as device:
        assert device.run([sys.executable, "-c", code], limit=20, env={"MORE": "1"}).out == ["[] 1"]


def test_program_that_takes_too_long_is_ended_with_all_it_started(
    board: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_settings(monkeypatch, POLL=0.2)
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])"
    with connect(load_target("board")) as device:
        with pytest.raises(TargetError, match="took longer than 1 s"):
            device.run([sys.executable, "-c", f"{code}; time.sleep(99)"], limit=1)
        assert device.run(["true"], limit=20).code == 0
        # One that ends and leaves a child behind which keeps its output open.
        assert device.run([sys.executable, "-c", code], limit=60).code == 0
    assert board.leftovers() == []


def test_files_travel_once(board: Loopback, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(3_000_000))
    files = {"a/big": content(tmp_path / "big"), "small": content(b"small"), "empty": content(b"")}
    told: list[str] = []
    with locked(board, tell=told.append) as device:
        folder = Path(device.place(files, "things"))
        assert (folder / "a" / "big").read_bytes() == (tmp_path / "big").read_bytes()
        assert (folder / "small").read_bytes() == b"small"
        assert device.sent > 3_000_000
        assert any("of 3.0 MB" in text for text in told)
    assert not folder.exists()
    with locked(board) as device:
        device.place(files, "things")
        assert device.sent < 10_000
    assert board.leftovers() == []


def test_damage_on_the_disk_is_repaired(board: Loopback) -> None:
    file = content(b"right")
    with locked(board) as device:
        device.place({"file": file}, "it")
    (board.root / "blobs" / file.sha256).write_bytes(b"wrong")
    with locked(board) as device:
        assert Path(device.place({"file": file}, "it"), "file").read_bytes() == b"right"


def test_damage_on_the_way(board: Loopback, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"right" * 1000)
    file = content(path)
    path.write_bytes(b"wrong" * 1000)
    with locked(board) as device, pytest.raises(TargetError, match=r"damaged on the way .*run the command again"):
        device.place({"file": file}, "it")
    path.write_bytes(b"short")
    with locked(board) as device, pytest.raises(TargetError, match="changed while it was sent"):
        device.place({"file": file}, "it")
    assert board.leftovers() == []
    path.write_bytes(b"right" * 1000)
    with locked(board) as device:
        assert Path(device.place({"file": file}, "it"), "file").stat().st_size == 5000


def test_second_connection_at_the_same_time(board: Loopback) -> None:
    with locked(board):
        with pytest.raises(TargetError, match=r"^board: busy: another edgegnn works on it now \(process \d+ there\)"):
            locked(board).__enter__()
        with connect(load_target("board")) as device:
            assert device.ask("artifacts", list[str]) == []  # looking is allowed
    with locked(board) as device:
        device.lock()  # it is ours already


def test_connection_cut_in_mid_transfer(board: Loopback) -> None:
    file = content(os.urandom(20_000_000))
    cut = threading.Event()

    def tell(text: str) -> None:
        if text.startswith("sending") and not cut.is_set():
            cut.set()
            board.cut()

    begin = time.monotonic()
    with locked(board, tell=tell) as device, pytest.raises(TargetError, match="the connection was lost"):
        device.place({"file": file}, "it")
    assert time.monotonic() - begin < 40
    assert board.leftovers() == []
    with locked(board) as device:
        assert Path(device.place({"file": file}, "it"), "file").stat().st_size == 20_000_000


def test_stop_from_another_thread(board: Loopback) -> None:
    stop = threading.Event()
    with connect(load_target("board"), stop=stop) as device:
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(Stopped):
            device.run(["sleep", "99"], limit=200)
    assert board.leftovers() == []


def test_device_that_has_stopped_taking_data(board: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "_STUCK", 1.0)
    stopped: list[int] = []

    def tell(text: str) -> None:
        if text.startswith("sending") and not stopped:
            stopped.append(agent_of(board))
            os.kill(stopped[0], signal.SIGSTOP)

    def place() -> None:
        with locked(board, tell=tell) as device:
            try:
                device.place({"file": content(b"x" * 30_000_000)}, "it")
            finally:
                os.kill(stopped[0], signal.SIGCONT)

    with pytest.raises(TargetError, match="it has taken nothing for 1 s"):
        place()
    assert board.leftovers() == []


def agent_of(board: Loopback) -> int:
    return next(p for p in board.processes() if comm(p).startswith("python"))


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_killed_agent(board: Loopback) -> None:
    """The kernel may choose it, too: its program dies with it, and what it left goes with the next call."""
    with locked(board) as device:
        device.place({"file": content(b"1")}, "it")
        device.start(["sleep", "99"], limit=200)
        deadline = time.monotonic() + 20
        while "sleep" not in map(comm, board.processes()):
            assert time.monotonic() < deadline
        os.kill(agent_of(board), signal.SIGKILL)
        with pytest.raises(TargetError, match="the connection was lost"):
            device.next_message(time.monotonic() + 20)
    while board.processes():
        assert time.monotonic() < deadline + 20
    with locked(board):
        assert list(board.root.glob("runs/*")) == []


# ---------------------------------------------------------------------------------------------------------------------


def test_no_python(board: Loopback) -> None:
    with pytest.raises(TargetError, match="there is no /no/python3 on it"), connect(board.target(python="/no/python3")):
        pass
    assert board.leftovers() == []


def test_no_python3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match=r"no python3 on it: install Python 3.9"):
        open_device(None)


def test_old_python(board: Loopback) -> None:
    old = board.python("old", "import sys; sys.version_info = (3, 8, 10, 'final', 0)")
    with (
        pytest.raises(TargetError, match=r"is Python 3.8.10: 3.9 or newer is needed"),
        connect(board.target(python=old)),
    ):
        pass
    assert board.leftovers() == []


@pytest.mark.parametrize("version", ["2.7.18", "3.6.15", "3.8.18", "3.9.18"])
def test_real_old_pythons(board: Loopback, version: str) -> None:
    places = [Path(sys.base_prefix).parent / version / "bin" / f"python{version[0]}"]
    python = next((str(p) for p in places if p.exists()), None)
    if python is None:
        pytest.skip(f"no Python {version} here")
    target = board.target(python=python)
    if version == "3.9.18":
        with connect(target) as device:
            assert device.facts(venv=True).python == "3.9.18"
            device.lock()
            assert Path(device.place({"a": content(b"1")}, "it"), "a").exists()
            assert device.run(["true"], limit=20).code == 0
        return
    with pytest.raises(TargetError, match=f"is Python {version}: 3.9 or newer"), connect(target):
        pass


def test_python_that_breaks(board: Loopback) -> None:
    broken = board.python("broken", "import sys; sys.exit('no luck')")
    with pytest.raises(TargetError, match=r"its Python can't run edgegnn's program \(.*no luck\)"):
        connect(board.target(python=broken)).__enter__()


def test_login_that_talks(board: Loopback, tmp_path: Path) -> None:
    """What the account's scripts print before, even in our own words, is not taken for the device's answer."""
    noisy = board.fakes / "noisy"
    noisy.write_text(f'#!/bin/sh\necho "Welcome!"; echo "{{"; echo 1>&2 hey; exec {sys.executable} "$@"\n')
    noisy.chmod(0o755)
    with connect(board.target(python=str(noisy))) as device:
        assert device.ask("artifacts", list[str]) == []


def test_full_disk(board: Loopback) -> None:
    """A real full file system; the second Python tells nobody how full it is, so the write itself fails."""
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(board.data)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no mounting here")
    try:
        file = content(os.urandom(1_000_000))
        with locked(board) as device, pytest.raises(TargetError, match=r"its disk is full: 17.\d MB are needed"):
            device.place({"file": file}, "it")
        liar = "import shutil; from types import SimpleNamespace as S; shutil.disk_usage = lambda p: S(free=1 << 40)"
        board.target(python=board.python("liar", liar))
        with locked(board) as device, pytest.raises(TargetError, match="its disk is full: free some space"):
            device.place({"file": file}, "it")
        assert board.leftovers() == []
        with locked(board) as device:
            device.place({"file": content(b"small")}, "it")
    finally:
        subprocess.run(["umount", "-l", str(board.data)], check=True)


def test_disk_that_refuses(board: Loopback) -> None:
    """The same without root: no file may become larger than 100 kB."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limit += f"resource.setrlimit({resource.RLIMIT_FSIZE}, (100000, 100000))"
    board.target(python=board.python("limited", limit))
    with locked(board) as device, pytest.raises(TargetError, match="it can't keep the files: File too large"):
        device.place({"file": content(os.urandom(1_000_000))}, "it")
    assert board.leftovers() == []
    board.target()
    with locked(board) as device:
        device.place({"file": content(os.urandom(1_000_000))}, "it")


# ---------------------------------------------------------------------------------------------------------------------


class Talk(Host):
    """A host that has sent some bytes."""

    def __init__(self, data: bytes = b"") -> None:
        source, sink = os.pipe()
        os.write(sink, data)
        os.close(sink)
        super().__init__(source, source)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../b", "", ".hidden", "a//b", "a\nb"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, path: str) -> None:
    agent = Agent(Talk(), tmp_path)
    with pytest.raises(Refused, match="not a path"):
        agent.do_stage({path: "0" * 64})
    with pytest.raises(Refused, match="not a checksum"):
        agent.do_missing({"../../etc/passwd": 1})
    with pytest.raises(Refused, match="not a name"):
        agent.do_installed("../x")


def test_oldest_unused_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "KEPT_BYTES", 25)
    for i in range(4):
        blob = tmp_path / "blobs" / (f"{i}" * 64)
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(b"0123456789")
        os.utime(blob, (i, i))
    (tmp_path / "artifact").hardlink_to(tmp_path / "blobs" / ("0" * 64))
    agent = Agent(Talk(), tmp_path)
    agent.do_lock()
    agent.close()
    assert sorted(p.name[0] for p in (tmp_path / "blobs").iterdir()) == ["0", "2", "3"]


def test_facts_of_a_recorded_board(tmp_path: Path) -> None:
    for path, text in {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp\n",
        "proc/meminfo": "MemTotal:        8245120 kB\nMemAvailable: 1 kB\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/class/hwmon/hwmon3/name": "ina226\n",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = facts(tmp_path / "not" / "there", system=tmp_path)
    assert found["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert (found["dotprod"], found["throttled"], found["governor"]) == (True, "50005", "ondemand")
    assert (found["memory_bytes"], found["available_bytes"]) == (8245120 * 1024, 1024)
    assert (found["energy"], found["os"]) == ("hwmon ina226", "Debian GNU/Linux 12 (bookworm)")
    assert found["venv_python"] == ""
