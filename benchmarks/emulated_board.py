"""How long the emulated board takes: from nothing to the first record, and every time after.

    python benchmarks/emulated_board.py ARTIFACT

"Nothing" is an empty cache folder: packages, wheels and everything made of them are fetched and unpacked, with the
kernels compiled for arm64. pip's own cache is as it is; the compilers and qemu are installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import environment, write
from workers import say

from edgegnn.devices.emulated import emulated_board


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    artifact = parser.parse_args().artifact.resolve()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="edgegnn-board-") as folder:
        os.environ["EDGEGNN_EMULATED"] = str(Path(folder) / "emulated")
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")  # of the kernels
        pip = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, env=OUTSIDE)
        os.environ["PIP_CACHE_DIR"] = pip.stdout.strip()
        profile = [sys.executable, "-m", "edgegnn", "profile", "--target", "emulated-pi", "--quick", str(artifact)]
        for what in ("from nothing to the first record", "the second record"):
            begin = time.monotonic()
            subprocess.run([*profile, "-o", str(Path(folder) / "records")], check=True, stdout=subprocess.DEVNULL)
            seconds[what] = round(time.monotonic() - begin, 1)
            say(f"{what}: {seconds[what]} s")
        begin = time.monotonic()
        with emulated_board() as board:
            seconds["start"] = round(time.monotonic() - begin, 2)
            begin = time.monotonic()
            subprocess.run(["ssh", "-F", str(board.config), "emulated-pi", "true"], check=True)
            seconds["one command over SSH"] = round(time.monotonic() - begin, 2)
            begin = time.monotonic()
        seconds["stop"] = round(time.monotonic() - begin, 2)
    content = {"environment": environment(), "load_average": os.getloadavg()[0], "seconds": seconds}
    print(seconds)
    print(f"written to {write('emulated-board', content)}")


OUTSIDE = dict(os.environ)

if __name__ == "__main__":
    main()
