"""Measure an artifact on a target, from the host: targets, energy readers that live on the host, the profile record.

The measuring itself is done by the artifact's runner (`edgegnn.runtime.benchmark`) in a fresh process.
"""

from __future__ import annotations

from edgegnn.callable import make_callable
from edgegnn.profile.comparison import Change, Comparison, compare, parse_limit
from edgegnn.profile.measure import newest_artifact, profile
from edgegnn.profile.record import ProfileRecord, read_record, write_record
from edgegnn.profile.several import Pair, profile_all
from edgegnn.profile.table import ratios, render, render_comparison, render_targets
from edgegnn.profile.target import Target, TargetInfo, load_target, local_target, targets

__all__ = [
    "Change",
    "Comparison",
    "Pair",
    "ProfileRecord",
    "Target",
    "TargetInfo",
    "compare",
    "load_target",
    "local_target",
    "newest_artifact",
    "parse_limit",
    "profile",
    "profile_all",
    "ratios",
    "read_record",
    "render",
    "render_comparison",
    "render_targets",
    "targets",
    "write_record",
]

make_callable(__name__, "edgegnn.profile.measure:profile")
