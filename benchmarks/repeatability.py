"""How far apart are two measurements of the same thing? Ten pairs of `edgegnn profile`, one after the other.

    python benchmarks/repeatability.py model-none model-dq-int8

Reported per artifact: the difference of p50 within a pair, in percent of their mean (median and largest of the pairs),
and in how many pairs the interval of `profile --compare` contained 0, as it should: what is missing from 95 % is what
differs from run to run and no single run can see. The latency pass is the protocol's; energy is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from common import environment, write

from edgegnn.devices import load_target
from edgegnn.profiling import compare, profile
from edgegnn.runtime.benchmark import FULL, QUICK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=None, help="default: the target's, one per core")
    parser.add_argument("--quick", action="store_true", help="a second a run; goes to results/quick/")
    args = parser.parse_args()
    plan = dataclasses.replace(QUICK if args.quick else FULL, windows=1, window_seconds=0.0)
    target = msgspec.structs.replace(load_target("local"), energy=(), meter=None)
    rows: list[dict[str, Any]] = []
    for artifact in args.artifacts:
        pairs = []
        for number in range(args.pairs):
            a, b = (profile(artifact, target=target, plan=plan, threads=args.threads, out=None) for _ in range(2))
            pairs.append(pair(a, b))
            print(
                f"{artifact.name}, pair {number + 1}: {a.latency_ms.p50:.4f} and {b.latency_ms.p50:.4f} ms", flush=True
            )
        rows.append({"artifact": artifact.name, "threads": b.latency_ms.threads, **summary(pairs), "pairs": pairs})
        folder = "quick/" if args.quick else ""
        write(f"{folder}repeatability", {**environment(), "plan": dataclasses.asdict(plan), "artifacts": rows})
    print("\n| artifact | threads | p50, ms | difference, median | largest | intervals with 0 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        print(
            f"| {row['artifact']} | {row['threads']} | {row['p50']:.4f} | {row['median_percent']:.1f} % "
            f"| {row['largest_percent']:.1f} % | {row['covered']} of {len(row['pairs'])} |"
        )


def pair(a: Any, b: Any) -> dict[str, Any]:
    """Two records -> their p50, the difference in percent of the mean, and the interval of the change."""
    first, second = a.latency_ms.p50, b.latency_ms.p50
    change = compare(a, b).p50
    return {
        "p50": [first, second],
        "percent": 100 * abs(first - second) / ((first + second) / 2),
        "interval": [change.low, change.high],
        "covered": change.noise,
        "load_average": [a.device.load_average, b.device.load_average, os.getloadavg()[0]],
    }


def summary(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """What the pairs say together."""
    return {
        "p50": median(p for entry in pairs for p in entry["p50"]),
        "median_percent": median(entry["percent"] for entry in pairs),
        "largest_percent": max(entry["percent"] for entry in pairs),
        "covered": sum(entry["covered"] for entry in pairs),
    }


if __name__ == "__main__":
    main()
