"""Which attributes of a user's graphs can be inputs of a model."""

from __future__ import annotations

__all__ = ["LABELS", "OWN_LABELS", "RAW", "is_input"]

RAW = "raw_x"  # x as the data have it, beside the x that a transform made of it
LABELS = "y:"  # in front of the name of a further head: its labels
OWN_LABELS = "own_y"  # y as the data have it, where another attribute is the label
_NO_INPUTS = {RAW, OWN_LABELS, "y", "split", "smiles", "dq_prob", "ptr", "num_nodes", "edge_label", "edge_y"} | {
    f"{part}_{kind}" for part in ("train", "val", "valid", "test") for kind in ("mask", "idx")
}


def is_input(name: str) -> bool:
    """Whether an attribute of a graph can be an input of a model: it is no label, no part of a split, no size."""
    return name not in _NO_INPUTS and not name.startswith(LABELS)
