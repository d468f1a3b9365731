"""Size of the WebAssembly form, and its time against the same C code compiled for this machine, graph by graph.

    python benchmarks/browser.py ARTIFACT [--repeats 200]

ARTIFACT has a C form; its model is compiled anew. Both run each shipped graph in turn, one thread; printed is the ratio
of the sums of the medians. Node.js runs the module, whose engine is Chromium's. Native code is for the oldest processor
of this kind (SSE2 on x86-64).
"""

from __future__ import annotations

import argparse
import ctypes
import gzip
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgegnn.plain_c.compiler import NUMPY_TYPES, find_compiler, graph_size
from edgegnn.plain_c.own import fitting_samples, own_code
from edgegnn.plain_c.web.node import find_node, run_in_node
from edgegnn.plain_c.web.wasm import compile_wasm, find_wasm_compiler
from edgegnn.runtime import open_artifact


def native_ms(code, samples, repeats: int, folder: Path) -> list[float]:
    """Median milliseconds of each graph, compiled for this machine."""
    for name, text in code.files.items():
        (folder / name).write_text(text)
    command = [*find_compiler(), "-std=c99", "-O3", "-fPIC", "-shared", "-o", str(folder / "model.so")]
    subprocess.run([*command, str(folder / "model.c")], check=True)
    function = getattr(ctypes.CDLL(str(folder / "model.so")), f"edgegnn_{code.name}_run")
    arena = np.zeros(-(-code.arena_bytes // 8), np.uint64)
    found = []
    for sample in samples:
        sizes = graph_size(code, sample.inputs)
        given = [np.ascontiguousarray(sample.inputs[a.name], NUMPY_TYPES[a.ctype]) for a in code.inputs]
        taken = [
            np.zeros([d.fixed if d.fixed is not None else sizes[d.text] for d in a.shape], NUMPY_TYPES[a.ctype])
            for a in code.outputs
        ]
        numbers = (ctypes.c_int32 * len(code.sizes))(*(sizes[size.dim.text] for size in code.sizes))
        fields = [("sizes", type(numbers)), ("arrays", ctypes.c_void_p * len(given))]
        structure = type("In", (ctypes.Structure,), {"_fields_": fields})
        inputs = structure(numbers, (ctypes.c_void_p * len(given))(*(a.ctypes.data for a in given)))
        outputs = (ctypes.c_void_p * len(taken))(*(a.ctypes.data for a in taken))
        times = []
        for _ in range(repeats):
            start = time.perf_counter_ns()
            assert function(ctypes.byref(inputs), outputs, ctypes.c_void_p(arena.ctypes.data)) == 0
            times.append((time.perf_counter_ns() - start) / 1e6)
        found.append(statistics.median(times))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    artifact = open_artifact(arguments.artifact)
    code, node, compiler = own_code(artifact), find_node(), find_wasm_compiler()
    if node is None or compiler is None:
        sys.exit("Node.js and a compiler for WebAssembly are needed")
    samples, _ = fitting_samples(artifact, code)
    wasm = compile_wasm(code, compiler)
    print(f"model.wasm {len(wasm):,} bytes, {len(gzip.compress(wasm, 9)):,} gzipped, by {compiler.name}")
    with tempfile.TemporaryDirectory() as folder:
        native = native_ms(code, samples, arguments.repeats, Path(folder))
    answers = run_in_node(code, wasm, [sample.inputs for sample in samples], node, arguments.repeats)
    web = [statistics.median(answer.times) for answer in answers]
    ratio = sum(web) / sum(native)
    print(f"{len(samples)} graphs: native {sum(native):.3f} ms, WebAssembly {sum(web):.3f} ms: {ratio:.2f}x")


if __name__ == "__main__":
    main()
