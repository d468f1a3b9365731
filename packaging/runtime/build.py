"""Build the wheel `edgegnn-runtime`: what runs on a device, with numpy and onnxruntime only.

    python packaging/runtime/build.py [--machine aarch64] [--output dist]

It takes `edgegnn/__init__.py`, `errors.py`, `runtime/` and the kernels for the machine (compiled here when they are
missing). Needs edgegnn with its dependencies, pip and setuptools; no network.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edgegnn.native.provide import provide

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def lay_out(folder: Path, library: Path, machine: str) -> None:
    """Copy what the wheel is made of into an empty folder."""
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copyfile((HERE if name == "pyproject.toml" else ROOT) / name, folder / name)
    source, package = ROOT / "edgegnn", folder / "edgegnn"
    shutil.copytree(source / "runtime", package / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "native").mkdir()
    for name in ("__init__.py", "errors.py", "py.typed", "native/__init__.py"):
        shutil.copyfile(source / name, package / name)
    shutil.copyfile(library, package / "native" / library.name)
    (folder / "setup.cfg").write_text(f"[bdist_wheel]\nplat_name = linux_{machine}\n")


def build(output: Path, machine: str) -> Path:
    """Build the wheel for a machine; its path."""
    provided = provide(machine)
    if provided.path is None:
        sys.exit(f"no kernels for {machine}: {provided.origin}")
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder), provided.path, machine)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, "--wheel-dir", str(output), folder], check=True)
    (wheel,) = output.glob(f"edgegnn_runtime-*-linux_{machine}.whl")
    return wheel


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the wheel edgegnn-runtime.")
    parser.add_argument("--machine", default=platform.machine(), help="processor of the device (default: this one's)")
    parser.add_argument("--output", type=Path, default=Path("dist"), help="folder for the wheel (default: dist)")
    arguments = parser.parse_args()
    print(build(arguments.output, arguments.machine))
