"""From a trained model to a verified artifact: capture, quantize, compare, write."""

from __future__ import annotations
