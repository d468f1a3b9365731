"""What a model learns, by the target of its task: classes, several labels of which some may be unknown, or values.

    target    labels y                    loss
    classes   int64 [n]                   cross entropy; binary of the one logit where the model has one column
    labels    float32 [n, C], NaN unknown binary cross entropy, mean over the known labels
    values    float32 [n, C]              squared error ("rmse") or absolute error ("mae") of standardised values

Values are in the units of the data everywhere: the model ends in `mean + std * output` (`edgegnn.models.scaled`), and
the loss divides by the same std: it is the loss of standardised targets.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgegnn.tasks.spec import TaskSpec

__all__ = ["columns_fit", "divergence", "loss", "standard_deviation"]

_TEMPERATURE = 2.0


def loss(spec: TaskSpec, outputs: Tensor, labels: Tensor) -> Tensor:
    """The loss of a batch, a scalar.

    Args:
        spec: the task.
        outputs: [n, C] float; more than the task's classes are allowed, but not more labels or values.
        labels: as in the table above.
    """
    if spec.target == "labels":
        return _masked(outputs, labels.nan_to_num(), ~labels.isnan())
    if spec.target == "values":
        return _error(spec, outputs, labels)
    if outputs.size(1) == 1:  # yes or no: one logit
        return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs.dtype))
    return F.cross_entropy(outputs, labels)


def divergence(spec: TaskSpec, outputs: Tensor, teacher: Tensor) -> Tensor:
    """How far outputs are from a teacher's, a scalar.

    Classes: mean Kullback-Leibler divergence, both softened, at the scale of a loss that isn't (Hinton et al. 2015,
    arXiv 1503.02531, section 2). Labels: cross entropy with the teacher's probabilities, all of which are known.
    Values: the loss with the teacher's in place of the data's.
    """
    if spec.target == "labels":
        return _masked(outputs, teacher.sigmoid(), torch.ones_like(teacher, dtype=torch.bool))
    if spec.target == "values":
        return _error(spec, outputs, teacher)
    if outputs.size(1) == 1:
        mine, its = outputs / _TEMPERATURE, (teacher / _TEMPERATURE).sigmoid()
        floor = F.binary_cross_entropy(its, its)  # the entropy of the teacher: no divergence where both are the same
        return (F.binary_cross_entropy_with_logits(mine, its) - floor) * _TEMPERATURE**2
    mine, its = (F.log_softmax(value / _TEMPERATURE, dim=1) for value in (outputs, teacher))
    return F.kl_div(mine, its, log_target=True, reduction="batchmean") * _TEMPERATURE**2


def standard_deviation(spec: TaskSpec) -> Tensor:
    """Standard deviation of each value over the training split, float32 [C]; `spec.target` is "values"."""
    return torch.tensor(spec.scale["std"], dtype=torch.float32)


def columns_fit(spec: TaskSpec, columns: int) -> bool:
    """Whether a model with this number of columns fits the task.

    Spare classes are never predicted, spare values are wrong; one column of two classes is the logit of the second.
    """
    if spec.target == "classes":
        return columns >= spec.num_classes or (columns == 1 and spec.num_classes == 2)
    return columns == spec.num_classes


def _masked(outputs: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    # A batch may have no label at all: its loss is 0, not 0 / 0.
    each = F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
    return each.where(known, 0.0).sum() / known.sum().clamp(min=1)


def _error(spec: TaskSpec, outputs: Tensor, wanted: Tensor) -> Tensor:
    apart = (outputs - wanted) / standard_deviation(spec)
    return apart.abs().mean() if spec.metric == "mae" else apart.square().mean()
