"""Watches what a process does while a stranger's file is read: files, imports, programs, connections."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# Never needed to read a file.
_NEVER = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.", "socket.", "ctypes.dlopen")
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
_OURS = ("edgegnn", "torch", "sympy", "mpmath", "numpy", "onnx", "onnxruntime", "msgspec", "encodings")
_HERE = str(Path(__file__).parents[2])
_CODE = ("<eval_with_key", "<string>", "<frozen", "<lambdif", _HERE, sys.prefix, sys.base_prefix)
_UNSAFE_MODULES = ("os", "posix", "nt", "sys", "builtins", "subprocess", "shutil", "importlib", "runpy", "pickle")


class Watch:
    """Notes in `found` what no reader of a file does. A hook can't be taken away: one watch a process."""

    def __init__(self, scratch: Path) -> None:
        self.found: list[str] = []
        self._places = tuple(os.path.realpath(place) for place in (scratch, tempfile.gettempdir() + "/edgegnn"))
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        try:
            wrong = self._wrong(event, args)
        except Exception as error:  # a hook that raises would change what is watched
            wrong = f"unexpected arguments of {event}: {error}"
        if wrong:
            self.found.append(wrong)

    def _wrong(self, event: str, args: tuple[Any, ...]) -> str:
        if event.startswith(_NEVER):
            return f"{event} {str(args)[:200]}"
        if event == "open":
            return self._opened(args)
        if event.startswith(_CHANGES):
            return "" if self._inside(args[0]) else f"{event} {str(args)[:200]}"
        if event == "import":
            name = str(args[0])
            known = name in sys.modules or name.partition(".")[0] in (*_OURS, *sys.stdlib_module_names)
            return "" if known else f"import {name}"
        if event == "exec":
            place = str(getattr(args[0], "co_filename", ""))
            return "" if place.startswith(_CODE) else f"code of {place} is run"
        if event == "pickle.find_class" and args[0] in _UNSAFE_MODULES:
            return f"pickle finds {args[0]}.{args[1]}"
        return ""

    def _opened(self, args: tuple[Any, ...]) -> str:
        place, mode, flags = args
        writes = (
            bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(flags, int) else "r" not in str(mode)
        )
        return f"open {place!r} to write" if writes and not self._inside(place) else ""

    def _inside(self, place: Any) -> bool:
        return isinstance(place, int) or os.path.realpath(os.fsdecode(place)).startswith((*self._places, "/dev/null"))
