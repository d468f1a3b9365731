"""`model.pt`: its format, sparse weights, `.pt2` programs and state dicts that other programs saved."""

from __future__ import annotations

from edgegnn.checkpoint.format import (
    FORMAT,
    Checkpoint,
    build_factory,
    history_step,
    least_bytes,
    load_checkpoint,
    save_checkpoint,
)

__all__ = ["FORMAT", "Checkpoint", "build_factory", "history_step", "least_bytes", "load_checkpoint", "save_checkpoint"]
