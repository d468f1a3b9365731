"""What a compression is asked for: checked before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from edgegnn.compression.plan import PrunePlan
from edgegnn.errors import UsageError
from edgegnn.quantize import Recipe, recipe
from edgegnn.training.config import check_settings

__all__ = ["check_compression", "compressing_recipe", "parse_sparsities"]

_MOST = 1000  # sparsities in one sweep


def check_compression(
    sparsities: Sequence[float],
    prune: str | None,
    quant: str | None,
    schedule: str,
    variant: str | None,
    finetune: bool,
    settings: dict[str, Any] | None = None,
) -> tuple[Recipe | None, list[PrunePlan | None]]:
    """Refuse what can't be done to any model; the arguments are those of `edgegnn.compression.sweep.sweep`.

    Returns:
        The recipe to train with, and what to prune, once for each sparsity; None for neither.

    Raises:
        UsageError: an unknown name, a value out of range, nothing to do, or options that exclude each other.
    """
    chosen = compressing_recipe(quant)
    if prune is None and (sparsities or schedule != "one-shot" or variant is not None or not finetune):
        raise UsageError("--sparsity, --schedule, --variant and --no-finetune are for --prune METHOD: name one")
    if prune is None and chosen is None:
        raise UsageError("nothing to do: say --prune METHOD --sparsity S, --quant RECIPE, or both")
    if prune is not None and not sparsities:
        raise UsageError(f"--prune {prune} needs --sparsity: 0.5 prunes half, 0.1:0.9:0.1 tries nine sparsities")
    if chosen is not None and not finetune:
        raise UsageError(f"{chosen.name} trains: leave --no-finetune out, or --quant")
    check_settings(settings)
    if prune is None:
        return chosen, [None]
    return chosen, [PrunePlan(prune, s, schedule, variant, finetune) for s in sparsities]


def parse_sparsities(text: str) -> list[float]:
    """Read "0.5", or "0.1:0.9:0.1" as nine sparsities, the end included.

    Raises:
        UsageError: neither of these, or one outside [0, 1).
    """
    parts = text.split(":")
    try:
        values = [Decimal(part.strip()) for part in parts]
    except InvalidOperation:
        values = []
    if len(values) not in (1, 3) or not all(v.is_finite() for v in values):
        raise UsageError(f"can't read --sparsity {text!r}: write 0.5, or FROM:TO:STEP as in 0.1:0.9:0.1")
    if len(values) == 3:
        first, last, step = values
        if step <= 0 or last < first:
            raise UsageError(f"--sparsity {text} names no sparsity: FROM:TO:STEP goes up, with a STEP above 0")
        if (last - first) / step >= _MOST:
            raise UsageError(f"--sparsity {text} names more than {_MOST:,} sparsities: take a larger STEP")
        values = [first + i * step for i in range(int((last - first) / step) + 1)]
    for value in values:
        if not 0 <= value < 1:
            raise UsageError(f"sparsity must lie in [0, 1), not {value}: 0.5 prunes half of the weights")
    return [float(v) for v in values]


def compressing_recipe(quant: str | None) -> Recipe | None:
    """The recipe to compress with; None for floats.

    Raises:
        UsageError: an unknown recipe, or one that quantizes while exporting.
    """
    chosen = None if quant is None else recipe(quant)
    if chosen is None or chosen.name == "none":
        return None
    if not chosen.trains:
        raise UsageError(
            f"{quant} quantizes while exporting: compress without --quant, then `edgegnn export --quant {quant}`"
        )
    return chosen
