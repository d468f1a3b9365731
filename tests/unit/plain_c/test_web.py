"""The C form as WebAssembly: compiled, run in Node.js, shown in Chromium, proven by `edgegnn verify`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import c_models
import msgspec
import numpy as np
import pytest
from c_artifact import BITS, make_c_artifact
from chromium import BROWSER, browse
from tiny_artifact import seal

import edgegnn
from edgegnn.api import verify
from edgegnn.errors import UsageError
from edgegnn.exporting.early_checks import c_limits
from edgegnn.manifest import typed_manifest
from edgegnn.plain_c.check import TOLERANCE
from edgegnn.plain_c.own import own_code
from edgegnn.plain_c.web import wasm
from edgegnn.plain_c.web.form import web_form
from edgegnn.plain_c.web.node import find_node, run_in_node
from edgegnn.plain_c.web.samples import PageGraph
from edgegnn.runtime import open_artifact, read_samples

DOCS = Path(__file__).parents[3] / "docs"
NODE = find_node()
COMPILER = wasm.find_wasm_compiler()
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no compiler for WebAssembly")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node.js")


class _Named:
    def __init__(self, name: str, inputs: dict[str, np.ndarray]) -> None:
        self.name, self.inputs = name, inputs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with c/ and web/."""
    folder = make_c_artifact(tmp_path_factory.mktemp("web") / "gin")
    opened = open_artifact(folder)
    manifest, code = typed_manifest(opened.manifest.raw), own_code(opened)
    samples = read_samples(opened)
    entries = opened.manifest.samples
    form = web_form(c_models.gin(BITS), code, [_Named(s.name, s.inputs) for s in samples], lambda text: None)
    graphs = [
        PageGraph(s.name, s.origin, e.num_edges, s.inputs, s.expected, s.label, s.mask)
        for s, e in zip(samples, entries, strict=True)
    ]
    files, shown = form.files(manifest, "gin", graphs)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    facts = msgspec.structs.replace(form.facts, page_graphs=shown)
    seal(folder, web=msgspec.to_builtins(facts), versions={"edgegnn": edgegnn.__version__})
    return folder


@pytest.fixture
def artifact(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "gin"))


def test_without_a_compiler_it_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm.shutil, "which", lambda name: None)
    monkeypatch.setattr(wasm, "zig", lambda tool="cc": None)
    with pytest.raises(UsageError, match=r"pip install 'edgegnn\[cross\]'"):
        c_limits("web", 4, 4)
    with pytest.raises(UsageError, match="--format web needs --max-nodes and --max-edges"):
        c_limits("web", 4, None)


@needs_compiler
@needs_node
def test_equals_the_reference_in_node(artifact: Path) -> None:
    code = own_code(open_artifact(artifact))
    graphs = [c_models.graph(nodes, edges, seed) for seed, (nodes, edges) in enumerate([(1, 0), (32, 64), (7, 20)])]
    bad = [c_models.graph(33, 0), c_models.graph(3, 65), {**graphs[2], "edge_index": np.array([[0, 7], [1, 1]])}]
    content = (artifact / "web/model.wasm").read_bytes()
    answers = run_in_node(code, content, [*graphs, *bad], NODE)
    assert [answer.code for answer in answers] == [0, 0, 0, 2, 3, 4]
    for inputs, answer in zip(graphs, answers, strict=False):
        wanted = c_models.answers(inputs, BITS)["logits"]
        assert np.abs(answer.outputs["logits"] - wanted).max() <= TOLERANCE * np.abs(wanted).max()


@needs_compiler
@needs_node
def test_the_module_says_what_is_wrong_with_a_graph(artifact: Path) -> None:
    width = c_models.FEATURES
    graphs = [
        f"{{ x: new Float32Array({width + 1}), edge_index: [] }}",
        "{ edge_index: [] }",
        f"{{ x: new Float32Array({width}), edge_index: new BigInt64Array([0n, 4294967296n]) }}",
        f"{{ x: new Float32Array({width}), edge_index: [0, 1] }}",
        f"{{ x: new Float32Array({width}), edge_index: [], num_nodes: 2 }}",
    ]
    calls = "\n".join(f"try {{ model.run({g}); say('ran'); }} catch (e) {{ say(e.message); }}" for g in graphs)
    (artifact / "web/use.mjs").write_text(
        'import { load } from "./model.mjs";\nconst model = await load();\nconst say = (t) => console.log(t);\n' + calls
    )
    done = subprocess.run([NODE, artifact / "web/use.mjs"], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [
        "x has a wrong number of elements",
        "the graph has no x: it needs x, edge_index",
        "edge_index has a number that is no integer of 32 bits",
        "an index is out of range: edge_index has to be at least 0 and less than the number of nodes",
        "x has 5 elements, not 10",
    ]


@needs_compiler
def test_verify_proves_it(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = verify(artifact)
    assert report.ok, report.problems
    if NODE is not None:
        assert report.web_form == "model.wasm run in Node.js on 3 graphs, 1 are beyond its limits"
    monkeypatch.setenv("PATH", "")
    assert verify(artifact).web_form.startswith("not run: no Node.js")


@needs_compiler
@needs_node
@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("model.mjs", b"export", b"export ", "web/model.mjs is not what model.onnx gives"),
        ("index.html", b'id="wasm">', b'id="wasm">A', "web/index.html holds another module than web/model.wasm"),
        ("model.wasm", b"\0asm", b"\0asn", "web/index.html holds another module than web/model.wasm"),
    ],
)
def test_a_changed_file_is_one_line(artifact: Path, name: str, old: bytes, new: bytes, said: str) -> None:
    path = artifact / "web" / name
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    seal(artifact)
    (problem,) = verify(artifact).problems
    assert problem.startswith(f"web form: {said}")


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_page_in_chromium(artifact: Path) -> None:
    """It runs every graph, draws one, asks for nothing, and sees an answer that differs; the page of the docs runs."""

    def shown(path: Path) -> tuple[str, str]:
        return browse(path, "--dump-dom", "--virtual-time-budget=20000")

    page = artifact / "web/index.html"
    out, err = shown(page)
    assert 'data-state="holds"' in out, err
    assert "✓ The model holds here: 1 of 1 predictions equal PyTorch's" in out  # the graph from data within the limits
    assert out.count("<circle") == 20
    assert out.count("<line") > 10
    assert not [line for line in err.splitlines() if "CONSOLE" in line or "Refused" in line]
    text = page.read_text()
    assert 'data-state="holds"' in shown(DOCS / "demo/quickstart.html")[0]
    start = text.index('<script type="application/json" id="about">')
    changed = text[:start] + text[start:].replace('"maxError": 0.0001', '"maxError": -1', 1)
    assert changed != text
    page.write_text(changed)
    assert 'data-state="differs"' in shown(page)[0]


@needs_compiler
def test_the_manifest_says_it(artifact: Path) -> None:
    facts = json.loads((artifact / "manifest.json").read_text())["web"]
    assert facts["wasm_bytes"] == (artifact / "web/model.wasm").stat().st_size
    assert facts["page_graphs"] == 3
    if NODE is not None:
        assert (facts["graphs"], facts["tolerance"]) == (4 - 1, TOLERANCE)
