"""A model as a user would write it, exported in several formats and compared with eager PyTorch on its own data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from traced_once import traced_once

import edgegnn
from edgegnn.checkpoint import Checkpoint
from edgegnn.runtime import open_artifact, predict, read_samples
from edgegnn.runtime.manifest import Manifest
from edgegnn.runtime.roles import type_name

FLOAT = ("none",)
LABELLED = ("none", "static-int8", "dynamic-int8", "dq-int8")
UNLABELLED = ("none", "static-int8", "dynamic-int8")
TRAINED = {"dq-int8", "qat-int8"}
# Largest difference from eager PyTorch, as a share of the largest output.
_ALLOWED = {"none": 1e-4, "static-int8": 0.25, "dynamic-int8": 0.25}


def run_gauntlet(
    model: nn.Module,
    graphs: Any,
    folder: Path,
    eager: Callable[[nn.Module, Any], Tensor],
    *,
    recipes: Sequence[str] = LABELLED,
    **options: Any,
) -> dict[str, Manifest]:
    """Export a model in each recipe, and compare what the artifact predicts with what the model computes.

    Args:
        model: in eval mode.
        graphs: what `torch.save` writes as the data file.
        folder: for files.
        eager: (model, first graph of the data) -> the model's output.
        recipes: names of recipes.
        options: of `edgegnn.export`.

    Returns:
        Recipe -> the artifact's manifest.
    """
    torch.save(graphs, folder / "data.pt")
    first = graphs[0] if isinstance(graphs, list) else graphs
    described: dict[str, Manifest] = {}
    traced: dict[str, bytes] = {}
    for recipe in recipes:
        checkpoint = Checkpoint(model.eval(), {"factory": "gauntlet:build", "args": {}})
        settings = {"epochs": 4, "seed": 0} if recipe in TRAINED else None
        with traced_once(traced):
            result = edgegnn.export(
                checkpoint,
                quant=recipe,
                data=str(folder / "data.pt"),
                output=folder / recipe,
                settings=settings,
                max_accuracy_drop=100.0,
                min_agreement=0.0,
                **options,
            )
        report = edgegnn.verify(result.path)
        assert report.ok, report.problems
        artifact = open_artifact(result.path)
        got = predict(artifact, {spec.name: inputs_of(first, spec.name) for spec in artifact.manifest.inputs})
        if recipe in _ALLOWED:
            with torch.no_grad():
                want = eager(model, first).numpy()
            assert got.shape == want.shape
            assert float(np.abs(got - want).max()) <= _ALLOWED[recipe] * max(1.0, float(np.abs(want).max()))
        assert read_samples(artifact)
        assert edgegnn.inspect(result.path)["inputs"]
        described[recipe] = artifact.manifest
    return described


def inputs_of(graph: Any, name: str) -> np.ndarray:
    """An attribute of a graph as a user gives it to an artifact: integers and floats of the types that it has."""
    if isinstance(graph, HeteroData):
        return _of_type(graph, *name.split(".", 1))
    if name == "batch":
        return np.zeros(int(graph.num_nodes), np.int64)
    value: np.ndarray = graph[name].numpy()
    return value


def _of_type(graph: HeteroData, attribute: str, kind: str) -> np.ndarray:
    """An attribute of one type of nodes or edges; a relation that the graph lacks has no edges."""
    key = next((key for key in (*graph.node_types, *graph.edge_types) if type_name(key) == kind), None)
    if attribute == "batch":
        return np.zeros(int(graph[key].num_nodes), np.int64)
    value: np.ndarray = np.zeros((2, 0), np.int64) if key is None else graph[key][attribute].numpy()
    return value
