"""A short run of the fuzzer of files; the long ones are run by hand."""

from __future__ import annotations

import pytest
from fuzz_files import run_cases


@pytest.mark.slow
def test_damaged_files_are_refused_in_our_own_words_or_read_as_they_were():
    ends = run_cases(7 * 10**9, 2000)
    kinds = ("data", "manifest", "npz", "recipe", "record", "study store", "study", "target", "zip")
    assert min(ends[f"{kind} refused"] for kind in kinds) > 10
    assert min(ends[f"{kind} read"] for kind in kinds) > 0
