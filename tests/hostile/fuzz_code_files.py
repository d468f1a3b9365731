"""Feeds edgegnn with model files and device answers that are damaged or forged, for as long as you like.

    python tests/hostile/fuzz_code_files.py --count 50000 --seed 0 --json results.json

A case is a checkpoint, a `.pt2` program, a TorchScript model, an artifact or the answer of a device, of which bytes,
entries of the archive, fields or code are changed. It ends well in "same" (the content is what it was), "other" (a
forgery that holds together) or "refused" (one line). Anything else is a finding: another exception, a crash, more than
20 s, more than 4 GB, a file outside the scratch folder, a program, a connection or a module of the file's choice.
Cases run in batches, each in a process of its own whose files, imports and programs are watched (`sys.addaudithook`).
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TextIO

for folder in ("support", "hostile"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

from fuzz_cases import KINDS, Case, bases  # noqa: E402
from fuzz_watch import Watch  # noqa: E402

BATCH = 2000
SECONDS = 20.0
START_SECONDS = 300.0
MEMORY = 4 * 2**30


def run_case(case: Case, watch: Watch) -> str:
    """The end of one case, or what was found."""
    watch.found.clear()
    try:
        outcome: str = case.run()
    except Exception as error:
        outcome = f"FINDING {type(error).__name__}: {str(error)[:300]}"
    if watch.found:
        outcome = f"FINDING {watch.found[0]}"
    return outcome


def run_batch(first: int, count: int, scratch: Path, say: TextIO) -> None:
    """Run cases, and tell each one's number and kind before it, and its end after it, in a line of JSON."""
    made = bases(scratch)
    for kind in KINDS:  # what is imported and compiled the first time, without a watch
        Case(kind, made, -1, scratch).run()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(scratch)
    watch = Watch(scratch)
    before = set(scratch.iterdir())
    for seed in range(first, first + count):
        case = Case.of(seed, made, scratch)
        print(json.dumps([seed, case.kind, ""]), file=say, flush=True)
        end = run_case(case, watch)
        more = set(scratch.iterdir()) - before
        if more and not end.startswith("FINDING"):
            end = f"FINDING a new file {more.pop().name}"
        print(json.dumps([seed, case.kind, end]), file=say, flush=True)


def _follow(child: subprocess.Popen[str], last: int, ends: Counter[str]) -> tuple[int, list[str]]:
    """Count the ends of a batch; returns the last case that ended, or ended the process, and what was found."""
    lines: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=listen, daemon=True).start()
    found: list[str] = []
    seed, kind, end = last, "start", "between cases"
    while True:
        try:  # a process needs longer to begin and to end than a case may take
            line = lines.get(timeout=START_SECONDS if end else SECONDS)
        except queue.Empty:
            child.kill()
            return seed, [*found, f"seed {seed} ({kind}): FINDING nothing heard for too long"]
        if not line:
            code = child.wait()
            return seed, found + ([f"seed {seed} ({kind}): FINDING ended with {code}"] if code else [])
        if not line.startswith("["):  # no answer of a batch
            found.append(f"seed {seed} ({kind}): FINDING printed {line.strip()[:200]}")
            continue
        seed, kind, end = json.loads(line)
        if end:
            wrong = end.startswith("FINDING")
            ends[f"{kind}: {'finding' if wrong else end}"] += 1
            found += [f"seed {seed} ({kind}): {end}"] if wrong else []


def fuzz(count: int, seed: int, *, seconds: float = float("inf")) -> tuple[Counter[str], list[str]]:
    """Run cases `seed * 10^9` on, and stop after some time.

    Returns:
        How often each end was reached, and the findings.
    """
    ends: Counter[str] = Counter()
    found: list[str] = []
    at, begin = seed * 10**9, time.monotonic()
    end = at + count
    while at < end and time.monotonic() - begin < seconds:
        with tempfile.TemporaryDirectory(prefix="edgegnn-fuzz-") as scratch:
            command = [sys.executable, "-W", "ignore", __file__, "--batch", str(at), str(min(BATCH, end - at)), scratch]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
                last, more = _follow(child, at, ends)
        found += more
        at = last + 1  # after a crash, the case behind the one that crashed
    return ends, found


def main() -> None:
    """Run cases and print, or write, the count of each end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these, when a batch ends")
    parser.add_argument("--json", type=Path, help="also write count, seed, ends and findings here")
    parser.add_argument("--batch", nargs=3, metavar=("FIRST", "COUNT", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.batch:
        first, count, scratch = arguments.batch
        with os.fdopen(os.dup(1), "w") as say:
            run_batch(int(first), int(count), Path(scratch), say)
        return
    begin = time.monotonic()
    ends, found = fuzz(arguments.count, arguments.seed, seconds=arguments.seconds)
    facts = {
        "cases": sum(ends.values()),
        "first_seed": arguments.seed * 10**9,
        "seconds": round(time.monotonic() - begin),
        "ends": dict(sorted(ends.items())),
        "findings": found,
    }
    print(json.dumps(facts, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
