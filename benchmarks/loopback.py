"""What `profile` and `ship` cost besides the work itself, over SSH to a server on loopback.

    python benchmarks/loopback.py model-dq-int8

Reported: seconds of `edgegnn profile --target board` beyond its measuring windows (warm-up, latency pass, energy), the
first time and then (median, largest), and the bytes that `edgegnn ship` sends, first, again, and after a change of the
manifest. Every figure is that of the whole command, with its start. The server is that of the tests
(`tests/support/loopback_sshd.py`): needs `apt-get install openssh-server`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from common import environment, write
from workers import say

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from loopback_sshd import Loopback


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    given = args.artifact.resolve()
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if sshd is None:
        raise SystemExit("no sshd here: apt-get install openssh-server")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgegnn-loopback-") as name:
        folder = Path(name)
        os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
        artifact = Path(shutil.copytree(given, folder / given.name))
        (folder / "server").mkdir()
        before = Path.cwd()
        os.chdir(folder)
        server = Loopback(folder / "server", sshd)
        load = os.getloadavg()[0]
        try:
            server.target()
            sent = {"first": ship(artifact), "unchanged": ship(artifact)}
            manifest = artifact / "manifest.json"
            manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "note": "changed"}))
            sent["another manifest"] = ship(artifact)
            overheads = []
            for number in range(args.times + 1):
                seconds, record = edgegnn("profile", "--quick", artifact.name)
                overheads.append(seconds - windows(record))
                say(f"profile {number}: {overheads[-1]:.2f} s beyond its windows of {windows(record):.1f} s")
        finally:
            server.stop()
            os.chdir(before)
    first, *later = overheads
    content = {
        "environment": environment(),
        "load_average": load,
        "artifact": given.name,
        "profile_overhead_seconds": {"first": first, "median": median(later), "largest": max(later), "n": len(later)},
        "ship_sent_bytes": sent,
    }
    print(json.dumps({key: content[key] for key in ("profile_overhead_seconds", "ship_sent_bytes", "load_average")}))
    print(f"written to {write('loopback', content)}")


def edgegnn(command: str, *arguments: str) -> tuple[float, dict[str, Any]]:
    """Seconds of a command, and what it prints."""
    begin = time.perf_counter()
    line = [sys.executable, "-m", "edgegnn", command, "--target", "board", "--json", *arguments]
    done = subprocess.run(line, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, json.loads(done.stdout)


def windows(record: dict[str, Any]) -> float:
    """Seconds that were measured, by the record."""
    how, energy = record["how"], record["energy_j"]
    seconds = sum(window["seconds"] for window in energy["windows"]) if energy else 0.0
    return float(how["warmup_seconds"] + how["latency_seconds"] + seconds)


def ship(artifact: Path) -> int:
    """Bytes that travel."""
    return int(edgegnn("ship", artifact.name)[1]["sent_bytes"])


if __name__ == "__main__":
    main()
