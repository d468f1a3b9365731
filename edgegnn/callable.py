"""Let a subpackage be called: `edgegnn.export(...)` is the function, `edgegnn.export.capture` the module.

The package root wants functions with the names of the commands, and the folders have those names too; importing a
subpackage puts the module there.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["make_callable"]


def make_callable(module: str, function: str) -> None:
    """Make the imported module `module` callable: a call goes to "package.module:function", imported then."""

    class CallableModule(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            from importlib import import_module

            where, _, name = function.partition(":")
            return getattr(import_module(where), name)(*args, **kwargs)

    sys.modules[module].__class__ = CallableModule
