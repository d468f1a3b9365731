"""The emulated board: what it is made of, that it runs, and that nothing of it is left."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import tiny_artifact
from boards import board, need_board, on_board
from profile_example import record
from rich.console import Console

from edgegnn.devices.emulated import CPUS, cache_folder, emulated_board
from edgegnn.devices.emulated import root as recipe
from edgegnn.devices.emulated.board import cpuinfo
from edgegnn.devices.emulated.instructions import count_instructions
from edgegnn.errors import TargetError, UsageError
from edgegnn.profiling import profile, ratios, read_record, render
from edgegnn.profiling.record import Instructions
from edgegnn.runtime.benchmark import Plan

BLINK = Plan(True, warmup_runs=2, warmup_seconds=0.02, runs=5, seconds=0.05, windows=1, window_seconds=0.1)
slow = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_processors_describe_themselves():
    for cpu in CPUS:
        text = cpuinfo(cpu, 3)
        assert text.count("processor\t:") == 3
        assert text.count("CPU part\t: 0xd") == 3
        assert "not a board" in text
        assert ("asimddp" in text) == (cpu == "cortex-a76")


def test_an_unknown_processor_is_refused():
    with pytest.raises(UsageError, match="no processor 'abacus': choose one of cortex-a53"), emulated_board("abacus"):
        pass


def test_missing_tools_are_named_with_their_cure(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recipe.shutil, "which", lambda name: None if "qemu" in name else f"/usr/bin/{name}")
    with pytest.raises(TargetError, match="apt-get install qemu-user"), emulated_board():
        pass
    monkeypatch.setattr(recipe.platform, "machine", lambda: "aarch64")
    with pytest.raises(TargetError, match="for x86-64 Linux; this is linux, aarch64"), emulated_board():
        pass


def test_the_cache_can_be_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("EDGEGNN_EMULATED", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"


def test_sources_of_packages(tmp_path: Path):
    release = tmp_path / "os-release"
    release.write_text('NAME="Ubuntu"\nID=ubuntu\nVERSION_CODENAME=noble\n')
    sources = recipe._sources(release)
    assert sources.count("http://ports.ubuntu.com/ubuntu-ports noble") == 3  # the other server has no arm64
    assert sources.count("signed-by=") == 3
    release.write_text("ID=fedora\n")
    with pytest.raises(TargetError, match="Debian's or Ubuntu's packages; this is fedora"):
        recipe._sources(release)


def test_a_program_with_an_interpreter_is_not_static(tmp_path: Path):
    assert not recipe._is_static(Path(sys.executable).resolve())
    content = bytearray(Path(sys.executable).resolve().read_bytes()[:4096])
    content[56:58] = (0).to_bytes(2, "little")  # no program headers, none of them an interpreter
    (tmp_path / "static").write_bytes(content)
    assert recipe._is_static(tmp_path / "static")


def test_a_table_never_shows_an_emulated_time_as_a_measurement():
    counted = Instructions(median=8_600_000, graphs=1, cpu="cortex-a76", source="a plugin")
    real = record()
    emulated = record(target="emulated-pi", emulated="cortex-a76 by qemu-user: not a measurement", instructions=counted)
    console = Console(file=io.StringIO(), width=200)
    console.print(render([real, emulated]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.count("│") > 2}
    for name in ("latency p50", "latency p90", "latency p99", "fastest", "throughput", "peak memory over baseline"):
        assert rows[name].count("†") == 1, name
    assert "8.6 million" in rows["instructions of one inference"]
    assert "† emulated: not a measurement (emulated-pi: cortex-a76 by qemu-user)" in text
    found = ratios(real, emulated)
    assert {name for name, value in found.items() if value is not None} == {"metric", "model_file"}
    fewer = msgspec.structs.replace(emulated, instructions=msgspec.structs.replace(counted, median=4_300_000))
    assert ratios(emulated, fewer)["instructions"] == 0.5


class TestBoard:
    pytestmark = slow

    def test_two_at_once_with_processors_of_their_own_open_to_their_key_only(self, tmp_path: Path):
        with board("cortex-a72") as four, board("cortex-a76") as five:
            look = "uname -m; id -un; grep -c asimddp /proc/cpuinfo; ls -A"
            ask = "import ctypes; print(bool(ctypes.CDLL(None).getauxval(16) >> 20 & 1))"
            assert on_board(four, f"{look} || true").split() == ["aarch64", "pi", "0"]
            assert on_board(five, f"{look} || true").split()[:2] == ["aarch64", "pi"]
            # what the kernels ask the system for: the byte dot product
            assert on_board(four, f'python3 -c "{ask}"').strip() == "False"
            assert on_board(five, f'python3 -c "{ask}"').strip() == "True"
            assert four.port != five.port
            on_board(four, "touch mine")
            assert on_board(five, "ls -A") == ""
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
            options = [f"IdentityFile={tmp_path / 'other'}", "IdentitiesOnly=yes", "BatchMode=yes"]
            options += [f"UserKnownHostsFile={four.known_hosts}", "StrictHostKeyChecking=yes"]
            command = ["ssh", "-F", "/dev/null", "-p", str(four.port)]
            command += [part for option in options for part in ("-o", option)]
            done = subprocess.run([*command, f"pi@{four.host}", "true"], capture_output=True, text=True)
            assert done.returncode == 255
            assert "Permission denied (publickey)" in done.stderr
        for running in (four, five):
            assert not running.log.exists()
            assert not _answers(running.port)

    def test_a_profile_says_that_it_is_emulated_and_counts_instead(self, tmp_path: Path):
        need_board()
        artifact = tiny_artifact.make_artifact(tmp_path / "tiny")
        found = profile(artifact, target="emulated-pi", plan=BLINK, out=tmp_path / "profiles")
        assert found == read_record(tmp_path / "profiles" / "emulated-pi" / "tiny.json")
        assert found.emulated == "cortex-a72 by qemu-user: its times are not a measurement"
        assert (found.energy_j, found.energy_reason) == (None, "emulated: not a measurement")
        assert (found.device.arch, found.agreement) == ("aarch64", 1.0)
        assert "not a board" in found.device.model
        assert found.instructions is not None, found.instructions_reason
        assert found.instructions.graphs == 2
        assert found.instructions.median > 10_000
        # not a time: it is the same again, but for where things happen to lie in memory
        again = count_instructions(artifact, "cortex-a72", None)
        assert abs(again.median - found.instructions.median) <= 0.01 * again.median

    def test_nothing_is_left_when_its_owner_is_killed(self):
        need_board()
        program = (
            "import sys, time; from edgegnn.devices.emulated import emulated_board\n"
            "with emulated_board() as b: print(b.port, b.log.parent, flush=True); time.sleep(600)"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            port, run = owner.stdout.readline().split()
            assert _answers(int(port))
            os.kill(owner.pid, signal.SIGKILL)
        end = time.monotonic() + 30
        while (Path(run).exists() or _answers(int(port))) and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(run).exists()
        assert not _answers(int(port))


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
