"""The C form against emx-onnx-cgen, another generator of C, on a model that both take, on an emulated Cortex-M4.

    python -m venv emx && emx/bin/pip install emx-onnx-cgen==1.4.0
    python benchmarks/c_peers.py --emx emx/bin/emx-onnx-cgen

GIN 8 -> 32 -> 2 on one graph of 40 nodes and 146 edges, the shapes that emx-onnx-cgen needs to be fixed. Both are
compiled with the same compiler and flags, linked to the same harness, and compared with PyTorch first. Its C calls
malloc; the harness gives it a stack of memory, whose peak counts as its RAM. Instructions are counted, not timed.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from common import environment, write
from tables import table
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GINConv

from edgegnn import api
from edgegnn.checkpoint import Checkpoint
from edgegnn.devices.microcontroller.boards import BOARDS
from edgegnn.devices.microcontroller.build import build_firmware
from edgegnn.devices.microcontroller.emulate import emulate
from edgegnn.devices.microcontroller.limits import needs_of
from edgegnn.plain_c.generate import PlainC
from edgegnn.plain_c.own import own_code
from edgegnn.runtime import open_artifact
from edgegnn.runtime.samples import Sample

NAME = "c-peers"
BOARD = BOARDS["cortex-m4"]
NODES, EDGES, FEATURES, HIDDEN, CLASSES = 40, 146, 8, 32, 2
HEAP = 2**18
# Our harness's call, in terms of emx-onnx-cgen's function, and the memory that it asks for.
SHIM = """
#include <stddef.h>
#include <stdint.h>
static uint64_t heap[%(heap)d / 8];
size_t heap_used, heap_peak;
static void *take(size_t bytes) {
  char *found = (char *)heap + heap_used;
  heap_used += (bytes + 7) / 8 * 8;
  if (heap_used > heap_peak) heap_peak = heap_used;
  return found;
}
static void give_back(void *memory) { if (memory != NULL) heap_used = (size_t)((char *)memory - (char *)heap); }
#define malloc take
#define free give_back
%(source)s
#include "model.h"
int edgegnn_%(name)s_run(const edgegnn_%(name)s_inputs *in, const edgegnn_%(name)s_outputs *out, void *arena) {
  static int64_t edges[2][%(edges)d];
  int i;
  (void)arena;
  for (i = 0; i < 2 * %(edges)d; ++i) (&edges[0][0])[i] = in->edge_index[i];
  emx((const float (*)[%(features)d])in->x, (const int64_t (*)[%(edges)d])edges, (float (*)[%(classes)d])out->logits);
  return 0;
}
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GINConv(nn.Linear(FEATURES, HIDDEN)), GINConv(nn.Linear(HIDDEN, CLASSES))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emx", default="emx-onnx-cgen", help="the program")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if shutil.which(args.emx) is None:
        raise SystemExit(f"{args.emx} is not here: see the top of this file")
    torch.manual_seed(0)
    model = Net().eval()
    graph = Data(x=torch.randn(NODES, FEATURES), edge_index=torch.randint(0, NODES, (2, EDGES)))
    with torch.no_grad():
        wanted = model(graph.x, graph.edge_index)
    graph.y = wanted.argmax(1)
    part = torch.arange(NODES) % 3
    graph.train_mask, graph.val_mask, graph.test_mask = part == 0, part == 1, part == 2
    inputs = {"x": graph.x.numpy(), "edge_index": graph.edge_index.numpy()}
    sample = Sample("graph", "data", inputs, wanted.numpy(), None, None)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        torch.save(graph, folder / "data.pt")
        ours = {q: own_code(open_artifact(exported(model, q, folder))) for q in ("none", "static-int8", "dq-int8")}
        rows = {f"edgegnn, {'fp32' if q == 'none' else q}": weigh(code, sample) for q, code in ours.items()}
        rows["emx-onnx-cgen, fp32"] = weigh(*foreign(model, graph, ours["none"], args.emx, folder), sample)
    write(NAME, {"environment": environment(), "rows": rows})
    peer = rows["emx-onnx-cgen, fp32"]
    head = ["", "flash", "RAM", "instructions", "flash", "RAM", "instructions", "largest difference"]
    keys = ("flash", "ram", "instructions")
    lines = [
        [name, *(f"{row[k]:,}" for k in keys), *(f"{row[k] / peer[k]:.3f}x" for k in keys), f"{row['difference']:.2g}"]
        for name, row in rows.items()
    ]
    print(table(head, lines))


def exported(model: nn.Module, quant: str, folder: Path) -> Path:
    checkpoint = Checkpoint(model, {"factory": "models:build", "args": {}})
    out = api.export(
        checkpoint,
        quant=quant,
        data=str(folder / "data.pt"),
        output=folder / f"gin-{quant}",
        format="c",
        max_nodes=NODES,
        max_edges=EDGES,
        max_accuracy_drop=100.0,
    )
    return Path(out.path)


def foreign(model: nn.Module, graph: Data, like: PlainC, program: str, folder: Path) -> tuple[PlainC, int]:
    """The peer's C with our harness's call, and the peak of the memory that it asks for."""
    torch.onnx.export(
        model,
        (graph.x, graph.edge_index),
        str(folder / "plain.onnx"),
        dynamo=True,
        opset_version=18,
        external_data=False,
        input_names=["x", "edge_index"],
        output_names=["logits"],
    )
    command = [program, "compile", str(folder / "plain.onnx"), str(folder / "emx.c"), "--model-name", "emx"]
    subprocess.run(command, check=True, capture_output=True)
    source = "".join(
        line for line in (folder / "emx.c").read_text().splitlines(True) if line.strip() != "#include <stdlib.h>"
    )
    sizes = {"edges": EDGES, "features": FEATURES, "classes": CLASSES, "heap": HEAP}
    text = SHIM % {"source": source, "name": like.name, **sizes}
    code = dataclasses.replace(like, files={**like.files, "model.c": text})
    host = folder / "host"
    host.mkdir()
    for file, content in code.files.items():
        (host / file).write_text(content)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", host / "model.so", host / "model.c"], check=True)
    library = ctypes.CDLL(str(host / "model.so"))
    x, edges = np.ascontiguousarray(graph.x.numpy()), graph.edge_index.numpy().astype(np.int32)
    given = (ctypes.c_int32 * 2)(NODES, EDGES)
    arguments = bytearray(bytes(given))
    arguments += bytes((ctypes.c_void_p * 2)(x.ctypes.data, edges.ctypes.data))
    out = np.zeros((NODES, CLASSES), np.float32)
    run = getattr(library, f"edgegnn_{like.name}_run")
    run((ctypes.c_char * len(arguments)).from_buffer(arguments), (ctypes.c_void_p * 1)(out.ctypes.data), None)
    return code, int(ctypes.c_size_t.in_dll(library, "heap_peak").value)


def weigh(code: PlainC, *more: int | Sample) -> dict[str, float]:
    """Flash, RAM and instructions on the board; and the largest difference of an answer from PyTorch's."""
    heap = next((value for value in more if isinstance(value, int)), None)
    sample = next(value for value in more if isinstance(value, Sample))
    firmware = build_firmware(BOARD, code, code.name)
    found = emulate(BOARD, firmware, code, [sample])
    needs = needs_of(code, firmware, found.stack_bytes)
    difference = float(np.abs(found.outputs[0].reshape(sample.expected.shape) - sample.expected).max())
    return {
        "flash": needs.flash,
        "ram": needs.ram if heap is None else heap + found.stack_bytes,
        "instructions": found.median,
        "difference": difference,
    }


if __name__ == "__main__":
    main()
