"""Files that travel, named by their content."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Content", "agent", "blocks", "content"]

_BLOCK = 2**17


@dataclass(frozen=True)
class Content:
    """A file to send: where it is (or its bytes), its checksum and its size in bytes."""

    source: Path | bytes
    sha256: str
    bytes: int


def content(source: Path | bytes) -> Content:
    """Name a file by its content."""
    if isinstance(source, bytes):
        return Content(source, hashlib.sha256(source).hexdigest(), len(source))
    digest = hashlib.sha256()
    with source.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            digest.update(block)
    return Content(source, digest.hexdigest(), source.stat().st_size)


@functools.cache
def agent() -> Content:
    """The agent's text, compressed, as it travels."""
    folder = importlib.resources.files(__package__)
    facts, main = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("agent_facts.py", "agent.py"))
    # One text: what the second imports from edgegnn is in the first.
    main = re.sub(r"^from (__future__|edgegnn\.\S+) import .*$", "", main, flags=re.MULTILINE)
    return content(zlib.compress(f"{facts}\n{main}".encode(), 9))


def blocks(file: Content) -> Iterator[bytes]:
    """The file's bytes, not more than it had when it was named."""
    stream = io.BytesIO(file.source) if isinstance(file.source, bytes) else file.source.open("rb")
    with stream:
        left = file.bytes
        while left and (block := stream.read(min(left, _BLOCK))):
            left -= len(block)
            yield block
