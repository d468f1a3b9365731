"""The part of `instructions.py` that runs on the emulated processor: numpy, onnxruntime, edgegnn's runner.

python3 counted.py run.pyz ARTIFACT GRAPHS
"""

import ctypes
import os
import sys

runner, artifact, graphs = sys.argv[1:]
sys.path.insert(0, runner)
from edgegnn.runtime.artifact import open_artifact  # noqa: E402 - out of run.pyz
from edgegnn.runtime.samples import read_samples  # noqa: E402
from edgegnn.runtime.session import make_session, native_kernels, run  # noqa: E402

MAGIC = 0x45444745
opened = open_artifact(artifact)
session = make_session(opened, threads=1, spinning=False)
if native_kernels(session) != (os.environ["EDGEGNN_LIBRARY"] != "none"):
    sys.exit("the library can't be used")
samples = read_samples(opened)
used = ([sample for sample in samples if sample.origin == "data"] or samples)[: int(graphs)]
prctl = ctypes.CDLL(None).prctl
for sample in used:  # the first run of a graph makes room for it
    run(session, opened.manifest, sample.inputs)
for number, sample in enumerate(used):
    prctl(MAGIC, 2 * number, 0, 0, 0)
    run(session, opened.manifest, sample.inputs)
    prctl(MAGIC, 2 * number + 1, 0, 0, 0)
