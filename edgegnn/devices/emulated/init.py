"""The emulated board's first process: mounts what a Linux has, starts its SSH server, ends with who started it.

    unshare --user --map-root-user --mount --pid --uts --fork --kill-child python init.py '{"root": ..., ...}'

It is process 1 of its own namespaces: when it ends, the kernel ends everything that was started on the board and
forgets all mounts. It ends when its standard input does, so nothing is left however its starter goes. Standard library
only.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

BINFMT = Path("/proc/sys/fs/binfmt_misc")
# A little-endian 64-bit ELF program or library for aarch64.
MAGIC = "7f454c460201010000000000000000000200b700"
MASK = "ffffffffffffff00fffffffffffffffffeffffff"


def main() -> None:
    """Run until standard input ends, or the SSH server does."""
    settings = json.loads(sys.argv[1])
    root, run = Path(settings["root"]), Path(settings["run"])
    threading.Thread(target=_wait_for_owner, args=(run,), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _do("hostname", "emulated-pi")
    _do("mount", "--make-rprivate", "/")
    _register(str(root / settings["qemu"].lstrip("/")))
    _devices(root)
    _do("mount", "-t", "proc", "proc", root / "proc")
    _do("mount", "--bind", run / "cpuinfo", root / "proc/cpuinfo")
    _do("mount", "-t", "tmpfs", "-o", "mode=755", "sys", root / "sys")  # this machine's own describes another processor
    cpus = root / "sys/devices/system/cpu"
    cpus.mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (cpus / name).write_text(f"0-{settings['cores'] - 1}\n")
    if settings["home_bytes"]:
        _do("mount", "-t", "tmpfs", "-o", f"mode=755,size={settings['home_bytes']}", "home", root / "home/pi")
    else:
        _do("mount", "--bind", settings["home"], root / "home/pi")
    server = _serve(root, settings)
    while True:  # process 1 adopts what others leave behind
        pid, status = os.wait()
        if pid == server.pid:
            shutil.rmtree(run, ignore_errors=True)
            sys.exit(f"the SSH server ended with status {status}")


def _wait_for_owner(run: Path) -> None:
    while os.read(0, 1024):
        pass
    shutil.rmtree(run, ignore_errors=True)
    os._exit(0)


def _register(qemu: str) -> None:
    """Tell the kernel who runs arm64 programs, in these namespaces only where it can do that (Linux 6.7)."""
    try:
        _do("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
    except RuntimeError as error:
        if any(_handles_arm64(entry) for entry in BINFMT.glob("*")):
            return  # this machine has been told
        raise RuntimeError(f"{error}; on a Linux before 6.7: apt-get install qemu-user-static binfmt-support") from None
    pattern = ["".join(f"\\x{text[i : i + 2]}" for i in range(0, len(text), 2)) for text in (MAGIC, MASK)]
    # P: programs see their own name as argv[0]; F: the emulator is opened now, not inside of the board's root.
    (BINFMT / "register").write_text(f":edgegnn-arm64:M::{pattern[0]}:{pattern[1]}:{qemu}:PF")


def _handles_arm64(entry: Path) -> bool:
    try:
        text = entry.read_text()
    except OSError:
        return False
    return text.startswith("enabled") and "b700" in text and "F" in text.split("flags:", 1)[-1].split("\n")[0]


def _devices(root: Path) -> None:
    dev = root / "dev"
    _do("mount", "-t", "tmpfs", "-o", "mode=755", "dev", dev)
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (dev / name).touch()
        _do("mount", "--bind", f"/dev/{name}", dev / name)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    _do("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", dev / "pts")
    _do("mount", "-t", "tmpfs", "-o", "mode=1777", "shm", dev / "shm")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        (dev / name).symlink_to(target)


def _serve(root: Path, settings: "dict[str, object]") -> "subprocess.Popen[bytes]":
    """The SSH server, as user pi, who owns all files."""
    enter = ["unshare", "--user", "--map-user=1000", "--map-group=1000", f"--root={root}", "--wd=/"]
    options = {
        "Port": settings["port"],
        "ListenAddress": "127.0.0.1",
        "HostKey": "/etc/ssh/host_key",
        "AuthorizedKeysFile": "/etc/ssh/authorized_keys",
        "SetEnv": f"QEMU_CPU={settings['cpu']}",
        "Subsystem": "sftp /usr/lib/openssh/sftp-server",
        "PidFile": "none",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "UseDNS": "no",
        "PrintMotd": "no",
        "PrintLastLog": "no",
    }
    server = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null"]
    server += [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "QEMU_CPU": str(settings["cpu"])}
    return subprocess.Popen([*enter, *server], env=environment, stdin=subprocess.DEVNULL)


def _do(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command[:5]))}: {done.stderr.strip()}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError) as error:
        sys.exit(f"edgegnn-board: {error}")
