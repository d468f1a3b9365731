"""Arithmetic of sizes, as C expressions of type size_t that never fall below 0."""

from __future__ import annotations

from edgegnn.errors import ExportError
from edgegnn.plain_c.values import Dim, count, fixed, grouped

__all__ = ["joined"]

_LARGEST = 2**31 - 1


def joined(sign: str, a: Dim, b: Dim) -> Dim:
    """A sum, difference, product, quotient, minimum or maximum of two sizes.

    Args:
        sign: "+", "-", "*", "/", "min" or "max".
        a: on the left.
        b: on the right; of a difference or quotient what is taken away or divided by.
    """
    if a.fixed is not None and b.fixed is not None:
        return fixed(_number(sign, a.fixed, b.fixed))
    if b.fixed is not None and b.fixed == {"+": 0, "-": 0, "*": 1, "/": 1}.get(sign):
        return a
    if a.fixed is not None and a.fixed == {"+": 0, "*": 1}.get(sign):
        return b
    if sign == "max" and (a.most <= 0 or b.most <= 0):  # a size is never below 0
        return a if b.most <= 0 else b
    if sign == "-" and a.text == b.text:
        return fixed(0)
    below = [dim for dim in (a, b) if dim.fixed is not None and dim.fixed < 0]
    if below and sign in ("+", "-"):  # C's sizes have no sign
        other = b if below[0] is a else a
        away = fixed(-(below[0].fixed or 0))
        if sign == "+":
            return joined("-", other, away)
        if below[0] is b:
            return joined("+", other, away)
    if below and sign == "min":
        return below[0]
    if below:
        raise ExportError("a size inside the model has no C form yet: it is computed with numbers below 0")
    if sign == "*":
        product = count((a, b))
        if product.most > _LARGEST:
            raise ExportError(
                "a size inside the model may be too large for C: give smaller --max-nodes and --max-edges"
            )
        return Dim(grouped(product.text), product.most)
    most = _number(sign, a.most, b.most if sign in ("+", "min", "max") else b.fixed or (1 if sign == "/" else 0))
    if most > _LARGEST:
        raise ExportError("a size inside the model may be too large for C: give smaller --max-nodes and --max-edges")
    if sign in ("min", "max"):
        test = "<" if sign == "min" else ">"
        return a if a.text == b.text else Dim(f"({a.text} {test} {b.text} ? {a.text} : {b.text})", most)
    if sign == "-":
        return Dim(f"({a.text} > {b.text} ? {a.text} - {b.text} : 0)", max(most, 0))
    if sign == "/":
        if b.fixed == 0:
            raise ExportError("a size inside the model has no C form: it is divided by 0")
        text = f"{a.text} / {b.text}"
        return Dim(f"({text})" if b.fixed is not None else f"({b.text} == 0 ? 0 : {text})", most)
    return Dim(f"({a.text} {sign} {b.text})", most)


def _number(sign: str, a: int, b: int) -> int:
    results = {"+": a + b, "-": a - b, "*": a * b, "min": min(a, b), "max": max(a, b)}
    return results[sign] if sign in results else a // max(b, 1)
