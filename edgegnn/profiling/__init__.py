"""Measure an artifact on a target, from the host: targets, energy readers that live on the host, the profile record.

The measuring itself is done by the artifact's runner (`edgegnn.runtime.benchmark`) in a fresh process.
"""

from __future__ import annotations

from edgegnn.profiling.comparison import Change, Comparison, compare
from edgegnn.profiling.gate import Judged, parse_limits
from edgegnn.profiling.measure import newest_artifact, profile
from edgegnn.profiling.operator_table import render_operators, render_sweep
from edgegnn.profiling.parallel import Pair, profile_all
from edgegnn.profiling.record import ProfileRecord, read_record, write_record
from edgegnn.profiling.spread import Spread, machine_spread
from edgegnn.profiling.table import ratios, render, render_comparison, render_targets

__all__ = [
    "Change",
    "Comparison",
    "Judged",
    "Pair",
    "ProfileRecord",
    "Spread",
    "compare",
    "machine_spread",
    "newest_artifact",
    "parse_limits",
    "profile",
    "profile_all",
    "ratios",
    "read_record",
    "render",
    "render_comparison",
    "render_operators",
    "render_sweep",
    "render_targets",
    "write_record",
]
