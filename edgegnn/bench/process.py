"""The process that measures a peer: `run.pyz`'s program, with the model opened by the peer.

python -m edgegnn.bench.process MODULE:FUNCTION TASK-FOLDER bench --events ...
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgegnn.errors import UsageError, first_line
from edgegnn.runtime.benchmark import Opener
from edgegnn.runtime.cli import main

__all__ = ["find_peer"]


def find_peer(name: str) -> Callable[[Path], Callable[[int], Any]]:
    """The function of a peer, "module:function".

    Raises:
        UsageError: it can't be imported.
    """
    module, _, function = name.partition(":")
    try:
        found: Callable[[Path], Callable[[int], Any]] = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise UsageError(f"the runner {name} can't be imported: {type(error).__name__}: {first_line(error)}") from error
    return found


def _measure(name: str, folder: str, arguments: list[str]) -> int:
    try:
        opener = find_peer(name)(Path(folder))
    except Exception as error:
        print(f"edgegnn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    version = "torchscript" if "torch" in sys.modules else "onnxruntime"
    return main(arguments, opener=Opener(opener, version))


if __name__ == "__main__":
    sys.exit(_measure(sys.argv[1], sys.argv[2], sys.argv[3:]))
