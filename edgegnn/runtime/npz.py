"""Read an .npz that a stranger made: no pickles, no more bytes than its arrays need, one clear error otherwise."""

from __future__ import annotations

import tokenize
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgegnn.errors import EdgeGNNError, first_line
from edgegnn.runtime.archive import ZIP_ERRORS, list_entries

__all__ = ["MAX_NPZ_BYTES", "read_npz"]

MAX_NPZ_BYTES = 8 * 2**30
_KINDS = "biuf"
_ERRORS = (*ZIP_ERRORS, SyntaxError, TypeError, tokenize.TokenError, RecursionError)


def read_npz(path: Path, error: type[EdgeGNNError], *, max_bytes: int = MAX_NPZ_BYTES) -> dict[str, Any]:
    """Read every array of an .npz file.

    Args:
        path: the file.
        error: what to raise.
        max_bytes: largest sum of the arrays' bytes.

    Returns:
        Name -> array (bool, integer or float; native byte order, C order).

    Raises:
        EdgeGNNError: of the type `error`; not an .npz, truncated, an object array, two arrays of one name, too large.
    """
    arrays: dict[str, Any] = {}
    try:
        if not path.is_file():
            raise error(f"there is no file {path}")
        if not zipfile.is_zipfile(path):
            raise error(f"{path} is no .npz file: write it with numpy.savez")
        with zipfile.ZipFile(path) as archive:
            entries = list_entries(archive)
            if sum(entry.file_size for entry in entries) > max_bytes:
                raise error(f"{path} unpacks to more than {max_bytes} bytes")
            for entry in entries:
                if not entry.filename.endswith(".npy"):
                    raise error(f"{path} holds {entry.filename[:80]!r}, which is no array")
                name = entry.filename[: -len(".npy")]
                if name in arrays:
                    raise error(f"{path} holds two arrays {name[:80]!r}")
                with archive.open(entry) as file:
                    arrays[name] = _read_array(file, entry.file_size, f"{path}: {name[:80]!r}", error)
    except _ERRORS as cause:
        raise error(f"can't read {path}: {first_line(cause, 160)}") from cause
    return arrays


def _read_array(file: IO[bytes], size: int, what: str, error: type[EdgeGNNError]) -> Any:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise error(f"{what} has a .npy version that is not known here: {version}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers written by Python 2
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    if dtype.kind not in _KINDS or dtype.itemsize > 8:
        raise error(f"{what} has the type {dtype}: numbers or booleans are needed")
    count = 1
    for length in shape:
        if length < 0:
            raise error(f"{what} has the shape {shape}")
        count *= int(length)
    # Checked before anything is allocated: a header may claim any shape.
    if count * dtype.itemsize > size:
        raise error(f"{what} is cut: shape {list(shape)} of {dtype} needs {count * dtype.itemsize} bytes")
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize or file.read(1):
        raise error(f"{what} doesn't hold what its header says: shape {list(shape)} of {dtype}")
    if count == 0:
        return np.zeros(shape, dtype=dtype.newbyteorder("="))
    array = np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return np.array(array, dtype=dtype.newbyteorder("="), order="C")
