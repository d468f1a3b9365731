"""Run a TorchScript model, `model.ts.pt`: needs torch, and nothing else of torch's world.

A TorchScript file holds tensors and code in TorchScript's own language, no Python objects: opening one runs no Python.
Its language can still write files (`torch.save`), and code may run while the file is opened (`__setstate__`). So torch
never sees the file: what a model needs goes into a new archive (see `script_check`).
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgegnn.errors import ArtifactError, first_line
from edgegnn.runtime.archive import pack_entries, read_entries
from edgegnn.runtime.roles import argument_name
from edgegnn.runtime.script_check import Foreign, check_pickle, checked_code

__all__ = ["ScriptSession", "torch_version"]

Array = npt.NDArray[Any]

_ENTRY = re.compile(
    r"(?:\.data/)?version|\.data/serialization_id|byteorder|(?:data|constants)\.pkl|(?:data|constants)/\d+"
    r"|code/(?:\w+/)*\w+\.py"
)
_DEBUG = ".debug_pkl"  # where code came from: pickled, and not needed


class ScriptSession:
    """A loaded TorchScript model, with the `run` of an onnxruntime session.

    Args:
        model: the file, or its bytes.
        threads: threads of one inference, for the whole process; 0 leaves the choice to torch.
        device: "cpu" or "cuda".

    Raises:
        ArtifactError: torch is not installed, or can't load the model.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes, *, threads: int = 0, device: str = "cpu") -> None:
        torch = _torch()
        self._device = device
        name = "the model" if isinstance(model, bytes) else Path(model).name
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        content = _rebuilt(name, content)
        if threads:
            torch.set_num_threads(threads)
        try:
            with _quiet():
                loaded = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
                if not hasattr(loaded, "forward"):
                    raise ArtifactError(f"{name}: it has no method forward")
                # Computes once what depends on weights alone: values of integer codes, zeros of pruned weights.
                self._module = torch.jit.freeze(loaded, optimize_numerics=False)
                if device != "cpu":
                    _bring_to(self._module.graph, device)
        except ArtifactError:
            raise
        except Exception as error:
            raise ArtifactError(f"torch {torch.__version__} can't load {name}: {first_line(error, 300)}") from error
        self.names = [argument.name for argument in self._module.forward.schema.arguments[1:]]

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Array]) -> list[Array]:
        """All outputs for one graph; `outputs` is there for the sake of onnxruntime's signature."""
        torch = _torch()
        # A tensor shares the memory of its array, which torch wants to be writable.
        arrays = {argument_name(k): v if v.flags.writeable else v.copy() for k, v in inputs.items()}
        tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
        with torch.inference_mode():
            if self._device != "cpu":
                tensors = {k: v.to(self._device) for k, v in tensors.items()}
            out = self._module(**tensors)
            # Copied to the CPU, which also waits for the GPU: the time of a run covers all of it.
            return [v.cpu().numpy() if isinstance(v, torch.Tensor) else v for v in _listed(out)]


def _listed(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple) else [out]


def _bring_to(graph: Any, device: str) -> None:
    """Let a frozen graph compute on another device: its constants are moved, and what it makes is made there.

    A TorchScript file says "cpu" wherever it makes a tensor, or nothing, which means the same.
    """
    torch = _torch()

    def nodes(block: Any) -> Iterator[Any]:
        for node in list(block.nodes()):
            yield node
            for inner in node.blocks():
                yield from nodes(inner)

    for node in nodes(graph):
        if node.kind() == "prim::Constant":
            if node.hasAttribute("value") and node.kindOf("value") == "t":
                node.t_("value", node.t("value").to(device))
            continue
        schema = node.schema()
        takes = re.search(r"\bDevice\??\s+device\b", schema)
        names = [argument.name for argument in torch._C.parse_schema(schema).arguments] if takes else []
        if "device" in names:
            there = graph.create("prim::Constant")
            there.s_("value", device)
            there.output().setType(torch._C.DeviceObjType.get())
            there.insertBefore(node)
            node.replaceInput(names.index("device"), there.output())


def torch_version() -> str:
    """Version of torch, "" where there is none."""
    try:
        return str(_torch().__version__)
    except ArtifactError:
        return ""


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ArtifactError(
            "the model is TorchScript, which needs torch: python -m pip install torch (the CPU version is enough)"
        ) from error
    return torch


def _rebuilt(name: str, content: bytes) -> bytes:
    """A new archive of what a model needs.

    Raises:
        ArtifactError: the file is damaged, or could do more than compute.
    """
    try:
        entries = read_entries(content, name, ArtifactError)
    except ArtifactError as error:
        raise ArtifactError(f"{name} is no TorchScript file, or is damaged: {error}") from error
    kept = {}
    for entry, inside in entries.items():
        if entry.endswith(_DEBUG):
            continue
        if not _ENTRY.fullmatch(entry):
            raise ArtifactError(f"{name} holds {entry[:80]!r}, which no model of edgegnn does: refused")
        try:
            kept[entry] = checked_code(inside) if entry.endswith(".py") else inside
            if entry.endswith(".pkl"):
                folder = entry.removesuffix(".pkl") + "/"
                storages = {key[len(folder) :]: value for key, value in entries.items() if key.startswith(folder)}
                check_pickle(inside, storages)
        except Foreign as error:
            raise ArtifactError(
                f"{name} uses {str(error)[:80]}, which no model of edgegnn does: refused; if it is one, export it again"
            ) from error
    return pack_entries(kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch says at every call that TorchScript is deprecated; who runs a model can't do anything about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
