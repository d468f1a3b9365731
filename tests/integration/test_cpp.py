"""edgegnn/native/cpp/: the header over ONNX Runtime, compiled against the wheel's library, proves an artifact."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from c_artifact import make_c_artifact
from tiny_artifact import seal

import edgegnn.native

CPP = Path(edgegnn.native.__file__).parent / "cpp"
LIBRARY = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in (LIBRARY, shutil.which("cmake"), shutil.which("g++")), reason="no libonnxruntime, cmake or C++ compiler"
    ),
]

USER = r"""
#include <cstdio>
#include "edgegnn.hpp"
template <class Call>
void said(Call call) {
  try {
    call();
    std::puts("ran");
  } catch (const edgegnn::Error &error) {
    std::puts(error.what());
  }
}
int main(int, char **argv) {
  const edgegnn::Model model(argv[1]);
  std::vector<float> x(15, 0.5f), y(14);
  std::vector<int64_t> edges = {0, 1, 1, 2}, wrong = {0, 3, 1, 2}, batch(3);
  const auto run = [&](const edgegnn::Tensor &features, const edgegnn::Tensor &pairs) {
    model.run({{"x", features}, {"edge_index", pairs}, {"batch", edgegnn::tensor(batch, {3})}});
  };
  said([&] { run(edgegnn::tensor(x, {3, 5}), edgegnn::tensor(edges, {2, 2})); });
  said([&] { run(edgegnn::tensor(x, {3, 5}), edgegnn::tensor(wrong, {2, 2})); });
  said([&] { run(edgegnn::tensor(y, {2, 7}), edgegnn::tensor(edges, {2, 2})); });
  said([&] { run(edgegnn::tensor(x, {3, 4}), edgegnn::tensor(edges, {2, 2})); });
  said([&] { run(edgegnn::tensor(x.data(), {2, 5}), edgegnn::tensor(edges, {2, 2})); });
  said([&] { run(edgegnn::tensor(edges, {2, 2}), edgegnn::tensor(edges, {2, 2})); });
  said([&] { model.run({{"x", edgegnn::tensor(x, {3, 5})}}); });
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built as its CMakeLists.txt says."""
    folder = tmp_path_factory.mktemp("cpp")
    flags = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -pedantic -Werror -O1"
    for command in (
        ["cmake", "-S", str(CPP), "-B", str(folder), f"-DONNXRUNTIME_LIBRARY={LIBRARY}", flags],
        ["cmake", "--build", str(folder)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return make_c_artifact(tmp_path / "gin")


def _verify(built: Path, artifact: Path) -> tuple[int, str]:
    done = subprocess.run([built / "edgegnn_verify", artifact], capture_output=True, text=True, timeout=120)
    return done.returncode, (done.stdout + done.stderr).replace(str(artifact), "gin")


def test_verify(built: Path, artifact: Path) -> None:
    status, said = _verify(built, artifact)
    assert (status, said.startswith("gin holds: 4 samples, 2 of 2 predictions equal")) == (0, True), said
    content = (artifact / "model.onnx").read_bytes()
    (artifact / "model.onnx").write_bytes(content + b" ")
    wrong = "edgegnn: model.onnx has been changed (its checksum differs): copy the artifact again\n"
    assert _verify(built, artifact) == (1, wrong)
    (artifact / "model.onnx").write_bytes(content)
    with np.load(artifact / "samples.npz") as file:
        arrays = dict(file)
    arrays["0000.expected"] = arrays["0000.expected"][:, ::-1].copy()
    np.savez(artifact / "samples.npz", **arrays)  # stored, where an export deflates
    seal(artifact)
    status, said = _verify(built, artifact)
    assert status == 1
    assert said.startswith("problem: first: an output is ")
    assert "gin DOES NOT HOLD" in said


def test_what_is_wrong_with_a_call(built: Path, artifact: Path, tmp_path: Path) -> None:
    source, program = tmp_path / "user.cpp", tmp_path / "user"
    source.write_text(USER)
    link = built / "libonnxruntime.so.1"
    command = ["g++", "-std=c++17", f"-I{CPP}", str(source), str(link), f"-Wl,-rpath,{built}", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    done = subprocess.run([program, artifact], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [
        "ran",
        "edge_index names node 3 of a graph of 3 nodes",
        "the input x has the size 7 in dimension 1, not 5",
        "a tensor's shape does not fit its 15 elements",
        "batch says num_nodes 3, x says 2",
        "the input x has elements of another type than manifest.json says",
        "the input edge_index is missing",
    ]
