"""Prints a digest of what the native library's float and graph kernels make of fixed inputs: run with EDGEGNN_ISA set.

    EDGEGNN_ISA=avx2 python tests/support/native_digest.py

The first line is the instruction set in use, the second the digest: the same for every instruction set.
"""

from __future__ import annotations

import ctypes
import hashlib

import numpy as np
from native_ops import csr, native, random_edges

from edgegnn.native import library


def main() -> None:
    loaded = ctypes.CDLL(str(library()))
    loaded.edgegnn_isa.restype = ctypes.c_char_p
    digest = hashlib.sha256()
    rng = np.random.default_rng(0)
    for nodes, edges in ((30, 70), (300, 5000)):
        indptr, col, row, perm, count = csr(random_edges(rng, nodes, edges, hub=True), nodes)
        for heads, width in (
            (1, 1),
            (1, 3),
            (1, 7),
            (1, 13),
            (1, 64),
            (1, 130),
            (2, 9),
            (3, 5),
            (4, 16),
            (8, 8),
            (17, 3),
        ):
            x = rng.normal(size=(nodes, heads, width)).astype(np.float32)
            a_src, a_dst = (rng.normal(size=(nodes, heads)).astype(np.float32) for _ in range(2))
            w = rng.normal(size=(col.size, heads)).astype(np.float32)
            messages = rng.normal(size=(col.size, heads, width)).astype(np.float32)
            results = [native(op, x, indptr, col, row, count) for op in ("SpMM", "SpMMMean", "SpMMMax", "SpMMMin")]
            results += [
                native(f"Segment{how}", messages, indptr, row, perm, count) for how in ("Sum", "Mean", "Max", "Min")
            ]
            results.append(native("SpMMWeighted", x, w, indptr, col, row, perm, count))
            results.append(native("SegmentSoftmax", w, indptr, row, perm, count))
            results.append(native("AttentionSpMM", x, a_src, a_dst, indptr, col, row, count, negative_slope=0.2))
            target = rng.normal(size=(nodes, heads, width)).astype(np.float32)
            att = rng.normal(size=(heads, width)).astype(np.float32)
            product = rng.normal(size=(heads, heads * width)).astype(np.float32)
            queries = rng.normal(size=(nodes, heads, heads)).astype(np.float32)
            graph = (indptr, col, row, count)
            listed = (indptr, col, row, perm, count)
            results.append(native("PairAttention", x, target, att, *graph))
            results.append(native("PairAttentionEdges", x, target, att, w, product, *listed))
            results.append(native("DotAttention", target, x, *graph, scale=0.25))
            results.append(native("DotAttentionEdges", target, x, queries, w, *listed, scale=0.25))
            gates = [v.reshape(nodes, -1) * 9 for v in (x, target, x - 1, target + x)]
            results.append(native("GatedSum", *gates, *graph))
            results.append(native("GatedSumEdges", *gates, w, product, product[::-1].copy(), *listed))
            for result in results:
                digest.update(b"".join(each.tobytes() for each in result))
    print(loaded.edgegnn_isa().decode())
    print(digest.hexdigest())


if __name__ == "__main__":
    main()
