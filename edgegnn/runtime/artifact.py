"""Open an artifact: a folder or a `.zip` of it, every file checked against the manifest before anything is used."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import weakref
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from edgegnn.errors import ArtifactError, UsageError, first_line
from edgegnn.runtime.archive import ZIP_ERRORS, list_entries
from edgegnn.runtime.manifest import MAX_MANIFEST_BYTES, MODEL_FILES, Manifest, parse_manifest

__all__ = ["Artifact", "file_sha256", "open_artifact", "read_manifest"]

MAX_ARTIFACT_BYTES = 8 * 2**30
# Left behind by file managers and archivers in folders that they only looked at.
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Artifact:
    """An artifact whose files have been checked.

    Attributes:
        folder: the folder with the files; when `source` is a zip, a temporary one that is removed with this object, or
            at the end of a `with` block.
        source: what the user named.
        manifest: its checked manifest.
    """

    folder: Path
    source: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        """Path of the model: of model.onnx, or of model.ts.pt."""
        return self.folder / self.manifest.model_file

    def __enter__(self) -> Artifact:
        """Use as `with open_artifact(...) as artifact`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the temporary folder of a zip."""
        if self.folder != self.source:
            shutil.rmtree(self.folder, ignore_errors=True)


def open_artifact(
    path: str | os.PathLike[str],
    *,
    scratch: Path | None = None,
    extra_files: bool = False,
    runtime: str | None = None,
) -> Artifact:
    """Open an artifact and check all of it.

    Args:
        path: the folder, or a zip of it.
        scratch: where a zip is unpacked; the system's temporary folder when None.
        extra_files: allow (and never read) files in the folder that the manifest doesn't list.
        runtime: "onnxruntime" or "torchscript", for an artifact with a model for both; None: as its manifest says.

    Raises:
        ArtifactError: no artifact, a newer format, or a file that is changed, missing, too much or outside the folder;
            or it has no model for this runtime.
        UsageError: no such runtime.
    """
    source = Path(path)
    if source.is_dir():
        manifest = _for_runtime(read_manifest(source), runtime)
        _check_files(source, manifest, extra_files=extra_files)
        return Artifact(source, source, manifest)
    manifest = _for_runtime(read_manifest(source), runtime)
    root = Path(tempfile.mkdtemp(prefix="edgegnn-", dir=scratch))
    try:
        _unpack(source, root, manifest)
        _check_files(root, manifest)
        artifact = Artifact(root, source, manifest)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    weakref.finalize(artifact, shutil.rmtree, root, True)
    return artifact


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of an artifact without looking at its other files.

    Args:
        path: the folder, or a zip of it.

    Raises:
        ArtifactError: there is no artifact, or its manifest is damaged.
    """
    source = Path(path)
    try:
        if source.is_dir():
            return parse_manifest(_read_small(source / "manifest.json"))
        if not source.exists():
            raise ArtifactError(f"there is no artifact {source}: `edgegnn export` makes one")
        if not source.is_file() or not zipfile.is_zipfile(source):
            raise ArtifactError(f"{source} is neither the folder of an artifact nor a .zip of it")
        with zipfile.ZipFile(source) as archive:
            member = _members(archive, source).get("manifest.json")
            if member is None:
                raise ArtifactError(f"{source} has no manifest.json: not an edgegnn artifact")
            with archive.open(member) as file:
                return parse_manifest(file.read(MAX_MANIFEST_BYTES + 1))
    except FileNotFoundError as error:
        raise ArtifactError(f"{source} has no manifest.json: not an edgegnn artifact") from error
    except ZIP_ERRORS as error:
        raise ArtifactError(f"can't read {source}: {first_line(error)}") from error


def _for_runtime(manifest: Manifest, runtime: str | None) -> Manifest:
    if runtime is None:
        return manifest
    if runtime not in MODEL_FILES:
        raise UsageError(f"unknown runtime {runtime[:40]!r}: choose one of {', '.join(MODEL_FILES)}")
    if MODEL_FILES[runtime] not in manifest.files:
        raise ArtifactError(f"the artifact has no {MODEL_FILES[runtime]}: export it again with --format both")
    return replace(manifest, runtime=runtime)


def _read_small(path: Path) -> bytes:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ArtifactError(f"{path} is no plain file: an artifact holds plain files only")
    with path.open("rb") as file:
        return file.read(MAX_MANIFEST_BYTES + 1)


def _check_files(root: Path, manifest: Manifest, *, extra_files: bool = False) -> None:
    """Exactly the listed files are there, as plain files, with the listed sizes and checksums."""
    try:
        present = _walk(root, manifest, extra_files)
        for name, entry in manifest.files.items():
            if name not in present:
                raise ArtifactError(f"{name} is missing from the artifact {root.name}: copy or export it again")
            size = (root / name).stat().st_size
            if size != entry.bytes:
                raise ArtifactError(
                    f"{name} has been changed or cut: it has {size} bytes, the manifest says {entry.bytes}; "
                    "copy or export the artifact again"
                )
            if file_sha256(root / name) != entry.sha256:
                raise ArtifactError(
                    f"{name} has been changed (its checksum differs): copy or export the artifact again"
                )
    except OSError as error:
        raise ArtifactError(f"can't read the artifact {root}: {first_line(error)}") from error


def _walk(root: Path, manifest: Manifest, extra_files: bool) -> set[str]:
    listed = {"manifest.json", *manifest.files}
    folders = {str(parent) for name in listed for parent in Path(name).parents}
    found = set()
    for at, directories, files in os.walk(root, onerror=_raise):
        for name in directories + files:
            path = Path(at) / name
            inside = path.relative_to(root).as_posix()
            if extra_files and inside not in listed and inside not in folders:
                continue
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise ArtifactError(f"{inside} is a symbolic link: an artifact holds plain files only")
            if stat.S_ISDIR(mode):
                if inside not in folders:
                    raise ArtifactError(
                        f"the folder {inside!r} is not part of the artifact (not in its manifest): remove it"
                    )
            elif name in _LITTER:
                continue
            elif inside not in listed:
                raise ArtifactError(f"the file {inside!r} is not part of the artifact (not in its manifest): remove it")
            elif not stat.S_ISREG(mode):
                raise ArtifactError(f"{inside} is no plain file: an artifact holds plain files only")
            else:
                found.add(inside)
    return found


def _raise(error: OSError) -> None:
    raise error


def _members(archive: zipfile.ZipFile, source: Path) -> dict[str, zipfile.ZipInfo]:
    """Path inside the artifact -> member; the files lie at the top of the zip or in one folder."""
    found: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for info in list_entries(archive):
        name = info.filename
        # zipfile cuts names at a NUL and turns backslashes into slashes on Windows only: look at what was stored.
        parts = name.rstrip("/").split("/")
        if "\\" in info.orig_filename or "\0" in info.orig_filename or ":" in name or {"", ".", ".."} & set(parts):
            raise ArtifactError(f"{source}: the zip has an entry outside of the artifact: {name[:80]!r}")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ArtifactError(
                f"{source}: the zip entry {name[:80]!r} is a symbolic link: an artifact holds plain files only"
            )
        if info.flag_bits & 1:
            raise ArtifactError(f"{source}: the zip entry {name[:80]!r} is encrypted")
        if info.is_dir() or parts[0] == "__MACOSX" or parts[-1] in _LITTER:
            continue
        if name.lower() in folded:
            raise ArtifactError(f"{source}: the zip has two entries with the name {name[:80]!r}")
        folded.add(name.lower())
        found[name] = info
    tops = {name.split("/", 1)[0] for name in found}
    if "manifest.json" not in found and len(tops) == 1:
        top = tops.pop() + "/"
        found = {name[len(top) :]: info for name, info in found.items()}
    return found


def _unpack(source: Path, root: Path, manifest: Manifest) -> None:
    total = sum(entry.bytes for entry in manifest.files.values())
    room = min(MAX_ARTIFACT_BYTES, shutil.disk_usage(root).free)
    if total > room:
        raise ArtifactError(f"{source} unpacks to {total} bytes, and {room} are allowed or free in {root.parent}")
    try:
        with zipfile.ZipFile(source) as archive:
            members = _members(archive, source)
            for name in members:
                if name not in manifest.files and name != "manifest.json":
                    raise ArtifactError(
                        f"{source}: the file {name[:80]!r} is not part of the artifact (not in its manifest)"
                    )
            (root / "manifest.json").write_bytes(archive.read(members["manifest.json"]))
            for name, entry in manifest.files.items():
                if name not in members:
                    raise ArtifactError(f"{source}: {name} is missing from the artifact: copy or export it again")
                target = root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(members[name]) as file, target.open("wb") as out:
                    _copy(file, out, entry.bytes, f"{source}: {name}")
    except ZIP_ERRORS as error:
        raise ArtifactError(f"can't unpack {source}: {first_line(error)}") from error


def _copy(file: IO[bytes], out: IO[bytes], size: int, what: str) -> None:
    """Copy `size` bytes; a member that holds more (a zip bomb) stops there."""
    left = size
    while True:
        block = file.read(min(left + 1, 2**20))
        if not block:
            return
        left -= len(block)
        if left < 0:
            raise ArtifactError(f"{what} unpacks to more than the {size} bytes that the manifest says")
        out.write(block)


def file_sha256(path: Path) -> str:
    """Checksum of a file of any size, in hex.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
