"""Arithmetic of sizes, as C expressions of type size_t that never fall below 0."""

from __future__ import annotations

from edgegnn.plain_c.values import Dim, count, fixed, grouped

__all__ = ["joined"]


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
    if sign == "*":
        product = count((a, b))
        return Dim(grouped(product.text), product.most)
    most = _number(sign, a.most, b.most if sign in ("+", "min", "max") else b.fixed or (1 if sign == "/" else 0))
    if sign in ("min", "max"):
        test = "<" if sign == "min" else ">"
        return a if a.text == b.text else Dim(f"({a.text} {test} {b.text} ? {a.text} : {b.text})", most)
    if sign == "-":
        return Dim(f"({a.text} > {b.text} ? {a.text} - {b.text} : 0)", most)
    return Dim(f"({a.text} {sign} {b.text})", most)


def _number(sign: str, a: int, b: int) -> int:
    results = {"+": a + b, "-": a - b, "*": a * b, "min": min(a, b), "max": max(a, b)}
    return results[sign] if sign in results else a // max(b, 1)
