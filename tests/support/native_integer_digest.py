"""Prints a digest of what the native library's integer kernels make of fixed inputs: run with EDGEGNN_ISA set.

The first line is the instruction set in use, the second the digest: the same for every instruction set.
"""

from __future__ import annotations

import ctypes
import hashlib

import numpy as np
from native_ops import csr, native, random_edges

from edgegnn.native import library

ONE = np.ones(1, np.float32)
SETS = (
    {"x_scale": 0.03, "x_zero_point": 0, "y_scale": 0.07, "y_zero_point": 0, "clip_low": 0.0},
    {"x_scale": 0.012, "x_zero_point": 77, "y_scale": 0.11, "y_zero_point": 131},
)


def main() -> None:
    loaded = ctypes.CDLL(str(library()))
    loaded.edgegnn_isa.restype = ctypes.c_char_p
    digest = hashlib.sha256()
    rng = np.random.default_rng(0)
    indptr, col, row, perm, count = csr(random_edges(rng, 200, 3000, hub=True), 200)
    row_scale = rng.uniform(0.1, 1, 200).astype(np.float32)
    for heads, width in ((1, 1), (1, 13), (1, 16), (1, 45), (1, 64), (1, 130), (2, 9), (3, 5), (8, 8), (17, 3)):
        columns = heads * width
        bias = rng.normal(size=columns).astype(np.float32)
        w = rng.normal(size=(3000, heads)).astype(np.float32)
        a_src, a_dst = (rng.normal(size=(200, heads)).astype(np.float32) for _ in range(2))
        dense = rng.integers(-128, 128, (columns, 40)).astype(np.int8)
        w_scale = rng.uniform(0.01, 0.1, 40).astype(np.float32)
        rest = (dense, w_scale, row_scale, ONE, rng.normal(size=(200, 40)).astype(np.float32))
        floats = rng.normal(size=(200, columns)).astype(np.float32)
        floats[::2] *= rng.random((100, columns)) < 0.05
        tops = rng.choice([1, 7, 127], max(200, columns)).astype(np.float32)
        steps = rng.uniform(0.01, 1, max(200, columns)).astype(np.float32)
        for by_row, signed in ((True, 0), (True, 1), (False, 0), (False, 1)):
            step, top = (v[:200, None] if by_row else v[None, :columns] for v in (steps, tops))
            digest.update(native("QuantizeRows", floats, step, top, ONE / 3, signed=signed)[0].tobytes())
        for dtype in ("uint8", "int8"):
            x = rng.integers(0, 256, (200, columns)).astype(np.uint8).view(dtype)
            x3 = x.reshape(200, heads, width)
            for attributes in SETS:
                own = {**attributes, "self_weight": 1.25}
                results = [
                    native("QSpMM", x, indptr, col, row, count, row_scale, bias, **own),
                    native("QSpMMWeighted", x3, w, indptr, col, row, perm, count, row_scale, bias, **attributes),
                    native("QAttentionSpMM", x3, a_src, a_dst, indptr, col, row, count, bias, **attributes),
                    native("QGemm", x, *rest, **attributes),
                    native("QuantizeGemm", floats, *rest, **attributes),
                    native("NormalizeQuantizeGemm", floats, *rest, **attributes),
                ]
                for (result,) in results:
                    digest.update(result.tobytes())
        product = rng.integers(-128, 128, (2 * columns, 40)).astype(np.int8)
        second = (rng.integers(-128, 128, (40, 21)).astype(np.int8), w_scale[:21], ONE)
        mlp = (floats, floats * 0.7, product, w_scale, w_scale, *second, indptr, col, row, count)
        digest.update(native("QEdgeMlpMax", *mlp, x_scale=0.02, x_zero_point=99, hidden_scale=0.3)[0].tobytes())
        one = (floats, floats * 0.7, dense, w_scale, w_scale, indptr, col, row, count)
        digest.update(native("QEdgeProductMax", *one, x_scale=0.02, x_zero_point=99, low=0.0)[0].tobytes())
    deep = np.where(rng.random((60, 300)) < 0.1, rng.integers(0, 256, (60, 300)), 77).astype(np.uint8)
    weight = rng.integers(-128, 128, (300, 40)).astype(np.int8)
    digest.update(native("QGemm", deep, weight, w_scale, ONE, ONE, ONE, **SETS[1])[0].tobytes())
    print(loaded.edgegnn_isa().decode())
    print(digest.hexdigest())


if __name__ == "__main__":
    main()
