"""Write `run.pyz`: this package as one file that `python run.pyz` runs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["build_runner"]

_MAIN = """\
import sys

try:
    from edgegnn.runtime.cli import main
except ImportError as error:
    sys.exit("edgegnn: error: %s; this runner needs: python -m pip install numpy onnxruntime" % error)
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(main())
"""


def build_runner(path: Path) -> None:
    """Write the runner.

    The same edgegnn always writes the same bytes: names sorted, fixed dates, nothing compressed (the deflate libraries
    of two machines don't agree).

    Args:
        path: where; an existing file is replaced.
    """
    root = files("edgegnn")
    sources = {f"edgegnn/{name}": root.joinpath(name).read_bytes() for name in ("__init__.py", "errors.py")}
    sources.update(_sources(root.joinpath("runtime"), "edgegnn/runtime"))
    sources["__main__.py"] = _MAIN.encode()
    with Path(path).open("wb") as out:
        out.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(sources):
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                info.create_system = 3
                archive.writestr(info, sources[name])
    Path(path).chmod(0o755)


def _sources(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """Name inside the runner and content of all modules in a folder and the folders in it."""
    for entry in folder.iterdir():
        if entry.name.endswith(".py"):
            yield f"{name}/{entry.name}", entry.read_bytes()
        elif entry.is_dir() and entry.name.isidentifier() and entry.name != "__pycache__":
            yield from _sources(entry, f"{name}/{entry.name}")
