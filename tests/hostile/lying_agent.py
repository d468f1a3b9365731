"""Stands between the host and a real agent, and damages some of what the agent says.

    python tests/hostile/lying_agent.py SEED PYTHON -c CODE CHECKSUM PYTHON

The lines of the greeting pass as they are. Of the rest, every third line or so has parts that are odd, gone, of another
type, or is no JSON at all.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mutations import damage_bytes, damage_json


def damaged(rng: random.Random, line: bytes) -> bytes:
    if rng.random() < 0.6:
        return line
    if rng.random() < 0.2:
        damage = damage_bytes(rng, line[:5000]).replace(b"\n", b"")
    else:
        damage = json.dumps(damage_json(rng, json.loads(line))).encode()
    # The host takes no notice of lines that don't begin so, and would wait half a minute for the next one.
    return damage + b"\n" if damage.startswith(b"{") else b"{" + damage + b"\n"


def main() -> None:
    rng = random.Random(int(sys.argv[1]))
    with subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        try:
            for line in agent.stdout:
                greeting = line.startswith((b"edgegnn-", b'{"ok": {"agent"'))
                sys.stdout.buffer.write(line if greeting else damaged(rng, line))
                sys.stdout.buffer.flush()
        finally:
            agent.kill()


if __name__ == "__main__":
    main()
