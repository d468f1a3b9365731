"""Ways to damage what edgegnn reads: bytes, zip archives, JSON values. The random generator decides which and where."""

from __future__ import annotations

import copy
import io
import random
import zipfile
from typing import Any

ODD_NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"))
ODD_TEXTS = ("", " ", "..", "../x", "/etc/passwd", "a" * 5000, "\x1b[2J", "\u202eabc", "\0", "\ud800", "[link=x]", "é")
ODD_VALUES = (*ODD_NUMBERS, *ODD_TEXTS, None, True, False, [], {}, [[]], {"": None}, [None] * 3, {"a": {"b": [1]}})
_ODD_TOML = (
    '""',
    '"\\u0000"',
    "[]",
    "{}",
    "nan",
    "-inf",
    "true",
    "1e999",
    "-1",
    "0",
    str(2**70),
    "1979-05-27",
    "[[1]]",
)
_ODD_NAMES = ("../x", "/x", "a\\b", "A:b", "", "x/", "x" * 300, "manifest.json", "data.pkl", "__MACOSX/x", "é.npy")


def flip_bit(rng: random.Random, content: bytes) -> bytes:
    """One bit is the other one."""
    damaged = bytearray(content)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def flip_bits(content: bytes, every: int, first: int = 0) -> list[bytes]:
    """A copy with one bit flipped, for every n-th bit of the content."""
    copies = []
    for place in range(first, 8 * len(content), every):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        copies.append(bytes(damaged))
    return copies


def damage_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bits flipped, a piece replaced, removed, repeated, zeroed or added, the rest cut off, or other content."""
    if not content:
        return rng.randbytes(rng.randrange(64))
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice((1, 2, 4, 16, 256, len(content))))
    piece = content[start:end]
    match rng.randrange(9):
        case 0:
            return flip_bit(rng, content)
        case 1:
            for _ in range(rng.randrange(2, 30)):
                content = flip_bit(rng, content)
            return content
        case 2:
            return content[:start] + rng.randbytes(len(piece)) + content[end:]
        case 3:
            return content[:start] + content[end:]
        case 4:
            return content[:start] + piece * rng.randrange(2, 5) + content[end:]
        case 5:
            return content[:start] + bytes(len(piece)) + content[end:]
        case 6:
            return content[:start]
        case 7:
            return content[:start] + rng.randbytes(rng.choice((1, 2, 4, 8))) + content[start:]
        case _:
            return rng.choice((b"", rng.randbytes(300), b"PK\x03\x04" + rng.randbytes(200), content[::-1]))


def damage_zip(rng: random.Random, content: bytes) -> bytes:
    """An entry renamed, removed, repeated, added, damaged with its checksum made right, or packed in another way."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(entries))
    name, inside = entries[at]
    packing = zipfile.ZIP_STORED
    match rng.randrange(7):
        case 0:
            folder, _, last = name.rpartition("/")
            other = rng.choice((*_ODD_NAMES, name.upper(), name + "x", last, f"{folder}/{folder}/{last}"))
            entries[at] = (other, inside)
        case 1:
            del entries[at]
        case 2:
            entries.append((rng.choice((name, name.swapcase(), name + "2")), damage_bytes(rng, inside)))
        case 3:
            entries.append((rng.choice(_ODD_NAMES), rng.randbytes(40)))
        case 4:
            packing = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        case 5:
            other = rng.randrange(len(entries))
            entries[at], entries[other] = (name, entries[other][1]), (entries[other][0], inside)
        case _:
            entries[at] = (name, damage_bytes(rng, inside))
    return make_zip(entries, packing)


def make_zip(entries: list[tuple[str, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these entries, whatever their names."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, inside in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = packing
            with archive.open(info, "w") as file:
                file.write(inside)
    return out.getvalue()


def damage_json(rng: random.Random, value: Any) -> Any:
    """A copy of a JSON value in which up to three of its parts are odd, gone, renamed or somewhere else."""
    damaged = {"": copy.deepcopy(value)}
    for _ in range(rng.randrange(1, 4)):
        places = list(_places(damaged))
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0 | 1:
                holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))
            case 2 if holder is not damaged:
                del holder[key]
            case 3 if isinstance(holder, dict) and holder is not damaged:
                holder[rng.choice((*ODD_TEXTS, str(key).upper(), f"{key}_"))] = holder.pop(key)
            case 4:
                other, place = rng.choice(places)
                holder[key] = copy.deepcopy(other[place])
            case _:
                holder[key] = _nudged(rng, holder[key])
    return damaged[""]


def damage_toml(rng: random.Random, content: bytes) -> bytes:
    """Up to three lines of a TOML file with another value or key, gone, twice, or somewhere else."""
    lines = content.decode().splitlines()
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(lines))
        key, _, value = lines[at].partition("=")
        match rng.randrange(6):
            case 0 | 1:
                lines[at] = f"{key}= {rng.choice(_ODD_TOML)}"
            case 2:
                lines[at] = f"{rng.choice(('x', key.strip() + 'x', key.upper(), '[a]', '[[case]]'))} = {value}"
            case 3:
                lines.insert(at, lines.pop(rng.randrange(len(lines))))
            case 4:
                lines.insert(rng.randrange(len(lines)), lines[at])
            case _:
                lines[at] = ""
    return "\n".join(lines).encode("utf-8", "replace")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value with every key in it."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        found.extend(_places(value[key]))
    return found


def _nudged(rng: random.Random, value: Any) -> Any:
    """Nearly the same value."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return value * rng.choice((-1, 2, 1000, 1.5)) + rng.choice((-1, 0, 1))
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return value[:at] + rng.choice(("", "x", "\n", "/", "\0", value)) + value[at + rng.randrange(2) :]
    deep = value
    for _ in range(rng.choice((1, 3, 100))):
        deep = [deep]
    return deep
