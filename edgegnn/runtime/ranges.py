"""The range guard: how many values of a run lie at the end of their quantization points.

The manifest lists the points, each as a tensor of the model and the values from which on it is at an end, with the
largest share of such values in any graph that was calibrated on, and in any row of one: a hub that is cut is one row of
thousands. A second session, of the same model with these tensors
as further outputs, tells the share of another graph. Sums grow with the size of a graph and the degree of its nodes:
where more values lie at an end than ever before, answers may be clipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError, EdgeGNNWarning, first_line

__all__ = ["RangePoint", "RangeWarning", "guarded_model", "over_range", "parse_ranges", "shares"]

Array = npt.NDArray[Any]
# A share of this much more than calibration's is no chance: of all values (and then twice as much), of those of a row.
_MARGIN, _ROW_MARGIN = 0.01, 0.25
_GRAPH, _OUTPUT, _NAME = 7, 12, 1  # fields of ModelProto, GraphProto, ValueInfoProto


class RangeWarning(EdgeGNNWarning):
    """A graph saturates quantization points more than calibration did."""


@dataclass(frozen=True)
class RangePoint:
    """A quantization point as the guard sees it.

    Attributes:
        tensor: name of the values or codes in the model.
        low: from here down they are at the lower end; None where that end is zero, which nothing is clipped to.
        high: from here up they are at the upper end; None likewise.
        share: the largest share of values at an end in one graph that was calibrated on.
        row: the same in one row: of one node, say.
    """

    tensor: str
    low: float | None
    high: float | None
    share: float = 0.0
    row: float = 0.0

    def shares_of(self, values: Array) -> tuple[float, float]:
        """The share of values at an end, and that in the fullest row; in [0, 1]."""
        if values.size == 0:
            return 0.0, 0.0
        rows = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        at_end = np.zeros(rows.shape, bool)
        if self.high is not None:
            at_end |= rows >= self.high
        if self.low is not None:
            at_end |= rows <= self.low
        counts = np.count_nonzero(at_end, axis=1)
        return float(counts.sum()) / values.size, float(counts.max()) / rows.shape[1]


def parse_ranges(raw: Mapping[str, Any]) -> tuple[RangePoint, ...]:
    """The points that a manifest lists; none in one without quantization points, or from before there was a guard.

    Raises:
        ArtifactError: an entry is not what it should be.
    """
    entries = raw.get("ranges", [])
    if not isinstance(entries, list):
        raise ArtifactError("manifest.json: ranges is no list: export the artifact again")
    return tuple(_point(i, entry) for i, entry in enumerate(entries))


def _point(i: int, entry: Any) -> RangePoint:
    known = entry if isinstance(entry, dict) else {}
    tensor, share, row = known.get("tensor"), _number(known.get("share")), _number(known.get("row"))
    ends = [known.get("low"), known.get("high")]
    named = isinstance(tensor, str) and 0 < len(tensor) <= 300 and tensor.isprintable()
    numbers = [_number(end) for end in ends]
    shown = share is not None and row is not None and 0 <= share <= 1 and 0 <= row <= 1
    if not named or not shown or [n is None for n in numbers] != [e is None for e in ends]:
        raise ArtifactError(f"manifest.json: ranges[{i}] is no quantization point: export the artifact again")
    return RangePoint(str(tensor), numbers[0], numbers[1], share or 0.0, row or 0.0)


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e39
    return float(value) if good else None


def guarded_model(model: bytes, points: Sequence[RangePoint]) -> bytes:
    """The model with the tensors of the points as further outputs, behind its own.

    Two graphs in one ONNX file are one whose lists are joined: that is how protobuf reads a message that comes twice.
    """
    outputs = b"".join(_field(_OUTPUT, _field(_NAME, point.tensor.encode())) for point in points)
    return model + _field(_GRAPH, outputs)


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def shares(session: Any, points: Sequence[RangePoint], inputs: Mapping[str, Array]) -> list[tuple[float, float]]:
    """The shares at an end for each point (`RangePoint.shares_of`), in a session of the guarded model.

    Raises:
        ArtifactError: the model fails to run.
    """
    try:
        found = session.run([point.tensor for point in points], dict(inputs))
    except Exception as error:
        raise ArtifactError(f"the model with its range guard fails to run: {first_line(error, 300)}") from error
    return [point.shares_of(values) for point, values in zip(points, found)]  # noqa: B905 (Python 3.9)


def over_range(points: Sequence[RangePoint], found: Sequence[tuple[float, float]]) -> str:
    """What to say of shares that are larger than calibration's; "" when none is.

    Args:
        points: the points.
        found: the shares of each.
    """
    over = []
    for point, (share, row) in zip(points, found):  # noqa: B905 (Python 3.9; as many)
        if share > max(2 * point.share, point.share + _MARGIN):
            over.append((share, point.share, f"the values at {point.tensor}"))
        elif row > point.row + _ROW_MARGIN:
            over.append((row, point.row, f"a row at {point.tensor}"))
    if not over:
        return ""
    share, before, what = max(over, key=lambda entry: entry[0] - entry[1])
    return (
        f"the graph is beyond what was calibrated on: {share:.1%} of {what} are at the end of their range, "
        f"{before:.1%} at most in calibration ({len(over)} of {len(points)} points): answers may be clipped"
    )
