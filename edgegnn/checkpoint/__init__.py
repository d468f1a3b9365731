"""`model.pt`: its format, sparse weights, `.pt2` programs and state dicts that other programs saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.utils.lazy import on_first_use

if TYPE_CHECKING:
    from edgegnn.checkpoint.format import (
        FORMAT,
        Checkpoint,
        build_factory,
        history_step,
        least_bytes,
        load_checkpoint,
        save_checkpoint,
    )
else:
    __getattr__ = on_first_use(
        __name__,
        {
            "format": (
                "FORMAT",
                "Checkpoint",
                "build_factory",
                "history_step",
                "least_bytes",
                "load_checkpoint",
                "save_checkpoint",
            )
        },
    )

__all__ = ["FORMAT", "Checkpoint", "build_factory", "history_step", "least_bytes", "load_checkpoint", "save_checkpoint"]
