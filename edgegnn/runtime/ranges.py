"""The range guard: what a graph loses at the ends of quantization points.

The manifest lists the points, each as a tensor of one of the model's files and the values from which on it is at an
end, with the most that a graph of calibration lost there. A model with these tensors as further outputs, beside its
own, tells the same of another graph. Sums grow with the size of a graph and the degree of its nodes: where one loses
more than any before, answers may be clipped.

What is lost is seen where a tensor holds the values that are rounded. Where an operator writes codes, there are only
those: then the share of codes at an end stands for it.

A form without such tensors (learnt widths, TorchScript) has the sizes of calibration's graphs instead, in `Extent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.errors import ArtifactError, EdgeGNNWarning

__all__ = ["RangePoint", "RangeWarning", "guarded_model", "over_range", "parse_ranges"]

Array = npt.NDArray[Any]
# A share of this much more than calibration's is no chance: of all values (and then twice as much), of those of a row.
_MARGIN, _ROW_MARGIN = 0.01, 0.25
_FEW = 4  # codes of a row that aren't zero: fewer don't make a share
_GRAPH, _OUTPUT, _NAME = 7, 12, 1  # fields of ModelProto, GraphProto, ValueInfoProto


class RangeWarning(EdgeGNNWarning):
    """A graph saturates quantization points more than calibration did."""


@dataclass(frozen=True)
class RangePoint:
    """A quantization point as the guard sees it.

    Attributes:
        tensor: name of the values or codes in the model.
        file: the model's file.
        low: from here down they are at the lower end; None where that end is zero, which nothing is clipped to.
        high: from here up they are at the upper end; None likewise.
        zero: the code of zero; of values 0.
        share: the largest share of values at an end in one graph that was calibrated on.
        row: the most that one row lost, of one node say: the share of its length (Euclidean) that lies beyond the ends;
            of codes, the share at an end among those that aren't zero.
        least_sum: the point is of rows divided by their sums, or by this where that is less; 0: of rows as they are.
    """

    tensor: str
    low: float | None
    high: float | None
    zero: int = 0
    file: str = "model.onnx"
    share: float = 0.0
    row: float = 0.0
    least_sum: float = 0.0

    def measure(self, values: Array) -> tuple[float, float]:
        """`share` and `row` of these values; in [0, 1]."""
        if values.size == 0:
            return 0.0, 0.0
        rows = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        if self.least_sum > 0:
            rows = rows / np.maximum(rows.sum(axis=1, keepdims=True), self.least_sum)
        at_end = np.zeros(rows.shape, bool)
        if self.high is not None:
            at_end |= rows >= self.high
        if self.low is not None:
            at_end |= rows <= self.low
        row = _lost(rows, self.low, self.high) if rows.dtype.kind == "f" else _filled(rows, at_end, self.zero)
        return float(np.count_nonzero(at_end)) / values.size, row


def _lost(rows: Array, low: float | None, high: float | None) -> float:
    """The largest share of a row's length that lies beyond the ends."""
    wide = rows.astype(np.float64)
    beyond = np.linalg.norm(wide - np.clip(wide, low, high), axis=1) if (low, high) != (None, None) else np.zeros(1)
    length = np.linalg.norm(wide, axis=1)
    return float(np.divide(beyond, length, out=np.zeros_like(beyond), where=length > 0).max())


def _filled(rows: Array, at_end: npt.NDArray[np.bool_], zero: int) -> float:
    """The largest share of a row's codes at an end, among those that aren't zero."""
    counted = np.maximum(np.count_nonzero(rows != zero, axis=1), min(_FEW, rows.shape[1]))
    return float((np.count_nonzero(at_end, axis=1) / counted).max())


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
    share, row, least = (_number(known.get(key, 0.0)) for key in ("share", "row", "least_sum"))
    zero, file = known.get("zero", 0), known.get("file", "model.onnx")
    ends = [known.get("low"), known.get("high")]
    numbers = [_number(end) for end in ends]
    named = _is_name(known.get("tensor")) and _is_name(file) and type(zero) is int
    shown = share is not None and row is not None and 0 <= share <= 1 and 0 <= row <= 1
    if (
        not named
        or not shown
        or least is None
        or least < 0
        or [n is None for n in numbers] != [e is None for e in ends]
    ):
        raise ArtifactError(f"manifest.json: ranges[{i}] is no quantization point: export the artifact again")
    return RangePoint(known["tensor"], numbers[0], numbers[1], zero, file, share or 0.0, row or 0.0, least)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 300 and value.isprintable()


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e39
    return float(value) if good else None


def guarded_model(model: bytes, points: Sequence[RangePoint]) -> bytes:
    """The model with the points' tensors as further outputs.

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


def over_range(points: Sequence[RangePoint], found: Sequence[tuple[float, float]]) -> str:
    """The warning about points that lose more values than in calibration; "" when none does.

    Args:
        points: the points.
        found: what `RangePoint.measure` gives for each.
    """
    over = []
    for point, (share, row) in zip(points, found):  # noqa: B905 (Python 3.9; as many)
        if row > point.row + _ROW_MARGIN:
            over.append((row, point.row, f"a row at {point.tensor}"))
        elif share > max(2 * point.share, point.share + _MARGIN):
            over.append((share, point.share, f"the values at {point.tensor}"))
    if not over:
        return ""
    share, before, what = max(over, key=lambda entry: entry[0] - entry[1])
    return (
        f"the graph is beyond what was calibrated on: {share:.1%} of {what} are at the end of their range, "
        f"{before:.1%} at most in calibration ({len(over)} of {len(points)} points): answers may be clipped"
    )
