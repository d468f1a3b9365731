"""index.html: one file that runs the shipped graphs in a browser."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import re
import zlib
from string import Template
from typing import Any

import edgegnn
from edgegnn.manifest import ArtifactManifest, WebForm
from edgegnn.plain_c.generate import PlainC
from edgegnn.plain_c.web.module import asset, module_text
from edgegnn.plain_c.web.samples import Packed
from edgegnn.runtime.metrics import metric_name, metric_text

__all__ = ["packed_wasm", "page", "unpacked_wasm"]


def packed_wasm(wasm: bytes) -> bytes:
    """The module as a server would send it."""
    return gzip.compress(wasm, 9, mtime=0)


def page(code: PlainC, wasm: bytes, manifest: ArtifactManifest, facts: WebForm, packed: Packed, name: str) -> str:
    """The text of index.html.

    Args:
        code: the C form.
        wasm: the module.
        manifest: what the artifact says of itself.
        facts: what it says of the module.
        packed: the shipped graphs.
        name: of the artifact.
    """
    left = len(manifest.samples) - len(packed.graphs)
    shipped = "Each answer is compared with PyTorch's."
    if left:
        shipped += f" {left} of the artifact's graphs are larger than the module takes, or too many for a page."
    return Template(asset("page.html")).substitute(
        title=html.escape(f"{name}: the model in this browser"),
        name=html.escape(name),
        words=html.escape(_words(manifest)),
        facts="".join(f"<div><dt>{html.escape(k)}</dt><dd>{v}</dd></div>" for k, v in _facts(code, manifest, facts)),
        shipped=shipped,
        style=asset("page.css"),
        version=html.escape(edgegnn.__version__),
        wasm=base64.b64encode(packed_wasm(wasm)).decode(),
        samples=base64.b64encode(gzip.compress(packed.block, 9, mtime=0)).decode(),
        about=_json(_about(manifest, packed)),
        script=f"{module_text(code)}\n{asset('page.mjs')}",
    )


def unpacked_wasm(text: str, most: int) -> bytes | None:
    """The module inside index.html; None where there is none, or a larger one than `most` bytes."""
    found = re.search(r'<script type="text/plain" id="wasm">([A-Za-z0-9+/=]*)</script>', text)
    if found is None:
        return None
    packed = base64.b64decode(found.group(1))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            return stream.read(most + 1)
    except (OSError, EOFError, zlib.error):
        return None


def _words(manifest: ArtifactManifest) -> str:
    """What the model is."""
    what = {"node": "each node", "edge": "each edge", "graph": "a graph", "link": "pairs of nodes"}[manifest.kind]
    gives = {"classes": "a class", "labels": "labels", "values": "values"}.get(manifest.target, "numbers")
    bits = "" if manifest.recipe == "none" else f", quantized by {manifest.recipe}"
    return f"A graph neural network that gives {gives} for {what}{bits}, compiled from C to WebAssembly."


def _facts(code: PlainC, manifest: ArtifactManifest, facts: WebForm) -> list[tuple[str, str]]:
    """What stands at the top of the page, as HTML."""
    found = [
        ("WebAssembly", f"{facts.wasm_bytes / 1000:,.1f} kB <small>{facts.gzip_bytes / 1000:,.1f} kB sent</small>"),
        ("memory of a run", f"{code.arena_bytes / 1000:,.1f} kB"),
        ("largest graph", f"{code.limits.nodes:,} <small>nodes, {code.limits.edges:,} edges</small>"),
    ]
    whole = manifest.sizes.fp32_model_file
    if manifest.recipe != "none" and whole is not None:
        found.insert(0, ("float model", f"{whole / 1000:,.1f} kB <small>ONNX</small>"))
    metric = manifest.metric
    if metric is not None and metric.artifact is not None:
        value = html.escape(metric_text(metric.name, metric.artifact))
        found.append((f"{metric_name(metric.name)}, test split", value))
    return found


def _about(manifest: ArtifactManifest, packed: Packed) -> dict[str, Any]:
    tolerance = manifest.parity.tolerance
    seen = {each.name: each.agreement for each in manifest.parity.per_graph}
    return {
        "main": packed.main,
        "kind": manifest.kind,
        "target": manifest.target,
        "minAgreement": tolerance.agreement,
        "maxError": tolerance.max_abs_error,
        "within": tolerance.within,
        "nodeSizes": packed.node_sizes,
        "edgeInputs": packed.edge_inputs,
        "graphs": [{**g, "agreement": seen.get(g["name"], tolerance.agreement)} for g in packed.graphs],
    }


def _json(value: Any) -> str:
    """JSON that can stand in a page: no tag ends it."""
    return json.dumps(value).replace("<", "\\u003c")
