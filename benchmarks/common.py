"""What every benchmark script shares: where it ran, and results that survive an interruption."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def environment() -> dict[str, Any]:
    """Machine and versions, for every result file."""
    import onnxruntime
    import torch
    import torch_geometric

    cpu = "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    from edgegnn.runtime import find_library

    built = find_library()
    return {
        "command": " ".join(["python", *sys.argv]),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "onnxruntime": onnxruntime.__version__,
        "native_library_sha256": hashlib.sha256(built.read_bytes()).hexdigest() if built else None,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Which sources these are, with "-dirty" when some have changed since; None outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(git, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def write(name: str, content: dict[str, Any]) -> Path:
    """Write `benchmarks/results/<name>.json`, whole or not at all."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)
    return path
