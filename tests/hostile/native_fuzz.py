"""Feeds operators of the native library with inputs that lie, for as long as you like.

    python tests/hostile/native_fuzz.py --cases 100000 --seed 0

A case is a node of one operator with valid inputs, up to three of which are then damaged: an index out of range,
another shape, NaN with a payload, infinities, no elements. It ends well when the operator refuses it in its own words,
or gives an answer; and where numpy's reference takes the inputs too, shapes and numbers are the reference's. Run it on
a library that was built with -DEDGEGNN_SANITIZE=ON (EDGEGNN_TEST_LIBRARY, and libasan.so in LD_PRELOAD) to have every
memory access and every overflow checked.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from native_ops import EMPTY, csr, native, random_edges, reference

from edgegnn.native.reference import OPS

Array = npt.NDArray[Any]
INTEGERS = (-1, 0, 1, 7, 2**31 - 1, -(2**31), 2**31, 2**32, 2**32 + 1, -(2**63), 2**63 - 1)
FLOATS = np.array([0x7FC00001, 0x7FC000FF, 0xFFC00182, 0x7F800000, 0xFF800000, 1, 0x80000000, 0x7F7FFFFF], np.uint32)
Q: dict[str, float] = {"x_scale": 0.03, "x_zero_point": 9}
CODES: dict[str, float] = {**Q, "y_scale": 0.1, "y_zero_point": 100}


def valid_case(rng: np.random.Generator) -> tuple[str, list[Array], dict[str, float]]:
    """An operator, inputs that fit it, and its attributes."""
    nodes, edges = int(rng.integers(1, 24)), int(rng.integers(0, 60))
    heads, width = int(rng.integers(1, 6)), int(rng.integers(1, 40))
    pairs = random_edges(rng, nodes, edges, hub=bool(rng.integers(2)))
    indptr, col, row, perm, count = csr(pairs, nodes)
    columns = heads * width

    def floats(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    def codes(*shape: int) -> Array:
        return rng.integers(0, 256, shape).astype(np.uint8)

    out = int(rng.integers(1, 40))
    weight = rng.integers(-127, 128, (columns, out)).astype(np.int8)
    gemm = [weight, floats(out) ** 2, floats(1), floats(1), floats(1)]
    attention = [floats(nodes, heads), floats(nodes, heads), indptr, col, row, count]
    ends, features = [floats(nodes, heads, width), floats(nodes, heads, width)], floats(edges, 3)
    gates = [floats(nodes, columns) for _ in range(4)]
    graphs = [np.sort(rng.integers(0, 3, count)) for count in (nodes, edges)]
    weighted = [floats(edges, heads), indptr, col, row, perm, count]
    normed = [*gemm, floats(out), floats(out)]
    least = {"least_sum": 0.5}
    makers: dict[str, tuple[list[Array], dict[str, float]]] = {
        "CooToCsr": ([pairs, count, count], {"self_loops": int(rng.integers(2))}),
        "IndexToCsr": ([pairs[1], count], {}),
        "CsrDegree": ([indptr, row, count], {}),
        **{f"SpMM{how}": ([floats(nodes, columns), indptr, col, row, count], {}) for how in ("", "Mean", "Max", "Min")},
        **{
            f"Segment{how}": ([floats(edges, columns), indptr, EMPTY, perm, count], {})
            for how in ("Sum", "Mean", "Max", "Min")
        },
        "SegmentSoftmax": ([floats(edges, heads), indptr, EMPTY, perm, count], {}),
        "SpMMWeighted": ([floats(nodes, heads, width), *weighted], {}),
        "SpMMChannels": (
            [floats(nodes, heads, width), floats(edges, width + 2), floats(edges, 1), indptr, col, row, perm, count],
            {"offset": 1},
        ),
        "AttentionSpMM": ([floats(nodes, heads, width), *attention], {"negative_slope": 0.2}),
        "PairAttention": ([*ends, floats(heads, width), indptr, col, row, count], {"negative_slope": 0.2}),
        "PairAttentionEdges": (
            [*ends, floats(heads, width), features, floats(3, columns), indptr, col, row, perm, count],
            {"negative_slope": 0.2},
        ),
        "DotAttention": ([*ends, indptr, col, row, count], {"scale": 0.3}),
        "DotAttentionEdges": (
            [*ends, floats(nodes, heads, 3), features, indptr, col, row, perm, count],
            {"scale": 0.3},
        ),
        "GatedSum": ([*gates, indptr, col, row, count], {}),
        "GatedSumEdges": (
            [*gates, features, floats(3, columns), floats(3, columns), indptr, col, row, perm, count],
            {},
        ),
        "EdgeProductMax": (
            [*(floats(nodes, width), floats(nodes, width), floats(width, out), floats(1)), indptr, col, row, count],
            {"low": 0.0},
        ),
        "QEdgeProductMax": (
            [
                *(floats(nodes, width), floats(nodes, width)),
                *(rng.integers(-128, 128, (width, out)).astype(np.int8), floats(out) ** 2, floats(1)),
                *(indptr, col, row, count),
            ],
            {**Q, "low": 0.0},
        ),
        "QEdgeMlpMax": (
            [
                *(floats(nodes, width), floats(nodes, width)),
                *(rng.integers(-128, 128, (2 * width, heads)).astype(np.int8), floats(heads) ** 2, floats(1)),
                *(rng.integers(-128, 128, (heads, out)).astype(np.int8), floats(out) ** 2, floats(out)),
                *(indptr, col, row, count),
            ],
            {**Q, "hidden_scale": 0.1, "hidden_zero_point": 3},
        ),
        "QSpMM": ([codes(nodes, columns), indptr, col, row, count, floats(1), floats(columns)], CODES),
        "QSpMMFloat": ([codes(nodes, columns), indptr, col, row, count, floats(nodes), floats(1)], Q),
        "QSpMMWeighted": ([codes(nodes, heads, width), *weighted, floats(1), floats(columns)], CODES),
        "QAttentionSpMM": ([codes(nodes, heads, width), *attention, floats(1)], CODES),
        "QSpMMWeightedFloat": ([codes(nodes, heads, width), *weighted, floats(1), floats(columns)], Q),
        "QAttentionSpMMFloat": ([codes(nodes, heads, width), *attention, floats(1)], Q),
        **{
            f"{start}Gemm{norm}{end}": (
                [codes(nodes, columns) if start == "Q" else floats(nodes, columns), *(normed if norm else gemm)],
                {**(CODES if not end else Q), **(least if start.startswith("Normalize") else {})},
            )
            for start in ("Q", "Quantize", "NormalizeQuantize")
            for norm in ("", "Norm")
            for end in ("", "Float")
        },
        "NormalizeSparseGemm": ([floats(nodes, columns), floats(columns, out), floats(out)], least),
        "QuantizeRows": (
            [floats(nodes, columns), floats(nodes, 1) ** 2, np.full((nodes, 1), 7, np.float32), floats(1)],
            {},
        ),
        "SparseGemm": ([floats(nodes, columns), floats(columns, out), floats(out)], {}),
        "Knn": ([floats(nodes, heads), floats(edges, heads), *graphs], {"k": heads, "loop": int(rng.integers(2))}),
        "Radius": (
            [floats(nodes, heads), floats(edges, heads), *graphs],
            {"squared_radius": 1.0, "max_num_neighbors": heads},
        ),
        "FarthestPoints": ([floats(nodes, heads), graphs[0]], {"ratio": 0.4}),
    }
    assert set(makers) == set(OPS)
    op = sorted(makers)[int(rng.integers(len(makers)))]
    inputs, attributes = makers[op]
    return op, list(inputs), dict(attributes)


def damage(rng: np.random.Generator, value: Array) -> Array:
    """The same type with other content or another shape."""
    way = int(rng.integers(5))
    if way == 0:
        return value[:0] if value.ndim else np.zeros(0, value.dtype)
    if way == 1 and value.ndim:
        axis = int(rng.integers(value.ndim))
        count = max(0, value.shape[axis] + int(rng.integers(-2, 3)))
        return np.ascontiguousarray(np.resize(value, [count if i == axis else n for i, n in enumerate(value.shape)]))
    if way == 2:
        return value.reshape((*value.shape, 1) if rng.integers(2) else (-1,))
    damaged = np.array(value)
    flat = damaged.reshape(-1)
    for place in rng.integers(0, max(1, flat.size), int(rng.integers(1, 4))) if flat.size else ():
        if value.dtype.kind == "f":
            flat[place] = FLOATS[[rng.integers(len(FLOATS))]].view(np.float32)[0]
        else:
            number = INTEGERS[int(rng.integers(len(INTEGERS)))]
            flat[place] = np.array(number).astype(value.dtype)
    return damaged


def run_case(seed: int) -> str:
    """Run one case: "refused", "answered" or "compared".

    Raises:
        AssertionError: the library took what the reference refuses, or answers otherwise.
    """
    rng = np.random.default_rng(seed)
    op, inputs, attributes = valid_case(rng)
    for _ in range(int(rng.integers(4))):
        at = int(rng.integers(len(inputs)))
        inputs[at] = damage(rng, inputs[at])
    try:
        outputs = native(op, *inputs, threads=1 + seed % 2, **attributes)
    except Exception as error:  # onnxruntime has a dozen types
        if f"{op}: " not in str(error):
            raise AssertionError(f"seed {seed}: {op} fails in others' words: {error}") from error
        return "refused"
    if op == "CsrDegree" and inputs[0].max(initial=0) > 2**24:  # the reference makes a list of that length
        return "answered"
    try:
        wanted = reference(op, *inputs, **attributes)
    except (ValueError, IndexError):
        return "answered"
    perm = inputs[3] if op == "SegmentSoftmax" else EMPTY
    if len(np.unique(perm)) < perm.size:  # a place that perm leaves out has no answer (OPS.md)
        return "answered"
    shapes = [got.shape for got in outputs], [want.shape for want in wanted]
    assert shapes[0] == shapes[1], f"seed {seed}: {op} gives the shapes {shapes[0]}, not {shapes[1]}"
    for got, want in zip(outputs, wanted, strict=True):
        _compare(seed, op, got, want)
    return "compared"


def _compare(seed: int, op: str, got: Array, want: Array) -> None:
    if want.dtype.kind == "f":
        # Only sums that stay far from the ends of float32: beyond, the order of the terms decides.
        near = np.isfinite(want) & (np.abs(want) < 1e30) & np.isfinite(got)
        assert np.allclose(got[near], want[near], rtol=1e-3, atol=1e-3), f"seed {seed}: {op} gives other numbers"
        assert (np.isfinite(got) | ~np.isfinite(want) | (np.abs(want) > 1e30)).all(), f"seed {seed}: {op} gives NaN"
    elif want.dtype == np.uint8:
        differ = np.abs(got.astype(int) - want.astype(int)) > 1
        assert not differ.any(), f"seed {seed}: {op} gives other codes"
    else:
        assert np.array_equal(got, want), f"seed {seed}: {op} gives other indices"


def main() -> None:
    """Run cases `seed * 10^9` on and print the count of each end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    first = arguments.seed * 10**9
    ends = Counter(run_case(seed) for seed in range(first, first + arguments.cases))
    print(f"{arguments.cases} cases from seed {first}: " + ", ".join(f"{n} {end}" for end, n in sorted(ends.items())))


if __name__ == "__main__":
    main()
