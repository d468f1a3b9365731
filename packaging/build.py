"""Build and check the packages of edgegnn: an sdist, and wheels with the native library inside.

    pip install ziglang scikit-build-core hatch-fancy-pypi-readme
    python packaging/build.py [--machine x86_64 --machine aarch64] [--output dist]

The library is compiled by zig against glibc 2.28, so that the wheels are manylinux_2_28, whatever this machine has.
Nothing is asked for over the network: the wheels are built from the sdist by what is installed here.

Checks: each library asks for no newer glibc than 2.28 and is for its processor; each wheel installs into an empty
folder, and on this machine's processor it finds the library there and loads it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import platform
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from edgegnn.native import build as recipe
from edgegnn.native import library_name

ROOT = Path(__file__).parents[1]
GLIBC = (2, 28)
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
HOOK = "import sys; from scikit_build_core import build; print(build.build_{what}({arguments}))"
LOADS = """
import ctypes, sys
from edgegnn.native import library
found = library()
assert found is not None and str(found).startswith(sys.argv[1]), found
assert ctypes.CDLL(str(found)).RegisterCustomOps
"""


def hook(what: str, folder: Path, arguments: str) -> str:
    """Call a hook of PEP 517 in a process of its own; the name of the file that it makes."""
    command = [sys.executable, "-c", HOOK.format(what=what, arguments=arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the {what} can't be built: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip().splitlines()[-1]


def build_sdist(output: Path) -> Path:
    """The source package."""
    return output / hook("sdist", ROOT, repr(str(output)))


def build_plain(sdist: Path, folder: Path) -> Path:
    """The wheel without a library, from the sdist alone."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    return folder / hook("wheel", source, f"{str(folder)!r}, {{'wheel.cmake': 'false'}}")


def compile_library(machine: str, folder: Path) -> Path:
    """The native library for a machine, by zig."""
    library = folder / library_name(machine)
    target = f"{machine}-linux-gnu.{'.'.join(map(str, GLIBC))}"
    try:
        recipe.build(
            ROOT / "edgegnn/native",
            library,
            machine=machine,
            compiler=(sys.executable, "-m", "ziglang", "c++", "-target", target),
        )
    except RuntimeError as error:
        sys.exit(f"the library for {machine} can't be built: {error}")
    return library


def check_library(library: Path, machine: str) -> None:
    """See that a library is for its machine, and for old systems."""
    content = library.read_bytes()
    if content[:4] != b"\x7fELF" or struct.unpack_from("<H", content, 18)[0] != ELF_MACHINES[machine]:
        sys.exit(f"{library.name} is not for {machine}")
    wanted = [tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_(\d+\.\d+)", content)]
    if wanted and max(wanted) > GLIBC:
        sys.exit(f"{library.name} asks for glibc {'.'.join(map(str, max(wanted)))}, newer than 2.28")
    if b"libstdc++" in content or b"libc++" in content:
        sys.exit(f"{library.name} asks for a C++ library")


def add_library(plain: Path, library: Path, machine: str, output: Path) -> Path:
    """The wheel for a machine: the plain one with the library, and with its tags."""
    tag = f"py3-none-manylinux_2_28_{machine}"
    name, version = plain.name.split("-")[:2]
    wheel, info = output / f"{name}-{version}-{tag}.whl", f"{name}-{version}.dist-info"
    rows = []
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as new:

        def put(path: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))  # the same bytes from the same sources
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            new.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{path},sha256={digest},{len(content)}")

        for path in sorted(old.namelist()):
            if path == f"{info}/WHEEL":
                text = re.sub(r"(?m)^Root-Is-Purelib: .*$", "Root-Is-Purelib: false", old.read(path).decode())
                put(path, re.sub(r"(?m)^Tag: .*$", f"Tag: {tag}", text).encode())
            elif path != f"{info}/RECORD" and not path.endswith("/"):
                put(path, old.read(path))
        put(f"edgegnn/native/{library.name}", library.read_bytes())
        rows.append(f"{info}/RECORD,,")
        new.writestr(f"{info}/RECORD", "\n".join(rows) + "\n")
    return wheel


def check_wheel(wheel: Path, machine: str) -> None:
    """Install a wheel into an empty folder, and load its library there if this is such a machine."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder]
        pip += ["--platform", f"manylinux_2_28_{machine}", "--only-binary", ":all:", str(wheel)]
        if subprocess.run(pip).returncode:
            sys.exit(f"{wheel.name} does not install")
        for needed in (
            f"native/{library_name(machine)}",
            "_targets",
            "plain_c/kernels/qgemm.c",
            "native/src/qgemm.cpp",
        ):
            if not (Path(folder) / "edgegnn" / needed).exists():
                sys.exit(f"{wheel.name} lacks edgegnn/{needed}")
        if machine == platform.machine():
            environment = {**os.environ, "PYTHONPATH": folder}
            done = subprocess.run([sys.executable, "-c", LOADS, folder], cwd=folder, env=environment)
            if done.returncode:
                sys.exit(f"{wheel.name}: the installed library does not load")


def main() -> None:
    """Build, check, and print what was made."""
    parser = argparse.ArgumentParser(description="Build and check the sdist and the wheels of edgegnn.")
    parser.add_argument("--machine", action="append", choices=sorted(ELF_MACHINES), help="default: both")
    parser.add_argument("--output", type=Path, default=Path("dist"), help="folder for them (default: dist)")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        sdist = build_sdist(output)
        print(sdist)
        plain = build_plain(sdist, Path(place))
        for machine in arguments.machine or sorted(ELF_MACHINES):
            library = compile_library(machine, Path(place))
            check_library(library, machine)
            wheel = add_library(plain, library, machine, output)
            check_wheel(wheel, machine)
            print(wheel)


if __name__ == "__main__":
    main()
