"""Artifacts on emulated Arm processors against this machine: integers bit for bit, predictions on every graph.

    python benchmarks/arm64_equality.py                       # about 10 minutes; trains, exports, compares
    python benchmarks/arm64_equality.py model-dq-int8 ...     # artifacts exported with --target arm64

Each artifact is verified by its own runner and compared tensor by tensor (`equality.py`) on a Cortex-A72 (Raspberry Pi
4) and A76 (Pi 5, with the byte dot product), with the native library and on onnxruntime's own operators. How well the
models are trained does not matter here, so they are trained briefly. Needs `apt-get install qemu-user
g++-aarch64-linux-gnu`; the emulated board is described in `edgegnn.devices.emulated`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from common import environment, write
from equality import HOME, Equality, compare
from tables import table
from workers import say

from edgegnn import api
from edgegnn.devices.emulated import emulated_board
from edgegnn.errors import TargetError

CPUS = ("cortex-a72", "cortex-a76")
# model, data, epochs, settings of the model, recipes
CASES: tuple[tuple[str, str, int, dict[str, Any], tuple[str, ...]], ...] = (
    ("gcn", "cora", 20, {}, ("dq-int8", "dq-int4", "qat-int8")),
    ("gat", "cora", 20, {}, ("dq-int8",)),
    ("sage", "cora", 20, {}, ("dq-int8",)),
    ("gin", "proteins", 1, {}, ("dq-int8",)),
    ("gin", "reddit-binary", 1, {}, ("dq-int8", "dq-int4")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", type=Path, nargs="*", help="artifacts to compare instead of new ones")
    parser.add_argument("--files", type=Path, help="folder for what is made, kept and used again; default: temporary")
    parser.add_argument("--cpus", nargs="+", default=list(CPUS))
    args = parser.parse_args()
    rows: list[Equality] = []
    with nullcontext(args.files) if args.files else tempfile.TemporaryDirectory(prefix="edgegnn-equality-") as folder:
        artifacts = args.artifacts or export_all(Path(folder))
        start = time.monotonic()
        try:
            for cpu in args.cpus:
                with emulated_board(cpu, home_bytes=HOME, progress=say) as board:
                    say(f"emulated {cpu} up after {time.monotonic() - start:.1f} s")
                    for artifact in artifacts:
                        for native in (True, False):
                            rows.append(compare(artifact, board, native=native))
                            say(f"{rows[-1]}")
                start = time.monotonic()
        except TargetError as error:
            raise SystemExit(f"skipped: {error}") from error
    print(shown(rows))
    if not args.artifacts:
        content = {"environment": environment(), "rows": [row.to_dict() for row in rows]}
        print(f"\nwritten to {write('arm64-equality', content)}")
    wrong = [row for row in rows if not row.verified or row.predictions_differ or row.integers_differ]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {len(rows)} do not hold")


def export_all(folder: Path) -> list[Path]:
    """Train and export the cases for arm64."""
    made = []
    for model, data, epochs, architecture, recipes in CASES:
        checkpoint = folder / f"{model}-{data}.pt"
        if not checkpoint.exists():
            api.train(model, data, output=checkpoint, architecture=architecture, settings={"epochs": epochs})
        for recipe in recipes:
            output = folder / f"{model}-{data}-{recipe}"
            made.append(output)
            if output.exists():
                continue
            settings = {"epochs": epochs}
            api.export(checkpoint, quant=recipe, output=output, settings=settings, targets=["arm64"], min_agreement=0.0)
            say(f"{output.name} exported")
    return made


def shown(rows: list[Equality]) -> str:
    cells = [
        [
            row.artifact,
            row.cpu,
            row.kernels,
            "yes" if row.verified else "NO",
            str(row.graphs),
            f"{row.integers_differ:,} of {row.integer_elements:,}",
            f"{row.predictions_differ:,} of {row.predictions:,}",
            f"{row.logits_differ:.2g}",
        ]
        for row in rows
    ]
    heads = ["artifact", "processor", "kernels", "verified", "graphs", "integers differ", "predictions differ"]
    return table([*heads, "logits differ"], cells, left=3)


if __name__ == "__main__":
    main()
