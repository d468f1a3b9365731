"""Devices: targets, the connection to them, setting them up, shipping to them, and their energy meters."""

from __future__ import annotations

from edgegnn.devices.inventory import TargetInfo, targets
from edgegnn.devices.target import Target, load_target, local_target

__all__ = ["Target", "TargetInfo", "load_target", "local_target", "targets"]
