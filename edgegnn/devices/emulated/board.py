"""Start and stop the emulated board: an SSH server of the arm64 userland on loopback, each program of it emulated."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgegnn.devices.emulated.root import Progress, Root, cache_folder, open_root
from edgegnn.errors import TargetError, UsageError

__all__ = ["CPUS", "Board", "cpuinfo", "emulated_board"]

START_SECONDS = 30.0
_NAMESPACES = ["--user", "--map-root-user", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
_COMMON = "fp asimd evtstrm"
# What the kernel of such a processor says of it in /proc/cpuinfo: part, revision, features, and where it is found.
CPUS = {
    "cortex-a53": ("0xd03", 4, f"{_COMMON} crc32 cpuid", "Raspberry Pi 3"),
    "cortex-a72": ("0xd08", 3, f"{_COMMON} crc32 cpuid", "Raspberry Pi 4"),
    "cortex-a76": (
        "0xd0b",
        1,
        f"{_COMMON} aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        "Raspberry Pi 5",
    ),
}


@dataclass(frozen=True)
class Board:
    """A running board.

    Attributes:
        cpu: the emulated processor.
        host: where its SSH server listens.
        port: and on which port.
        user: the account.
        identity: private key of the account.
        known_hosts: file with its host key.
        config: an OpenSSH configuration with all of this: `ssh -F <config> emulated-pi`.
        root: its files.
        log: what its SSH server says.
    """

    cpu: str
    host: str
    port: int
    user: str
    identity: Path
    known_hosts: Path
    config: Path
    root: Root
    log: Path


@contextmanager
def emulated_board(
    cpu: str = "cortex-a72", *, home_bytes: int | None = None, progress: Progress = lambda text: None
) -> Iterator[Board]:
    """Run a board as long as the `with` block lasts; nothing of it is left then, nor when this process is killed.

    Args:
        cpu: "cortex-a53", "cortex-a72" or "cortex-a76" (Raspberry Pi 3, 4, 5).
        home_bytes: give it an empty home folder of this size in memory; None: its home folder is kept in the cache.
        progress: told in a few words what is being done.

    Raises:
        UsageError: another processor.
        TargetError: a tool is missing, this machine allows no user namespaces, or the board does not start.
    """
    if cpu not in CPUS:
        raise UsageError(f"the emulated board has no processor {cpu[:40]!r}: choose one of {', '.join(CPUS)}")
    with open_root(progress) as root:
        run = Path(tempfile.mkdtemp(prefix="edgegnn-board-"))
        try:
            with _running(root, cpu, run, home_bytes) as board:
                yield board
        finally:
            shutil.rmtree(run, ignore_errors=True)


def cpuinfo(cpu: str, cores: int) -> str:
    """`/proc/cpuinfo` of an emulated processor: the emulator would show this machine's, and onnxruntime crash on it."""
    part, revision, features, _ = CPUS[cpu]
    facts = {
        "BogoMIPS": "108.00",
        "Features": features,
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": "0x0",
        "CPU part": part,
        "CPU revision": revision,
    }
    block = "".join(f"{key}\t: {value}\n" for key, value in facts.items())
    model = f"Model\t\t: emulated {cpu} (qemu-user), not a board\n"
    return "".join(f"processor\t: {i}\n{block}\n" for i in range(cores)) + model


@contextmanager
def _running(root: Root, cpu: str, run: Path, home_bytes: int | None) -> Iterator[Board]:
    cores = len(os.sched_getaffinity(0))
    (run / "cpuinfo").write_text(cpuinfo(cpu, cores), encoding="utf-8")
    log = run / "log"
    home = cache_folder() / "homes" / cpu  # boards with different processors are different devices
    home.mkdir(parents=True, exist_ok=True)
    for left in (2, 1, 0):  # the port may be taken between choosing and using it
        port = _free_port()
        settings = {
            "root": str(root.folder),
            "run": str(run),
            "qemu": root.qemu,
            "cpu": cpu,
            "cores": cores,
            "port": port,
            "home": str(home),
            "home_bytes": home_bytes,
        }
        init = [sys.executable, "-I", str(Path(__file__).with_name("init.py")), json.dumps(settings)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["unshare", *_NAMESPACES, *init],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            reason = _wait_until_up(process, log)
            if not reason:
                yield _describe(root, cpu, run, port)
                return
        finally:
            _stop(process)
        if "in use" not in reason or not left:
            raise TargetError(f"the emulated board does not start: {reason}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the SSH server; why it is not there, "" when it is."""
    end = time.monotonic() + START_SECONDS
    text = ""
    while time.monotonic() < end:
        ended = process.poll() is not None
        with contextlib.suppress(OSError):
            text = log.read_text(encoding="utf-8", errors="replace")
        if "Server listening" in text:
            return ""
        if ended:
            break
        time.sleep(0.01)
    lines = [line for line in text.splitlines() if line.strip()] or [f"no answer in {START_SECONDS:.0f} s"]
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    if "unshare" in line or "Operation not permitted" in line:
        line += " (this machine allows no user namespaces: containers often don't; as root it may)"
    return line


def _describe(root: Root, cpu: str, run: Path, port: int) -> Board:
    known_hosts, config = run / "known_hosts", run / "ssh_config"
    known_hosts.write_text(f"[127.0.0.1]:{port} {root.host_key}\n", encoding="utf-8")
    settings = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": "pi",
        "IdentityFile": f'"{root.key}"',
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": f'"{known_hosts}"',
        "StrictHostKeyChecking": "yes",
    }
    lines = ["Host emulated-pi", *(f"  {key} {value}" for key, value in settings.items())]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Board(cpu, "127.0.0.1", port, "pi", root.key, known_hosts, config, root, run / "log")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Its first process ends when its standard input does, and the kernel ends all others with it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
