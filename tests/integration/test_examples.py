"""The programs in examples/ do what they say."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import c_models
import numpy as np
import pytest
from tiny_artifact import graph, make_artifact, reference

from edgegnn.plain_c.compiler import find_compiler
from edgegnn.plain_c.generate import generate
from edgegnn.plain_c.values import Limits

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_service(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "tiny")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(EXAMPLES / "service.py"), str(artifact), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as service:
        try:
            assert service.stdout is not None
            assert "'tiny'" in service.stdout.readline()
            inputs = graph(6, 10)
            body = {name: value.tolist() for name, value in inputs.items()}
            np.testing.assert_allclose(ask(port, body)["logits"], reference(inputs), atol=1e-5)
            body["edge_index"] = [[0], [6]]
            assert "the graph has 6 nodes" in ask(port, body)["error"]
        finally:
            service.terminate()


@pytest.mark.slow
def test_edge_gat(tmp_path: Path) -> None:
    printed = example("edge_gat.py", tmp_path)
    right = float(printed.partition("a graph it never saw: ")[2].partition("%")[0])
    assert right > 80


@pytest.mark.slow
def test_molecules(tmp_path: Path) -> None:
    printed = example("molecules.py", tmp_path)
    values = dict(line.split(": ") for line in printed.splitlines()[1:])
    assert 0 < float(values["CCCCCCO"]) < 4  # rdkit: 1.56


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_classify(tmp_path: Path) -> None:
    code = generate(c_models.gin(), "gin", Limits(16, 40))
    for name, text in code.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    sizes = [f"-DFEATURES={c_models.FEATURES}", f"-DCLASSES={c_models.CLASSES}"]
    strict = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    made = [*find_compiler(), *strict, *sizes, f"-I{tmp_path}", "-o", str(tmp_path / "classify")]
    subprocess.run([*made, str(EXAMPLES / "classify.c"), str(tmp_path / "model.c")], check=True)
    for seed in range(3):
        graph = c_models.graph(9, 20, seed)
        lines = ["9 20", *(" ".join(map(repr, row.tolist())) for row in graph["x"])]
        lines += [f"{source} {target}" for source, target in graph["edge_index"].T]
        best = int(c_models.answers(graph)["logits"].argmax())
        assert classify(tmp_path, "\n".join(lines)).stdout == f"class {best}\n"
    assert classify(tmp_path, "2 1\n" + "0 " * 2 * c_models.FEATURES + "\n0 7").stderr == (
        "classify: the model refuses this graph: code 4, see model.h\n"
    )
    assert classify(tmp_path, "99 1").stderr == "classify: too many nodes, or none\n"


def classify(folder: Path, graph: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "classify"], input=graph, capture_output=True, text=True, check=False)


def example(name: str, folder: Path) -> str:
    """Run a program of examples/ in a folder of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(port: int, body: dict[str, object]) -> dict[str, object]:
    """Send a graph until the server, which says its name just before it listens, answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}", json.dumps(body).encode())
    for _ in range(50):
        with contextlib.suppress(ConnectionRefusedError):
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                return json.load(error)
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionRefusedError):
                    raise
        time.sleep(0.2)
    raise AssertionError("nobody listens")
