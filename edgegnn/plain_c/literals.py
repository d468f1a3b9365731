"""Numbers and names as C spells them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["double_literal", "float_literal", "identifier", "literal", "string_literal", "table"]

Array = npt.NDArray[np.generic]
_COLUMNS = 110


def float_literal(value: float) -> str:
    """A float32 as a C99 hexadecimal literal: every bit of it."""
    number = float(np.float32(value))
    if np.isnan(number):
        return "(INFINITY - INFINITY)"
    if np.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    mantissa, exponent = number.hex().split("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}f"


def double_literal(value: float) -> str:
    """A float64 as a C99 hexadecimal literal."""
    if np.isfinite(value):
        return float(value).hex()
    return f"(double){float_literal(value)}"


def identifier(text: str) -> str:
    """A C identifier that resembles `text`."""
    name = re.sub(r"[^0-9a-zA-Z]+", "_", text).strip("_").lower() or "model"
    return f"m{name}" if name[0].isdigit() else name


def string_literal(text: str) -> str:
    """A text as a C string, whatever is in it: C reads more than quotes and backslashes (trigraphs, for one)."""
    plain = re.sub(rb"[^0-9a-zA-Z _.-]", lambda found: b"\\%03o" % found[0][0], text.encode("utf-8", "replace"))
    return f'"{plain.decode()}"'


def literal(value: Any, ctype: str) -> str:
    """A number as a constant of a C type."""
    if ctype == "float":
        return float_literal(float(value))
    return double_literal(float(value)) if ctype == "double" else str(int(value))


def table(name: str, ctype: str, values: Array) -> str:
    """The definition of a constant array in read-only memory."""
    flat = values.reshape(-1)
    items = [literal(v, ctype) for v in flat]
    words = " WORDS" if ctype == "int8_t" else ""  # kernels read four weights at once
    return f"static const {ctype} {name}[{len(items)}]{words} = {{\n{_wrapped(items)}}};\n"


def _wrapped(items: list[str]) -> str:
    lines, line = [], " "
    for item in items:
        if len(line) + len(item) + 2 > _COLUMNS:
            lines.append(line)
            line = " "
        line += f" {item},"
    return "\n".join([*lines, line]) + "\n"
