"""The C functions that generated models are made of. The first line of each file names those it calls."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources

__all__ = ["kernel_sources"]


def kernel_sources(names: Iterable[str]) -> str:
    """The C text of kernels and of all that they call, each once, what is called first."""
    ordered: list[str] = []
    for name in sorted(names):
        _visit(name, ordered)
    return "\n".join(_text(name).split("\n", 1)[1] for name in ordered)


def _visit(name: str, ordered: list[str]) -> None:
    if name in ordered:
        return
    first = _text(name).split("\n", 1)[0]
    for needed in first.removeprefix("/* needs:").removesuffix("*/").split():
        _visit(needed, ordered)
    ordered.append(name)


@cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.c").read_text(encoding="utf-8")
