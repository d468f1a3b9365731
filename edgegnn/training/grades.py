"""GradES: stop training weight matrix by weight matrix, when its gradient has stopped changing.

Source: Wen et al., arXiv 2509.01842. After a grace period of alpha * T steps (T: the planned number), a
matrix W is frozen for good as soon as

    G(t) = || grad W(t) - grad W(t-1) ||_1  <  tau

Gradients still flow through a frozen matrix to those before it; training ends when every matrix is frozen.

What differs from the paper, and why:

* G is a mean over the elements of W instead of their sum, so that tau does not grow with the size of a tensor (the
  authors' run from 0.001 to 33).
* By default ("relative") it is not G itself that has to fall under tau, but its movement: the level of G, its mean over
  a tenth of the planned steps, against the level before, as a share of the highest level so far. Under dropout and
  with mini-batches G does not tend to zero but to a level of noise, which depends on model, data and loss: a GCN with
  dropout 0.8 learns what it can on Cora while its first layer's G grows to 2.7 times what it began with, so that any
  tau is either never reached or reached at once. "gradient" is the paper's rule, with a tau of your own.
* Matrices are all parameters of two or more dimensions, attention vectors included. A vector (bias, norm, GIN's
  epsilon) is frozen with the last matrix of the smallest module that holds both, a vector without such a module with
  the last matrix of all. While a bias of the first layer learns, backward has to run through all layers.
* A frozen parameter leaves the optimizer, so that neither weight decay nor momentum moves it.
* The weights that are kept are those with the lowest validation loss among some epochs (`fit`), not the last ones:
  fine-tuning a good model can make it worse. The paper validates nothing.
* The first gradient is compared with nothing and freezes nothing; a gradient that is absent or not finite neither.

The statistic "weight" is what the authors' program uses (again as a mean): the change of the weights instead of their
gradients, which a decaying learning rate alone brings under any tau.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgegnn.training.config import RELATIVE_TAU

__all__ = ["Frozen", "GradES", "GradESReport"]


@dataclasses.dataclass(frozen=True)
class Frozen:
    """When one matrix was frozen: its parameter's name, the step and epoch (from 1), and the statistic then."""

    tensor: str
    step: int
    epoch: int
    value: float


@dataclasses.dataclass(frozen=True)
class GradESReport:
    """What GradES did.

    Attributes:
        statistic: "relative", "gradient" or "weight".
        tau: the threshold.
        alpha: the grace period, as a share of the planned steps.
        planned_steps: optimizer steps that all epochs would have taken.
        steps: optimizer steps that were taken.
        matrices: how many matrices were watched.
        frozen: those that were frozen, in that order.
    """

    statistic: str
    tau: float
    alpha: float
    planned_steps: int
    steps: int
    matrices: int
    frozen: list[Frozen]


class GradES:
    """Watches the gradients of a model in training and freezes its matrices.

    Call `observe` after each backward and before the optimizer's step. What is frozen has `requires_grad` off, and
    stays so until somebody turns it on again (as `fit` does in the end).

    Args:
        model: its parameters of two or more dimensions that learn are watched.
        optimizer: frozen parameters are taken out of it.
        planned_steps: T.
        statistic: one of `edgegnn.training.config.STATISTICS`.
        tau: freeze below it.
        alpha: share of the planned steps in which nothing is frozen, in [0, 1); "relative" needs two windows anyway.
        window: steps over which "relative" takes the level of G; None for a tenth of the planned ones, at least 2.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        planned_steps: int,
        *,
        statistic: str = "relative",
        tau: float = RELATIVE_TAU,
        alpha: float = 0.5,
        window: int | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.statistic, self.tau, self.alpha, self.planned_steps = statistic, tau, alpha, planned_steps
        learning = {n: p for n, p in model.named_parameters() if p.requires_grad and p.is_floating_point()}
        self._active = {n: p for n, p in learning.items() if p.dim() >= 2}
        self._vectors = {n: p for n, p in learning.items() if p.dim() < 2}
        self._matrices_of = _matrices_of(self._vectors, list(self._active))
        self._window = max(2, planned_steps // 10) if window is None else window
        self._previous: dict[str, Tensor] = {}
        self._recent: dict[str, collections.deque[float]] = {}
        self._highest: dict[str, float] = {}
        self._watched: set[str] = set()
        self.frozen: list[Frozen] = []
        self.steps = 0

    @property
    def done(self) -> bool:
        """Whether every matrix that ever had a gradient is frozen."""
        return bool(self.frozen) and len(self.frozen) == len(self._watched)

    @torch.no_grad()
    def observe(self, epoch: int) -> None:
        """Look at the gradients of one step, and freeze what has come to rest; their gradients are dropped."""
        self.steps += 1
        grace = self.steps <= self.alpha * self.planned_steps
        for name, parameter in list(self._active.items()):
            if parameter.grad is None:
                continue
            self._watched.add(name)
            value = self._change(name, parameter)
            if value is not None and self.statistic == "relative":
                value = self._movement(name, value)
            if value is not None and value < self.tau and not grace:
                self._freeze(name, Frozen(name, self.steps, epoch, value))

    def report(self) -> GradESReport:
        """What was done so far."""
        return GradESReport(
            self.statistic, self.tau, self.alpha, self.planned_steps, self.steps, len(self._watched), list(self.frozen)
        )

    def _change(self, name: str, parameter: Tensor) -> float | None:
        """Mean absolute change since the last step; None at first sight."""
        if self.statistic == "weight":
            now = parameter.detach().clone()
        else:
            assert parameter.grad is not None
            now = parameter.grad  # a new tensor in every step: fit sets gradients to None, not to zero
        before = self._previous.get(name)
        self._previous[name] = now
        return None if before is None else float((now - before).abs_().mean())

    def _movement(self, name: str, change: float) -> float | None:
        """How far the level of G has moved within a window, as a share of its highest; None before two windows."""
        recent = self._recent.setdefault(name, collections.deque(maxlen=2 * self._window))
        recent.append(change)
        if len(recent) < 2 * self._window:
            return None
        values = list(recent)
        before, now = (math.fsum(half) for half in (values[: self._window], values[self._window :]))
        highest = self._highest[name] = max(self._highest.get(name, 0.0), before, now)
        return abs(now - before) / highest if highest > 0 else 0.0

    def _freeze(self, name: str, how: Frozen) -> None:
        self.frozen.append(how)
        stopped = [self._active.pop(name)]
        self._previous.pop(name, None)
        for vector in [v for v, matrices in self._matrices_of.items() if not matrices & self._active.keys()]:
            del self._matrices_of[vector]
            stopped.append(self._vectors[vector])
        gone = {id(p) for p in stopped}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in gone]
        for parameter in stopped:
            self.optimizer.state.pop(parameter, None)
            parameter.grad = None
            parameter.requires_grad_(False)


def _matrices_of(vectors: Iterable[str], matrices: list[str]) -> dict[str, set[str]]:
    """For each vector, the matrices of the smallest module that holds it and at least one matrix."""
    found: dict[str, set[str]] = {}
    for vector in vectors:
        owner = vector.rpartition(".")[0]
        while True:
            inside = {m for m in matrices if not owner or m.startswith(owner + ".")}
            if inside or not owner:
                break
            owner = owner.rpartition(".")[0]
        found[vector] = inside
    return found
