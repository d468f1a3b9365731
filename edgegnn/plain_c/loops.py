"""Loops over all elements of a tensor, as C text."""

from __future__ import annotations

from collections.abc import Sequence

from edgegnn.plain_c.values import Shape, count

__all__ = ["nested", "place_at"]


def nested(names: Sequence[str], shape: Shape, body: str) -> str:
    """A statement in loops, the last name innermost.

    Args:
        names: C variables, one for each size.
        shape: how far each runs.
        body: one statement.
    """
    for name, dim in zip(reversed(names), reversed(shape), strict=True):
        body = f"for (size_t {name} = 0; {name} < {dim.text}; ++{name}) {body}"
    return body


def place_at(places: Sequence[str], shape: Shape) -> str:
    """The C expression of an element's place in a tensor that lies row by row.

    Args:
        places: its place along each axis.
        shape: of the tensor.
    """
    terms = []
    for axis, place in enumerate(places):
        if shape[axis].fixed == 1 or place == "0":
            continue
        step = count(shape[axis + 1 :])
        terms.append(place if step.fixed == 1 else f"{place} * {step.text}")
    return " + ".join(terms) or "0"
