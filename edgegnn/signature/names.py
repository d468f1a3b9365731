"""Which attributes of a user's graphs can be inputs of a model."""

from __future__ import annotations

__all__ = ["RAW", "is_input"]

RAW = "raw_x"  # x as the data have it, beside the x that a transform made of it
_NO_INPUTS = {RAW, "y", "split", "smiles", "dq_prob", "ptr", "num_nodes", "edge_label", "edge_y"} | {
    f"{part}_{kind}" for part in ("train", "val", "valid", "test") for kind in ("mask", "idx")
}


def is_input(name: str) -> bool:
    """Whether an attribute of a graph can be an input of a model: it is no label, no part of a split, no size."""
    return name not in _NO_INPUTS
