"""Keep freed memory in the process while training."""

from __future__ import annotations

import ctypes
import functools
import platform

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc's malloc to reuse large blocks instead of returning them to the system; does nothing elsewhere.

    Every activation of a large batch is otherwise mapped, page-faulted and unmapped again in each step. A step of GIN
    5x64 on 128 graphs of REDDIT-BINARY (48,000 nodes), one thread of a Xeon: 342 ms user + 459 ms system time, 145,000
    page faults before; 440 + 51 ms, 3,000 faults after. In return the process keeps its peak memory (2.1 GB, not 1.5).

    Returns:
        Whether the setting was made.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
