"""The model as C99 without a runtime: generated from the artifact's ONNX graph, compiled and compared with it here.

values, literals, arena     what a tensor is in C, how numbers are spelt, where buffers lie
folding                     the constant part of a model, computed while the C code is made
builder                     collects statements, tables and buffers
*_operators, elementwise,
shaping, dense              C code of operators; `operators` is the table of them
kernels/                    the C functions that generated code calls
generate, templates         the files
compiler, check             compile them on this machine, run them, compare them with onnxruntime
form                        all of it, for `edgegnn export --format c`
"""

from __future__ import annotations
