"""The device's side of the SSH transport: this text is sent over the connection and run by the device's Python.

    host ──▶ one JSON object a line (and, after a "put", the bytes of the file) ──▶ this program
    host ◀── one JSON object a line: {"ok": ...}, {"error": "..."}, or {"out": "a line"} of a program that runs ◀──

It lives exactly as long as the connection: when the host is gone (its end of stdin closed, or nothing heard from it for
a minute), the program that it started is killed with all that belongs to it, its files are removed, and it ends.

    ~/.local/share/edgegnn/     or $XDG_DATA_HOME/edgegnn
      blobs/<sha256>            files that travelled here; what no artifact uses is kept up to 256 MiB
      artifacts/<name>/         what `edgegnn ship` installed: NNNN-<version>/, and `current`, a link to one of them
      runs/<random>/            the files of the measurement that runs now
      venv/                     numpy and onnxruntime, when `edgegnn targets setup` made it
      lock                      held by the one connection that changes or measures anything

Standard library only, Python 3.9; nothing of edgegnn is there to be imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgegnn.devices.transport.agent_facts import PROTOCOL, facts

SILENCE = 60.0  # seconds; the host says something every 10
# Seconds. While a program runs there are no wake-ups in the middle of a measurement but for these, which find a program
# that has ended while one that it started keeps its output open.
POLL = 5.0
KEPT_BYTES = 256 * 2**20
BLOCK = 2**18
NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*")
PATH = re.compile(NAME.pattern + "(/" + NAME.pattern + ")*")
VERSION = re.compile(r"[0-9]+-[0-9a-f]{12}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Gone(Exception):
    """The host is not there any more."""


class Refused(Exception):
    """What is asked can't be done; the text is for the user."""


class Host:
    """The other end of the connection."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self._sink = source, sink
        self._buffer = bytearray()

    def fill(self) -> None:
        """Read what is there now; `Gone` when nothing comes."""
        if not select.select([self.source], [], [], SILENCE)[0]:
            raise Gone
        block = os.read(self.source, BLOCK)
        if not block:
            raise Gone
        self._buffer += block

    def next_line(self) -> bytes | None:
        """A whole line that has arrived, or None."""
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def requests(self) -> Iterator[dict[str, Any]]:
        """The requests, as long as the host is there."""
        while True:
            line = self.next_line()
            if line is None:
                self.fill()
            elif line:  # an empty line only says that the host is there
                yield json.loads(line)

    def take(self, count: int) -> Iterator[bytes]:
        """The next bytes, as they come."""
        while count:
            if not self._buffer:
                self.fill()
            block = bytes(self._buffer[:count])
            del self._buffer[: len(block)]
            count -= len(block)
            yield block

    def send(self, **message: Any) -> None:
        """Tell the host."""
        line = json.dumps(message).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._sink, line) :]
        except OSError as error:
            raise Gone from error


class Agent:
    """What the host can ask for: the methods whose names begin with `do_`."""

    def __init__(self, host: Host, root: Path, python: str = sys.executable) -> None:
        self.host, self.root, self.python = host, root, python
        self.blobs, self.runs, self.artifacts = root / "blobs", root / "runs", root / "artifacts"
        self._lock: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._run = self.runs / uuid.uuid4().hex

    def serve(self) -> None:
        """Do what is asked until the host is gone."""
        for request in self.host.requests():
            name = request.pop("do")
            try:
                answer = getattr(self, "do_" + name)(**request)
            except (Refused, OSError) as error:
                self.host.send(error=_words(error))
                if name == "put":  # bytes of a file are still on their way: nothing after them makes sense
                    return
            else:
                self.host.send(ok=answer)

    def close(self) -> None:
        """Leave nothing running and nothing behind."""
        self._end_child()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._clear()
                self._sweep()
            os.close(self._lock)

    # -- what it is ---------------------------------------------------------------------------------------------------

    def do_facts(self, venv: bool = True) -> dict[str, Any]:
        """Facts that need nothing but Python."""
        return {"agent_python": self.python, **facts(self.root, venv=venv)}

    # -- files --------------------------------------------------------------------------------------------------------

    def do_lock(self) -> None:
        """Be the only one that changes and measures things here; clear up after one that died."""
        if self._lock is not None:
            return
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(lock, 100).decode("ascii", "replace").strip()
            os.close(lock)
            raise Refused(f"busy: another edgegnn works on it now (process {owner} there): try again later") from error
        self._lock = lock
        os.ftruncate(lock, 0)
        with contextlib.suppress(OSError):  # a full disk: only the number in a message is lost
            os.write(lock, str(os.getpid()).encode())
        self._clear()

    def do_missing(self, files: dict[str, int]) -> dict[str, Any]:
        """Which of these files (sha256 -> bytes) have to travel, and how many bytes are free."""
        missing = [sha for sha, size in files.items() if not _is_file(self._blob(sha), size)]
        self.blobs.mkdir(parents=True, exist_ok=True)
        return {"missing": missing, "free": shutil.disk_usage(self.blobs).free}

    def do_put(self, sha: str, size: int) -> None:
        """Receive a file; its bytes follow."""
        blob = self._blob(sha)
        temporary = blob.with_name(f".{sha}")
        digest = hashlib.sha256()
        try:
            with temporary.open("wb") as out:
                for block in self.host.take(size):
                    digest.update(block)
                    out.write(block)
            if digest.hexdigest() != sha:
                raise Refused("damaged: a file arrived with another checksum than it was sent with")
            temporary.replace(blob)
        finally:
            _remove(temporary)

    def do_stage(self, files: dict[str, str]) -> dict[str, Any]:
        """Put files (path -> sha256) into the run's folder."""
        self._run.mkdir(parents=True, exist_ok=True)
        return {"folder": str(self._run), "damaged": self._place(files, self._run)}

    def _place(self, files: dict[str, str], folder: Path) -> list[str]:
        """Link files into a folder; returns those whose content here is not what it was, after removing them."""
        damaged = []
        for name, sha in files.items():
            blob = self._blob(sha)
            if not PATH.fullmatch(name):
                raise Refused(f"not a path inside of a folder: {name!r}")
            if not blob.is_file() or _sha256(blob) != sha:
                _remove(blob)
                damaged.append(sha)
                continue
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove(target)
            os.utime(blob)  # used now: of what nobody uses, the oldest goes first
            try:
                os.link(blob, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(blob, target)
        return damaged

    def _blob(self, sha: str) -> Path:
        if not SHA256.fullmatch(sha):
            raise Refused(f"not a checksum: {sha!r}")
        return self.blobs / sha

    def _clear(self) -> None:
        """Remove what is half done: nobody else is at it, we have the lock."""
        for litter in [self.runs, *self.blobs.glob(".*"), *self.artifacts.glob("*/.*")]:
            _remove(litter)

    def _sweep(self) -> None:
        """Keep the newest files that no artifact uses, up to a limit."""
        kept = 0
        unused = [(s.st_mtime, s.st_size, p) for p in self.blobs.iterdir() for s in [p.stat()] if s.st_nlink == 1]
        for _, size, path in sorted(unused, reverse=True):
            kept += size
            if kept > KEPT_BYTES:
                _remove(path)

    # -- programs -----------------------------------------------------------------------------------------------------

    def do_start(self, argv: list[str], limit: float, env: dict[str, str]) -> dict[str, Any]:
        """Run a program to its end: its lines go to the host, the host's {"in": text} to its stdin."""
        # Nothing of the account's Python settings: the program has to do with what is installed.
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        try:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**clean, "ORT_DISABLE_TELEMETRY": "1", **env},
                start_new_session=True,
                preexec_fn=_tie,
            )
        except OSError as error:
            raise Refused(f"can't start {argv[0]}: {_words(error)}") from error
        try:
            late, errors = self._follow(self._child, time.monotonic() + limit)
        finally:
            code = self._end_child()
        return {"code": code, "late": late, "stderr": errors[-8000:].decode("utf-8", "replace")}

    def _follow(self, child: subprocess.Popen[bytes], until: float) -> tuple[bool, bytes]:
        """Pass lines on until the program has ended; returns whether it took too long, and the end of its stderr."""
        assert child.stdout
        assert child.stderr
        out, err = child.stdout.fileno(), child.stderr.fileno()
        pipes = {out: bytearray(), err: bytearray()}
        open_pipes = {out, err}
        heard = time.monotonic()
        while open_pipes:
            wait = max(0.0, min(POLL, until - time.monotonic()))
            ready = select.select([self.host.source, *open_pipes], [], [], wait)[0]
            now = time.monotonic()
            if self.host.source in ready:
                heard = now
                self.host.fill()
                if self._obey(child):
                    break
            elif now > heard + SILENCE:
                raise Gone
            for pipe in open_pipes.intersection(ready):
                block = os.read(pipe, BLOCK)
                if not block:
                    open_pipes.discard(pipe)
                pipes[pipe] += block
                if pipe == err:
                    del pipes[err][:-8000]
            *lines, rest = pipes[out].split(b"\n")
            pipes[out] = bytearray(rest[:BLOCK])
            for line in lines:
                self.host.send(out=line.decode("utf-8", "replace"))
            if now > until:
                return True, bytes(pipes[err])
            if not ready and child.poll() is not None:
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, min(5.0, until - time.monotonic())))
        return False, bytes(pipes[err])

    def _obey(self, child: subprocess.Popen[bytes]) -> bool:
        """Do what the host said while a program runs; True: end it."""
        assert child.stdin
        while True:
            line = self.host.next_line()
            if line is None:
                return False
            message = json.loads(line) if line else {}
            if "stop" in message:
                return True
            if "in" in message:
                with contextlib.suppress(OSError):  # it has just ended
                    child.stdin.write(message["in"].encode())
                    child.stdin.flush()

    def _end_child(self) -> int | None:
        child, self._child = self._child, None
        if child is None:
            return None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # also what it started and left behind
        code = child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    # -- installed artifacts ------------------------------------------------------------------------------------------

    def do_artifacts(self) -> list[str]:
        """Names of the artifacts that were shipped here."""
        folders = self.artifacts.iterdir() if self.artifacts.is_dir() else []
        return sorted(p.name for p in folders if p.is_dir() and NAME.fullmatch(p.name))

    def do_installed(self, name: str) -> dict[str, Any]:
        """Versions of an artifact, oldest first, and the current one ("" when there is none)."""
        folder = self._artifact(name)
        folders = folder.iterdir() if folder.is_dir() else []
        versions = sorted(p.name for p in folders if p.is_dir() and VERSION.fullmatch(p.name))
        link = folder / "current"
        current = str(link.readlink()) if link.is_symlink() else ""
        return {"versions": versions, "current": current if current in versions else "", "folder": str(folder)}

    def do_install(self, name: str, files: dict[str, str]) -> dict[str, Any]:
        """Make a folder with an artifact's files; nothing uses it before `activate`."""
        folder = self._artifact(name) / ".new"
        _remove(folder)
        folder.mkdir(parents=True)
        return {"folder": str(folder), "damaged": self._place(files, folder)}

    def do_activate(self, name: str, version: str, keep: int) -> dict[str, Any]:
        """Make the folder of `install` the current version."""
        folder = self._artifact(name)
        if not re.fullmatch(r"[0-9a-f]{12}", version):
            raise Refused(f"not a version: {version!r}")
        before = self.do_installed(name)["versions"]
        last = int(before[-1].split("-")[0]) if before else 0
        new = f"{last + 1:04d}-{version}"
        (folder / ".new").rename(folder / new)
        self._point(folder, new)
        # The same content has one number, the newest; and of the others the oldest go.
        others = [v for v in before if not v.endswith("-" + version)]
        for old in [v for v in before if v not in others] + others[: max(0, len(others) + 1 - keep)]:
            _remove(folder / old)
        return self.do_installed(name)

    def do_rollback(self, name: str) -> dict[str, Any]:
        """Make the version before the current one the current one."""
        now = self.do_installed(name)
        at = now["versions"].index(now["current"]) if now["current"] else 0
        if at == 0:
            raise Refused(f"there is no earlier version of {name} on the device")
        self._point(self._artifact(name), now["versions"][at - 1])
        return self.do_installed(name)

    def _artifact(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise Refused(f"not a name: {name!r}")
        return self.artifacts / name

    def _point(self, folder: Path, version: str) -> None:
        link = folder / ".current"
        _remove(link)
        link.symlink_to(version)
        link.replace(folder / "current")


def _words(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _is_file(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _tie() -> None:
    """In the new process: die with this program whatever kills it, and be the kernel's choice when memory runs out."""
    with contextlib.suppress(Exception):
        _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _libc() -> Any:
    try:
        import ctypes

        return ctypes.CDLL(None)
    except Exception:  # no ctypes: a killed agent leaves its program to its own end
        return None


def _stop(signum: int, frame: Any) -> None:
    raise Gone


def main() -> None:
    """Serve the host at stdin and stdout."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    home = os.environ.get("XDG_DATA_HOME")
    agent = Agent(Host(0, 1), (Path(home) if home else Path.home() / ".local" / "share") / "edgegnn", sys.argv[2])
    try:
        agent.host.send(ok={"agent": PROTOCOL})
        agent.serve()
    except Gone:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        agent.close()


_LIBC = _libc()
if __name__ == "__main__":
    main()
