"""What `edgegnn verify` finds of an artifact's web form."""

from __future__ import annotations

from edgegnn.errors import ExportError
from edgegnn.plain_c.generate import PlainC
from edgegnn.plain_c.own import with_samples
from edgegnn.plain_c.web.module import module_text, type_script
from edgegnn.plain_c.web.node import NO_NODE, find_node, run_in_node
from edgegnn.plain_c.web.page import unpacked_wasm
from edgegnn.runtime import Artifact
from edgegnn.runtime.proof import judge
from edgegnn.runtime.samples import Sample

__all__ = ["prove_web"]

_AGAIN = "web/ is stale or changed, export with --format web again"


def prove_web(artifact: Artifact, code: PlainC, used: tuple[Sample, ...], beyond: int) -> tuple[str, str]:
    """Compare the files of web/ with what the model gives, and run model.wasm on the shipped graphs in Node.js.

    The module may be a stranger's: it gets no imports, so it reaches nothing but its own memory.

    Args:
        artifact: one with a web form.
        code: its C form, made anew.
        used: the shipped graphs within its limits.
        beyond: how many are beyond.

    Returns:
        What doesn't hold, in one line, "" where it holds or can't be told; and what was done, or why nothing was.
    """
    for name, text in (("model.mjs", module_text(code)), ("model.d.ts", type_script(code))):
        path = artifact.folder / "web" / name
        if not path.is_file() or path.read_bytes() != text.encode():
            return f"web/{name} is not what model.onnx gives: {_AGAIN}", ""
    paths = [artifact.folder / "web" / name for name in ("model.wasm", "index.html")]
    if not all(path.is_file() for path in paths):
        return f"web/model.wasm or web/index.html is missing: {_AGAIN}", ""
    wasm = paths[0].read_bytes()
    if unpacked_wasm(paths[1].read_text(encoding="utf-8", errors="replace"), len(wasm)) != wasm:
        return f"web/index.html holds another module than web/model.wasm: {_AGAIN}", ""
    node = find_node()
    if node is None:
        return "", f"not run: {NO_NODE}"
    try:
        answers = run_in_node(code, wasm, [sample.inputs for sample in used], node)
    except ExportError as error:
        return str(error), ""
    refused = next((s.name for s, a in zip(used, answers, strict=True) if a.code), None)
    if refused is not None:
        return f"web/model.wasm refuses the graph {refused}", ""
    found = judge(with_samples(artifact, used, beyond).manifest, list(used), [answer.outputs for answer in answers])
    left = f", {beyond} are beyond its limits" * bool(beyond)
    return (found.problems[0] if found.problems else ""), f"model.wasm run in Node.js on {len(used)} graphs{left}"
