"""Read and write the zip archives that torch's files are.

A file is read here, once; what is taken from it goes into a new archive, and torch is given only that. So it makes no
difference in what two readers of zips disagree: names in capitals, two entries of one name, what lies between entries.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping

from edgegnn.errors import EdgeGNNError, first_line

__all__ = ["ZIP_ERRORS", "list_entries", "pack_entries", "read_entries", "torch_entries", "verified"]

MAX_BYTES = 16 * 2**30
_MAX_ENTRIES = 200_000
_MAX_RATIO = 200  # code of a large model compresses 30 times
_NAME = re.compile(r"[\w.+\- ]+(?:/[\w.+\- ]+)*", re.ASCII)
_END = struct.Struct("<4s4H2LH")  # the last record of a zip; the fifth field is the number of entries
_MANY = 0xFFFF  # more entries than its field holds: another record has their number
_BEFORE_ZIP = b"l\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch's files began with before they were zips
# What Python's reader raises for a damaged zip.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
)


def verified(content: bytes, what: str, error: type[EdgeGNNError]) -> bytes:
    """A file of `torch.save` for `torch.load`, which verifies no checksum: they are verified here (`torch_entries`)."""
    return pack_entries(torch_entries(content, what, error))


def torch_entries(content: bytes, what: str, error: type[EdgeGNNError]) -> dict[str, bytes]:
    """Name -> content of every entry of a file of `torch.save`; checksums are verified.

    Args:
        content: the file.
        what: its name in a message.
        error: what to raise.

    Raises:
        EdgeGNNError: of the type `error`; no file of torch, damaged, or without checksums.
    """
    if _BEFORE_ZIP in content[:32]:
        raise error(
            f"{what} has the format of PyTorch before 1.6, in which nobody sees a damaged byte: "
            "write it again with torch.save(torch.load(path), path)"
        )
    if content[:2] != b"PK":
        raise error(f"{what} is no file that torch.save wrote")
    return read_entries(content, what, error)


def read_entries(content: bytes, what: str, error: type[EdgeGNNError]) -> dict[str, bytes]:
    """Name -> content of every entry, without the folder that all names begin with; checksums are verified.

    Args:
        content: the archive.
        what: its name in a message.
        error: what to raise.

    Raises:
        EdgeGNNError: of the type `error`; no zip, damaged, or with names or sizes that no file of torch has.
    """
    found: dict[str, bytes] = {}
    folded: set[str] = set()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = list_entries(archive)
            if len(entries) > _MAX_ENTRIES or sum(e.file_size for e in entries) > MAX_BYTES:
                raise error(f"{what} unpacks to more than {MAX_BYTES} bytes: refused")
            for entry in entries:
                _check(entry, what, error)
                if entry.filename.lower() in folded:
                    raise error(f"{what} holds two entries named {entry.filename[:80]!r}: refused")
                folded.add(entry.filename.lower())
                found[entry.filename] = archive.read(entry)
    except ZIP_ERRORS as cause:
        raise error(f"{what} is damaged: {first_line(cause)}") from cause
    tops = {name.partition("/")[0] for name in found}
    if len(tops) != 1 or any("/" not in name for name in found):
        raise error(f"{what} is no file of torch: its entries are not in one folder")
    return {name.partition("/")[2]: inside for name, inside in found.items()}


def list_entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """All entries. Python's reader doesn't notice that the list at the end of the file has lost one.

    Raises:
        zipfile.BadZipFile: there are not as many as the file says.
    """
    entries = archive.infolist()
    if archive.fp is None:
        raise zipfile.BadZipFile("it is closed")
    archive.fp.seek(-_END.size - len(archive.comment), io.SEEK_END)
    count = _END.unpack(archive.fp.read(_END.size))[4]
    if count not in (len(entries), _MANY):
        raise zipfile.BadZipFile(f"it has {len(entries)} of {count} entries")
    return entries


def pack_entries(entries: Mapping[str, bytes]) -> bytes:
    """A new archive of these entries, in one folder and not compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, inside in entries.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", date_time=(1980, 1, 1, 0, 0, 0)), inside)
    return out.getvalue()


def _check(entry: zipfile.ZipInfo, what: str, error: type[EdgeGNNError]) -> None:
    name = entry.filename
    if entry.orig_filename != name or not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
        raise error(f"{what} holds an entry with the name {name[:80]!a}: refused")
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise error(f"{what}: {name[:80]!r} is encrypted or packed in an unknown way: refused")
    if entry.file_size > _MAX_RATIO * entry.compress_size + 2**20:
        raise error(f"{what}: {name[:80]!r} unpacks to {entry.file_size} bytes from {entry.compress_size}: refused")
