"""A device for tests: an SSH server of our own on loopback, run by whoever runs the tests, with its own keys.

def test_something(board: Loopback): ...     # with `from loopback_sshd import board, loopback_server`
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgegnn.devices.target import Target, load_target
from edgegnn.devices.transport.content import agent, blocks, content
from edgegnn.runtime.facts import arch

__all__ = ["Loopback", "board", "loopback_server", "with_settings"]

NAME = "board"


class Loopback:
    """The server, and the device's side of it: `data` is the device's folder, `fakes` holds Pythons made for a test."""

    def __init__(self, folder: Path, sshd: str) -> None:
        self.folder, self._sshd = folder, sshd
        self.data, self.fakes = folder / "data", folder / "fakes"
        self.config, self.key, self.known_hosts = folder / "sshd_config", folder / "id", folder / "known_hosts"
        for path in (self.data, self.fakes):
            path.mkdir()
        for path in (self.key, folder / "host", folder / "other_host", folder / "other_id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        shutil.copy(folder / "id.pub", folder / "authorized_keys")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.know(folder / "host.pub")
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {"XDG_DATA_HOME": str(self.data)}
        self.start()

    def know(self, public: Path) -> None:
        """Have this host key in known_hosts."""
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public.read_text()}")

    def start(self) -> None:
        """Start the server, with the environment that sessions get."""
        self.stop()
        variables = " ".join(f'"{key}={value}"' for key, value in self.environment.items())
        self.config.write_text(
            textwrap.dedent(f"""\
            Port {self.port}
            ListenAddress 127.0.0.1
            HostKey {self.folder / "host"}
            AuthorizedKeysFile {self.folder / "authorized_keys"}
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password
            MaxStartups 100
            SetEnv {variables}
            """)
        )
        command = [self._sshd, "-D", "-f", str(self.config), "-E", str(self.folder / "log")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        log = (self.folder / "log").read_text() if (self.folder / "log").exists() else ""
        pytest.skip(f"sshd doesn't start here: {log[-300:]}")

    def stop(self) -> None:
        """End the server, and every session of it."""
        if self._process is None:
            return
        self.cut()
        self._process.kill()
        self._process.wait()
        self._process = None

    def cut(self) -> None:
        """Kill the server's processes of the connections: the network cable is out."""
        assert self._process is not None
        for pid in descendants(self._process.pid):
            if (process_name(pid) or "").startswith("sshd"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def target(self, **changes: str | int) -> Target:
        """Write the target's file into the user's folder (XDG_CONFIG_HOME), and read it."""
        values = {
            "description": "a board on loopback",
            "arch": arch(),
            "transport": "ssh",
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "identity": str(self.key),
            "known_hosts": str(self.known_hosts),
            "python": sys.executable,
            **changes,
        }
        path = Path(os.environ["XDG_CONFIG_HOME"]) / "edgegnn" / "targets" / f"{NAME}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{k} = {v!r}\n" for k, v in values.items() if v != ""))
        return load_target(NAME)

    def login(self, script: str) -> None:
        """Have the account run a shell script at every login, with what the host asked for in SSH_ORIGINAL_COMMAND."""
        place = self.fakes / "login"
        place.write_text(f"#!/bin/sh\n{textwrap.dedent(script)}\n")
        place.chmod(0o755)
        keys = self.folder / "authorized_keys"
        keys.write_text(f'command="{place}" {(self.folder / "id.pub").read_text()}')

    def python(self, name: str, sitecustomize: str = "", **modules: str) -> str:
        """A Python for the device that runs some code when it starts, and has modules of its own."""
        folder = self.fakes / name
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(textwrap.dedent(sitecustomize))
        for module, code in modules.items():
            (folder / f"{module}.py").write_text(textwrap.dedent(code))
        wrapper = folder / "python3"
        # -E would hide it, and the runner is started without PYTHON variables: through this wrapper it has it again.
        wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
        wrapper.chmod(0o755)
        return str(wrapper)

    @property
    def root(self) -> Path:
        """edgegnn's folder on the device."""
        return self.data / "edgegnn"

    def leftovers(self) -> list[str]:
        """What a call must not leave on the device: processes of ours, run folders, half files. Waits a moment."""
        deadline = time.monotonic() + 10
        while True:
            files = [p for pattern in ("runs/*", "blobs/.*", "artifacts/*/.*") for p in self.root.glob(pattern)]
            assert self._process is not None
            found = [str(p.relative_to(self.root)) for p in files]
            found += [f"{pid} {cmdline(pid)[:200]}" for pid in self.processes()]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def processes(self) -> list[int]:
        """Processes on the device: those that have the device's environment (sessions and all they started)."""
        mark = f"XDG_DATA_HOME={self.data}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return found

    def runner(self, argument: str = "bench") -> int:
        """The process of the runner; waits for it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for pid in self.processes():
                if f"run.pyz {argument}" in cmdline(pid):
                    return pid
            time.sleep(0.02)
        raise AssertionError("the runner was not started")


def with_settings(monkeypatch: pytest.MonkeyPatch, **settings: float) -> None:
    """Send the agent with other settings: `POLL=0.2`."""
    text = zlib.decompress(b"".join(blocks(agent()))).decode()
    for name, value in settings.items():
        text, count = re.subn(rf"^{name} = \S+", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    changed = content(zlib.compress(text.encode()))
    monkeypatch.setattr("edgegnn.devices.transport.device.agent", lambda: changed)


def cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def process_name(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split("(", 1)[1].rsplit(")", 1)[0]
    except OSError:
        return None


def descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(") ", 1)[1].split()[1])
    found, todo = [], [pid]
    while todo:
        at = todo.pop()
        children = [child for child, parent in parents.items() if parent == at]
        found += children
        todo += children
    return found


@pytest.fixture(scope="session")
def loopback_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")
    for name, found in (("sshd", sshd), ("ssh", shutil.which("ssh")), ("ssh-keygen", shutil.which("ssh-keygen"))):
        if not found:
            pytest.skip(f"no {name} here: apt-get install openssh-server")
    assert sshd is not None
    if os.getuid() == 0:  # its place for processes without rights, which a packaged service makes at boot
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = Loopback(tmp_path_factory.mktemp("loopback"), sshd)
    yield server
    server.stop()


@pytest.fixture
def board(loopback_server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """The server as new: nothing on the device, known, accepting our key; the user's folders are the test's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for folder in (loopback_server.data, loopback_server.fakes):
        shutil.rmtree(folder)
        folder.mkdir()
    loopback_server.know(loopback_server.folder / "host.pub")
    shutil.copy(loopback_server.folder / "id.pub", loopback_server.folder / "authorized_keys")
    loopback_server.target()
    return loopback_server
