"""TorchScript: any PyG module, any number of nodes, edges and graphs, torch's own operators, sparse where faster."""

from __future__ import annotations

import copy
import io
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_geometric.nn as gnn
from capture_example import CLASSES, FEATURES, HIDDEN, Stack, graph, other_graphs
from rewrite_layers import CONVS, EDGE_ATTR, MODELS
from sweep import sweep
from torch import nn
from torch.export import Dim
from torchscript_example import assert_same, convert, loaded, operators

from edgegnn.checkpoint.exported_program import load_program
from edgegnn.errors import ExportError
from edgegnn.exporting.capture import capture_program
from edgegnn.exporting.torchscript import aggregate, make_twin, weights
from edgegnn.models import build, catalog
from edgegnn.quantize import prepare, recipe


class Readout(nn.Module):
    """Sizes that go through Python, an edge weight, attention, a pooling, a scalar read from the data."""

    def __init__(self):
        super().__init__()
        self.first, self.second = gnn.GraphConv(FEATURES, HIDDEN), gnn.GATConv(HIDDEN, 4, heads=2)
        self.head = nn.Linear(2 * HIDDEN, CLASSES)

    def forward(self, x, edge_index, edge_weight, batch):
        with torch.no_grad():
            scale = 1.0 / (1 + edge_weight.numel() % 3)
        x = self.first(x, edge_index, edge_weight * scale).relu()
        x = self.second(x, edge_index).relu()
        number = int(batch.max()) + 1
        summed = torch.zeros(number, x.size(1)).index_add_(0, batch, x)
        return self.head(torch.cat([summed, gnn.global_mean_pool(x, batch, number)], dim=1)).view(number, -1)


@pytest.fixture(scope="module")
def readout():
    torch.manual_seed(0)
    return Readout().eval()


@pytest.fixture(scope="module")
def sparse(readout):
    return convert(readout, graph(21, 50, 4, edge_weight=True), always=True)


@pytest.mark.slow
def test_graphs_of_other_sizes(readout, sparse):
    assert_same(sparse, readout, other_graphs(graphs=1, edge_weight=True))
    assert {c.choice for c in sparse.aggregation if c.aggregation != "amax"} == {"sparse"}


def test_only_operators_of_torch(sparse):
    found = operators(loaded(sparse))
    assert {"aten::embedding_bag", "aten::linear"} <= found
    assert not {kind for kind in found if kind.partition("::")[0] not in ("aten", "prim")}
    assert "aten::scatter_add" not in found
    assert "aten::index_add" not in found
    assert "prim::PythonOp" not in found


def test_the_file_names_no_folder_of_this_machine(sparse):
    assert str(Path(__file__).parents[3]).encode() not in sparse.content
    with zipfile.ZipFile(io.BytesIO(sparse.content)) as archive:
        assert not [name for name in archive.namelist() if "debug" in name]


def test_bad_edges_are_errors_not_wild_reads(sparse):
    module = loaded(sparse)
    for row, value in ((0, 99), (1, 99), (0, -1), (1, -1)):
        inputs = graph(21, 50, 4, edge_weight=True)
        inputs["edge_index"][row, 7] = value
        with pytest.raises(torch.jit.Error, match="out of range"):
            module(**inputs)


def test_no_warnings_and_same_module(readout):
    before = copy.deepcopy(readout.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        script = convert(readout, graph(21, 50, 4, edge_weight=True))
        assert_same(script, readout, {"traced": graph(21, 50, 4, edge_weight=True)})
    assert all(torch.equal(before[k], v) for k, v in readout.state_dict().items())


class Clock:
    """Stands for the stop watch: what costs what is known in advance, from the name of what is timed."""

    def __init__(self, dense, sparse):
        self.costs = {"_dense": dense, "_scattered": dense, "sparse_linear": sparse, "_product": sparse}

    def __call__(self, step, **_):
        step()
        return self.costs.get(getattr(getattr(step, "func", None), "__name__", ""), 0.5)


def pruned(density=0.1, width=64):
    torch.manual_seed(1)
    model = Stack(gnn.SAGEConv(FEATURES, width), gnn.SAGEConv(width, width), gnn.SAGEConv(width, CLASSES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(torch.rand_like(parameter) < density)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(("dense", "sparse", "choice"), [(2.0, 1.0, "sparse"), (1.0, 2.0, "dense")])
def test_the_faster_kernel_is_chosen(monkeypatch, dense, sparse, choice):
    clock = Clock(dense, sparse)
    monkeypatch.setattr(weights, "milliseconds", clock)
    monkeypatch.setattr(aggregate, "milliseconds", clock)
    model = pruned()
    script = convert(model, graph(21, 50))
    assert_same(script, model, other_graphs())
    assert len(script.layers) == 6
    for layer in script.layers:
        value = dict(model.named_parameters())[layer.layer]
        assert layer.density == pytest.approx(float((value != 0).float().mean()), abs=1e-4)
        assert (layer.dense_ms, layer.sparse_ms, layer.choice) == (dense, sparse, choice)
    sums = [c for c in script.aggregation if c.layer.endswith("aggr_module")]
    assert {(c.dense_ms, c.sparse_ms, c.csr_ms, c.choice) for c in sums} == {(dense, sparse, 0.5, choice)}
    stored = dict(loaded(script).named_buffers())
    assert ("convs_1_lin_l_weight_columns" in stored) == (choice == "sparse")
    assert ("convs_1_lin_l_weight_bits" in stored) == (choice == "dense")
    assert "convs_1_lin_l_weight" not in stored


def test_grouping_that_costs_more_than_it_saves_is_left_out(monkeypatch):
    clock = Clock(1.0, 0.95)  # the one structure costs 0.5, and each of six products saves 0.05
    monkeypatch.setattr(aggregate, "milliseconds", clock)
    script = convert(pruned(1.0), graph(21, 50))
    assert {c.choice for c in script.aggregation} == {"dense"}


@pytest.mark.slow
def test_zeros_are_not_shipped():
    sizes = [len(convert(pruned(d, 256), graph(21, 50), always=False).content) for d in (1.0, 0.5, 0.1)]
    values = 4 * 2 * (FEATURES * 256 + 256 * 256 + 256 * CLASSES)
    assert values < sizes[0] < 1.05 * values
    assert sizes[1] < 0.57 * values
    assert sizes[2] < 0.17 * values


@pytest.mark.slow
def test_exported_program():
    torch.manual_seed(0)
    model = Stack(gnn.GCNConv(FEATURES, HIDDEN), gnn.GATConv(HIDDEN, CLASSES)).eval()
    nodes, edges = Dim("nodes", min=2), Dim("edges", min=2)
    example = tuple(graph(21, 50).values())
    program = torch.export.export(model, example, dynamic_shapes=({0: nodes}, {1: edges}), strict=False)
    script = convert(program, graph(21, 50), always=True)
    assert_same(script, model, other_graphs())
    assert "convs_0_lin_weight" in dict(loaded(script).named_buffers())
    assert_same(convert(program, graph(21, 50)), model, other_graphs())  # the user's program is not used up


def trained(model, inputs, name="dq-int8"):
    """A model with frozen quantization points that have seen a graph."""
    quantized = prepare(model, recipe(name), list(inputs.values()))
    quantized.train()
    quantized(**inputs)
    return quantized.eval()


@pytest.mark.parametrize("name", ["dq-int8", pytest.param("dq-int4", marks=pytest.mark.slow)])
def test_quantized_weights_are_codes(name):
    torch.manual_seed(0)
    model = trained(build("gcn", in_channels=FEATURES, out_channels=CLASSES, hidden=HIDDEN), graph(21, 50), name)
    script = convert(model, graph(21, 50), always=True)
    assert_same(script, model, other_graphs(), tolerance=0.02)
    stored = dict(loaded(script).named_buffers())
    assert stored["convs_0_lin_weight_codes"].dtype == torch.int8
    assert not [k for k, v in stored.items() if v.is_floating_point() and v.dim() > 1 and v.numel() > HIDDEN]
    assert script.points == set(model.structure()["points"])


@pytest.mark.slow
def test_quantized_and_pruned():
    model = pruned(0.2)
    quantized = trained(model, graph(21, 50))
    for always in (True, False):
        script = convert(quantized, graph(21, 50), always=always)
        assert_same(script, quantized, other_graphs(), tolerance=0.02)
        assert [round(layer.density, 1) for layer in script.layers if layer.layer == "convs.1.lin_l.weight"] == [0.2]


class Draws(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv, self.noise = conv, Noise()

    def forward(self, x, edge_index):
        return self.noise(self.conv(x, edge_index))


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Foreign(Noise):
    def forward(self, x):
        return torch.ops.edgegnn_test.twice(x)


@torch.library.custom_op("edgegnn_test::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@twice.register_fake
def _(x):
    return torch.empty_like(x)


def test_what_has_no_form_is_named():
    model = Draws(gnn.SAGEConv(FEATURES, CLASSES)).eval()
    with pytest.raises(ExportError, match=r"^noise \(Noise\) draws random numbers .*rand_like"):
        convert(model, graph(21, 50))
    model.noise = Foreign()
    with pytest.raises(ExportError, match=r"^noise \(Foreign\) uses edgegnn_test.twice.default, which is not one of"):
        convert(model, graph(21, 50))


# Everything else ------------------------------------------------------------


# Each layer has an artifact of one form in CI's sample: test_rewrite_coverage.py has those that are left out here.
@pytest.mark.slow
@pytest.mark.parametrize("name", sweep(sorted({**CONVS, **MODELS}), lambda i: i % 8 == 1))
def test_every_layer_of_pyg(name):
    torch.manual_seed(0)
    model = {**CONVS, **MODELS}[name]().eval()
    kind = {"edge_attr": 4} if name in EDGE_ATTR else {}
    script = convert(model, graph(21, 50, **kind), always=True)
    assert_same(script, model, {"traced": graph(21, 50, **kind), **other_graphs(**kind)})


# hgpsl takes no edges between graphs, which these graphs have: it has tests of its own
ZOO = {m.name: [k for k in m.forms if k != "link"] for m in catalog.MODELS.values() if m.name != "hgpsl"}
ZOO = {name: kinds for name, kinds in ZOO.items() if kinds}
ALL = [(name, kind) for name, kinds in ZOO.items() for kind in kinds]
ONCE = [(name, kinds[i % len(kinds)]) for i, (name, kinds) in enumerate(ZOO.items())]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), sweep(ALL, lambda i: ALL[i] in ONCE[::2]))
def test_zoo(name, kind):
    torch.manual_seed(0)
    graphs = 4 if kind == "graph" else 0
    inputs = graph(60, 200, graphs)
    model = build(name, in_channels=FEATURES, out_channels=CLASSES, kind=kind).eval()
    assert_same(convert(model, inputs, always=True), model, other_graphs(graphs=graphs))
    quantized = trained(model, inputs)
    script = convert(quantized, inputs, always=True)
    # a code here and there falls on the other side of a step: most rows are equal to rounding
    assert_same(script, quantized, other_graphs(graphs=graphs), tolerance=0.2)
    assert script.points == set(quantized.structure()["points"])


@pytest.mark.slow
@pytest.mark.parametrize("quant", [False, True])
def test_twin(tmp_path, quant):
    torch.manual_seed(0)
    inputs = graph(21, 50, 4)
    model = build("gin", in_channels=FEATURES, out_channels=CLASSES, kind="graph", hidden=HIDDEN, layers=2).eval()
    model = trained(model, inputs) if quant else model
    content, names = make_twin(*capture_program(model, inputs))
    assert names == ["x", "edge_index", "batch", "num_graphs"]
    (tmp_path / "model.pt2").write_bytes(content)
    program = load_program(tmp_path / "model.pt2")
    assert {n.target.namespace for n in program.graph.nodes if hasattr(n.target, "namespace")} == {"aten"}
    assert str(Path(__file__).parents[3]).encode() not in content
    module = program.module()
    for name, others in other_graphs(graphs=1).items():
        with torch.no_grad():
            got = module(*others.values(), torch.zeros(int(others["batch"].max()) + 1, dtype=torch.uint8))
            np.testing.assert_allclose(got, model(**others), atol=1e-5, err_msg=name)


PLAIN = """
import sys
for name in ("torch_geometric", "torch_sparse", "torch_scatter", "pyg_lib", "edgegnn", "onnxruntime"):
    sys.modules[name] = None  # an import of it fails
import numpy, torch
module = torch.jit.load("model.ts.pt")
arrays = numpy.load("graph.npz")
inputs = {k: torch.from_numpy(arrays[k]) for k in arrays.files if k != "want"}
with torch.no_grad():
    for run in (module, torch.jit.freeze(module.eval())):
        for _ in range(3):
            numpy.testing.assert_allclose(run(**inputs).numpy(), arrays["want"], atol=1e-5)
print("equal")
"""


def save(folder, script, model, inputs):
    (folder / "model.ts.pt").write_bytes(script.content)
    with torch.no_grad():
        want = model(**inputs)
    np.savez(folder / "graph.npz", want=want.numpy(), **{k: v.numpy() for k, v in inputs.items()})
    return want


@pytest.mark.slow
def test_loads_in_plain_torch(tmp_path, readout, sparse):
    save(tmp_path, sparse, readout, graph(53, 171, 5, seed=1, edge_weight=True))
    done = subprocess.run([sys.executable, "-I", "-c", PLAIN], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "equal\n"), done.stderr


CPP = """
#include <torch/script.h>
#include <iostream>
int main(int, char** argv) {
  torch::NoGradGuard no_gradients;
  auto module = torch::jit::freeze([&] { auto m = torch::jit::load(argv[1]); m.eval(); return m; }());
  auto graphs = torch::jit::load(argv[2]);
  std::vector<torch::jit::IValue> inputs;
  for (auto name : {"x", "edge_index", "edge_weight", "batch"}) inputs.push_back(graphs.attr(name));
  auto difference = (module.forward(inputs).toTensor() - graphs.attr("want").toTensor()).abs().max().item<float>();
  std::cout << difference << std::endl;
  try {
    inputs[1] = graphs.attr("edge_index").toTensor() + 100000;
    module.forward(inputs);
  } catch (const std::exception&) {
    std::cout << "refused" << std::endl;
  }
}
"""
CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(run LANGUAGES CXX)
find_package(Torch REQUIRED)
add_executable(run run.cpp)
target_link_libraries(run ${TORCH_LIBRARIES})
set_property(TARGET run PROPERTY CXX_STANDARD 20)
"""


@pytest.mark.slow
def test_loads_in_cpp(tmp_path, readout, sparse):
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler")
    inputs = graph(53, 171, 5, seed=1, edge_weight=True)
    want = save(tmp_path, sparse, readout, inputs)
    holder = nn.Module()
    for name, value in {**inputs, "want": want}.items():
        holder.register_buffer(name, value)
    torch.jit.save(torch.jit.script(holder), tmp_path / "graph.pt")
    (tmp_path / "run.cpp").write_text(CPP)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    for command in (["cmake", "-S", ".", "-B", "build", prefix], ["cmake", "--build", "build"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(Path(torch.__file__).parent / "lib")}
    program = [tmp_path / "build" / "run", "model.ts.pt", "graph.pt"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    difference, refused = done.stdout.split()
    assert float(difference) < 1e-5
    assert refused == "refused"
