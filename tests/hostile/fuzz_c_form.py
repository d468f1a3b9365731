"""Compiles what the C generator makes of damaged models, and runs it on graphs that may lie, for as long as you like.

    python tests/hostile/fuzz_c_form.py --cases 1000 --seed 0

A case is a model with up to three fields or operators changed. It ends well when the generator refuses it, the compiler
does, or the program, under the address and undefined-behaviour sanitizers, refuses the graph or gives an answer.
An answer that stock onnxruntime gives, too, has to be the same.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import numpy as np
import onnx
from fuzz_foreign_cases import LIMITS, MODELS
from mutations_onnx import damage_onnx

from edgegnn.errors import ExportError
from edgegnn.plain_c import compiler
from edgegnn.plain_c.compiler import Program, Refused, compile_model, find_compiler
from edgegnn.plain_c.generate import PlainC, generate
from edgegnn.runtime import make_session

FLAGS = ("-O0", "-w", "-DEDGEGNN_OPEN", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
compiler._RUN_MEMORY = 2**46  # the address sanitizer's own


def graph(rng: random.Random, code: PlainC) -> dict[str, Any]:
    """Inputs of a size within the limits, or just beyond; some indices are out of range."""
    nodes, edges = rng.choice((1, 2, 5, 33, 64, 65)), rng.choice((0, 1, 7, 60, 256, 257))
    draw = np.random.default_rng(rng.randrange(2**32))
    found = {}
    for argument in code.inputs:
        shape = [d.fixed if d.fixed is not None else nodes if d.most == LIMITS.nodes else edges for d in argument.shape]
        if argument.ctype in ("float", "double"):
            found[argument.name] = draw.normal(size=shape).astype(np.float32)
        else:
            found[argument.name] = draw.integers(0, nodes, shape)
            if rng.random() < 0.3 and found[argument.name].size:
                found[argument.name].reshape(-1)[0] = rng.choice((-1, nodes, 2**31 - 1, -(2**31)))
    return found


def run_case(seed: int, folder: Path) -> str:
    """How a case ended: "refused", "no answer", "same" or "alone".

    Raises:
        AssertionError: it crashed, took too long, or gave another answer than onnxruntime.
    """
    rng = random.Random(seed)
    name = rng.choice(list(MODELS))
    model = onnx.ModelProto()
    content = MODELS[name]().SerializeToString()
    try:
        model.ParseFromString(damage_onnx(rng, content) if rng.random() < 0.95 else content)
        code = generate(model, name, LIMITS)
        if max(count_of(code)) > 2**26:
            return "refused"
    except Exception:  # `generate_apart` makes one line of it
        return "refused"
    inputs = graph(rng, code)
    try:
        program = Program(code, compile_model(code, folder, find_compiler() or (), FLAGS))
    except ExportError as error:
        if "took too long" in str(error):
            raise AssertionError(f"seed {seed}: {error}") from error
        return "refused"
    try:
        found = program.run(inputs)
    except Refused:
        return "no answer"
    except ExportError as error:
        raise AssertionError(f"seed {seed}: {name}: {error}") from error
    try:
        full = {**inputs, "batch": np.zeros(len(next(iter(inputs.values()))), np.int64)}
        session = make_session(model.SerializeToString(), threads=1)
        taken = {value.name for value in session.get_inputs()}
        names = list(found)
        wanted = dict(zip(names, session.run(names, {n: v for n, v in full.items() if n in taken}), strict=True))
    except Exception:
        return "alone"
    for key, value in found.items():
        _compare(f"seed {seed}: {name}: {key}", value, wanted[key])
    return "same"


def count_of(code: PlainC) -> list[int]:
    """The most elements of each input and output."""
    return [int(np.prod([float(dim.most) for dim in a.shape])) for a in (*code.inputs, *code.outputs)]


def _compare(what: str, found: Any, wanted: Any) -> None:
    assert found.size == wanted.size, f"{what} has another size"
    one, other = found.reshape(-1).astype(np.float64), wanted.reshape(-1).astype(np.float64)
    near = np.isfinite(one) & np.isfinite(other) & (np.abs(other) < 1e30)
    scale = max(1.0, float(np.abs(other[near]).max(initial=0)))
    step = 1 if found.dtype == np.uint8 else 0
    assert (np.abs(one - other)[near] <= 1e-3 * scale + step).all(), f"{what} differs"


def main() -> None:
    """Run cases `seed * 10^9` on and print the count of each end, and what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    first = arguments.seed * 10**9
    ends: Counter[str] = Counter()
    for seed in range(first, first + arguments.cases):
        with tempfile.TemporaryDirectory(prefix="edgegnn-fuzz-") as folder:
            try:
                ends[run_case(seed, Path(folder))] += 1
            except AssertionError as error:
                ends["finding"] += 1
                print(f"FINDING {error}", flush=True)
    print(f"{arguments.cases} cases from seed {first}: " + ", ".join(f"{n} {end}" for end, n in sorted(ends.items())))
    sys.exit(bool(ends["finding"]))


if __name__ == "__main__":
    main()
