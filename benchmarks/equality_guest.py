"""The part of `equality.py` that runs on both machines: numpy, onnxruntime, and edgegnn's own sessions out of run.pyz.

EDGEGNN_LIBRARY=LIBRARY-or-none python3 equality_guest.py run.pyz MODEL TRACED samples.npz > results.npz
"""

import ctypes
import io
import os
import sys

import numpy as np

sys.path.insert(0, sys.argv[1])
from edgegnn.runtime.session import make_session, native_kernels

model, traced, samples = sys.argv[2:]
library = os.environ["EDGEGNN_LIBRARY"]
results = {}
for path in (model, traced):
    with open(path, "rb") as file:  # noqa: PTH123
        session = make_session(file.read(), threads=1)
    if native_kernels(session) != (library != "none"):
        sys.exit("the library can't be used")
    wanted = {i.name for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    arrays = np.load(samples)
    for number in sorted({name.split(".", 1)[0] for name in arrays}):
        feed = {name.split(".", 1)[1]: name for name in arrays if name.startswith(number + ".")}
        outputs = session.run(None, {name: arrays[feed[name]] for name in wanted})
        if path == model:
            results[number + ".logits"] = outputs[0]
        else:
            found = dict(zip(names, outputs, strict=True))
            results.update({f"{number}:{n}": o for n, o in found.items() if getattr(o, "dtype", o).kind in "iu"})
isa = ""
if library != "none":
    loaded = ctypes.CDLL(library)
    loaded.edgegnn_isa.restype = ctypes.c_char_p
    isa = loaded.edgegnn_isa().decode()
results["isa"] = np.array(isa)
buffer = io.BytesIO()
np.savez(buffer, **results)
sys.stdout.buffer.write(buffer.getvalue())
