"""An ONNX file as a module: what it computes on stock onnxruntime is what an artifact made of it is compared with."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from edgegnn.checkpoint.onnx_file import read_onnx
from edgegnn.errors import CheckpointError, ExportError, first_line

__all__ = ["OnnxInput", "OnnxModule", "load_onnx"]

_FATAL = 4
_FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class OnnxInput:
    """An input of the file.

    Attributes:
        name: in Python and in the artifact: the file's own, or made of it where that is no identifier.
        own: the file's name.
        dtype: "float32", "int64" or "bool": what the artifact takes.
        shape: sizes, as text where they are free ("" where they have no name); None where the rank isn't known.
    """

    name: str
    own: str
    dtype: str
    shape: tuple[int | str, ...] | None


class OnnxModule(nn.Module):
    """An ONNX file that is called by input names, like any model; it has no parameters and can't be trained.

    Args:
        proto: a checked model (`edgegnn.checkpoint.onnx_file.read_onnx`), float32.
        notes: what was changed of the file, in words.
    """

    def __init__(self, proto: onnx.ModelProto, notes: Sequence[str] = ()) -> None:
        super().__init__()
        self.proto, self.notes = proto, tuple(notes)
        self.inputs = _inputs(proto)
        self.outputs = tuple(value.name for value in proto.graph.output)
        self._session: Any = None
        parameter = inspect.Parameter
        names = [parameter(each.name, parameter.POSITIONAL_OR_KEYWORD) for each in self.inputs]
        self.__dict__["forward"] = _Forward(self, inspect.Signature(names))
        self.eval()

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxModule:
        return OnnxModule(self.proto, self.notes)

    def run(self, given: Mapping[str, Any]) -> list[Any]:
        """Run the file on stock onnxruntime: all outputs for arrays by input name.

        Raises:
            ExportError: onnxruntime fails.
        """
        if self._session is None:
            self._session = _session(self.proto)
        types = {value.name: _dtype(value) for value in self.proto.graph.input}
        feeds = {each.own: np.ascontiguousarray(given[each.name], types[each.own]) for each in self.inputs}
        try:
            return list(self._session.run(None, feeds))
        except Exception as error:  # onnxruntime raises a dozen types of its own
            raise ExportError(f"onnxruntime fails to run the file: {first_line(error, 300)}") from error


class _Forward:
    """`forward` of an ONNX file, with its inputs as parameters."""

    def __init__(self, module: OnnxModule, signature: inspect.Signature) -> None:
        self.module, self.__signature__ = module, signature

    def __call__(self, *args: Tensor, **kwargs: Tensor) -> Any:
        bound = self.__signature__.bind(*args, **kwargs)
        outputs = self.module.run({k: v.numpy() for k, v in bound.arguments.items()})
        if len(outputs) == 1:
            return torch.from_numpy(np.array(_as_rows(outputs[0])))
        tensors = [torch.from_numpy(np.array(out)) for out in outputs]
        return dict(zip(self.module.outputs, tensors, strict=True))


def _as_rows(out: Any) -> Any:
    """A vector as a column, a single number as a table of one."""
    out = np.asarray(out)
    return out.reshape(-1, 1) if out.ndim < 2 else out


def load_onnx(path: Path) -> OnnxModule:
    """Open an ONNX file.

    Raises:
        CheckpointError: as of `read_onnx`; and onnxruntime doesn't load it.
    """
    proto, notes = read_onnx(path), []
    if _widened(proto):
        notes.append(f"{path.name} computes in other floats than float32: read, exported and compared as float32")
    module = OnnxModule(proto, notes)
    try:
        _session(proto, opened=True)
    except Exception as error:  # onnxruntime raises a dozen types of its own
        raise CheckpointError(f"onnxruntime can't load {path}: {first_line(error, 300)}") from error
    renamed = [f"{each.own!r} is called {each.name}" for each in module.inputs if each.own != each.name]
    module.notes = (*notes, *([f"{path.name}: the input {', '.join(renamed)}"] if renamed else ()))
    return module


def _session(proto: onnx.ModelProto, *, opened: bool = False) -> Any:
    """What runs a file; of one that is only opened, nothing is computed, constants of any size included."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    if opened:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _inputs(proto: onnx.ModelProto) -> tuple[OnnxInput, ...]:
    stored, taken, found = {tensor.name for tensor in proto.graph.initializer}, set[str](), []
    for value in proto.graph.input:
        if value.name in stored:  # before IR version 4, weights were inputs, too
            continue
        kind = {"f": "float32", "b": "bool"}.get(_dtype(value).kind, "int64")
        name = _identifier(value.name, taken)
        taken.add(name)
        tensor = value.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim]
        found.append(OnnxInput(name, value.name, kind, tuple(sizes) if tensor.HasField("shape") else None))
    return tuple(found)


def _identifier(name: str, taken: set[str]) -> str:
    short = re.sub(r"\W", "_", name.rpartition("::")[2], flags=re.ASCII).strip("_") or "input"
    short = f"input_{short}" if short[0].isdigit() or keyword.iskeyword(short) else short
    return short if short not in taken else f"{short}_{len(taken)}"


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


# Float16 and float64 ------------------------------------------------------------


def _widened(proto: onnx.ModelProto) -> bool:
    """Make a file of float16 or float64 one of float32, in place; whether it was one.

    A file that computes in float32 and only passes through float64 somewhere stays as it is.
    """
    stored = {tensor.name for tensor in proto.graph.initializer}
    values = [v for v in (*proto.graph.input, *proto.graph.output) if v.name not in stored]
    if not any(value.type.tensor_type.elem_type in _FLOATS for value in values) and not any(
        tensor.data_type == TensorProto.FLOAT16 for tensor in proto.graph.initializer
    ):
        return False
    _widen(proto.graph)
    return True


def _widen(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type in ("Cast", "EyeLike", "RandomNormal", "RandomUniform") and attribute.name in (
                "to",
                "dtype",
            ):
                attribute.i = TensorProto.FLOAT if attribute.i in _FLOATS else attribute.i
            elif attribute.type == onnx.AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            if attribute.HasField("g"):
                _widen(attribute.g)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _FLOATS:
        wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
