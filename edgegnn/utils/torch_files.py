"""Open what `torch.save` wrote: checksums first, and nothing in it can run."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from edgegnn.errors import EdgeGNNError
from edgegnn.runtime.archive import pack_entries, torch_entries
from edgegnn.utils.pickles import as_protocol_2

__all__ = ["load_tensors"]

_PICKLE = "data.pkl"


def load_tensors(content: bytes, what: str, error: type[EdgeGNNError], kinds: Sequence[Any] = ()) -> Any:
    """Tensors, numbers, texts and containers of them; and objects of the classes `kinds`.

    Args:
        content: the file, of any pickle protocol.
        what: its name in a message.
        error: what to raise for an archive that is damaged.
        kinds: classes and functions that the file may name besides torch's own; also (class, "name in the file").

    Raises:
        EdgeGNNError: of the type `error`; no file of torch, or a damaged one.
        pickle.UnpicklingError: it names something else. torch lets many kinds of error through for damaged files.
    """
    entries = torch_entries(content, what, error)
    if _PICKLE in entries:
        entries[_PICKLE] = as_protocol_2(entries[_PICKLE])
    # torch takes back what it was given here: not what PyG has registered for its own files.
    new = [kind for kind in kinds if kind not in torch.serialization.get_safe_globals()]
    with torch.serialization.safe_globals(new), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(pack_entries(entries)), map_location="cpu", weights_only=True)
