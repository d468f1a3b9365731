"""A short run of the fuzzer of native operators; the long ones are run by hand, under sanitizers."""

from __future__ import annotations

from collections import Counter

from native_fuzz import run_case
from native_ops import needs_library


@needs_library
def test_damaged_inputs_are_refused_or_answered_as_the_reference_does():
    ends = Counter(run_case(seed) for seed in range(300))
    assert min(ends["refused"], ends["compared"]) > 50
