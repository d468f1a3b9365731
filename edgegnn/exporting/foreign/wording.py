"""What is said of an export that fails, where the model is an ONNX file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgegnn.checkpoint.onnx_module import OnnxModule
from edgegnn.errors import EdgeGNNError

__all__ = ["of_the_file"]

_WORDS = (
    ("the PyTorch model", "the ONNX file"),
    ("PyTorch's", "the file's"),
    ("PyTorch itself", "the file itself"),
    ("PyTorch", "the file"),
)


@contextmanager
def of_the_file(model: object) -> Iterator[None]:
    """While this lasts, errors about an ONNX file name the file and not PyTorch, which has no part in it."""
    try:
        yield
    except EdgeGNNError as error:
        if not isinstance(model, OnnxModule):
            raise
        text = str(error)
        for word, instead in _WORDS:
            text = text.replace(word, instead)
        raise type(error)(text) from error
