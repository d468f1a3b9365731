"""Opening artifacts: the good ones, and everything that a stranger or a bad cable can do to them."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_artifact import change_samples, make_artifact, seal

from edgegnn.errors import ArtifactError
from edgegnn.runtime import build_runner, open_artifact, read_manifest, read_samples, verify
from edgegnn.runtime.manifest import parse_manifest, seal_manifest


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.fixture
def artifact(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


def edit(folder: Path, change: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(seal_manifest(manifest)))


def zipped(folder: Path, prefix: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
    return path


def test_folder(artifact: Path) -> None:
    opened = open_artifact(artifact)
    assert opened.folder == artifact
    assert opened.manifest.name == "tiny"
    assert [s.name for s in read_samples(opened)] == ["first", "second", "no-edges", "one"]


@pytest.mark.parametrize("prefix", ["", "some folder/"])
def test_zip_is_unpacked_and_cleaned_up(artifact: Path, tmp_path: Path, prefix: str) -> None:
    path = zipped(artifact, prefix)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert read_manifest(path).name == "tiny"
    opened = open_artifact(path, scratch=scratch)
    assert opened.folder.parent == scratch
    assert len(read_samples(opened)) == 4
    del opened
    gc.collect()
    assert list(scratch.iterdir()) == []
    with open_artifact(path, scratch=scratch) as again:
        assert again.model.is_file()
    assert list(scratch.iterdir()) == []
    with open_artifact(artifact) as folder:
        pass
    assert folder.model.is_file()


def test_file_manager_litter_is_no_reason_to_refuse(artifact: Path) -> None:
    (artifact / ".DS_Store").write_bytes(b"x")
    open_artifact(artifact)


def test_extra_files_only_when_allowed(artifact: Path) -> None:
    (artifact / "x.npz").write_bytes(b"mine")
    with pytest.raises(ArtifactError, match=r"'x.npz' is not part of the artifact"):
        open_artifact(artifact)
    open_artifact(artifact, extra_files=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", None, "model.onnx is missing"),
        ("run.pyz", None, "run.pyz is missing"),
        ("model.onnx", b"shorter", "has been changed or cut"),
        ("manifest.json", None, "no manifest.json"),
        ("manifest.json", b"", "damaged"),
        ("manifest.json", b"[]", "no object"),
        ("manifest.json", b"\xff\xfe", "damaged"),
        ("manifest.json", b"[" * 100_000, "damaged"),
        ("manifest.json", b'{"format": ' + b"9" * 10_000 + b"}", "damaged"),
    ],
)
def test_damaged_file(artifact: Path, name: str, content: bytes | None, message: str) -> None:
    (artifact / name).unlink()
    if content is not None:
        (artifact / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as error:
        open_artifact(artifact)
    assert "\n" not in str(error.value)


def test_one_changed_byte(artifact: Path) -> None:
    content = bytearray((artifact / "model.onnx").read_bytes())
    content[100] ^= 1
    (artifact / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model.onnx has been changed \(its checksum differs\)"):
        open_artifact(artifact)


def test_newer_format_says_which_version_is_needed(artifact: Path) -> None:
    edit(artifact, lambda m: m.update(format="edgegnn-artifact/2"))
    with pytest.raises(ArtifactError, match=r'"edgegnn-artifact/2", this edgegnn reads up to "edgegnn-artifact/1"'):
        open_artifact(artifact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format="something/1"), "not an edgegnn artifact"),
        (lambda m: m.pop("format"), "not an edgegnn artifact"),
        (lambda m: m.pop("kind"), "no 'kind'"),
        (lambda m: m.update(kind="face"), "kind must be"),
        (lambda m: m.update(name=7), "manifest.name has the wrong type"),
        (lambda m: m.update(name="../evil"), "can't be used as a file name"),
        (lambda m: m.update(name="a\nb"), "not a short printable text"),
        (lambda m: m.update(name=".."), "can't be used as a file name"),
        (lambda m: m.update(files=[]), "files has the wrong type"),
        (lambda m: m["files"].pop("samples.npz"), "doesn't list samples.npz"),
        (lambda m: m["files"]["model.onnx"].update(bytes=True), "bytes has the wrong type"),
        (lambda m: m["files"]["model.onnx"].update(bytes=-1), "bytes is out of range"),
        (lambda m: m["files"]["model.onnx"].update(sha256="x"), "no sha256 checksum"),
        (lambda m: m["files"].update({"MODEL.onnx": m["files"]["model.onnx"]}), "listed twice"),
        (lambda m: m.update(inputs=[]), "inputs is empty"),
        (lambda m: m["inputs"].pop(0), "no input belongs to nodes"),
        (lambda m: m["inputs"][1].update(shape=["num_edges"]), r"the input edge_index can't be int64 \['num_edges'\]"),
        (lambda m: m["inputs"][1].update(shape=[3, "num_edges"]), "the input edge_index can't be"),
        (lambda m: m["inputs"][1].update(dtype="float32"), "the input edge_index can't be float32"),
        (lambda m: m["inputs"][0].update(dtype="object"), "dtype 'object' is none of"),
        (lambda m: m["inputs"][0].update(shape=["n", 1.5]), "sizes are numbers or names"),
        (lambda m: m["inputs"][0].update(shape=[]), "has 0 dimensions"),
        (lambda m: m.update(outputs="logits"), "outputs has the wrong type"),
        (lambda m: m.update(samples=[]), "no samples"),
        (lambda m: m.update(samples=[3]), r"samples\[0\] is no object"),
        (lambda m: m["samples"][0].update(origin="mars"), "origin must be"),
        (lambda m: m["samples"][0].update(num_nodes="20"), "num_nodes has the wrong type"),
        (lambda m: m["parity"].pop("tolerance"), "parity has no 'tolerance'"),
        (lambda m: m["parity"]["tolerance"].update(agreement=2), "agreement is out of range"),
        (lambda m: m["parity"]["tolerance"].update(max_abs_error=10**400), "max_abs_error is out of range"),
        (lambda m: m["parity"].update(per_graph={"a": 1}), "per_graph is no list"),
        (lambda m: m["samples_metric"].update(name="f1"), "none of accuracy, roc_auc"),
        (lambda m: m["samples_metric"].update(value="0.5"), "value has the wrong type"),
    ],
)
def test_bad_manifest(artifact: Path, change: Any, message: str) -> None:
    edit(artifact, change)
    with pytest.raises(ArtifactError, match=message) as error:
        open_artifact(artifact)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../../x", "a\\b", "..\\x", "C:x", "a//b", "./x", "a/.", "", "x\0y", ".hidden", "-x"],
)
def test_listed_path_outside_of_the_artifact(artifact: Path, path: str) -> None:
    edit(artifact, lambda m: m["files"].update({path: m["files"]["model.onnx"]}))
    with pytest.raises(ArtifactError, match="no path inside the artifact"):
        open_artifact(artifact)


@pytest.mark.parametrize("listed", [True, False])
def test_symbolic_link(artifact: Path, tmp_path: Path, listed: bool) -> None:
    outside = tmp_path / "outside"
    shutil.move(artifact / "model.onnx", outside)
    (artifact / "model.onnx").symlink_to(outside)
    if not listed:
        shutil.copy(outside, artifact / "copy")
        (artifact / "model.onnx").rename(artifact / "link")
        (artifact / "copy").rename(artifact / "model.onnx")
    with pytest.raises(ArtifactError, match="is a symbolic link"):
        open_artifact(artifact)


def test_linked_folder_extra_folder_and_pipe(artifact: Path, tmp_path: Path) -> None:
    (artifact / "native").symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="is a symbolic link"):
        open_artifact(artifact)
    (artifact / "native").unlink()
    (artifact / "native").mkdir()
    with pytest.raises(ArtifactError, match="the folder 'native' is not part of the artifact"):
        open_artifact(artifact)
    (artifact / "native").rmdir()
    (artifact / "samples.npz").unlink()
    os.mkfifo(artifact / "samples.npz")
    with pytest.raises(ArtifactError, match="no plain file"):
        open_artifact(artifact)


def test_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no artifact"):
        open_artifact(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match=r"no manifest.json"):
        open_artifact(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ArtifactError, match="neither the folder of an artifact nor a"):
        open_artifact(tmp_path / "text")


def entry(name: str, mode: int = 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize("name", ["../escape", "/absolute", "a/../../b", "..\\escape", "C:\\x", "a//b", "nul\0x"])
def test_zip_entry_outside(artifact: Path, tmp_path: Path, name: str) -> None:
    path = zipped(artifact)
    with zipfile.ZipFile(path, "a") as archive:
        info = entry("placeholder")
        info.filename = name
        archive.writestr(info, b"x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArtifactError, match=r"outside of the artifact|can't"):
        open_artifact(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_zip_with_link_duplicate_extra_or_missing(artifact: Path) -> None:
    path = zipped(artifact)
    good = path.read_bytes()

    def broken(change: Any) -> str:
        path.write_bytes(good)
        with zipfile.ZipFile(path, "a") as archive:
            change(archive)
        with pytest.raises(ArtifactError) as error:
            open_artifact(path)
        return str(error.value)

    assert "symbolic link" in broken(lambda z: z.writestr(entry("link", stat.S_IFLNK | 0o777), "/etc/passwd"))
    assert "two entries" in broken(lambda z: z.writestr("MODEL.ONNX", b"x"))
    with pytest.warns(UserWarning, match="Duplicate name"):
        assert "two entries" in broken(lambda z: z.writestr("model.onnx", b"x"))
    assert "not part of the artifact" in broken(lambda z: z.writestr("more.txt", b"x"))
    (artifact / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"model.onnx is missing"):
        open_artifact(zipped(artifact))


def test_zip_bomb(artifact: Path, tmp_path: Path) -> None:
    size = (artifact / "samples.npz").stat().st_size
    (artifact / "samples.npz").write_bytes(bytes(50_000_000))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(ArtifactError, match=f"more than the {size} bytes"):
        open_artifact(zipped(artifact), scratch=scratch)
    edit(artifact, lambda m: m["files"]["samples.npz"].update(bytes=2**50))
    with pytest.raises(ArtifactError, match="unpacks to"):
        open_artifact(zipped(artifact), scratch=scratch)
    assert list(scratch.iterdir()) == []


def test_truncated_zip(artifact: Path) -> None:
    path = zipped(artifact)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError):
            open_artifact(path)
    for offset in range(0, len(content), 997):
        damaged = bytearray(content)
        damaged[offset : offset + 8] = b"\xff" * len(damaged[offset : offset + 8])
        path.write_bytes(damaged)
        with contextlib.suppress(ArtifactError):  # nothing else
            open_artifact(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("0000.x"), "x missing"),
        (lambda a: a.pop("0001.expected"), "expected logits are missing"),
        (lambda a: a.update({"0000.extra": np.zeros(3)}), "extra unknown"),
        (lambda a: a.update({"0009.x": np.zeros(3)}), "belongs to none of its samples"),
        (lambda a: a.update({"0000.x": a["0000.x"].astype(np.float64)}), "x has the type float64"),
        (lambda a: a.update({"0000.x": a["0000.x"][:, :2]}), "x has the shape"),
        (lambda a: a.update({"0000.x": a["0000.x"][:19]}), "19 nodes"),
        (lambda a: a["0000.edge_index"].__setitem__((0, 0), 20), r"edge_index\[0, 0\] is 20"),
        (lambda a: a["0000.x"].__setitem__((1, 2), np.nan), r"x\[1, 2\] is nan"),
        (lambda a: a.update({"0000.expected": a["0000.expected"][:3]}), "expected logits are"),
        (lambda a: a.update({"0000.expected": a["0000.expected"].astype(np.float16)}), "expected logits are"),
        (lambda a: a["0000.expected"].__setitem__((0, 0), np.inf), "not finite"),
        (lambda a: a.update({"0000.label": a["0000.label"].astype(np.int32)}), "labels are int32"),
        (lambda a: a["0000.label"].__setitem__(1, 99), "labels are"),
        (lambda a: a.update({"0000.mask": np.zeros(20, dtype=bool)}), "the mask is"),
        (lambda a: a.update({"0000.x": np.array(["text"])}), "numbers or booleans"),
        (lambda a: a.update({"0000.x": np.array([None], dtype=object)}), "numbers or booleans"),
    ],
)
def test_bad_samples(artifact: Path, change: Any, message: str) -> None:
    change_samples(artifact, change)
    with pytest.raises(ArtifactError, match=message) as error:
        read_samples(open_artifact(artifact))
    assert "\n" not in str(error.value)


def test_samples_that_are_no_npz_or_lie_about_their_size(artifact: Path) -> None:
    def problem(content: bytes) -> str:
        (artifact / "samples.npz").write_bytes(content)
        seal(artifact)
        with pytest.raises(ArtifactError) as error:
            read_samples(open_artifact(artifact))
        return str(error.value)

    good = (artifact / "samples.npz").read_bytes()
    assert "no .npz" in problem(b"hello")
    assert "samples.npz" in problem(good[: len(good) // 2])
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3)}".ljust(
        117
    )
    path = artifact.parent / "liar.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0000.x.npy", header + b"\n")
    assert "is cut" in problem(path.read_bytes())


def test_other_byte_and_memory_order_of_samples_is_read(artifact: Path) -> None:
    expected = read_samples(open_artifact(artifact))[0]

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["0000.x"] = np.asfortranarray(arrays["0000.x"].astype(">f4"))

    change_samples(artifact, change)
    found = read_samples(open_artifact(artifact))[0]
    np.testing.assert_array_equal(found.inputs["x"], expected.inputs["x"])
    assert found.inputs["x"].dtype == np.dtype("float32")
    assert found.inputs["x"].flags.c_contiguous


def test_runner_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    build_runner(tmp_path / "a")
    build_runner(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        names = archive.namelist()
    assert {"__main__.py", "edgegnn/__init__.py", "edgegnn/errors.py", "edgegnn/runtime/benchmark.py"} <= set(names)
    assert all(
        name.startswith(("edgegnn/runtime/", "edgegnn/__init__", "edgegnn/errors", "__main__")) for name in names
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3), max_leaves=6
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_manifest_is_read_or_is_an_artifact_error(pristine: Path, data: st.DataObject) -> None:
    manifest = json.loads((pristine / "manifest.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(manifest)))
        at = manifest
        for key in path[:-1]:
            at = at[key]
        if data.draw(st.booleans()):
            at[path[-1]] = data.draw(VALUES)
        else:
            del at[path[-1]]
        if not manifest:
            break
    content = json.dumps(manifest).encode()
    message = ""
    try:
        parse_manifest(content)
    except ArtifactError as error:
        message = str(error)
    assert len(message) < 600
    assert "\n" not in message


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_artifact_with_a_mutated_manifest_verifies_or_is_an_artifact_error(
    artifact: Path, data: st.DataObject
) -> None:
    path = artifact / "manifest.json"
    content = path.read_bytes()
    manifest = json.loads(content)
    places_to_change = [p for p in places(manifest) if p[0] != "files"]
    at = manifest
    *way, key = data.draw(st.sampled_from(places_to_change))
    for step in way:
        at = at[step]
    at[key] = data.draw(VALUES | st.sampled_from(["x", "num_nodes", "num_graphs", "graph", "int64", 0, 2, 3]))
    path.write_text(json.dumps(seal_manifest(manifest)))
    try:
        with contextlib.suppress(ArtifactError):  # nothing else
            verify(artifact, threads=1)
    finally:
        path.write_bytes(content)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_no_manifest(content: bytes) -> None:
    with pytest.raises(ArtifactError):
        parse_manifest(content)
