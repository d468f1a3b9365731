"""From a trained model to a verified artifact: capture, quantize, compare, write."""

from __future__ import annotations

from edgegnn.callable import make_callable

make_callable(__name__, "edgegnn.api:export")
