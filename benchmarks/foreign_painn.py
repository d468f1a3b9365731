"""A PaiNN that nobody here made, the ONNX file in the package `caustic-nmr`: rewritten, against the file as it is.

    pip install --no-deps caustic-nmr; python benchmarks/foreign_painn.py [--residues 100] [--turns 11]

Both run on onnxruntime with as many threads, in turns, on made-up proteins: random atoms as dense as in a protein, 32
neighbours each. Outputs are compared first. This measures the rewrite rules, not an artifact: the file's outputs have a
row for each residue, which is no level that an artifact's outputs can have. Writes results/foreign-painn.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from common import environment, write
from scipy.spatial import cKDTree

from edgegnn.checkpoint.onnx_file import read_onnx
from edgegnn.exporting.foreign.prepare import settled
from edgegnn.exporting.ptq import static_int8
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.exporting.unsigned_weights import unsigned_weights
from edgegnn.runtime import make_session

FILE = "data/best_v2_carbons.onnx"


def protein(residues: int, seed: int = 0) -> dict[str, Any]:
    """Inputs of the file for a made-up protein of eight atoms a residue."""
    random = np.random.default_rng(seed)
    atoms = 8 * residues
    place = random.uniform(0, (atoms / 0.05) ** (1 / 3), (atoms, 3)).astype(np.float32)
    far, near = cKDTree(place).query(place, k=33, distance_upper_bound=8.0)
    target, rank = np.nonzero(np.isfinite(far[:, 1:]))
    edges = np.stack([near[target, rank + 1], target]).astype(np.int64)
    count = edges.shape[1]

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(np.float32)

    return {
        "element": random.integers(0, 7, atoms),
        "amino_acid": random.integers(0, 21, atoms),
        "atom_role": random.integers(0, 14, atoms),
        "bfactor": random.uniform(5, 80, atoms).astype(np.float32),
        "edge_index": edges,
        "edge_dist": far[target, rank + 1].astype(np.float32),
        "seq_sep": random.integers(0, 33, count),
        "same_residue": (random.random(count) < 0.2).astype(np.float32),
        "target_indices": random.integers(0, atoms, (residues, 6)),
        "target_mask": np.ones((residues, 6), bool),
        "residue_types": random.integers(0, 20, residues),
        "residue_geometry": normal(residues, 52),
        "target_environment": normal(residues, 6, 15),
        "temperature_feature": normal(residues, 1),
        "target_atom_rsasa": random.random((residues, 6)).astype(np.float32),
        "pos": place,
        "node_normal": normal(atoms, 3) * (random.random((atoms, 1)) < 0.15).astype(np.float32),
        "is_hbond": (random.random(count) < 0.05).astype(np.float32),
        "hb_cos": random.uniform(-1, 1, count).astype(np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residues", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=11)
    args = parser.parse_args()
    package = importlib.util.find_spec("caustic")
    if package is None or package.origin is None:
        parser.error("the package isn't installed: pip install --no-deps caustic-nmr")
    file = read_onnx(Path(package.origin).parent / FILE)
    plain = settled(file)
    made = rewrite_proto(plain)
    rewritten, outcomes = made.model, made.aggregations
    codes = rewrite_proto(static_int8(plain, [protein(12, seed) for seed in (1, 2)])).model
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    sessions = {
        "the file": onnxruntime.InferenceSession(file.SerializeToString(), options, ["CPUExecutionProvider"]),
        "rewritten": make_session(rewritten.SerializeToString(), threads=args.threads),
        "static-int8, rewritten": make_session(unsigned_weights(codes).SerializeToString(), threads=args.threads),
    }
    graph = protein(args.residues)
    outputs = {name: session.run(None, graph) for name, session in sessions.items()}
    spread = [float(out.std()) for out in outputs["the file"]]
    apart = {
        name: [float(np.abs(a - b).max()) for a, b in zip(outputs["the file"], found, strict=True)]
        for name, found in outputs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in sessions}
    load = os.getloadavg()[0]
    for _ in range(args.turns):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, graph)
            times[name].append(1e3 * (time.perf_counter() - start))
    rows = [
        {
            "contender": name,
            "median_ms": float(np.median(own)),
            "min_ms": min(own),
            "times_as_fast": float(np.median(times["the file"]) / np.median(own)),
            "max_abs_error": apart[name],
        }
        for name, own in times.items()
    ]
    for row in rows:
        print(f"{row['contender']:24} {row['median_ms']:9.1f} ms  {row['times_as_fast']:.2f}x  {row['max_abs_error']}")
    facts = {"residues": args.residues, "atoms": len(graph["pos"]), "edges": graph["edge_index"].shape[1]}
    rules = [outcome.rule for outcome in outcomes]
    more = {"threads": args.threads, "turns": args.turns, "load": load, "output_std": spread, "rules": rules}
    print("wrote", write("foreign-painn", {**environment(), **facts, **more, "rows": rows}).name)


if __name__ == "__main__":
    main()
