"""From a traced PyTorch model to `model.ts.pt`: what runs where ONNX can't express a model.

    flatten          one flat functional graph of the traced program                             program.py
    sparse_layers    products with pruned weights in CSR form, where that is faster              weights.py
    sparse_sums      sums over edges as products with a CSR matrix, where that is faster         aggregate.py
    compact_weights  quantized weights as codes, pruned ones without their zeros                 weights.py
    source           the graph as TorchScript, compiled together with the kernels that it calls  source.py, kernels.py

The file holds torch's own operators only: it loads in any torch, without torch-geometric, and in C++.

The model is traced by `torch.export`, not by `torch.jit.trace`. The latter takes a size that goes through Python
(`int(batch.max())`, a number in an operator's argument) for a constant of the example graph, which is wrong for the
next graph; in an exported program sizes are computed from the inputs, and they are integers in TorchScript.
"""

from __future__ import annotations

from edgegnn.exporting.torchscript.build import Script, to_torchscript
from edgegnn.exporting.torchscript.twin import make_twin

__all__ = ["Script", "make_twin", "to_torchscript"]
