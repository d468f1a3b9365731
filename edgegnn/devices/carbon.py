"""codecarbon's power model as an energy reader: an estimate, for machines without a readable counter."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import logging
from collections.abc import Iterator
from typing import Any

from edgegnn.runtime.energy import Reading, ReadingError

__all__ = ["CarbonReader", "carbon_reader", "carbon_version"]

JOULES_PER_KWH = 3.6e6


def carbon_version() -> str:
    """Installed version of codecarbon; "" when there is none."""
    try:
        return importlib.metadata.version("codecarbon")
    except importlib.metadata.PackageNotFoundError:
        return ""


class CarbonReader:
    """CPU and RAM energy of this process and its children, as codecarbon's model has it."""

    kind = "estimated"
    rate = None

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker
        self._running = False
        # The first task sets the tracker up, which takes a second: not in a window.
        self.start()
        self.stop()
        self.source = f"codecarbon {carbon_version()}, {_method(tracker)}"
        self.scope = "the process's share of the CPU, and the RAM"

    def start(self) -> None:
        """Begin a window."""
        self._tracker.start_task()
        self._running = True

    def stop(self) -> Reading:
        """End the window."""
        self._running = False
        data = self._tracker.stop_task()
        if data is None:
            raise ReadingError("codecarbon gave no reading")
        joules = (float(data.cpu_energy) + float(data.ram_energy)) * JOULES_PER_KWH
        if not 0 <= joules < float("inf"):
            raise ReadingError(f"codecarbon gave {joules} J for a window")
        return Reading(joules)

    def close(self) -> None:
        """Stop codecarbon's thread when a window was left open."""
        if self._running:
            self._running = False
            self._tracker.stop_task()


@contextlib.contextmanager
def carbon_reader() -> Iterator[tuple[CarbonReader | None, str]]:
    """Set codecarbon up: offline, without files, silent.

    Yields:
        The reader and "", or None and the reason why not.
    """
    logger = logging.getLogger("codecarbon")
    level, disabled = logger.level, logger.disabled
    reader: CarbonReader | None = None
    reason = ""
    try:
        logger.disabled = True
        try:
            reader = CarbonReader(_tracker())
        except Exception as error:  # whatever codecarbon or its probing of the machine raises: no estimate
            reason = f"codecarbon doesn't work here: {type(error).__name__}: {error}".splitlines()[0]
        yield reader, reason
    finally:
        if reader is not None:
            with contextlib.suppress(Exception):
                reader.close()
        logger.disabled = disabled
        logger.setLevel(level)


def _tracker() -> Any:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.emissions_tracker import BaseEmissionsTracker

    # Given explicitly, so that no configuration file or CODECARBON_* variable makes it write or send anything. The
    # country only matters for emissions, which are not used. "process": other programs on the machine don't count.
    options: dict[str, Any] = {
        "country_iso_code": "USA",
        "tracking_mode": "process",
        "log_level": "critical",
        "allow_multiple_runs": True,
        "emissions_endpoint": None,
        "electricitymaps_api_token": None,
        "output_handlers": [],
    }
    if "output_methods" in inspect.signature(BaseEmissionsTracker.__init__).parameters:
        options["output_methods"] = []
    else:
        options |= {"save_to_file": False, "save_to_api": False, "save_to_logger": False}
    return OfflineEmissionsTracker(**options)


def _method(tracker: Any) -> str:
    """In words, which of its methods codecarbon uses on this machine."""
    for part in getattr(tracker, "_hardware", []):
        if type(part).__name__ == "RAM":
            continue
        mode = str(getattr(part, "_mode", type(part).__name__)).replace("_", " ")
        watts = getattr(part, "_tdp", None)
        model = str(getattr(part, "_model", "")).strip()
        power = f" of {watts:g} W TDP" if isinstance(watts, (int, float)) else ""
        return f"{mode} model{power} ({model}), RAM model" if model else f"{mode} model{power}, RAM model"
    return "RAM model only"
