"""The native library against the installed onnxruntime: our declarations of its C interface, loading, building."""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from native_ops import csr, native, needs_library, random_edges, reference, session

import edgegnn.native
from edgegnn.native import installed, library, library_name
from edgegnn.native.reference import OPS

SOURCE = Path(__file__).parents[3] / "edgegnn" / "native"


def test_library_is_built_where_it_can_be():
    """With a compiler for a processor we have kernels for, a missing library is a failed build, not a choice."""
    if platform.machine() not in ("x86_64", "aarch64") or platform.system() != "Linux":
        pytest.skip(f"no kernels for {platform.system()} on {platform.machine()}")
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no C++ compiler here, so no native library")
    assert installed() is not None, "pip install found a compiler but built no library: run cmake by hand to see why"
    assert installed().name == library_name()


@needs_library
def test_the_library_refuses_an_unknown_instruction_set(monkeypatch):
    program = "import onnxruntime, sys; onnxruntime.SessionOptions().register_custom_ops_library(sys.argv[1])"
    for name, refused in (("axv2", True), ("base" if platform.machine() == "x86_64" else "neon", False)):
        monkeypatch.setenv("EDGEGNN_ISA", name)
        command = [sys.executable, "-c", program, str(library())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ("EDGEGNN_ISA names no instruction set: use " in done.stderr) is refused, done.stderr


def _api() -> ctypes.Array[ctypes.c_void_p]:
    """The installed onnxruntime's own table of functions, as it gave it to our library."""
    loaded = ctypes.CDLL(str(library()))  # first: the runtime may unload what it alone has loaded
    onnxruntime.SessionOptions().register_custom_ops_library(str(library()))
    loaded.edgegnn_ort_api.restype = ctypes.c_void_p
    table = loaded.edgegnn_ort_api()
    assert table, f"onnxruntime {onnxruntime.__version__} gave no table for API 17"
    return (ctypes.c_void_p * 275).from_address(table)


def _call(table: ctypes.Array[ctypes.c_void_p], slot: int, result: type | None, *arguments: object) -> object:
    function = ctypes.CFUNCTYPE(result, *(type(a) for a in arguments))(table[slot])
    return function(*arguments)


@needs_library
def test_header_agrees_with_onnxruntime():
    """Slots that can be called without a session do what our header says; all that it names are filled."""
    text = (SOURCE / "src" / "ort_abi.h").read_text()
    slots = {name: int(slot) for name, slot in re.findall(r"EDGEGNN_ORT_SLOT\((\w+), (\d+),", text)}
    assert len(slots) >= 20
    table = _api()
    assert all(table[slot] for slot in slots.values())

    status = _call(
        table, slots["create_status"], ctypes.c_void_p, ctypes.c_int(2), ctypes.c_char_p(b"as our header says")
    )
    assert status
    assert _call(table, slots["error_code"], ctypes.c_int, ctypes.c_void_p(status)) == 2
    assert _call(table, slots["error_message"], ctypes.c_char_p, ctypes.c_void_p(status)) == b"as our header says"
    _call(table, slots["release_status"], None, ctypes.c_void_p(status))

    domain = ctypes.c_void_p()
    error = _call(
        table,
        slots["create_domain"],
        ctypes.c_void_p,
        ctypes.c_char_p(b"test"),
        ctypes.c_void_p(ctypes.addressof(domain)),
    )
    assert not error
    assert domain
    _call(table, slots["release_domain"], None, domain)


@needs_library
def test_every_operator_is_in_the_library():
    loaded = ctypes.CDLL(str(library()))
    buffer = ctypes.create_string_buffer(4096)
    loaded.edgegnn_op_names.restype = ctypes.c_size_t
    loaded.edgegnn_op_names(buffer, ctypes.c_size_t(len(buffer)))
    assert set(buffer.value.decode().split()) == set(OPS)


@needs_library
def test_library_needs_no_cxx_runtime():
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")
    text = subprocess.run(["readelf", "-d", str(library())], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"NEEDED.*\[(.*)\]", text)) <= {"libc.so.6", "libm.so.6"}


@needs_library
def test_several_sessions_share_the_library():
    rng = np.random.default_rng(0)
    edges = random_edges(rng, 20, 60)
    arrays = csr(edges, 20)
    x = rng.normal(size=(20, 5)).astype(np.float32)
    first = native("SpMM", x, *arrays[:3], arrays[4])
    session.cache_clear()  # the old session goes, its operators have to stay
    again = native("SpMM", x, *arrays[:3], arrays[4])
    np.testing.assert_array_equal(first[0], again[0])


@needs_library
def test_one_session_runs_in_several_threads():
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(0)
    edges = random_edges(rng, 5000, 100_000)  # enough for CooToCsr to want memory of its own
    count = np.array(5000)
    expected = reference("CooToCsr", edges, count, count)
    native("CooToCsr", edges, count, count)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: native("CooToCsr", edges, count, count), range(16)):
            for a, b in zip(result, expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_library_name():
    assert library_name("aarch64") == "libedgegnn_ops-aarch64.so"
    assert library_name() == f"libedgegnn_ops-{platform.machine()}.so"


def test_no_library_where_none_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(edgegnn.native, "library_name", lambda machine=None: "libedgegnn_ops-abacus.so")
    assert installed() is None


def test_every_operator_is_documented():
    text = (SOURCE / "OPS.md").read_text()
    headings = {name for line in re.findall(r"^### (.*)$", text, re.M) for name in re.findall(r"\w+", line)}
    assert set(OPS) <= headings
