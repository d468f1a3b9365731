"""The name of a factory: "package.module:function"."""

from __future__ import annotations

from pathlib import Path

from edgegnn.errors import UsageError

__all__ = ["split_factory"]


def split_factory(name: str) -> tuple[str, str]:
    """Return the module and the function that a factory's name says.

    Raises:
        UsageError: it is not of the form package.module:function.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise UsageError(f"--factory {name!r} is not of the form package.module:function")
    if module.endswith(".py") or "/" in module:
        like = f"{Path(module).stem}:{function}"
        raise UsageError(f"--factory {name!r} names a file, not a module: write {like}, in the folder of that file")
    return module, function
