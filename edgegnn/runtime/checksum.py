"""Checksums of JSON values, for what has no other: manifests, profile records, rows of stores.

The checksum covers the value, not its spelling: white space and the order of keys don't matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["intact", "json_sha256", "sealed"]


def json_sha256(value: Any) -> str:
    """Checksum of a JSON-able value, in hex; NaN and infinity, which JSON doesn't have, count as null.

    Raises:
        RecursionError: it is nested too deep.
    """
    as_read = json.loads(json.dumps(value), parse_constant=lambda _: None)
    return hashlib.sha256(json.dumps(as_read, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A copy that holds, under `key`, the checksum of everything else in it."""
    others = {name: value for name, value in values.items() if name != key}
    return {**others, key: json_sha256(others)}


def intact(values: Mapping[str, Any], key: str) -> bool:
    """Whether the checksum under `key` is right; True without one, as files from before there were checksums are."""
    try:
        return key not in values or sealed(values, key)[key] == values[key]
    except RecursionError:
        return False
