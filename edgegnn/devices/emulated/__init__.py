"""The emulated board: arm64 Linux over SSH on loopback without a device, for correctness and never for speed.

    edgegnn profile --target emulated-pi model-dq-int8      # starts it, uses it like any device, stops it
    python -m edgegnn.devices.emulated --cpu cortex-a76     # keeps one running, and says how to log in

Every program of an arm64 Debian root runs under qemu-user; what the board is made of is fetched once and kept in the
user's cache folder. Nothing is installed, no root is needed, and nothing of it is left when it stops.
"""

from __future__ import annotations

from edgegnn.devices.emulated.board import CPUS, Board, emulated_board
from edgegnn.devices.emulated.root import Root, cache_folder, open_root

__all__ = ["CPUS", "Board", "Root", "cache_folder", "emulated_board", "open_root"]
