"""What a model needs of a microcontroller's memory, and what to do where that is too much."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import msgspec

from edgegnn.devices.microcontroller.build import Firmware
from edgegnn.devices.target import Target
from edgegnn.errors import EdgeGNNError
from edgegnn.plain_c.generate import Argument, PlainC
from edgegnn.plain_c.product_rows import BYTE_WEIGHTS
from edgegnn.plain_c.values import Limits, count

__all__ = [
    "Needs",
    "largest_limits",
    "largest_tables",
    "needs_of",
    "share_over",
    "smaller_weights",
    "taken",
    "too_much",
]

_WIDTHS = {"float": 4, "int32_t": 4, "uint8_t": 1, "int8_t": 1}
STACK = 2048  # bytes, where nobody has measured it; 0.2 to 1.7 kB were
_TABLE = re.compile(r"static const (\w+) (\w+)\[(\d+)\]")
_TABLE_WIDTHS = {**_WIDTHS, "int16_t": 2, "uint16_t": 2, "uint32_t": 4}


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """Memory, in bytes.

    Attributes:
        code: of flash: the model's instructions.
        constants: of flash: weights and other tables.
        support: of flash: what the compiler's library adds (floats in software, memset).
        flash: all three.
        arena: of RAM: what the caller lends to each run.
        stack: of RAM: the deepest use.
        static: of RAM: variables.
        ram: all three.
        inputs: of RAM, not counted above, since the caller may have them anywhere: the largest graph.
        outputs: of RAM, not counted above: those of the largest graph.
    """

    code: int
    constants: int
    support: int
    flash: int
    arena: int
    stack: int
    static: int
    ram: int
    inputs: int
    outputs: int


def needs_of(code: PlainC, firmware: Firmware, stack: int = STACK) -> Needs:
    """What a compiled model needs.

    Args:
        code: the model.
        firmware: the program with it.
        stack: its deepest use, bytes.
    """
    flash = firmware.flash
    return Needs(
        code=flash.code,
        constants=flash.constants,
        support=flash.support,
        flash=flash.total,
        arena=code.arena_bytes,
        stack=stack,
        static=firmware.static_ram,
        ram=code.arena_bytes + stack + firmware.static_ram,
        inputs=_bytes(code.inputs),
        outputs=_bytes(code.outputs),
    )


def too_much(needs: Needs, target: Target) -> str:
    """What does not fit into a target, in words; "" when all does."""
    found = []
    if target.flash_bytes and needs.flash > target.flash_bytes:
        parts = f"code {needs.code:,}, constants {needs.constants:,}, compiler's library {needs.support:,}"
        over = needs.flash - target.flash_bytes
        found.append(f"flash: {needs.flash:,} bytes ({parts}), {target.flash_bytes:,} are there: {over:,} too many")
    if target.ram_bytes and needs.ram > target.ram_bytes:
        over = needs.ram - target.ram_bytes
        parts = f"arena {needs.arena:,}, stack {needs.stack:,}"
        found.append(f"RAM: {needs.ram:,} bytes ({parts}), {target.ram_bytes:,} are there: {over:,} too many")
    return "; ".join(found)


def taken(needs: Needs, target: Target) -> str:
    """What a model takes of a target that has no room for it, in a few words."""
    return ", ".join(f"{used:,} of {there:,} bytes of {name}" for used, there, name in _beyond(needs, target))


def share_over(needs: Needs, target: Target) -> float:
    """How much too large a model is for a target, as a share of the target's flash or RAM; 0 where it fits."""
    return max([0.0, *(used / there - 1 for used, there, _ in _beyond(needs, target))])


def _beyond(needs: Needs, target: Target) -> list[tuple[int, int, str]]:
    """Bytes that a model needs, bytes that there are, and of which memory: where the first are more."""
    both = ((needs.flash, target.flash_bytes, "flash"), (needs.ram, target.ram_bytes, "RAM"))
    return [(used, there, name) for used, there, name in both if there and used > there]


def largest_tables(code: PlainC, number: int = 2) -> str:
    """The largest constants of a model, in words."""
    found = [(int(n) * _TABLE_WIDTHS.get(kind, 4), name) for kind, name, n in _TABLE.findall(code.files["model.c"])]
    return ", ".join(f"{name} {size:,}" for size, name in sorted(found, reverse=True)[:number])


def smaller_weights(code: PlainC, needs: Needs, flash: int) -> str:
    """What would make the weights of a model smaller, in words.

    Args:
        code: the model.
        needs: what it takes.
        flash: what there is, bytes.
    """
    tables = _TABLE.findall(code.files["model.c"])
    weights = sum(int(n) for kind, name, n in tables if kind == "int8_t" and "_weight" in name)
    floats = sum(4 * int(n) for kind, _, n in tables if kind == "float")
    ways = []
    if floats > needs.constants // 2:
        ways.append("8-bit weights (--quant dq-int8)")
    elif f"#define {BYTE_WEIGHTS}\n" in code.files["model.c"]:
        ways.append(f"4-bit weights (--quant dq-int4, about {needs.flash - weights // 2:,} bytes)")
    share = 1 - (flash / needs.flash) ** 0.5  # a weight between two layers shrinks with both
    sparsity = min(0.9, math.ceil(10 * share) / 10)
    ways.append(f"fewer channels (edgegnn compress --prune structured --sparsity {sparsity:g})")
    return " or ".join(ways)


def largest_limits(make: Callable[[Limits], PlainC], limits: Limits, ram: int) -> Limits | None:
    """The largest limits in the same proportion whose arena fits, to within a sixteenth; None where none does.

    Args:
        make: generates the model within limits.
        limits: those that are too large.
        ram: bytes for the arena.
    """
    low, high = 0.0, 1.0
    best: Limits | None = None
    for _ in range(5):
        middle = (low + high) / 2
        tried = Limits(max(1, int(limits.nodes * middle)), max(1, int(limits.edges * middle)))
        try:
            fits = make(tried).arena_bytes <= ram
        except EdgeGNNError:
            return None
        if fits:
            best, low = tried, middle
        else:
            high = middle
    return best


def _bytes(arguments: tuple[Argument, ...]) -> int:
    return sum(count(a.shape).most * _WIDTHS[a.ctype] for a in arguments)
