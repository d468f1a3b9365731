"""Where each buffer lies in the arena: buffers that are never needed at the same time share memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Buffer", "Plan", "plan"]


@dataclass(frozen=True)
class Buffer:
    """A piece of the arena.

    Attributes:
        size: bytes, at the largest graph.
        first: number of the step that writes it first.
        last: number of the last step that uses it.
        takes_over: number of a buffer whose memory it may take over: one that its first step reads row by row.
    """

    size: int
    first: int
    last: int
    takes_over: int | None = None


@dataclass(frozen=True)
class Plan:
    """The offset of each buffer, and the size of the whole arena, bytes."""

    offsets: list[int]
    size: int


def plan(buffers: Sequence[Buffer], alignment: int = 4) -> Plan:
    """Place buffers, large ones first, each as low as it can lie, at a multiple of `alignment` bytes."""
    root = _shared(buffers)
    groups = {r: [i for i in range(len(buffers)) if root[i] == r] for r in set(root)}
    spans = {
        r: (min(buffers[i].first for i in own), max(buffers[i].last for i in own), max(buffers[i].size for i in own))
        for r, own in groups.items()
    }
    placed: dict[int, int] = {}
    for r in sorted(spans, key=lambda r: (-spans[r][2], r)):
        first, last, size = spans[r]
        taken = sorted(
            (placed[o], placed[o] + spans[o][2]) for o in placed if spans[o][0] <= last and first <= spans[o][1]
        )
        placed[r] = _lowest(taken, size, alignment)
    ends = [placed[r] + spans[r][2] for r in placed]
    return Plan([placed[r] for r in root], _aligned(max(ends, default=0), alignment))


def _shared(buffers: Sequence[Buffer]) -> list[int]:
    """For each buffer the first one whose memory it lies in."""
    root = list(range(len(buffers)))
    for i, buffer in enumerate(buffers):
        old = buffer.takes_over
        if old is not None and buffers[old].last == buffer.first and buffer.size <= buffers[old].size:
            root[i] = root[old]
    return root


def _lowest(taken: Sequence[tuple[int, int]], size: int, alignment: int) -> int:
    at = 0
    for start, end in taken:
        if at + size <= start:
            break
        at = max(at, _aligned(end, alignment))
    return at


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
