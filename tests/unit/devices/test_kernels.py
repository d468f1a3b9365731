"""Kernels compiled by the device: only where this machine can't, brought home once, never taken on trust."""

from __future__ import annotations

import platform
import stat
from pathlib import Path

import pytest
import tiny_artifact

from edgegnn.devices import kernels
from edgegnn.devices.target import Target
from edgegnn.devices.transport import Device, open_device
from edgegnn.native import library_name, provide
from edgegnn.runtime import open_artifact

MACHINE = platform.machine()
TARGET = Target(description="this machine", arch="x86_64", transport="ssh", host="here", name="here")
ELF = "\\177ELF made there"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A connection to this machine, which has no library, no compiler of its own, and an empty cache."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "device"))
    monkeypatch.setattr(provide.native, "installed", lambda machine=None: None)
    monkeypatch.setattr(provide.importlib.util, "find_spec", lambda name: None)  # no zig
    monkeypatch.setattr(provide.platformdirs, "user_cache_path", lambda name: tmp_path / "cache")
    monkeypatch.setattr(provide.shutil, "which", lambda name: None)
    monkeypatch.setattr(kernels, "has_native_ops", lambda model: True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    with open_device(None) as opened:
        opened.lock()
        yield opened


def _compiler(tmp_path: Path, script: str) -> None:
    for name in ("g++", "c++", "clang++"):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _library(device: Device, tmp_path: Path) -> tuple[Path | None, list[str]]:
    said: list[str] = []
    folder = tmp_path / "artifact"
    artifact = open_artifact(folder if folder.exists() else tiny_artifact.make_artifact(folder))
    facts = device.facts(venv=True)
    return kernels.library_for(artifact, device, TARGET, facts, said.append), said


def test_it_is_compiled_there_once_and_kept_for_that_device(device: Device, tmp_path: Path):
    _compiler(
        tmp_path,
        f"""echo call >> {tmp_path}/calls
        while [ $# -gt 1 ]; do [ "$1" = -o ] && printf '{ELF}' > "$2"; shift; done""",
    )
    path, said = _library(device, tmp_path)
    assert path is not None
    assert path.name == library_name(MACHINE)
    assert path.read_bytes() == b"\x7fELF made there"
    assert "compiling the kernels there (a minute or two, once)" in said
    calls = (tmp_path / "calls").read_text()
    assert _library(device, tmp_path)[0] == path
    assert (tmp_path / "calls").read_text() == calls
    assert provide.provide(MACHINE, target="here").origin == "compiled on here"
    assert provide.provide(MACHINE, target="there").path is None


def test_a_compiler_that_fails_there_leaves_the_portable_way(device: Device, tmp_path: Path):
    _compiler(tmp_path, "echo 'error: out of cookies' >&2; exit 1")
    path, said = _library(device, tmp_path)
    assert path is None
    assert any("can't be compiled there" in text and "out of cookies" in text for text in said)
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_what_is_no_library_is_not_kept(device: Device, tmp_path: Path):
    _compiler(tmp_path, """while [ $# -gt 1 ]; do [ "$1" = -o ] && echo hello > "$2"; shift; done""")
    assert _library(device, tmp_path)[0] is None
    assert not list((tmp_path / "cache").rglob("*.so"))
