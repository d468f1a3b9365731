"""What a device says about itself, for tests without one."""

from __future__ import annotations

import sys
from typing import Any

from edgegnn.devices.transport.answers import Facts


def known(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "agent_python": "/usr/bin/python3",
        "machine": "x86_64",
        "bits": 64,
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "venv_python": "",
        "packages": {"onnxruntime": "1.21.0", "numpy": "2.0.2"},
        "root": "/home/pi/.local/share/edgegnn",
        "model": "A CPU",
        "os": "Linux",
        "memory_bytes": 2**32,
        "available_bytes": 2**31,
        "disk_free_bytes": 2**34,
        "writable": True,
        "governor": "",
        "governors": [],
        "throttled": "",
        "energy": "",
        "time": 0.0,
        "pip_wheel": "",
        "dotprod": False,
    }
    return Facts(**{**values, **changes})
