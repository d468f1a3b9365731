"""Energy: readers of this machine behind one interface, and how windows of them become joules per inference.

A reader names its source (what was read), its scope (which part of the machine), its kind ("measured" by a counter or a
sensor, or "estimated" by a model), and its rate (updates or samples per second).
"""

from __future__ import annotations

from edgegnn.runtime.energy.board import BoardModel, board_watts, find_board_model
from edgegnn.runtime.energy.choose import READERS, choose_reader, find_reader
from edgegnn.runtime.energy.hwmon import find_hwmon
from edgegnn.runtime.energy.nvml import Gpu, NvmlReader, find_nvml, open_gpu
from edgegnn.runtime.energy.pmic import find_pmic
from edgegnn.runtime.energy.rapl import POWERCAP, RaplReader, find_rapl
from edgegnn.runtime.energy.sampled import SampledReader
from edgegnn.runtime.energy.windows import (
    MIN_STEPS,
    EnergyReader,
    Reading,
    ReadingError,
    Window,
    measure_windows,
    summarize,
)

__all__ = [
    "MIN_STEPS",
    "POWERCAP",
    "READERS",
    "BoardModel",
    "EnergyReader",
    "Gpu",
    "NvmlReader",
    "RaplReader",
    "Reading",
    "ReadingError",
    "SampledReader",
    "Window",
    "board_watts",
    "choose_reader",
    "find_board_model",
    "find_hwmon",
    "find_nvml",
    "find_pmic",
    "find_rapl",
    "find_reader",
    "measure_windows",
    "open_gpu",
    "summarize",
]
