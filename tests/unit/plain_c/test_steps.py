"""Codes of integer sums by one multiplication: equal to float32 arithmetic for every sum that can occur."""

from __future__ import annotations

import numpy as np
import pytest

from edgegnn.plain_c.steps import find_steps


def _float_codes(factor, bias, gain, low):
    def code_of(sums):
        v = np.maximum(sums.astype(np.float32) * factor + bias, np.float32(low)) * gain
        return np.rint(np.clip(v / np.float32(0.05), 0, 255)).astype(np.int64)

    return code_of


@pytest.mark.parametrize("low", [-1e30, 0.0])
def test_every_sum(low):
    draw = np.random.default_rng(3)
    width, most = 64, 9000
    factor, bias = (
        draw.uniform(1e-4, 3e-3, (width, 1)).astype(np.float32),
        draw.normal(size=(width, 1)).astype(np.float32),
    )
    gain = draw.choice([-1.0, 0.5, 2.0], (width, 1)).astype(np.float32)
    bias[0], factor[0], gain[0] = 1000.0, 1e-4, 1.0  # one code only
    factor[1], gain[1] = np.float32(0.05 * 3), 1.0  # three codes a sum: all ties
    factor[2], bias[2], gain[2] = np.float32(0.025), 0.0, 1.0  # each second sum is a tie
    factor, bias, gain = (np.delete(a, 1, 0) for a in (factor, bias, gain))
    code_of, ends = _float_codes(factor, bias, gain, low), np.full(width - 1, most)
    found = find_steps(code_of, -ends, ends, 0, 255)
    assert found is not None
    sums = np.arange(-most, most + 1)[None, :]
    codes = (sums * found.multiplier[:, None] + found.offset[:, None]) >> 32
    codes = np.clip(codes, found.ends[:, :1], found.ends[:, 1:])
    for column, number, code in found.rare:
        codes[column, number + most] = code
    assert np.array_equal(codes, code_of(np.broadcast_to(sums, codes.shape)))
    assert np.abs(found.multiplier).max() < 2**31
    assert [column for column, _, _ in found.rare] == sorted(column for column, _, _ in found.rare)


def test_steps_that_are_too_steep():
    many = np.full((3, 1), 0.3, np.float32)
    code_of = _float_codes(many, many, np.ones((3, 1), np.float32), -1e30)
    assert find_steps(code_of, np.full(3, -900), np.full(3, 900), 0, 255) is None
