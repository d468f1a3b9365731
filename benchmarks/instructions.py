"""Executed instructions of one inference on emulated Arm processors: GCN 2x128 on Cora, ours against the plain export.

    python benchmarks/instructions.py                       # about 4 minutes

A Cortex-A72 (Raspberry Pi 4) and A76 (Pi 5, with the byte dot product) are emulated by qemu-user; a plugin counts what
they execute. The count hardly moves from run to run, which no time does; but it knows no caches and no pipeline, so it
is no latency. One thread. Outputs are compared with those of eager PyTorch on this machine.

Needs a Debian x86-64 machine with `apt-get install qemu-user g++-aarch64-linux-gnu gcc`; nothing is installed by this
script. The arm64 Python is that of the emulated board (`edgegnn.devices.emulated`).
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path

import model_peers as peers
import numpy as np
from common import environment, write
from model_cases import CASES, artifact_name, load_inputs, logits, prepare
from tables import Goal, goals_table, table, times
from workers import Row, finder, ratio, say

from edgegnn.devices.emulated import Root, open_root
from edgegnn.devices.emulated.instructions import counter, run_counted
from edgegnn.errors import TargetError
from edgegnn.native.provide import provide

HERE = Path(__file__).parent
CPUS = ("cortex-a72", "cortex-a76")
PLAIN = "plain export"
CONTENDERS = {  # name -> file in the prepared folder, with our library
    PLAIN: ("plain.onnx", False),
    "quantize_static": ("static.onnx", False),
    "ours fp32": (f"{artifact_name('fp32', False)}/model.onnx", True),
    "ours INT8": (f"{artifact_name('int8', False)}/model.onnx", True),
    "ours INT8, constant": (f"{artifact_name('int8', True)}/model.onnx", True),
    "ours INT8, stock": (f"{artifact_name('int8', False)}/model.onnx", False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[c.name for c in CASES.values() if not c.each], default="gcn-cora")
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=list(CPUS))
    parser.add_argument("--files", type=Path, help="as of models.py")
    args = parser.parse_args()
    library = provide("aarch64")
    try:
        counter()
        if library.path is None:
            raise TargetError(library.origin)
        with (
            open_root(say) as root,
            nullcontext(args.files) if args.files else tempfile.TemporaryDirectory(prefix="edgegnn-bench-") as files,
        ):
            folder = Path(files).absolute() / args.case
            prepare(CASES[args.case], folder)
            rows = [count(root, library.path, folder, args.case, cpu, name) for cpu in args.cpus for name in CONTENDERS]
    except TargetError as error:
        raise SystemExit(f"skipped: {error}") from error
    found = goals(rows)
    shown = [[r["cpu"], r["contender"], *_shown(r, rows)] for r in rows]
    print(
        table(
            ["processor", "contender", "million instructions", "of plain export", "largest difference"], shown, left=2
        )
    )
    print(f"\n{goals_table(found)}")
    content = {"environment": environment(), "case": args.case, "goals": [vars(g) for g in found], "rows": rows}
    print(f"\nwritten to {write('instructions', content)}")


def goals(rows: list[Row]) -> list[Goal]:
    """At most a fifth of the plain export's instructions."""
    find = finder(rows, "instructions")
    return [
        Goal(f"{cpu}: {name}", PLAIN, ratio(find(cpu=cpu, contender=PLAIN), find(cpu=cpu, contender=name)), 5)
        for cpu in dict.fromkeys(r["cpu"] for r in rows)
        for name in ("ours INT8", "ours INT8, constant")
    ]


def _shown(row: Row, rows: list[Row]) -> list[str]:
    if "missing" in row:
        return ["", row["missing"][:60], ""]
    plain = finder(rows, "instructions")(cpu=row["cpu"], contender=PLAIN)
    return [
        f"{row['instructions'] / 1e6:,.1f}",
        times(ratio(row["instructions"], plain)),
        f"{row['max_abs_error']:.2g}",
    ]


def count(root: Root, library: Path, folder: Path, case: str, cpu: str, name: str) -> Row:
    """Instructions of one inference of one contender on one processor."""
    file, native = CONTENDERS[name]
    row: Row = {"case": case, "cpu": cpu, "contender": name}
    model = folder / file
    if not model.exists():
        return row | {"missing": f"{file} was not made"}
    inputs = load_inputs(folder)[0]
    arrays = folder / "inputs.npz"
    if not arrays.exists():
        np.savez(arrays, allow_pickle=False, **peers.as_numpy(inputs))
    with tempfile.TemporaryDirectory(prefix="edgegnn-arm64-") as out:
        result = Path(out) / "logits.npy"
        program = [HERE / "instructions_guest.py", model, arrays, library if native else "-", result]
        try:
            marks = run_counted(root, cpu, *program)
        except TargetError as error:
            say(f"{cpu}, {name}: {error}")
            return row | {"missing": str(error)}
        counts = [end - start for start, end in zip(marks[::2], marks[1::2], strict=True)]
        want = logits(folder / ("int8.pt" if "INT8" in name else "float.pt"), [inputs])[0]
        error_ = float(np.abs(np.load(result) - want).max())
    say(f"{cpu}, {name}: {counts} instructions, off by {error_:.3g}")
    return row | {"instructions": counts[-1], "runs": counts, "max_abs_error": error_}


if __name__ == "__main__":
    main()
