"""Let PyG read raw files that are pickles, as arrays and tensors only.

Planetoid's `ind.*` files and ZINC's are pickles, and a pickle can call any function. While `arrays_only` is entered,
`pickle.load` finds only what such files consist of, and `torch.load` takes tensors only, also where PyG would retry
without that limit.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from collections.abc import Iterator
from typing import IO, Any
from unittest import mock

from edgegnn.errors import DataError

__all__ = ["arrays_only"]

# Classes and functions by module, under the names that their pickles have had over the versions.
_ALLOWED = {
    "builtins": {"bytearray", "bytes", "complex", "dict", "frozenset", "int", "list", "object", "set", "slice"},
    "collections": {"OrderedDict", "defaultdict"},
    "_codecs": {"encode"},
    "copyreg": {"_reconstructor"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.numeric": {"_frombuffer"},
    "scipy.sparse.csr": {"csr_matrix"},
    "scipy.sparse._csr": {"csr_matrix"},
    "torch": {"FloatStorage", "LongStorage", "Size"},
    "torch._utils": {"_rebuild_tensor_v2"},
    "torch.storage": {"_load_from_bytes"},  # torch.load again, which takes tensors only
}
_ONE = threading.RLock()  # pickle.load belongs to the whole process


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that finds nothing but arrays, tensors and containers."""

    def find_class(self, module: str, name: str) -> Any:
        modern = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        if name not in _ALLOWED.get(modern, ()):
            raise DataError(
                f"a raw file of the data set calls {f'{module}.{name}'[:80]!r}, which could run code: refused"
            )
        return super().find_class(module, name)


def _load(file: IO[bytes], **options: Any) -> Any:
    return _ArraysOnly(file, **options).load()


@contextlib.contextmanager
def arrays_only() -> Iterator[None]:
    """Make `pickle.load` and `torch.load` take arrays and tensors only, for the time of a read.

    Raises:
        DataError: a pickle names something else.
    """
    with (
        _ONE,
        mock.patch.object(pickle, "load", _load),
        mock.patch.dict(os.environ, {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}),
    ):
        yield
