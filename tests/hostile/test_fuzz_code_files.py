"""A short run of the fuzzer of model files and device answers; the long ones are run by hand."""

from __future__ import annotations

import pytest
from fuzz_cases import KINDS
from fuzz_code_files import fuzz


@pytest.mark.slow
def test_damaged_and_forged_files_do_nothing():
    ends, found = fuzz(250, 0)
    assert found == []
    assert sum(ends.values()) == 250
    assert all(ends[f"{kind}: refused"] > 0 for kind in KINDS)
