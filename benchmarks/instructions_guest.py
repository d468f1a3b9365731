"""The part of `instructions.py` that runs on the emulated processor: numpy and onnxruntime only.

python3 instructions_guest.py MODEL INPUTS.npz LIBRARY-or-"-" OUTPUT.npy
"""

import ctypes
import sys

import numpy as np
import onnxruntime

WARM, RUNS = 1, 2
MAGIC = 0x45444745

model, inputs, library, output = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 4
if library != "-":
    options.register_custom_ops_library(library)
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
names = {i.name for i in session.get_inputs()}
feed = {name: value for name, value in np.load(inputs).items() if name in names}
prctl = ctypes.CDLL(None).prctl
for run in range(WARM + RUNS):
    prctl(MAGIC, 2 * run, 0, 0, 0)
    result = session.run(None, feed)[0]
    prctl(MAGIC, 2 * run + 1, 0, 0, 0)
np.save(output, result)
