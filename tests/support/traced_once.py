"""One trace of a model for several recipes that don't train it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import onnx

from edgegnn.exporting import onnx_format


@contextmanager
def traced_once(traced: dict[str, bytes] | None = None) -> Iterator[None]:
    """Trace one model once for all exports inside: most of the time of an export, and the same each time.

    Args:
        traced: inputs of a trace -> the graph; filled here, and given again where the exports are not in one place.
    """
    real, known = onnx_format.capture, {} if traced is None else traced

    def capture(model: Any, args: Any, **options: Any) -> onnx.ModelProto:
        sizes = {name: (value.dtype, value.shape) for name, value in args.items()}
        key = repr((sizes, options))
        if key not in known:
            known[key] = real(model, args, **options).SerializeToString()
        return onnx.ModelProto.FromString(known[key])

    with patch.object(onnx_format, "capture", capture):
        yield
