"""Which onnxruntime an ONNX file needs, read from the first bytes of its protobuf: asked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

__all__ = ["needed_onnxruntime", "version_pair"]

# Version -> the first onnxruntime 1.x that reads it (https://onnxruntime.ai/docs/reference/compatibility.html).
# Types of 4 bits came with opset 21 and format (IR) 10. What is newer than the tables is left to onnxruntime to judge.
_OPSETS = {18: 14, 19: 15, 20: 17, 21: 18, 22: 20, 23: 22}
_FORMATS = {8: 14, 9: 15, 10: 18}
_IR_VERSION, _OPSET_IMPORT = 1, 8  # fields of ModelProto
_DOMAIN, _VERSION = 1, 2  # fields of OperatorSetIdProto
_STANDARD = (b"", b"ai.onnx")
_MAX_FIELD = 4096  # bytes; what is longer is none of the fields above


def needed_onnxruntime(model: bytes) -> tuple[int, int]:
    """The oldest onnxruntime, (major, minor), that reads a model; (1, 0) where the bytes don't say.

    Args:
        model: an ONNX file.
    """
    least = 0
    try:
        for number, value in _fields(model):
            if number == _IR_VERSION and isinstance(value, int):
                least = max(least, _FORMATS.get(value, 0))
            elif number == _OPSET_IMPORT and isinstance(value, bytes):
                entry = dict(_fields(value))
                version = entry.get(_VERSION, 0)
                if entry.get(_DOMAIN, b"") in _STANDARD and isinstance(version, int):
                    least = max(least, _OPSETS.get(version, 0))
    except (IndexError, ValueError):  # no protobuf: onnxruntime says what is wrong with it
        return 1, 0
    return 1, least


def version_pair(version: str) -> tuple[int, int]:
    """(1, 17) of "1.17.3" or "1.17.0rc1"; (0, 0) of what is no version."""
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        return 0, 0
    return int(parts[0]), int(parts[1])


def _fields(message: bytes) -> Iterator[tuple[int, Union[int, bytes]]]:  # noqa: UP007 (Python 3.9)
    """Number and value of each field of a protobuf message; groups, which ONNX doesn't have, are an error."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("no field of a known kind")
        if size > len(message) - at:
            raise IndexError("the message ends within a field")
        # The graph can be large: its bytes are not copied.
        yield tag >> 3, b"" if size > _MAX_FIELD else message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 10 bytes")
