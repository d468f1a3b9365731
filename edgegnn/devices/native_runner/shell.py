"""A device with a shell and nothing else: look at it, bring the runner there, install it. POSIX sh and busybox."""

from __future__ import annotations

import re
import secrets
import shlex
import subprocess
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgegnn.devices.transport.ssh import Address, connection_error, ssh_command
from edgegnn.errors import TargetError
from edgegnn.utils.files import size

__all__ = ["Box", "Folder", "look", "run_command"]

Progress = Callable[[str], None]
_MARGIN = 2**20  # bytes of a disk that are left free
_BOX = re.compile(r"edgegnn-box (\S{1,40}) (/\S{0,300})")
_STORED = re.compile(r"edgegnn-stored ([0-9]{1,15}) ?([0-9a-f]{0,8})")

# Where to work: the account's folder, else the one for temporary files.
_LOOK = """
for d in "${XDG_DATA_HOME:-${HOME:-/nowhere}/.local/share}/edgegnn" "${TMPDIR:-/tmp}/edgegnn-$(id -u)"; do
  if mkdir -p "$d/runs" 2>/dev/null && [ -w "$d/runs" ]; then break; fi; d=/; done
echo; echo "edgegnn-box $(uname -m) $d"; df -Pk "$d" 2>/dev/null | tail -n 1
"""
# What runs is gone when its folder is older than the longest measurement: nobody needs that any more.
_STORE = """
umask 077; find "$1/../../runs" -mindepth 1 -maxdepth 1 -mmin +180 -exec rm -rf {} + 2>/dev/null
mkdir -p "$1" && cat > "$1/runner" && chmod 700 "$1/runner" && echo \
&& echo "edgegnn-stored $(wc -c < "$1/runner" | tr -d ' ') $("$1/runner" crc "$1/runner")" || { rm -rf "$1"; exit 1; }
"""
# One measurement at a time. A lock whose owner is gone doesn't hold.
_RUN = """
d=$1; l=$2; shift 2; t=0
if ! mkdir "$l" 2>/dev/null; then
  if kill -0 "$(cat "$l/pid" 2>/dev/null || echo 0)" 2>/dev/null && [ -s "$l/pid" ]; then
    rm -rf "$d"; echo "edgegnn: error: another edgegnn works there: wait for it" >&2; exit 75; fi
  rm -rf "$l"; mkdir "$l" || exit 75
fi
echo $$ > "$l/pid"; trap 'rm -rf "$d" "$l"' EXIT; trap 'exit 129' HUP INT TERM PIPE
"$d/runner" "$@"
"""


@dataclass(frozen=True)
class Box:
    """What a device has said about itself.

    Attributes:
        address: where it is.
        machine: `uname -m` there.
        root: edgegnn's folder on it.
        free: bytes of its disk; None where it doesn't say.
    """

    address: Address
    machine: str
    root: str
    free: int | None

    def command(self, script: str, *arguments: str, quick: int = 10) -> list[str]:
        """The command line that runs a shell script there."""
        return run_command(self.address, script, *arguments, connect_seconds=quick)

    def folder(self) -> Folder:
        """A new folder for one run; it does not exist yet."""
        return Folder(self, f"{self.root}/runs/{secrets.token_hex(8)}")

    def ask(self, script: str, *arguments: str, given: bytes = b"", seconds: float = 120.0) -> list[str]:
        """Run a script to its end.

        Returns:
            The lines of its stdout.

        Raises:
            TargetError: the connection is lost, or the script fails; the message has its last word.
        """
        done = _run(self.command(script, *arguments), self.address, given, seconds)
        if done.returncode:
            raise TargetError(f"{self.address.target}: {_why(self.address, done)}")
        return done.stdout.decode("utf-8", "replace").splitlines()


@dataclass(frozen=True)
class Folder:
    """A folder on a device with the runner in it."""

    box: Box
    path: str

    def store(self, content: bytes, tell: Progress = lambda text: None) -> None:
        """Send the runner.

        Raises:
            TargetError: the disk is full, the folder can't be written, or the connection is lost.
        """
        name, free = self.box.address.target, self.box.free
        if free is not None and len(content) + _MARGIN > free:
            raise TargetError(
                f"{name}: its disk is full: {size(len(content) + _MARGIN)} are needed, {size(free)} are free; free some"
            )
        tell(f"sending the runner, {size(len(content))}")
        said = self.box.ask(_STORE, self.path, given=content, seconds=600.0)
        found = next((m for line in said if (m := _STORED.fullmatch(line.strip()))), None)
        if found is None or int(found[1]) != len(content) or int(found[2] or "0", 16) != zlib.crc32(content):
            raise TargetError(f"{name}: the runner was damaged on the way, or can't run there: run the command again")

    def start(self, *arguments: str) -> list[str]:
        """The command line that runs the runner there, alone on the device; its folder is gone afterwards."""
        return self.box.command(_RUN, self.path, f"{self.box.root}/lock", *arguments)


def look(address: Address, *, connect_seconds: int = 10) -> Box:
    """Connect, and see what machine that is.

    Raises:
        TargetError: it can't be reached, has no shell that answers, or no folder that can be written.
    """
    command = run_command(address, _LOOK, connect_seconds=connect_seconds)
    done = _run(command, address, b"", connect_seconds + 20.0)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    place = next((i for i, line in enumerate(lines) if _BOX.fullmatch(line.strip())), None)
    if place is None:
        if done.returncode == 255:
            raise connection_error(address, done.stderr.decode("utf-8", "replace"))
        raise TargetError(f"{address.target}: its shell doesn't answer: is {address.login} an account with a shell?")
    found = _BOX.fullmatch(lines[place].strip())
    assert found is not None
    if found[2] == "/":
        raise TargetError(
            f"{address.target}: no folder there can be written: neither the account's home nor /tmp; set XDG_DATA_HOME"
        )
    disk = lines[place + 1].split() if place + 1 < len(lines) else []
    free = int(disk[-3]) * 1024 if len(disk) >= 4 and disk[-3].isdigit() else None
    return Box(address, found[1], found[2], free)


def run_command(address: Address, script: str, *arguments: str, connect_seconds: int = 10) -> list[str]:
    """The command line of ssh that runs a POSIX shell script on a device."""
    words = ["exec", "sh", "-c", shlex.quote(script), "edgegnn", *map(shlex.quote, arguments)]
    return ssh_command(address, " ".join(words), connect_seconds=connect_seconds)


def _run(command: Sequence[str], address: Address, given: bytes, seconds: float) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(list(command), input=given, capture_output=True, timeout=seconds, check=False)
    except FileNotFoundError as error:
        raise TargetError("there is no ssh here: install OpenSSH's client (openssh-client)") from error
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"{address.target}: it has stopped answering: is it very busy?") from error


def _why(address: Address, done: subprocess.CompletedProcess[bytes]) -> str:
    text = done.stderr.decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = (lines or [f"exit status {done.returncode}"])[-1].removeprefix("edgegnn: error: ")[:300]
    if "No space left" in text or "quota" in text.lower():
        return "its disk is full: free some space there and run the command again"
    if "Exec format error" in text or "not found" in last or "Syntax error" in last:
        return f"the runner doesn't run there: {last}"
    if done.returncode == 255:
        return "the connection was lost: check the network and the power supply, and run the command again"
    return last
