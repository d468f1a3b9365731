"""A model with fewer channels in a checkpoint: rebuilt from its source, and every way in which that can be wrong."""

from __future__ import annotations

import contextlib
import copy
import json
import tracemalloc
from functools import cache

import prune_layers as never_seen
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep import sweep
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, Linear

from edgegnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.errors import CheckpointError
from edgegnn.models import build
from edgegnn.prune.structure import apply_structure, merge_structures, structure_of
from edgegnn.prune.structured import prune_structured
from edgegnn.quantize import prepare, recipe
from edgegnn.tasks import TaskSpec

SPEC = TaskSpec("digits-knn", "node", "stratified", 0, "accuracy", 12, 5, {})
ARGS = {"in_channels": 12, "out_channels": 5, "hidden": 8, "layers": 3, "kind": "node"}
HUGE = 10**12


def facts(structure):
    return {
        "method": "structured",
        "sparsity": 0.5,
        "achieved": 0.5,
        "tensors": [],
        "excluded": [],
        "structure": structure,
        "edges": None,
    }


def pruned_zoo(name="gcn"):
    """A dense model, the pruned one, its checkpoint and a graph."""
    return copy.deepcopy(_pruned_zoo(name))


@cache
def _pruned_zoo(name):
    dense = build(name, **ARGS).eval()
    inputs = never_seen.graph(None)
    small = prune_structured(dense, inputs, 0.5).model
    structure = structure_of(dense, small)
    return dense, small, Checkpoint(small, {"zoo": name, "args": ARGS}, SPEC, pruning=facts(structure)), inputs


@pytest.mark.parametrize("name", sweep(sorted(never_seen.modules()), lambda i: i % 3 == 0))
def test_structure_rebuilds_any_module_from_plain_values(name):
    dense = never_seen.modules()[name].eval()
    inputs = never_seen.graph(dense)
    small = prune_structured(dense, inputs, 0.5).model
    structure = json.loads(json.dumps(structure_of(dense, small)))
    again = copy.deepcopy(dense)
    apply_structure(again, structure)
    again.load_state_dict(small.state_dict())
    assert repr(again) == repr(small)
    assert torch.equal(again.eval()(**inputs), small(**inputs))


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage"])
def test_checkpoint_of_a_zoo_model(name, tmp_path):
    dense, small, checkpoint, inputs = pruned_zoo(name)
    save_checkpoint(checkpoint, tmp_path / "small.pt")
    save_checkpoint(Checkpoint(dense, checkpoint.source, SPEC), tmp_path / "dense.pt")
    again = load_checkpoint(tmp_path / "small.pt")
    assert torch.equal(again.model(**inputs), small(**inputs))
    assert repr(again.model) == repr(small)
    assert again.pruning == checkpoint.pruning


def test_quantized_checkpoint(tmp_path):
    _, small, checkpoint, inputs = pruned_zoo()
    quantized = prepare(small, recipe("dq-int8"), tuple(inputs.values())).train()
    quantized(*inputs.values())
    quantized.eval()
    checkpoint.model = quantized
    save_checkpoint(checkpoint, tmp_path / "small.pt")
    again = load_checkpoint(tmp_path / "small.pt")
    assert again.recipe == recipe("dq-int8")
    assert torch.equal(again.model(**inputs), quantized(**inputs))


def test_factory_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "my_pruned_models.py").write_text(
        "from torch_geometric.nn import GAT\n\ndef build(hidden):\n    return GAT(12, hidden, 3, 5, heads=4)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_pruned_models

    dense = my_pruned_models.build(hidden=32).eval()
    inputs = never_seen.graph(None)
    small = prune_structured(dense, inputs, 0.5).model
    source = {"factory": "my_pruned_models:build", "args": {"hidden": 32}}
    save_checkpoint(Checkpoint(small, source, SPEC, pruning=facts(structure_of(dense, small))), tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match="--allow-import"):
        load_checkpoint(tmp_path / "small.pt")
    again = load_checkpoint(tmp_path / "small.pt", allow_import=True)
    assert torch.equal(again.model(**inputs), small(**inputs))


def test_pruned_twice():
    dense, small, _, inputs = pruned_zoo()
    smaller = prune_structured(small, inputs, 0.5).model
    merged = merge_structures(structure_of(dense, small), structure_of(small, smaller))
    assert merged == structure_of(dense, smaller)
    again = build("gcn", **ARGS).eval()
    apply_structure(again, merged)
    again.load_state_dict(smaller.state_dict())
    assert torch.equal(again(**inputs), smaller(**inputs))
    assert merge_structures(None, merged) == merged


def test_nothing_pruned_is_an_empty_structure():
    dense = build("gcn", **ARGS)
    assert structure_of(dense, copy.deepcopy(dense)) == {"tensors": {}, "attributes": {}}


def test_tensors_that_two_layers_share_stay_shared():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.lift, self.a, self.b = Linear(12, 16), Linear(16, 16), Linear(16, 16)
            self.b.weight, self.head = self.a.weight, GCNConv(16, 5)

        def forward(self, x, edge_index):
            return self.head(self.b(self.a(self.lift(x).relu()).relu()).relu(), edge_index)

    dense = Tied().eval()
    structure = {"tensors": {"a.weight": [8, 16]}, "attributes": {}}
    apply_structure(dense, structure)
    assert dense.a.weight is dense.b.weight
    assert dense.a.weight.shape == (8, 16)


def test_layers_without_a_shape_take_the_one_of_their_state():
    def lazy():
        return never_seen.Two(GCNConv(-1, 32), GATConv(-1, 5))

    dense, inputs = lazy().eval(), never_seen.graph(None)
    dense(**inputs)
    small = prune_structured(dense, inputs, 0.5).model
    again = lazy()
    apply_structure(again, structure_of(dense, small))
    again.load_state_dict(small.state_dict())
    assert torch.equal(again.eval()(**inputs), small(**inputs))


# Hostile ------------------------------------------------------------


def change(structure, *path, value):
    changed = json.loads(json.dumps(structure))
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


WEIGHT = ("tensors", "convs.1.lin.weight")
SIZE = ("attributes", "convs.1.lin", "in_channels")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (WEIGHT, [HUGE, HUGE], "can only shrink"),
        (WEIGHT, [4, HUGE], "can only shrink"),
        (WEIGHT, [9, 4], "can only shrink"),
        (WEIGHT, [0, 4], "can only shrink"),
        (WEIGHT, [-4, 4], "can only shrink"),
        (WEIGHT, [4], "can only shrink"),
        (WEIGHT, [4, 4, 1], "can only shrink"),
        (WEIGHT, [4.0, 4], "can only shrink"),
        (WEIGHT, [True, 4], "can only shrink"),
        (WEIGHT, "44", "can only shrink"),
        (WEIGHT, None, "can only shrink"),
        (("tensors", "convs.9.lin.weight"), [4, 4], "doesn't have"),
        (("tensors", "__class__"), [4, 4], "doesn't have"),
        (SIZE, HUGE, "can only shrink"),
        (SIZE, 0, "can only shrink"),
        (SIZE, "4", "can only shrink"),
        (SIZE, None, "can only shrink"),
        (("attributes", "convs.1.lin", "forward"), 1, "is no size"),
        (("attributes", "convs.1.lin", "__class__"), 1, "is no size"),
        (("attributes", "convs.1.lin", "_parameters"), 1, "is no size"),
        (("attributes", "convs.1.lin", "training"), 0, "is no size"),
        (("attributes", "convs.9"), {}, "doesn't have"),
        (("attributes", "convs.1"), 7, "doesn't have"),
        (("tensors",), [], "damaged"),
        (("attributes",), None, "damaged"),
        (("more",), {}, "damaged"),
    ],
)
def test_hostile_structure(path, value, message, tmp_path):
    dense, _, checkpoint, _ = pruned_zoo()
    hostile = change(checkpoint.pruning["structure"], *path, value=value)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message) as caught:
        apply_structure(copy.deepcopy(dense), hostile)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    assert len(str(caught.value)) < 400
    checkpoint.pruning["structure"] = hostile
    save_checkpoint(checkpoint, tmp_path / "hostile.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "hostile.pt")


@pytest.mark.parametrize("structure", [7, "x", [], {}, {"tensors": {}}])
def test_structure_of_another_type(structure):
    with pytest.raises(CheckpointError, match="damaged"):
        apply_structure(build("gcn", **ARGS), structure)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(
    tensors=st.dictionaries(st.sampled_from(["convs.0.bias", "convs.1.lin.weight", "x"]), values, max_size=3) | values,
    attributes=st.dictionaries(
        st.sampled_from(["", "convs", "convs.0", "convs.1.lin"]),
        st.dictionaries(st.sampled_from(["in_channels", "out_channels", "dropout", "x"]), values, max_size=3) | values,
        max_size=3,
    )
    | values,
)
def test_any_structure_is_applied_or_refused(tensors, attributes):
    model = build("gcn", **ARGS)
    limit = sum(p.numel() for p in model.parameters())
    with contextlib.suppress(CheckpointError):
        apply_structure(model, {"tensors": tensors, "attributes": attributes})
    assert sum(p.numel() for p in model.parameters()) <= limit


def test_state_of_another_structure(tmp_path):
    _, _, checkpoint, _ = pruned_zoo()
    checkpoint.pruning = facts(None)
    save_checkpoint(checkpoint, tmp_path / "small.pt")
    with pytest.raises(CheckpointError, match=r"small\.pt"):
        load_checkpoint(tmp_path / "small.pt")
