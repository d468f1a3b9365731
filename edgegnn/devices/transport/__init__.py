"""Reach a device over SSH and let it do things, through one connection and one program that lives as long as it does.

The system's `ssh` does the connecting, so that the user's configuration, agent, jump hosts and known hosts hold here
too; host keys are checked as the user's configuration says.
"""

from __future__ import annotations

from edgegnn.devices.transport.device import Device, open_device
from edgegnn.devices.transport.ssh import Address

__all__ = ["Address", "Device", "open_device"]
