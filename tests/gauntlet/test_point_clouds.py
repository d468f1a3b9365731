"""Models that make their graph from points, exported as a user would, against PyTorch eager on clouds never seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from point_models import build, digit_clouds
from sweep import sweep
from torch_geometric.data import Batch

import edgegnn
from edgegnn.checkpoint import Checkpoint
from edgegnn.runtime import make_session, open_artifact
from edgegnn.tasks.points import point_graphs

CASES = [
    ("Dgcnn", "none"),  # after torch_geometric's examples/dgcnn_classification.py
    ("Dgcnn", "dq-int8"),
    ("PointNet", "none"),  # after examples/pointnet2_classification.py
    ("PointNet", "static-int8"),
    ("FeaturePropagation", "none"),  # after examples/pointnet2_segmentation.py
    ("FeaturePropagation", "dynamic-int8"),
    ("GravNet", "none"),
    ("GravNet", "static-int8"),
    ("Radial", "none"),
    ("Radial", "static-int8"),
    ("Library", "static-int8"),
    ("TorchCluster", "dynamic-int8"),
    ("ByHand", "none"),
    ("ByHandRadius", "none"),
]
# The model's other recipe runs always.
ALSO = [
    ("Dgcnn", "dq-int8"),
    ("PointNet", "none"),
    ("FeaturePropagation", "dynamic-int8"),
    ("GravNet", "none"),
    ("Radial", "none"),
]
LARGEST = {"none": 1e-4, "static-int8": 0.2, "dynamic-int8": 0.2}  # share of the largest output


def trained(name):
    """A model that tells some digits apart, and the clouds."""
    torch.manual_seed(0)
    model, clouds = build(name), digit_clouds(100)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(10):
        for first in range(0, 100, 25):
            batch = Batch.from_data_list(clouds[first : first + 25])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(batch.x, batch.batch), batch.y).backward()
            optimizer.step()
    return model.eval(), clouds


def fresh(name):
    """Clouds that the model hasn't seen; without points that are equally far, where PyTorch decides by itself."""
    batch = Batch.from_data_list(digit_clouds(110)[100:])
    if name.startswith(("ByHand", "GravNet")):
        batch.x = batch.x + 0.01 * torch.rand(batch.x.shape, generator=torch.Generator().manual_seed(1))
    return {"x": batch.x, "batch": batch.batch}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "quant"), sweep(CASES, lambda i: CASES[i] not in ALSO))
def test_point_clouds(name, quant, tmp_path):
    with point_graphs():
        model, clouds = trained(name)
    torch.save(clouds, tmp_path / "clouds.pt")
    made = edgegnn.export(
        Checkpoint(model, {"factory": "point_models:build", "args": {"name": name}}),
        quant=quant,
        data=str(tmp_path / "clouds.pt"),
        output=tmp_path / "artifact",
        settings={"epochs": 1},
        max_accuracy_drop=100.0,
        min_agreement=0.5,
    )
    assert edgegnn.verify(made.path).ok
    assert all(aggregation["rule"] for aggregation in made.manifest["aggregations"])
    inputs = fresh(name)
    with point_graphs(), torch.no_grad():
        want = model(**inputs).numpy()
    for native in (True, False):
        session = make_session(open_artifact(made.path), native=native)
        (got,) = session.run(None, {key: value.numpy() for key, value in inputs.items()})
        assert got.shape == want.shape
        if quant in LARGEST:  # else fine-tuned: the weights are others
            assert np.abs(got - want).max() <= LARGEST[quant] * np.abs(want).max()
