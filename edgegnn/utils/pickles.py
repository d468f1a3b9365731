"""Rewrite a pickle of protocol 3 to 5 in protocol 2, the only one that torch's reader of weights understands.

Nothing is unpickled here: opcodes are copied, or replaced by older ones that say the same. What a pickle may name is
then decided by torch (`weights_only=True`), as for any other file.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["as_protocol_2"]

_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
_PUTS = ("BINPUT", "LONG_BINPUT", "MEMOIZE")
_GETS = ("BINGET", "LONG_BINGET")


def as_protocol_2(content: bytes) -> bytes:
    """The same pickle in protocol 2; one of an older protocol as it is.

    Raises:
        pickle.UnpicklingError: it is damaged, or has opcodes that no file of torch has.
    """
    if content[:1] != pickle.PROTO or content[1] <= 2:
        return content
    try:
        return _Rewriter(content).rewrite()
    except (ValueError, IndexError, KeyError, struct.error) as error:
        raise pickle.UnpicklingError(f"damaged pickle: {error}") from error


class _Rewriter:
    """Copies opcodes. Texts have no place in the memo: they are written out wherever they are asked for.

    So the two texts in front of STACK_GLOBAL can be taken back, and become the one GLOBAL.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.out: list[bytes] = []
        self.texts: dict[int, str] = {}  # place in the memo -> text
        self.last: list[str | None] = []  # of each piece of `out`: the text that it pushes
        self.puts = 0

    def rewrite(self) -> bytes:
        ops = [(op.name, arg, at) for op, arg, at in pickletools.genops(self.content)]
        ends = [at for _, _, at in ops[1:]] + [len(self.content)]
        replaced: dict[str, Callable[[Any], None]] = {
            **dict.fromkeys(_TEXTS, self._text),
            **dict.fromkeys(_BYTES, self._bytes),
            **dict.fromkeys(_PUTS, self._put),
            **dict.fromkeys(_GETS, self._get),
            "STACK_GLOBAL": self._global,
            "BYTEARRAY8": self._bytearray,
            "PROTO": lambda _: self._add(pickle.PROTO + b"\x02"),
            "FRAME": lambda _: None,
        }
        for (name, arg, at), end in zip(ops, ends, strict=True):
            if name in replaced:
                replaced[name](arg)
            else:
                self._add(self.content[at:end])
        return b"".join(self.out)

    def _add(self, piece: bytes, text: str | None = None) -> None:
        self.out.append(piece)
        self.last.append(text)

    def _text(self, text: str) -> None:
        content = text.encode("utf-8", "surrogatepass")
        self._add(pickle.BINUNICODE + struct.pack("<I", len(content)) + content, text)

    def _bytes(self, value: bytes) -> None:
        self._add(pickle.GLOBAL + b"_codecs\nencode\n")
        self._text(value.decode("latin1"))
        self._text("latin1")
        self._add(pickle.TUPLE2 + pickle.REDUCE)

    def _bytearray(self, value: bytes) -> None:
        self._add(pickle.GLOBAL + b"builtins\nbytearray\n")
        self._bytes(bytes(value))
        self._add(pickle.TUPLE1 + pickle.REDUCE)

    def _put(self, place: int | None) -> None:
        place = self.puts if place is None else place
        self.puts += 1
        text = self.last[-1]
        if text is None:
            self._add(pickle.LONG_BINPUT + struct.pack("<I", place))
        else:
            self.texts[place] = text

    def _get(self, place: int) -> None:
        if place in self.texts:
            self._text(self.texts[place])
        else:
            self._add(pickle.LONG_BINGET + struct.pack("<I", place))

    def _global(self, _: None) -> None:
        module, name = self.last[-2:]
        if module is None or name is None or "\n" in module + name:
            raise ValueError("a global without a name")
        del self.out[-2:], self.last[-2:]
        self._add(pickle.GLOBAL + f"{module}\n{name}\n".encode())
