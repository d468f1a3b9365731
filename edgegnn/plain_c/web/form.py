"""`edgegnn export --format web`: the C form as WebAssembly, with the proof that it computes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import onnx

from edgegnn.errors import ParityError, UsageError
from edgegnn.manifest import ArtifactManifest, WebForm
from edgegnn.plain_c.check import TOLERANCE, output_error
from edgegnn.plain_c.form import Graph, fits, fitting_graphs
from edgegnn.plain_c.generate import PlainC
from edgegnn.plain_c.web.module import module_text, type_script
from edgegnn.plain_c.web.node import NO_NODE, find_node, run_in_node
from edgegnn.plain_c.web.page import packed_wasm, page
from edgegnn.plain_c.web.samples import PageGraph, pack
from edgegnn.plain_c.web.wasm import MISSING, compile_wasm, find_wasm_compiler
from edgegnn.runtime import make_session

__all__ = ["WebFiles", "web_form"]


@dataclass(frozen=True)
class WebFiles:
    """The files of the web form.

    Attributes:
        code: the C form.
        wasm: the compiled module.
        facts: what the manifest says of it.
    """

    code: PlainC
    wasm: bytes
    facts: WebForm

    def files(self, manifest: ArtifactManifest, name: str, graphs: Sequence[PageGraph]) -> tuple[dict[str, bytes], int]:
        """The files by path in the artifact, and how many graphs the page has.

        Args:
            manifest: what the artifact says of itself.
            name: of the artifact.
            graphs: the shipped ones; those beyond the limits are left out.
        """
        inside = [graph for graph in graphs if fits(self.code, graph.inputs)]
        main = manifest.main or manifest.outputs[0].name
        packed = pack(self.code, inside, main)
        text = page(self.code, self.wasm, manifest, self.facts, packed, name)
        files = {
            "web/index.html": text.encode(),
            "web/model.d.ts": type_script(self.code).encode(),
            "web/model.mjs": module_text(self.code).encode(),
            "web/model.wasm": self.wasm,
        }
        return files, len(packed.graphs)


def web_form(
    model: onnx.ModelProto,
    code: PlainC,
    graphs: Sequence[Graph],
    status: Callable[[str], None],
    tied: frozenset[str] = frozenset(),
) -> WebFiles:
    """Compile the C form of a model to WebAssembly, and compare it with onnxruntime on graphs, in Node.js.

    Args:
        model: the artifact's ONNX graph.
        code: its C form.
        graphs: real and awkward ones; those beyond the limits are left out.
        status: told in a few words what is being done.
        tied: names of graphs in which a float fell to the other side of the border between two codes.

    Raises:
        UsageError: no compiler for WebAssembly is here.
        TargetError: it fails.
        ParityError: the module computes something else.
        ExportError: the module fails.
    """
    compiler = find_wasm_compiler()
    if compiler is None:
        raise UsageError(MISSING)
    status("compiling to WebAssembly")
    wasm = compile_wasm(code, compiler)
    facts = WebForm(wasm_bytes=len(wasm), gzip_bytes=len(packed_wasm(wasm)), compiler=compiler.name)
    node, fitting = find_node(), fitting_graphs(code, graphs)
    if node is None or not fitting:
        why = NO_NODE if node is None else "none of the model's graphs is within the limits"
        return WebFiles(code, wasm, msgspec.structs.replace(facts, unverified=why))
    status("comparing the WebAssembly form")
    session = make_session(model.SerializeToString(), threads=1)
    names = [output.name for output in code.outputs]
    answers = run_in_node(code, wasm, [graph.inputs for graph in fitting], node)
    compared, equal, worst = 0, 0, 0.0
    for graph, answer in zip(fitting, answers, strict=True):
        try:
            wanted = dict(zip(names, session.run(names, dict(graph.inputs)), strict=True))
        except Exception:  # onnxruntime's own kinds: the model has no answer for this graph
            continue
        if answer.code:
            raise ParityError(f"the WebAssembly form refuses the graph {graph.name} with the code {answer.code}")
        compared += 1
        at_border = graph.name in tied
        errors = [output_error(answer.outputs[key], wanted[key], graph.name, tied=at_border) for key in names]
        worst = worst if at_border else max(worst, *errors)
        equal += all(answer.outputs[key].tobytes() == wanted[key].tobytes() for key in names)
    facts = msgspec.structs.replace(facts, graphs=compared, equal_graphs=equal, error=worst, tolerance=TOLERANCE)
    return WebFiles(code, wasm, facts)
