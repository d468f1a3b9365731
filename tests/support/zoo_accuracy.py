"""Accuracy of the zoo's node models, as they are trained by default."""

import torch

from edgegnn.models import build
from edgegnn.tasks import evaluate
from edgegnn.training import fit, fit_defaults


def mean_accuracy(name, task, seeds):
    """Mean test accuracy over seeds 0 to `seeds` - 1, each from scratch."""
    results = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = build(name, in_channels=task.spec.num_features, out_channels=task.spec.num_classes)
        fit(model, task, fit_defaults("node", model=name, data=task.spec.data, seed=seed))
        results.append(evaluate(model, task, "test"))
    return sum(results) / seeds
