"""The command line of the system's OpenSSH, and what its error messages mean."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from edgegnn.errors import TargetError, UsageError

__all__ = ["Address", "connection_error", "remote_command", "ssh_command"]

CONNECT_SECONDS = 10
_HOST = re.compile(r"[A-Za-z0-9_:%\[][A-Za-z0-9_.:%\[\]-]{0,254}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\$-]{0,63}")

# Run by the account's login shell, so: one line, and nothing that a csh or fish reads in its own way.
_SHELL = (
    'p=$(command -v "$1"); echo; '
    'echo "edgegnn-hello $(uname -m) $(getconf LONG_BIT 2>/dev/null || echo 0) $p"; '
    '[ -n "$p" ] || exit 127; exec "$p" -c "$2" "$3" "$p"'
)
# Also old Pythons can read this. The program has to travel only when the device doesn't keep it.
_PYTHON = (
    "import sys; v = sys.version_info; w = sys.stdout; "
    'w.write("edgegnn-python %d.%d.%d\\n" % tuple(v[:3])); w.flush(); '
    "v < (3, 9) and sys.exit(3); import hashlib, os, zlib; i = sys.stdin.buffer; h = sys.argv[1]; "
    'f = (os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")) + "/edgegnn/blobs/" + h; '
    't = open(f, "rb").read() if os.access(f, os.R_OK) else b""; k = hashlib.sha256(t).hexdigest() == h; '
    'w.write("edgegnn-%s\\n" % ("kept" if k else "send")); w.flush(); '
    "t = t if k else i.read(int(i.readline())); "
    'exec(compile(zlib.decompress(t), "edgegnn-agent", "exec"))'
)


@dataclass(frozen=True)
class Address:
    """Where a target is.

    Attributes:
        target: the target's name.
        host: a name, an IP address, or an alias of the user's SSH configuration.
        port: None: as the SSH configuration says.
        user: "": as the SSH configuration says.
        identity: a private key's file; None: as the SSH configuration says.
        known_hosts: file with the host keys; None: as the SSH configuration says.
    """

    target: str
    host: str
    port: int | None = None
    user: str = ""
    identity: Path | None = None
    known_hosts: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what `ssh` would read as something else than a host or a user."""
        if not _HOST.fullmatch(self.host):
            raise UsageError(f"{self.host[:60]!r} is no host: use a name, an IP address, or user@host")
        if self.user and not _USER.fullmatch(self.user):
            raise UsageError(f"{self.user[:60]!r} is no user name")

    @property
    def login(self) -> str:
        """What to type after `ssh` to reach it by hand."""
        port = f"-p {self.port} " if self.port is not None else ""
        key = f"-i {shlex.quote(str(self.identity))} " if self.identity is not None else ""
        return f"{port}{key}{self.user}{'@' * bool(self.user)}{self.host}"

    @property
    def known_name(self) -> str:
        """The host as a known_hosts file has it."""
        return self.host if self.port in (None, 22) else f"[{self.host}]:{self.port}"


def ssh_command(address: Address, remote: str, *, connect_seconds: int = CONNECT_SECONDS) -> list[str]:
    """The command line that runs `remote` on a device, without a terminal and without asking anybody anything.

    Raises:
        UsageError: the private key is not there.
    """
    if address.identity is not None and not address.identity.is_file():
        raise UsageError(f"there is no private key {address.identity}: name another one with --identity")
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(connect_seconds),
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "3",
        # One connection of our own: it ends when we do, and another one's end doesn't touch it.
        "ControlMaster": "no",
        "ControlPath": "none",
        # Nothing else goes through it, whatever the configuration says about this host.
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "RemoteCommand": "none",
        "PermitLocalCommand": "no",
        "RequestTTY": "no",
    }
    if address.known_hosts is not None:
        options |= {"UserKnownHostsFile": _quoted(address.known_hosts), "GlobalKnownHostsFile": "none"}
    if address.identity is not None:
        options |= {"IdentityFile": _quoted(address.identity), "IdentitiesOnly": "yes"}
    if address.port is not None:
        options["Port"] = str(address.port)
    if address.user:
        options["User"] = address.user
    pairs = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    return ["ssh", "-T", *pairs, "--", address.host, remote]


def remote_command(python: str, agent: str) -> str:
    """What the account's login shell is given: starts the agent (named by the checksum of its text) with a Python."""
    return " ".join(["exec", "sh", "-c", *map(shlex.quote, (_SHELL, "edgegnn", python, _PYTHON, agent))])


def connection_error(address: Address, stderr: str) -> TargetError:
    """Why there is no connection, by what `ssh` has said, and what to do about it."""
    name, host, login = address.target, address.host, address.login
    port = address.port or 22
    text = stderr.lower()
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("Warning:")]
    last = lines[-1][:300] if lines else "ssh gave no reason"
    if "identification has changed" in text:
        why = (
            f"the host key of {host} has changed: another machine may be answering. If you know why (a new system on "
            f"it, say), forget the old key: ssh-keygen -R {shlex.quote(address.known_name)}"
        )
    elif "host key verification failed" in text or "host key is known" in text:
        why = f"the host key of {host} is not known yet: log in once and compare its fingerprint: ssh {login}"
    elif "could not resolve" in text or "name or service not known" in text:
        why = f"the host {host} is unknown: check --host, or use its IP address"
    elif "connection refused" in text:
        why = f"{host} refuses connections to port {port}: is its SSH server on, and is this the port? (--port)"
    elif re.search(r"timed out|timeout|no route to host|network is unreachable|host is down", text):
        why = f"{host} doesn't answer: is it on, and in this network?"
    elif "unprotected private key" in text:
        why = f"others can read the private key, so ssh won't use it: chmod 600 {address.identity or '~/.ssh/id_*'}"
    elif "error in libcrypto" in text or "invalid format" in text:
        why = f"the private key {address.identity or ''} can't be read: {last}"
    elif "permission denied" in text or "too many authentication failures" in text:
        key = f"-i {shlex.quote(str(address.identity))} " if address.identity is not None else ""
        bare = login.replace(key, "")
        why = (
            f"{host} doesn't accept your key: put it there with `ssh-copy-id {key}{bare}`, or name one with --identity"
        )
    else:
        why = f"no connection to {host}: {last}"
    return TargetError(f"{name}: {why}")


def _quoted(path: Path) -> str:
    """A path in an option: ssh splits at spaces, and replaces %x."""
    text = str(path.absolute()).replace("%", "%%")
    return f'"{text}"' if " " in text else text
