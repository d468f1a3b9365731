"""An arm64 Linux userland in a folder: Debian's (or Ubuntu's) packages, unpacked, and onnxruntime's wheels.

Nothing is installed on this machine, and nothing runs emulated while the folder is made: apt, with a state of its own,
resolves, checks and fetches; dpkg-deb unpacks; this machine's pip picks the wheels for arm64. No root is needed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from edgegnn.errors import TargetError, first_line
from edgegnn.utils.locks import hold

__all__ = ["Root", "cache_folder", "check_tools", "open_root", "runtime_version"]

# The packages of a small server, an SSH server, and what a Python needs that makes virtual environments.
PACKAGES = (
    *("base-files", "bash", "coreutils", "dash", "diffutils", "findutils", "grep", "gzip", "hostname", "libc-bin"),
    *("libstdc++6", "mawk", "openssh-server", "openssh-sftp-server", "procps", "sed", "tar", "util-linux"),
    *("python3", "python3-venv"),
)
UNUSED = ("doc", "man", "locale", "info", "bug", "lintian")
WHEEL_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
_HOOKS = ("APT::Update::Post-Invoke-Success", "APT::Update::Post-Invoke", "DPkg::Post-Invoke")
_TOOLS = {
    "apt-get": "a Debian or Ubuntu machine",
    "dpkg-deb": "a Debian or Ubuntu machine",
    "ssh-keygen": "apt-get install openssh-client",
    "unshare": "apt-get install util-linux",
}
_QEMU = "apt-get install qemu-user"
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
    "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    "pi:x:1000:1000:pi:/home/pi:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\npi:x:1000:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/hosts": "127.0.0.1 localhost emulated-pi\n",
    "etc/hostname": "emulated-pi\n",
}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Root:
    """The userland.

    Attributes:
        folder: its `/`.
        qemu: path of the emulator inside of it.
        key: private key that opens user pi's account.
        host_key: public key of its SSH server: type and base64.
        python: its Python, a path inside of it.
    """

    folder: Path
    qemu: str
    key: Path
    host_key: str
    python: str


def cache_folder() -> Path:
    """Where roots are kept: `$EDGEGNN_EMULATED`, else the user's cache folder."""
    given = os.environ.get("EDGEGNN_EMULATED")
    return Path(given).absolute() if given else platformdirs.user_cache_path("edgegnn") / "emulated"


@contextmanager
def open_root(progress: Progress = lambda text: None) -> Iterator[Root]:
    """Give the root, made first where there is none yet (a quarter of a minute, 60 MB fetched, 330 MB of disk).

    While it is used, no other process removes or remakes it.

    Args:
        progress: told in a few words what is being done.

    Raises:
        TargetError: a tool is missing, the network does not answer, or the disk is full.
    """
    qemu = check_tools()
    cache = cache_folder()
    recipe = _recipe(qemu)
    folder = cache / f"root-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with hold(cache / f"{folder.name}.lock", shared=True) as lock:
            if not (folder / "complete").exists():
                lock.become(shared=False)
                if not (folder / "complete").exists():  # another process may have made it meanwhile
                    _make(folder, qemu, progress)
                    _remove_others(cache, folder)
                lock.become(shared=True)
            yield _describe(folder, qemu)
    except OSError as error:
        raise TargetError(f"can't make the emulated board in {cache}: {first_line(error)}") from error


def check_tools() -> Path:
    """Everything is there that the board needs; the emulator.

    Raises:
        TargetError: something is not.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise TargetError(f"the emulated board is for x86-64 Linux; this is {sys.platform}, {platform.machine()}")
    missing = {cure for tool, cure in _TOOLS.items() if shutil.which(tool) is None}
    found = [path for name in ("qemu-aarch64-static", "qemu-aarch64") if (path := shutil.which(name))]
    if not found:
        missing.add(_QEMU)
    if missing:
        raise TargetError(f"the emulated board needs tools that are not here: {'; '.join(sorted(missing))}")
    # A dynamic one brings plugins along, and its libraries are copied; a static one is a single file.
    return Path(next((p for p in found if _is_static(Path(p))), found[0])).resolve()


def _is_static(program: Path) -> bool:
    """No ELF program header of type PT_INTERP."""
    head = program.read_bytes()[:4096]
    offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
    return all(struct.unpack_from("<I", head, offset + i * size)[0] != 3 for i in range(count))


def _recipe(qemu: Path) -> str:
    """Everything that the root is made of: another recipe, another root."""
    state = qemu.stat()
    own = Path(__file__).read_text(encoding="utf-8")
    return "\n".join([own, _sources(), *_wheels(), f"{qemu} {state.st_size} {state.st_mtime_ns}"])


def runtime_version() -> str:
    """The onnxruntime that a board gets, "" when that is not known before it is made."""
    return _wheels()[1].partition("==")[2]


def _wheels() -> list[str]:
    """The versions of this machine."""
    wheels = []
    for name, sources in {"numpy": ["numpy"], "onnxruntime": ["onnxruntime", "onnxruntime-gpu"]}.items():
        installed = [d.version for source in sources for d in importlib.metadata.distributions(name=source)]
        wheels.append(f"{name}=={installed[0]}" if installed else name)
    return wheels


def _sources(os_release: Path = Path("/etc/os-release")) -> str:
    """Where apt finds arm64 packages: this machine's own sources; Ubuntu keeps arm64 on another server."""
    facts = dict(line.split("=", 1) for line in os_release.read_text(encoding="utf-8").splitlines() if "=" in line)
    name, release = (facts.get(key, "").strip('"') for key in ("ID", "VERSION_CODENAME"))
    if name == "ubuntu":
        signed = "[signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg]"
        suites = (release, f"{release}-updates", f"{release}-security")
        return "".join(f"deb {signed} http://ports.ubuntu.com/ubuntu-ports {s} main universe\n" for s in suites)
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if name == "debian" and path.exists():
            return path.read_text(encoding="utf-8")
    raise TargetError(f"the emulated board is made of Debian's or Ubuntu's packages; this is {name or 'another'} Linux")


def _make(folder: Path, qemu: Path, progress: Progress) -> None:
    made = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    system = made / "system"
    for name in ("bin", "sbin", "lib"):
        (system / "usr" / name).mkdir(parents=True)
        (system / name).symlink_to(f"usr/{name}")
    try:
        progress("emulated board: fetching arm64 packages (once)")
        packages = _fetch(made / "apt")
        progress("emulated board: unpacking")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda package: _unpack(package, system), packages))
        shutil.rmtree(made / "apt")
        progress("emulated board: fetching onnxruntime for arm64 (once)")
        _install_wheels(system)
        _put_qemu(qemu, system)
        _configure(made, system)
        (made / "complete").touch()
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _fetch(state: Path) -> list[Path]:
    for name in ("state/lists/partial", "cache/archives/partial", "empty"):
        (state / name).mkdir(parents=True)
    (state / "state/status").touch()
    text = _sources()
    sources = state / ("list.sources" if text.lstrip().startswith(("Types:", "#")) and "URIs:" in text else "list")
    sources.write_text(text, encoding="utf-8")
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Debug::NoLocking": "1",
        "Dir::State": state / "state",
        "Dir::State::status": state / "state/status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": state / "empty",
        "Dir::Etc::parts": state / "empty",
        "Dir::Etc::preferencesparts": state / "empty",
    }
    lines = [f'{key} "{value}";' for key, value in settings.items()] + [f"#clear {hook};" for hook in _HOOKS]
    (state / "conf").write_text("\n".join([_proxies(), *lines]) + "\n", encoding="utf-8")
    environment = {**os.environ, "APT_CONFIG": str(state / "conf"), "LC_ALL": "C"}
    _do(["apt-get", "-qq", "update"], environment)
    _do(["apt-get", "-qq", "-y", "--download-only", "install", *PACKAGES], environment)
    return sorted((state / "cache/archives").glob("*.deb"))


def _proxies() -> str:
    """This machine's way to the network, as its apt knows it."""
    command = ["apt-config", "dump", "--no-empty", "--format", '%F "%v";%n', "Acquire::http", "Acquire::https"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _unpack(package: Path, system: Path) -> None:
    left_out = [f"--exclude=./usr/share/{name}/*" for name in UNUSED]
    unpack = ["tar", "-x", "-C", str(system), "--no-same-owner", "--keep-directory-symlink", "--exclude=./dev/*"]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as source:
        done = subprocess.run([*unpack, *left_out], stdin=source.stdout, capture_output=True, text=True, check=False)
    if done.returncode or source.returncode:
        raise TargetError(f"can't unpack {package.name}: {done.stderr.strip()[-200:]}; is the disk full?")


def _install_wheels(system: Path) -> None:
    """The versions of this machine; where its Python is too new or too old for them, the newest that fit."""
    version = _python(system).removeprefix("/usr/bin/python")
    place = system / "usr/local/lib" / f"python{version}" / "dist-packages"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check"]
    command += ["--target", str(place), f"--python-version={version}", "--implementation=cp", "--only-binary=:all:"]
    command += [f"--platform={name}_aarch64" for name in WHEEL_PLATFORMS]
    try:
        _do([*command, *_wheels()])
    except TargetError:
        shutil.rmtree(place, ignore_errors=True)
        _do([*command, "numpy>=1.26", "onnxruntime>=1.20"])
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":  # a dozen times faster here than emulated
        compiled = [str(place), str(system / "usr/lib" / f"python{version}")]
        skipped = "/(tests?|idlelib|lib2to3|f2py|transformers|quantization|tools)/"
        options = ["-q", "-j2", "-s", str(system), "-x", skipped]
        subprocess.run([sys.executable, "-m", "compileall", *options, *compiled], capture_output=True, check=False)


def _python(system: Path) -> str:
    found = [path.name for path in (system / "usr/bin").glob("python3.*") if path.name[8:].isdigit()]
    return f"/usr/bin/{max(found, key=lambda name: int(name[8:]))}"


def _put_qemu(qemu: Path, system: Path) -> None:
    """The kernel starts the emulator inside the root, where its libraries have to lie in their usual places."""
    (system / "opt").mkdir(exist_ok=True)
    shutil.copy2(qemu, system / "opt" / "qemu-aarch64")
    if _is_static(qemu):
        return
    for line in _do(["ldd", str(qemu)]).splitlines():
        for word in line.split():
            if word.startswith("/"):
                (system / word[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(word, system / word[1:])


def _configure(made: Path, system: Path) -> None:
    """What maintainer scripts would do: users, host names; keys of its own."""
    for name, content in _FILES.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(content, encoding="utf-8")
    for name in ("run/sshd", "proc", "sys", "dev", "tmp", "root", "home/pi", "etc/ssh"):
        (system / name).mkdir(parents=True, exist_ok=True)
    (system / "tmp").chmod(0o1777)
    (system / "usr/bin/awk").symlink_to("mawk")
    for name in ("client", "host"):
        _do(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "emulated-pi", "-f", str(made / name)])
    shutil.copyfile(made / "client.pub", system / "etc/ssh/authorized_keys")
    shutil.copyfile(made / "host", system / "etc/ssh/host_key")
    (system / "etc/ssh/host_key").chmod(0o600)


def _describe(folder: Path, qemu: Path) -> Root:
    host_key = " ".join((folder / "host.pub").read_text(encoding="utf-8").split()[:2])
    system = folder / "system"
    return Root(system, "/opt/qemu-aarch64", folder / "client", host_key, _python(system))


def _remove_others(cache: Path, folder: Path) -> None:
    """Roots of older recipes, unless a process uses them."""
    for other in cache.glob("root-*"):
        if other == folder or not other.is_dir() or other.suffix:
            continue
        with suppress(TimeoutError), hold(cache / f"{other.name}.lock", seconds=0):
            shutil.rmtree(other, ignore_errors=True)


def _do(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        raise TargetError(f"the emulated board can't be made: {' '.join(command[:3])} ...: {lines[-1].strip()[:300]}")
    return done.stdout
