"""EdgeGNN-Bench: tasks for graph networks on small devices, and who runs them how fast.

tasks      the tasks, one record each
generated  data that are made from a seed
models     models that the zoo doesn't have
prepare    makes a task's folder: data, checkpoint, files for any runtime, artifacts
runners    who computes: edgegnn, onnxruntime, PyTorch Geometric, C, OpenVINO, yours
process    a peer in a process of its own
run        every task on every runner
files      task.json, and the bundle of results
comparing  two bundles
card       the picture of a bundle
"""
