"""The other forms of an artifact's model, in words: plain C and WebAssembly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegnn.manifest import CForm, WebForm

__all__ = ["c_in_words", "web_in_words"]


def c_in_words(c: CForm) -> str:
    """The C form: its memory, and how it was compared."""
    sizes = f"c/, {c.arena_bytes:,} bytes of arena for {c.max_nodes} nodes and {c.max_edges} edges; "
    if c.unverified:
        return f"{sizes}not verified: {c.unverified}"
    codes = f"{c.exact_tensors} tensors of codes equal to the bit, " if c.exact_tensors else ""
    words = f"{sizes}compiled and run on {c.graphs} graphs: {codes}outputs within {c.error:.1g} of the largest"
    if c.tied_graphs:
        graphs = "one graph" if c.tied_graphs == 1 else f"{c.tied_graphs} graphs"
        words += f"; in {graphs} a float lay on the border of two codes, and fell to the other side"
    return words


def web_in_words(web: WebForm) -> str:
    """The WebAssembly form: its size, and how it was compared."""
    sizes = f"web/index.html; model.wasm has {web.wasm_bytes:,} bytes ({web.gzip_bytes:,} sent) by {web.compiler}; "
    if web.unverified:
        return f"{sizes}not verified: {web.unverified}"
    return f"{sizes}run in Node.js on {web.graphs} graphs: outputs within {web.error:.1g} of the largest"
