"""Where an artifact shall go: processors whose kernels it brings, and microcontrollers whose memory it has to fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from edgegnn.devices.microcontroller.boards import BOARDS
from edgegnn.devices.microcontroller.build import build_firmware, find_compiler
from edgegnn.devices.microcontroller.limits import (
    Needs,
    largest_limits,
    largest_tables,
    needs_of,
    share_over,
    smaller_weights,
    taken,
    too_much,
)
from edgegnn.devices.target import Target, load_target
from edgegnn.errors import TooLargeError, UsageError
from edgegnn.exporting.early_checks import PLAIN
from edgegnn.native.build import LEVELS
from edgegnn.plain_c.generate import PlainC, generate
from edgegnn.plain_c.values import Limits

__all__ = ["Destinations", "check_memory", "destinations"]


@dataclass(frozen=True)
class Destinations:
    """The targets of an export.

    Attributes:
        machines: processor ("aarch64") whose native library goes into the artifact -> its target.
        small: microcontrollers.
        format: the artifact's; "c" (or "web", which has it, too) for microcontrollers.
    """

    machines: dict[str, str]
    small: tuple[Target, ...]
    format: str | None


def destinations(names: Sequence[str], format: str | None) -> Destinations:
    """Read the targets that an export names.

    Args:
        names: of the targets.
        format: as it was asked for; None: nobody has.

    Raises:
        UsageError: there is no such target, or another format than C for one that takes C only.
        TargetError: a target's file is damaged, or no compiler for a microcontroller is here.
    """
    targets = [load_target(name) for name in names]
    small = tuple(target for target in targets if target.transport == "microcontroller")
    plain = next((t for t in targets if t.transport == "microcontroller" or t.runner == "native"), None)
    if plain is not None and format not in (None, *PLAIN):
        raise UsageError(f"{plain.name} takes the C form: --format c, or none")
    for target in small:
        find_compiler(BOARDS[target.cpu])
    machines: dict[str, str] = {target.arch: target.name for target in targets if target.arch in LEVELS}
    return Destinations(machines, small, format if plain is None else format or "c")


def check_memory(
    model: onnx.ModelProto, name: str, limits: Limits, small: Sequence[Target], status: Callable[[str], None]
) -> None:
    """Compile the C form of a model for microcontrollers, and see that it fits them.

    Args:
        model: the artifact's ONNX graph.
        name: the artifact's name.
        limits: the largest graph.
        small: the microcontrollers.
        status: told in a few words what is being done.

    Raises:
        TooLargeError: it does not fit; with the numbers, and what would.
    """
    for target in small:
        status(f"compiling for {target.name}")
        code = generate(model, name, limits)
        needs = needs_of(code, build_firmware(BOARDS[target.cpu], code, name))
        problem = too_much(needs, target)
        if problem:
            raise TooLargeError(
                f"{name} does not fit {target.name}: {problem}; {_cure(model, code, needs, target)}",
                taken(needs, target),
                share_over(needs, target),
            )


def _cure(model: onnx.ModelProto, code: PlainC, needs: Needs, target: Target) -> str:
    said = []
    if target.flash_bytes and needs.flash > target.flash_bytes:
        ways = smaller_weights(code, needs, target.flash_bytes)
        said.append(f"its largest tables are {largest_tables(code)} bytes: {ways} would be smaller")
    if target.ram_bytes and needs.ram > target.ram_bytes:
        room = target.ram_bytes - needs.stack - needs.static
        fits = largest_limits(lambda limits: generate(model, code.name, limits), code.limits, room)
        said.append(
            "no limits of the graph would fit"
            if fits is None
            else f"--max-nodes {fits.nodes} --max-edges {fits.edges} would fit its RAM"
        )
    return "; ".join(said)
