"""Choose for the user: the best recipe, bits of layers, pruner and sparsity within an accuracy drop.

    presets, first tries ──▶ short trainings (optuna's TPE) ──▶ full ones of what promises ──▶ finalists, measured
                  each: compress ──▶ export ──▶ judge (validation) [──▶ profile]

A candidate is first judged by its accuracy and the size of its file, which are exact; the device measures what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.utils.lazy import on_first_use

if TYPE_CHECKING:
    from edgegnn.tuning.search import Tuned, Watch, tune
else:
    __getattr__ = on_first_use(__name__, {"search": ("Tuned", "Watch", "tune")})

__all__ = ["Tuned", "Watch", "tune"]
