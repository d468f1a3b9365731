"""Types of a record's fields, with bounds."""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["Count", "FileName", "Number", "Positive", "Sentence", "Share", "Word"]

# Bounds that no measurement reaches. A record may come from a device or in a file of somebody's.
Number = Annotated[float, msgspec.Meta(ge=-1e18, le=1e18)]
Positive = Annotated[float, msgspec.Meta(ge=0, le=1e18)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Word = Annotated[str, msgspec.Meta(max_length=300)]
Sentence = Annotated[str, msgspec.Meta(max_length=4000)]
FileName = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^./\\][^/\\]*$")]
