"""Every way to run a PyG model on a CPU that a user has today."""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, GINConv, SAGEConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

Inputs = Mapping[str, Tensor]
Array = npt.NDArray[Any]


# ONNX Runtime ------------------------------------------------------------


def plain_export(model: nn.Module, inputs: Inputs, path: Path) -> None:
    """`torch.onnx.export(dynamo=True)` as its documentation shows it, sizes free."""
    nodes, edges = (torch.export.Dim(name, min=2, max=2**31) for name in ("nodes", "edges"))
    shapes = {
        **{name: {0: nodes} for name in ("x", "batch", "pos")},
        "edge_index": {1: edges},
        **{name: {0: edges} for name in ("edge_attr", "edge_type")},
    }
    with _silent():
        program = torch.onnx.export(
            model,
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple(shapes[name] for name in inputs),
            input_names=list(inputs),
            verbose=False,
        )
        assert program is not None
        program.save(str(path))


def dynamic_int8(fp32: Path, path: Path) -> None:
    """`quantize_dynamic` after `quant_pre_process`, without which it fails on such a file.

    Where it fails even so, on shapes that its own steps have made wrong, it gets a file without them.
    """
    with _preprocessed(fp32) as ready, _silent():
        try:
            quantize_dynamic(ready, path, weight_type=QuantType.QInt8, per_channel=True)
        except Exception:
            path.unlink(missing_ok=True)
            model = onnx.load(ready)
            del model.graph.value_info[:]
            quantize_dynamic(model, path, weight_type=QuantType.QInt8, per_channel=True)


def static_int8(fp32: Path, path: Path, calibration: Sequence[Mapping[str, Array]]) -> None:
    """`quantize_static` (QDQ, MinMax) after `quant_pre_process`, to uint8 x int8: what it is fastest with on x86."""
    with _preprocessed(fp32) as ready, _silent():
        quantize_static(
            ready,
            path,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, graphs: Sequence[Mapping[str, Array]]) -> None:
        self._graphs = iter(graphs)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._graphs, None)


@contextlib.contextmanager
def _preprocessed(fp32: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edgegnn-benchmark-") as folder:
        ready, source = Path(folder) / "ready.onnx", str(fp32.absolute())
        with _silent(), contextlib.chdir(folder):  # it leaves files where it runs
            try:
                quant_pre_process(source, str(ready))
            except Exception:  # its symbolic shape inference can't follow every graph; the rest of it still helps
                quant_pre_process(source, str(ready), skip_symbolic_shape=True)
        yield ready


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter and the quantizer say much that nobody here reads."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


# OpenVINO ------------------------------------------------------------


def openvino(file: Path, inputs: Mapping[str, Array], threads: int, *, exact: bool) -> Callable[[], Array]:
    """A plain export on OpenVINO, for latency; `exact`: in float32, not in what it chooses.

    Raises:
        ImportError: it isn't installed.
    """
    ov: Any = importlib.import_module("openvino")
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if exact:
        options["INFERENCE_PRECISION_HINT"] = "f32"
    core = ov.Core()
    compiled_model = core.compile_model(core.read_model(str(file)), "CPU", options)
    request = compiled_model.create_infer_request()
    names = {name for value in compiled_model.inputs for name in value.names}
    given = {name: value for name, value in inputs.items() if name in names}
    return lambda: request.infer(given)[compiled_model.outputs[0]]  # type: ignore[no-any-return]


# PyTorch ------------------------------------------------------------


def eager(model: nn.Module) -> Callable[[Inputs], Tensor]:
    """The model as it is."""

    def run(inputs: Inputs) -> Tensor:
        with torch.inference_mode():
            return model(**inputs)  # type: ignore[no-any-return]

    return run


def compiled(model: nn.Module, *, dynamic: bool) -> Callable[[Inputs], Tensor]:
    """`torch.compile` (inductor), told to go on where a size depends on data; the first calls compile."""
    torch._dynamo.reset()
    torch._dynamo.config.capture_scalar_outputs = True
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    fast = torch.compile(copy.deepcopy(model), dynamic=True if dynamic else None)

    def run(inputs: Inputs) -> Tensor:
        with torch.no_grad():
            return fast(**inputs)  # type: ignore[no-any-return]

    return run


def csr(model: nn.Module, inputs: Inputs) -> Callable[[Inputs], Tensor]:
    """The model with its aggregations as products with torch CSR matrices, made beforehand: the graph is a constant.

    Raises:
        NotImplementedError: a layer's aggregation is no product with a constant matrix (attention).
    """
    fixed = copy.deepcopy(model)
    nodes = inputs["x"].shape[0]
    for name, module in list(fixed.named_modules()):
        if isinstance(module, GCNConv):
            index, weight = gcn_norm(inputs["edge_index"], None, nodes)
            layer: nn.Module = _GCN(module, _matrix(index, weight, nodes))
        elif isinstance(module, SAGEConv):
            degree = torch.bincount(inputs["edge_index"][1], minlength=nodes).clamp(min=1)
            weight = 1.0 / degree[inputs["edge_index"][1]]
            layer = _SAGE(module, _matrix(inputs["edge_index"], weight, nodes))
        elif isinstance(module, GINConv):
            weight = torch.ones(inputs["edge_index"].shape[1])
            layer = _GIN(module, _matrix(inputs["edge_index"], weight, nodes))
        elif type(module).__name__.endswith("Conv"):
            raise NotImplementedError(f"{type(module).__name__} is no product with a constant matrix")
        else:
            continue
        parent, _, last = name.rpartition(".")
        setattr(fixed.get_submodule(parent), last, layer)
    return eager(fixed)


def _matrix(edge_index: Tensor, weight: Tensor, nodes: int) -> Tensor:
    """CSR by destination, int32 indices: MKL is faster with them than with int64."""
    order = torch.argsort(edge_index[1], stable=True)
    indptr = torch.zeros(nodes + 1, dtype=torch.int32)
    indptr[1:] = torch.bincount(edge_index[1], minlength=nodes).cumsum(0)
    return torch.sparse_csr_tensor(
        indptr, edge_index[0, order].int(), weight[order], (nodes, nodes), check_invariants=False
    )


class _Fixed(nn.Module):
    def __init__(self, conv: Any, matrix: Tensor) -> None:
        super().__init__()
        self.conv, self.matrix = conv, matrix


class _GCN(_Fixed):
    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return self.matrix @ self.conv.lin(x) + self.conv.bias  # type: ignore[no-any-return]


class _SAGE(_Fixed):
    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        """Sums what is narrower: the features, or their projection (mean and projection commute)."""
        lin = self.conv.lin_l
        if lin.weight.shape[0] < lin.weight.shape[1]:
            summed = self.matrix @ (x @ lin.weight.t()) + lin.bias
        else:
            summed = lin(self.matrix @ x)
        return summed + self.conv.lin_r(x)  # type: ignore[no-any-return]


class _GIN(_Fixed):
    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        return self.conv.nn(self.matrix @ x + (1 + self.conv.eps) * x)  # type: ignore[no-any-return]


def as_numpy(inputs: Inputs) -> dict[str, Array]:
    """Tensors as contiguous arrays."""
    return {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
