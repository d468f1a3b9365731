"""A quantized model's float twin, made from the same trace: what an artifact's size is compared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from a2q_example import Gcn, Gin, graph_task, node_task
from sweep import spread

from edgegnn.exporting.capture import capture, capture_with_twin
from edgegnn.exporting.rewrite import rewrite_proto
from edgegnn.quantize import finetune, recipe
from edgegnn.runtime import make_session
from edgegnn.tasks.collating import collate
from edgegnn.training import FitConfig


def kinds(model):
    return sorted(node.op_type for node in model.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "module"), spread(["dq-int4", "a2q"], [Gcn, Gin]))
def test_it_is_what_the_model_without_points_is_captured_as(module, name):
    task = node_task() if module is Gcn else graph_task()
    torch.manual_seed(0)
    model, _ = finetune(module(), task, recipe(name), FitConfig(epochs=1, batch_size=6))
    graph = task.graphs[0] if module is Gcn else collate(task.graphs[:2])
    args = {k: graph[k] for k in ("x", "edge_index", "batch") if k in graph}
    captured, twin = capture_with_twin(model, args, kind=task.spec.kind)
    with model.as_float() as plain, torch.no_grad():
        alone = capture(plain, args, kind=task.spec.kind)
        want = plain(**args).numpy()
    assert not {"QuantizeLinear", "DequantizeLinear"} & {*kinds(twin)}
    assert "QuantizeLinear" in kinds(captured)
    twin, alone = (rewrite_proto(m).model for m in (twin, alone))
    assert len(kinds(twin)) == len(kinds(alone))
    sizes = [len(m.SerializeToString()) for m in (twin, alone)]
    assert abs(sizes[0] - sizes[1]) < 200  # names, and constants of a few bytes
    (got,) = make_session(twin.SerializeToString()).run(None, {k: v.numpy() for k, v in args.items()})
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
