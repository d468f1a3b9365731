"""What is done to a user's data without being asked is said: one line on stderr, once."""

from __future__ import annotations

import functools
import logging

from edgegnn.errors import printable

__all__ = ["note"]


@functools.cache
def note(text: str) -> None:
    """Say in one line what was converted, chosen or left out; the same line a second time says nothing."""
    logging.getLogger(__name__).warning("edgegnn: %s", printable(text))
