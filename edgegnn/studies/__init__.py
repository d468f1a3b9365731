"""Studies: grids of models, data, pruning, quantization and seeds, run cell by cell into one store, and their tables.

    study.toml ──cells──▶ dense ──▶ compress ──▶ timing ──▶ study.db ──▶ tables

Every step is the public function of a command: `edgegnn train`, `compress`, `export`, `profile`.
"""

from __future__ import annotations

from edgegnn.studies.config import Study, read_study
from edgegnn.studies.plan import Cell, Step, cells
from edgegnn.studies.running import Outcome, Summary, outcome, run, study
from edgegnn.studies.store import open_store
from edgegnn.studies.tables import check_outcomes, groups, tables

__all__ = [
    "Cell",
    "Outcome",
    "Step",
    "Study",
    "Summary",
    "cells",
    "check_outcomes",
    "groups",
    "open_store",
    "outcome",
    "read_study",
    "run",
    "study",
    "tables",
]
