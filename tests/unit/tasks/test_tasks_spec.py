"""The description of a task: what it takes back from a file."""

import pytest

from edgegnn.errors import CheckpointError
from edgegnn.tasks import TaskSpec

GOOD = {
    "data": "cora",
    "kind": "node",
    "split": "public",
    "seed": 0,
    "metric": "accuracy",
    "num_features": 3,
    "num_classes": 2,
    "features": {},
}
VALUES = {"metric": "mae", "target": "values", "scale": {"mean": [500.0, 1.0], "std": [20.0, 0.5]}}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "hyperedge"},
        {"target": "words"},
        {"scale": {"mean": [0.0, 0.0], "std": [1.0, 1.0]}},
        VALUES | {"scale": {}},
        VALUES | {"scale": {"mean": [0.0], "std": [1.0]}},
        VALUES | {"scale": {"mean": [0.0, 0.0], "std": [1.0, 0.0]}},
        VALUES | {"scale": {"mean": [0.0, float("nan")], "std": [1.0, 1.0]}},
        {"features": {"kind": "one-hot", "sizes": []}},
        {"features": {"kind": "one-hot", "sizes": [3, 0]}},
        {"seed": "0"},
        {"num_classes": True},
        {"extra": 1},
        {"features": {"kind": "wavelet"}},
        {"features": {"kind": "degree", "mean": 0.0, "std": 0.0}},
        {"features": {"kind": "degree", "mean": float("nan"), "std": 1.0}},
        {"features": []},
    ],
)
def test_spec_refuses_what_it_does_not_know(change):
    assert TaskSpec.from_dict(GOOD).to_dict() == GOOD | {"target": "classes", "scale": {}}  # of older files
    for more in (VALUES, {"features": {"kind": "one-hot", "sizes": [3, 1]}}):
        assert TaskSpec.from_dict(GOOD | more).to_dict() == {"target": "classes", "scale": {}} | GOOD | more
    with pytest.raises(CheckpointError) as info:
        TaskSpec.from_dict(GOOD | change)
    assert "\n" not in str(info.value)


def test_spec_refuses_what_lacks_something():
    with pytest.raises(CheckpointError, match="lacks metric"):
        TaskSpec.from_dict({k: v for k, v in GOOD.items() if k != "metric"})
    with pytest.raises(CheckpointError):
        TaskSpec.from_dict([1])  # type: ignore[arg-type]
