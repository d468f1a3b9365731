"""The target `cuda`, up to the boundary of a GPU: onnxruntime's provider, NVML and torch's device are stood in for."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_nvml import FakeNvml
from profile_example import BLINK
from rich.console import Console
from tiny_artifact import make_artifact, seal

from edgegnn.devices import cuda as cuda_runtimes
from edgegnn.devices import load_target, local_target, target, targets
from edgegnn.devices.cuda import cuda_runtime
from edgegnn.devices.readiness import check
from edgegnn.devices.target import Target
from edgegnn.errors import ArtifactError, TargetError, UsageError
from edgegnn.profiling import measure, profile, read_record, render
from edgegnn.profiling.result import Followed
from edgegnn.runtime import bench, cuda, make_session, read_manifest, session
from edgegnn.runtime.benchmark import Plan
from edgegnn.runtime.energy import nvml
from edgegnn.runtime.script import ScriptSession, _bring_to

GPU = Target(name="cuda", description="a GPU", arch="x86_64", transport="local", processor="cuda", energy=("nvml",))


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for module in (target, measure):
        monkeypatch.setattr(module, "arch", lambda: "x86_64")
    return make_artifact(tmp_path / "tiny")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """An NVML whose counter and memory move whenever they are asked for."""
    fake = FakeNvml()

    def load(name: str) -> Any:
        fake.millijoules += 40_000
        fake.used += 2**20
        return fake.load(name)

    monkeypatch.setattr(nvml, "_load", load)
    return fake


class FakeProvider:
    """onnxruntime with CUDA: sessions run on the CPU, and say that they don't."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, loads: bool = True) -> None:
        import onnxruntime

        self.asked: list[Any] = []
        real = onnxruntime.InferenceSession
        outer = self

        class Session:
            def __init__(self, model: Any, options: Any, providers: list[Any], **_: Any) -> None:
                outer.asked.append(providers)
                self._session = real(model, options, providers=["CPUExecutionProvider"])

            def get_providers(self) -> list[str]:
                return ["CUDAExecutionProvider", "CPUExecutionProvider"] if loads else ["CPUExecutionProvider"]

            def __getattr__(self, name: str) -> Any:
                return getattr(self._session, name)

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
        monkeypatch.setattr(onnxruntime, "preload_dlls", self._preload, raising=False)

    def _preload(self) -> None:
        raise OSError("no cuDNN here")


def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def problems(monkeypatch: pytest.MonkeyPatch, **found: str) -> None:
    monkeypatch.setattr(cuda_runtimes, "cuda_problem", lambda runtime: found.get(runtime, ""))


def with_script(artifact: Path) -> Path:
    (artifact / "model.ts.pt").write_bytes(b"a TorchScript model")
    seal(artifact)
    return artifact


def test_target_file() -> None:
    found = load_target("cuda")
    assert (found.processor, found.transport, found.energy) == ("cuda", "local", ("nvml",))


def test_it_is_never_this_machine_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "edgegnn" / "targets"
    folder.mkdir(parents=True)
    text = 'description = "a"\narch = "x86_64"\ntransport = "local"\nprocessor = "cuda"\n'
    (folder / "aaa.toml").write_text(text)
    assert load_target("aaa").processor == "cuda"
    assert local_target().processor == "cpu"


@pytest.mark.slow
def test_machine_without_cuda_says_so_in_a_line(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_cuda(monkeypatch)
    with pytest.raises(TargetError) as error:
        profile(artifact, target="cuda", plan=BLINK)
    text = str(error.value)
    assert text.startswith("cuda: no CUDA that can be used on this machine: onnxruntime ")
    assert "python -m pip install onnxruntime-gpu" in text
    assert "\n" not in text
    assert not Path("profiles").exists()
    with pytest.raises(TargetError, match=r"no CUDA that can be used.*torch "):
        profile(with_script(artifact), target="cuda", plan=BLINK)
    with pytest.raises(ArtifactError, match="no CUDA here: onnxruntime"):
        bench(artifact, plan=BLINK, processor="cuda")
    with pytest.raises(UsageError, match="processor must be one of cpu, cuda, not 'tpu'"):
        make_session(artifact / "model.onnx", processor="tpu")
    step = {step.name: step for step in check(load_target("cuda"))}["CUDA"]
    assert step.state == "failed"
    assert "onnxruntime-gpu" in step.detail
    info = {i.name: i for i in targets()}["cuda"]
    assert not info.reachable
    assert "onnxruntime-gpu" in info.reason
    assert "torch" in info.reason


def test_choice_of_the_runtime(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx_only = read_manifest(artifact)
    both = read_manifest(with_script(Path(shutil.copytree(artifact, "both"))))
    problems(monkeypatch)
    assert cuda_runtime(both, GPU) == "onnxruntime"
    assert cuda_runtime(both, GPU, "torchscript") == "torchscript"
    problems(monkeypatch, onnxruntime="onnxruntime is for CPUs")
    assert cuda_runtime(both, GPU) == "torchscript"
    with pytest.raises(TargetError, match=r"onnxruntime is for CPUs; torch here has CUDA: export .* --format both"):
        cuda_runtime(onnx_only, GPU)
    with pytest.raises(TargetError, match=r"machine: onnxruntime is for CPUs$"):
        cuda_runtime(both, GPU, "onnxruntime")
    problems(monkeypatch, onnxruntime="one", torchscript="two")
    with pytest.raises(TargetError, match=r"machine: one; two$"):
        cuda_runtime(both, GPU)


def test_torch_without_cuda_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cuda.cuda_problem("torchscript") == ""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is the one for CPUs" in cuda.cuda_problem("torchscript")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "finds no GPU that it can use" in cuda.cuda_problem("torchscript")

    def explode() -> bool:
        raise RuntimeError("driver too old\nfor this")

    monkeypatch.setattr(torch.cuda, "is_available", explode)
    assert cuda.cuda_problem("torchscript").endswith(": driver too old")


def test_bench_on_the_provider(artifact: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = FakeProvider(monkeypatch)
    registered: list[Any] = []
    monkeypatch.setattr(session, "_register", registered.append)
    plan = Plan(True, 1, 0.0, 5, 0.0, windows=2, window_seconds=0.05, window_iterations=2)
    result = bench(artifact, plan=plan, threads=1, processor="cuda")
    measured, *afterwards = provider.asked
    assert measured == [("CUDAExecutionProvider", {"device_id": 0, "use_tf32": "0"}), "CPUExecutionProvider"]
    assert afterwards == [["CPUExecutionProvider"]]  # the range guard, when all is measured
    assert registered == []  # edgegnn's kernels are for CPUs
    assert (result["device"]["gpu"], result["device"]["gpu_driver"]) == ("Fake GPU", "999.1")
    assert result["device"]["gpu_memory_bytes"] == 80 * 2**30
    assert result["how"]["processor"] == "cuda"
    assert result["memory_bytes"]["gpu_peak"] == 2**20
    assert result["energy_j"] is None
    assert re.match(r"NVML \(Fake GPU\) moved by \d+ steps in a window, 50 are needed", result["energy_reason"])
    assert gpu.open == 0  # let go every time
    json.dumps(result)


@pytest.mark.slow
def test_nvml_is_read_in_windows_that_are_long_enough(
    artifact: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeProvider(monkeypatch)
    monkeypatch.setattr(nvml, "_UPDATE", 0.0005)
    real = gpu.nvmlDeviceGetTotalEnergyConsumption

    def moving(handle: Any, value: Any) -> int:
        gpu.millijoules += 7000
        return real(handle, value)

    monkeypatch.setattr(gpu, "nvmlDeviceGetTotalEnergyConsumption", moving)
    plan = Plan(True, 1, 0.0, 5, 0.0, windows=2, window_seconds=0.05, window_iterations=2)
    energy = bench(artifact, plan=plan, threads=1, processor="cuda")["energy_j"]
    assert energy is not None
    assert (energy["source"], energy["scope"], energy["kind"]) == ("NVML (Fake GPU)", "GPU board", "measured")
    assert [w["joules"] for w in energy["windows"]] == [7.0, 7.0, 7.0]


def test_provider_that_does_not_load(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeProvider(monkeypatch, loads=False)
    with pytest.raises(ArtifactError, match=r"can't load CUDA here: it needs an NVIDIA driver, .*onnxruntime-gpu"):
        make_session(artifact / "model.onnx", processor="cuda")


@pytest.mark.slow
def test_machine_with_cuda_but_without_nvml(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeProvider(monkeypatch)
    missing = FakeNvml(missing=True)
    monkeypatch.setattr(nvml, "_load", missing.load)
    result = bench(artifact, plan=BLINK, threads=1, processor="cuda")
    assert "gpu" not in result["device"]
    assert result["memory_bytes"]["gpu_peak"] is None
    assert "no NVIDIA driver" in result["energy_reason"]


@pytest.mark.slow
def test_profile_tells_the_runner(artifact: Path, gpu: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner is another process, which the fakes don't reach: it is run in this one."""
    FakeProvider(monkeypatch)
    commands: list[list[str]] = []

    def here(command: list[str], **options: Any) -> Followed:
        commands.append(command)
        result = bench(artifact, plan=BLINK, threads=1, processor="cuda", readers=["nvml"])
        return Followed(json.dumps(result).encode(), (), "", 60.0)

    monkeypatch.setattr(measure, "follow", here)
    made = profile(artifact, target="cuda", plan=BLINK, threads=1)
    assert read_record(Path("profiles/cuda/tiny.json")) == made
    assert commands[0][commands[0].index("--processor") + 1] == "cuda"
    assert commands[0][commands[0].index("--readers") + 1] == "nvml"
    assert commands[0][commands[0].index("--runtime") + 1] == "onnxruntime"
    assert (made.target, made.how.processor, made.device.gpu) == ("cuda", "cuda", "Fake GPU")
    assert made.memory_bytes.gpu_peak is not None
    assert {step.name: step for step in check(load_target("cuda"))}["CUDA"].detail.endswith(" can use a GPU")
    console = Console(file=io.StringIO(), width=200)
    console.print(render([made]))
    text = " ".join(console.file.getvalue().split())  # notes are as wide as the table
    assert "GPU memory" in text
    assert "on Fake GPU (copies to it and back are in the times)" in text
    info = {i.name: i for i in targets()}["cuda"]
    assert info.reachable
    assert info.runtime.startswith("onnxruntime")
    assert info.energy == "NVML (Fake GPU), measured"


class Sums(torch.nn.Module):
    """Makes tensors on the CPU by name, on the default device, and inside a branch; has weights and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 2))
        self.register_buffer("shift", torch.ones(2))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        h = x @ self.weight
        out = torch.zeros([x.size(0), 2], device=torch.device("cpu"))
        edges = edge_index.to(device=torch.device("cpu"), dtype=torch.int64)
        if edge_index.size(1) > 3:
            out = out + torch.ones([x.size(0), 2])
        return out.index_add(0, edges[1], h.index_select(0, edge_index[0])) + self.shift * torch.arange(2).sum()


@pytest.fixture
def script() -> bytes:
    buffer = io.BytesIO()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(Sums()), buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_script_is_brought_to_another_device(script: bytes) -> None:
    """The device "meta" refuses to meet a tensor on the CPU, as a GPU does."""

    def frozen() -> Any:
        return torch.jit.freeze(torch.jit.load(io.BytesIO(script)).eval(), optimize_numerics=False)

    x = torch.ones(4, 3, device="meta")
    edges = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    with torch.jit.optimized_execution(False):
        with pytest.raises(RuntimeError):
            frozen()(x, edges)
        moved = frozen()
        _bring_to(moved.graph, "meta")
        out = moved(x, edges)
    assert (out.device.type, tuple(out.shape)) == ("meta", (4, 2))


def test_script_session_on_a_named_device_computes_the_same(script: bytes) -> None:
    inputs = {"x": np.ones((4, 3), np.float32), "edge_index": np.zeros((2, 5), np.int64)}
    (want,) = ScriptSession(script).run(None, inputs)
    (got,) = ScriptSession(script, device="cpu:0").run(None, inputs)
    np.testing.assert_array_equal(got, want)
    with pytest.raises(ArtifactError, match="can't load the model"):
        ScriptSession(script, device="cuda:77")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_exported_model_is_brought_to_another_device() -> None:
    """A converted model names "cpu" in its code; nothing of it may stay there."""
    from torch_geometric.nn import SAGEConv
    from torchscript_example import convert

    torch.manual_seed(0)
    inputs = {"x": torch.randn(9, 5), "edge_index": torch.randint(0, 9, (2, 20))}

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = SAGEConv(5, 3)

        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return self.conv(x, edge_index).relu()

    script = convert(Net().eval(), inputs, always=False)
    moved = torch.jit.freeze(torch.jit.load(io.BytesIO(script.content)).eval(), optimize_numerics=False)
    _bring_to(moved.graph, "meta")
    with torch.jit.optimized_execution(False), torch.inference_mode():
        out = moved(**{name: value.to("meta") for name, value in inputs.items()})
    assert (out.device.type, tuple(out.shape)) == ("meta", (9, 3))
