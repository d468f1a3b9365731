"""Nothing that a user runs speaks to another machine, and onnxruntime keeps no events for later."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from command_line import EDGEGNN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

# connect, sendto and the like with an address of another machine; loopback is this one.
_ADDRESS = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
_LOOPBACK = re.compile(r"127\.|::1$|::$|0\.0\.0\.0$|::ffff:127\.")


def strangers(argv, folder, home):
    """Addresses of other machines that a command and its children named in a system call."""
    trace = folder / "trace.txt"
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # inherited from pytest: the command has to set it itself
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-e", "trace=network", "-o", str(trace), *argv],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    found = {one or other for one, other in _ADDRESS.findall(trace.read_text())}
    return {address for address in found if not _LOOPBACK.match(address)}


def test_no_command_speaks_to_another_machine(work, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    commands = [
        [*EDGEGNN, "train", "gcn", "data.pt", "--epochs", "2", "--output", "trained.pt"],
        [*EDGEGNN, "export", "--quant", "static-int8", "model.pt", "--output", "static"],
        [*EDGEGNN, "verify", "static"],
        [*EDGEGNN, "profile", "--quick", "static"],
        [sys.executable, "static/run.pyz", "verify"],
    ]
    for argv in commands:
        assert strangers(argv, work, home) == set(), argv[-3:]
    kept = [str(path.relative_to(home)) for path in home.rglob("*") if "Microsoft" in path.parts]
    assert kept == []
