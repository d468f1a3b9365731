"""NVIDIA's management library: the energy counter of a GPU, its memory and its name.

`libnvidia-ml.so.1` comes with the driver and is called directly: the device needs no Python package for it.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgegnn.runtime.energy.windows import Reading, ReadingError

__all__ = ["Gpu", "NvmlReader", "find_nvml", "open_gpu"]

Load = Callable[[str], Any]
_LIBRARY = "libnvidia-ml.so.1"
# Seconds between two updates of the counter.
_UPDATE = 0.1


_load: Load = ctypes.CDLL


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name, the driver's version, all its memory in bytes, and how to ask for more."""

    name: str
    driver: str
    memory_bytes: int
    library: Any
    handle: Any

    def millijoules(self) -> int:
        """The energy counter, since the driver was loaded.

        Raises:
            ReadingError: the GPU has none (those before Volta), or it can't be read.
        """
        value = ctypes.c_ulonglong()
        _check(
            self.library,
            self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle, ctypes.byref(value)),
            f"the energy counter of {self.name}",
        )
        return value.value

    def used_bytes(self) -> int:
        """Memory in use on the whole GPU.

        Raises:
            ReadingError: it can't be read.
        """
        memory = _Memory()
        done = self.library.nvmlDeviceGetMemoryInfo(self.handle, ctypes.byref(memory))
        _check(self.library, done, f"the memory of {self.name}")
        return int(memory.used)

    def close(self) -> None:
        """Let the library go."""
        self.library.nvmlShutdown()


class NvmlReader:
    """The energy counter of a GPU. It moves every 100 ms: a window of 10 s is known to 1 %."""

    kind = "measured"
    rate = 1 / _UPDATE

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._before, self._begin = 0, 0.0
        self.source = f"NVML ({gpu.name})"
        self.scope = "GPU board"

    def start(self) -> None:
        """Begin a window."""
        self._before, self._begin = self._gpu.millijoules(), time.perf_counter()

    def stop(self) -> Reading:
        """End the window."""
        seconds = time.perf_counter() - self._begin
        moved = self._gpu.millijoules() - self._before
        if moved < 0:
            raise ReadingError(f"the energy counter of {self._gpu.name} went back: was the driver loaded anew?")
        return Reading(moved / 1e3, min(float(moved), seconds / _UPDATE))

    def close(self) -> None:
        """Let the library go."""
        self._gpu.close()


def find_nvml(*, load: Load | None = None) -> tuple[NvmlReader | None, str]:
    """Look for an NVIDIA GPU with an energy counter.

    Args:
        load: opens the library; None: the system does.

    Returns:
        The reader and "", or None and the reason why not.
    """
    try:
        gpu = open_gpu(load=load)
    except ReadingError as error:
        return None, str(error)
    try:
        gpu.millijoules()
    except ReadingError as error:
        gpu.close()
        return None, str(error)
    return NvmlReader(gpu), ""


def open_gpu(*, load: Load | None = None) -> Gpu:
    """The GPU that CUDA would use: the first of CUDA_VISIBLE_DEVICES, else the first.

    CUDA and NVML number GPUs alike where CUDA_DEVICE_ORDER is PCI_BUS_ID, which the runner sees to.

    Raises:
        ReadingError: no driver, no GPU, or it refuses.
    """
    try:
        library = (load or _load)(_LIBRARY)
    except OSError as error:
        raise ReadingError(f"no NVIDIA driver: {_LIBRARY} can't be loaded") from error
    try:
        _check(library, library.nvmlInit_v2(), "NVML")
    except AttributeError as error:
        raise ReadingError(f"{_LIBRARY} is no NVML") from error
    try:
        handle = _handle(library)
        name, driver = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
        _check(library, library.nvmlDeviceGetName(handle, name, 96), "the GPU's name")
        library.nvmlSystemGetDriverVersion(driver, 96)
        memory = _Memory()
        library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    except BaseException:
        library.nvmlShutdown()
        raise
    return Gpu(_decode(name), _decode(driver), int(memory.total), library, handle)


def _handle(library: Any) -> Any:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = "0" if visible is None else visible.split(",")[0].strip()
    handle = ctypes.c_void_p()
    if first.startswith(("GPU-", "MIG-")):
        done = library.nvmlDeviceGetHandleByUUID(first.encode(), ctypes.byref(handle))
    elif first.isdecimal():
        done = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(first)), ctypes.byref(handle))
    else:
        raise ReadingError(f"CUDA_VISIBLE_DEVICES is {visible!r}: no GPU is to be used")
    _check(library, done, f"GPU {first}")
    return handle


def _check(library: Any, code: int, what: str) -> None:
    if code == 0:
        return
    why = f"error {code}"
    text = getattr(library, "nvmlErrorString", None)
    if text is not None:
        text.restype = ctypes.c_char_p
        why = (text(code) or b"").decode("utf-8", "replace") or why
    raise ReadingError(f"{what}: {why}")


def _decode(buffer: Any) -> str:
    return bytes(buffer.value).decode("utf-8", "replace")
