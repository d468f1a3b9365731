"""What a model gives: is it what the manifest says, and how far may it be from PyTorch?

The main output is the one that labels are for, or the only one. The others are compared as numbers: each has an
agreement, and limits, of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError
from edgegnn.runtime.inputs import rows_of
from edgegnn.runtime.manifest import Manifest, TensorSpec
from edgegnn.runtime.metrics import as_rows

__all__ = ["OutputLimit", "check_every", "check_finite", "check_output", "named", "parse_limits"]

Array = npt.NDArray[Any]
_KINDS = {"float32": "f", "float64": "f", "int64": "iu", "int32": "iu", "bool": "b"}


@dataclass(frozen=True)
class OutputLimit:
    """How far an output without labels may be from PyTorch's.

    Attributes:
        name: of the output.
        min_agreement: smallest share of rows that are equal.
        within: how far numbers may lie apart to count as equal, for each column, or one for all.
        max_abs_error: largest difference; None: not limited.
    """

    name: str
    min_agreement: float
    within: tuple[float, ...]
    max_abs_error: float | None


def named(manifest: Manifest, values: Sequence[Any]) -> dict[str, Any]:
    """The outputs of a session by name, in their order.

    Raises:
        ArtifactError: other outputs than the manifest says.
    """
    names = [spec.name for spec in manifest.outputs]
    if len(values) != len(names):
        raise ArtifactError(f"the model gives {len(values)} outputs, the manifest says {', '.join(names)}")
    return dict(zip(names, values))  # noqa: B905 (Python 3.9; as many)


def check_every(manifest: Manifest, values: Mapping[str, Any], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """All outputs by name, as they are, if each is what the manifest says.

    Raises:
        ArtifactError: one has another type, rank or number of rows.
    """
    return {spec.name: check_output(manifest, spec, values[spec.name], inputs) for spec in manifest.outputs}


def check_output(manifest: Manifest, spec: TensorSpec, value: Any, inputs: Mapping[str, Array]) -> Array:
    """One output, if it is what the manifest says.

    Raises:
        ArtifactError: another type, rank or number of rows.
    """
    rows = rows_of(manifest, spec, inputs)
    good = isinstance(value, np.ndarray) and value.ndim == len(spec.shape) and value.dtype.kind in _KINDS[spec.dtype]
    if not good or (rows is not None and value.shape[0] != rows):
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        of = "" if rows is None else f" with {rows} rows"
        what = (
            "float logits" if spec.name == "logits" else f"{spec.name} of type {spec.dtype} and rank {len(spec.shape)}"
        )
        raise ArtifactError(f"the model gives {found}, not {what}{of}")
    return value


def check_finite(value: Array, name: str = "logits") -> Array:
    """Return an output as it is.

    Raises:
        ArtifactError: one of its numbers is NaN or infinite.
    """
    if value.dtype.kind != "f":
        return value
    bad = np.flatnonzero(~np.isfinite(as_rows(value)).all(axis=1))
    if len(bad):
        raise ArtifactError(
            f"the model gives NaN or infinite {name} in row {bad[0]} ({len(bad)} of {len(value)} rows): its numbers "
            "overflow on this graph; compare the values and the size of the graph with those that it was trained on"
        )
    return value


def parse_limits(raw: Mapping[str, Any], outputs: Sequence[TensorSpec]) -> tuple[OutputLimit, ...]:
    """The limits of the outputs that no labels are for.

    Raises:
        ArtifactError: an entry is not what it should be.
    """
    parity = raw.get("parity")
    entries = parity.get("outputs", []) if isinstance(parity, dict) else []
    if not isinstance(entries, list):
        raise ArtifactError("manifest.json: parity.outputs is no list: export the artifact again")
    known = {spec.name for spec in outputs}
    return tuple(_limit(i, entry, known) for i, entry in enumerate(entries))


def _limit(i: int, entry: Any, known: set[str]) -> OutputLimit:
    said = entry if isinstance(entry, dict) else {}
    tolerance = said.get("tolerance")
    limits: dict[str, Any] = tolerance if isinstance(tolerance, dict) else {}
    name, most = said.get("name"), limits.get("max_abs_error")
    agreement: Any = limits.get("agreement")
    within = limits.get("within")
    numbers = within if isinstance(within, list) and within else [None]
    good = name in known and _is_number(agreement) and agreement <= 1 and all(map(_is_number, numbers))
    if not good or not (most is None or _is_number(most)):
        raise ArtifactError(f"manifest.json: parity.outputs[{i}] is no output's parity: export the artifact again")
    return OutputLimit(str(name), float(agreement), tuple(map(float, numbers)), None if most is None else float(most))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e39
