"""Keep an emulated board running, for a look around: python -m edgegnn.devices.emulated --cpu cortex-a76."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading

from edgegnn.devices.emulated import CPUS, emulated_board
from edgegnn.errors import EdgeGNNError


def main() -> None:
    """Start it, say how to log in, stop it at Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m edgegnn.devices.emulated", description=__doc__)
    parser.add_argument("--cpu", choices=CPUS, default="cortex-a72", help="processor (default: cortex-a72)")
    cpu = parser.parse_args().cpu
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with emulated_board(cpu, progress=lambda text: print(text, file=sys.stderr)) as board:
            print(f"{CPUS[cpu][3]}'s processor, emulated; Ctrl-C ends it", file=sys.stderr)
            print(f"ssh -F {shlex.quote(str(board.config))} emulated-pi", flush=True)
            ended.wait()
    except EdgeGNNError as error:
        sys.exit(f"edgegnn: {error}")


if __name__ == "__main__":
    main()
