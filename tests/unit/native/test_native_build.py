"""The native library for another processor: which commands build it, where it is found, what is said if not."""

from __future__ import annotations

import platform
import re
import stat
from pathlib import Path

import pytest

from edgegnn import native
from edgegnn.native import build as recipe
from edgegnn.native import library_name, provide

NATIVE = Path(__file__).parents[3] / "edgegnn" / "native"
OTHER = "aarch64" if platform.machine() == "x86_64" else "x86_64"


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No library in the package, an empty cache; programs are looked for in a folder of the test only."""
    monkeypatch.setattr(provide.native, "installed", lambda machine=None: None)
    monkeypatch.setattr(provide.importlib.util, "find_spec", lambda name: None)  # no zig
    monkeypatch.setattr(provide.platformdirs, "user_cache_path", lambda name: tmp_path / "cache")
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def _compiler(folder: Path, script: str) -> None:
    path = folder / recipe.COMPILERS[OTHER][0]
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_both_build_systems_build_the_same():
    text = (NATIVE / "CMakeLists.txt").read_text()
    lists = {
        name: set(re.findall(r"src/(\w+\.cpp)", body)) for name, body in re.findall(r"set\((\w+)\n([^)]*)\)", text)
    }
    objects = {
        machine: {
            (Path(command[command.index("-c") + 1]).name, made.stem.rsplit("-", 1)[1])
            for command, made in recipe.commands(NATIVE, machine, "g++", Path("objects"))
        }
        for machine in recipe.LEVELS
    }
    for machine, levels in recipe.LEVELS.items():
        *most, last = levels
        wanted = {(name, "all") for name in lists["SOURCES"]}
        wanted |= {(name, level) for name in lists["KERNELS"] for level in most}
        wanted |= {(name, level) for name in lists["KERNELS_DOT"] for level in (*most, last)}
        assert objects[machine] == wanted
        for level, flags in levels.items():
            line = re.search(rf"add_level\({level} (.*)\)", text)
            assert line is not None
            said = line[1].replace("${AVX512}", re.search(r"set\(AVX512 (.*)\)", text)[1].replace(" ", ";"))
            assert [flag for flag in re.split(r'[ ;"]', said) if flag.startswith("-m")] == flags
    options = " ".join(re.findall(r"target_(?:compile|link)_options\([^)]*\)", text))
    for flag in f"{recipe._FLAGS} {recipe._LINK}".split():
        known = flag.startswith(("-std=", "-fPIC", "-fvisibility", "-shared", "-DNDEBUG"))  # CMake's own words for them
        assert known or flag in options or f"{flag}>" in options, flag


def test_a_machine_without_kernels(nothing_installed: Path):
    found = provide.provide("riscv64")
    assert (found.path, found.origin) == (None, "edgegnn has no kernels for riscv64, only for x86_64, aarch64")


def test_without_a_compiler_the_cure_is_named(nothing_installed: Path):
    found = provide.provide(OTHER)
    assert found.path is None
    assert f"apt-get install g++-{OTHER.replace('_', '-')}-linux-gnu" in found.origin


def test_a_compiler_that_fails_is_quoted_and_nothing_is_kept(nothing_installed: Path, tmp_path: Path):
    _compiler(
        nothing_installed, 'case $1 in -dump*) echo 1.2.3;; *) echo "isa.h:1: error: no cookies" >&2; exit 1;; esac'
    )
    found = provide.provide(OTHER)
    assert found.path is None
    assert "isa.h:1: error: no cookies" in found.origin
    assert not list((tmp_path / "cache").rglob("*.so"))
    _compiler(nothing_installed, "case $1 in -dump*) echo 1.2.3;; esac")
    assert "to try again" in provide.provide(OTHER).origin  # the same compiler, which has failed on these sources


def test_this_machines_library_is_compiled_when_it_is_first_needed(nothing_installed: Path, monkeypatch):
    built = []

    def build(folder, output, *, machine, compiler):
        built.append((machine, compiler))
        output.write_text("made")

    monkeypatch.setattr(native, "installed", lambda machine=None: None)
    monkeypatch.setattr(provide.recipe, "build", build)
    assert native.library() is None
    assert provide.built_here() is None
    program = nothing_installed / "g++"
    program.write_text("#!/bin/sh\necho 1.2.3\n")
    program.chmod(0o755)
    found = native.library()
    assert found is not None
    assert native.library() == found == provide.built_here()
    assert built == [(platform.machine(), (str(program),))]


def test_zig_is_a_compiler_for_every_machine(nothing_installed: Path, monkeypatch):
    monkeypatch.setattr(provide.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(provide, "_version", lambda *command: "0.15")
    compiler = provide.find_compiler("aarch64")
    assert compiler.name == "zig"
    assert compiler.command[1:] == ("-m", "ziglang", "c++", "-target", "aarch64-linux-gnu.2.28")
    flags = {flag for command, _ in recipe.commands(NATIVE, "aarch64", compiler.command, Path("o")) for flag in command}
    assert "-mcpu=generic+v8_2a+dotprod" in flags  # zig knows no -march of this kind
    assert not {flag for flag in flags if flag.startswith("-march") or flag == "-fno-schedule-insns"}


def test_it_is_compiled_once(nothing_installed: Path):
    log = nothing_installed / "log"
    script = f"""
        case $1 in -dump*) echo 1.2.3; exit;; esac
        echo "$@" >> {log}
        while [ $# -gt 1 ]; do [ "$1" = -o ] && echo made > "$2"; shift; done"""
    _compiler(nothing_installed, script)
    (nothing_installed / "sh").symlink_to("/bin/sh")
    first = provide.provide(OTHER)
    assert first.path is not None
    assert first.path.name == library_name(OTHER)
    assert first.origin == f"compiled by {recipe.COMPILERS[OTHER][0]} 1.2.3"
    calls = log.read_text().count("\n")
    assert calls == len(list(recipe.commands(NATIVE, OTHER, "g++", Path("objects")))) + 1
    assert provide.provide(OTHER) == first
    assert log.read_text().count("\n") == calls
    assert {path.name for path in first.path.parent.iterdir()} == {first.path.name, "lock"}


def test_other_sources_are_another_library(tmp_path: Path):
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "isa.cpp"
    source.write_text("one")
    key = provide._key(tmp_path, "aarch64", "12")
    assert provide._key(tmp_path, "aarch64", "12") == key
    others = {provide._key(tmp_path, "aarch64", "13"), provide._key(tmp_path, "x86_64", "12")}
    source.write_text("two")
    others.add(provide._key(tmp_path, "aarch64", "12"))
    assert key not in others
    assert len(others) == 3
