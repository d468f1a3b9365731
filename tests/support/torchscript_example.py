"""Convert a model to TorchScript, and compare it with PyTorch on graphs of other sizes."""

from __future__ import annotations

import io

import numpy as np
import torch
from tiny_artifact import WEIGHT, make_artifact, seal
from torch import nn

from edgegnn.exporting.capture import capture_program
from edgegnn.exporting.torchscript import to_torchscript
from edgegnn.quantize import QuantModel
from edgegnn.runtime.script import ScriptSession


def convert(model, inputs, measured=None, *, always=None):
    """The TorchScript of a module or program; kernels are compared on `measured`, by default on the traced graph."""
    prefix = "model.model" if isinstance(model, QuantModel) else "model" if isinstance(model, nn.Module) else ""
    return to_torchscript(*capture_program(model, inputs), measured or inputs, prefix=prefix, always=always)


def assert_same(script, model, graphs, tolerance=2e-5):
    session = ScriptSession(script.content)
    for name, inputs in graphs.items():
        with torch.no_grad():
            want = model(**inputs).numpy()
        (got,) = session.run(None, {k: v.numpy() for k, v in inputs.items()})
        assert got.shape == want.shape, name
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1.0, np.abs(want).max()), err_msg=name)


def loaded(script):
    return torch.jit.load(io.BytesIO(script.content))


def operators(module):
    """Kinds of all nodes of a TorchScript module, as `aten::linear`."""

    def walk(block):
        for node in block.nodes():
            yield node.kind()
            for inner in node.blocks():
                yield from walk(inner)

    return set(walk(module.inlined_graph))


FORWARD = """
def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
    h = torch.mm(x, self.weight)
    return h.index_add(0, edge_index[1], h[edge_index[0]])
"""


def scripted(source=FORWARD):
    """Bytes of a TorchScript file that computes what the tiny artifact's ONNX model does, or of another."""
    holder = type("Tiny", (torch.nn.Module,), {})()
    holder.register_buffer("weight", torch.from_numpy(WEIGHT.copy()))
    module = torch.jit.script(holder)
    module.define(source)
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    return buffer.getvalue()


def tiny(folder, content=None):
    """A TorchScript artifact."""
    make_artifact(folder)
    (folder / "model.onnx").unlink()
    (folder / "model.ts.pt").write_bytes(scripted() if content is None else content)
    seal(folder, runtime="torchscript")
    return folder
