"""What `edgegnn tune` chooses from: a recipe, bits of each layer, a pruner, its sparsity.

A candidate is what `edgegnn compress` and `edgegnn export` can be told on their command lines, no more. Pruning of
edges is left out: it changes the user's graph, not the model.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch_geometric.nn import MessagePassing

from edgegnn.errors import QuantizeError
from edgegnn.quantize import A2Q, QAT, RECIPES, Recipe, prepare
from edgegnn.quantize.recipe import shown_name
from edgegnn.tasks import Task, example_graph, named_args
from edgegnn.utils.model_copies import copied

if TYPE_CHECKING:
    from optuna.trial import Trial

__all__ = ["Candidate", "Layer", "Space", "presets", "space_of", "starts", "suggest"]

EIGHT, FOUR, WEIGHTS = "8", "4", "w4"  # bits of a layer: of everything, or of its weights alone
_LAYERS = 6  # that have bits of their own; more are put together, neighbours first
_TRAINED = ("qat", "dq")
_PRUNERS = ("none", "fine-grained", "global", "regularized", "structured")
_SCHEDULED = ("fine-grained", "global")
# Shares that are kept, from the fewest to the most: of weights, and of channels.
_KEPT, _CHANNELS = (0.01, 0.7), (0.1, 0.9)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer that has bits of its own.

    Attributes:
        name: path of the module, or of the first of several.
        patterns: what fits the names of its quantization points.
        weights: points of its weights.
    """

    name: str
    patterns: tuple[str, ...]
    weights: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Space:
    """What can be chosen for a model.

    Attributes:
        layers: layers that have bits of their own.
        recipes: presets that can be tried.
    """

    layers: tuple[Layer, ...]
    recipes: tuple[str, ...]

    @property
    def methods(self) -> list[str]:
        """The choices of "quant": post-training presets and A2Q by name; "qat" and "dq" with bits of each layer."""
        return list(dict.fromkeys(RECIPES[r].method if RECIPES[r].method in _TRAINED else r for r in self.recipes))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to make the model smaller.

    Attributes:
        quant: "none", "dynamic-int8", "static-int8", "qat", "dq", "a2q" or "a2q-groups".
        bits: of "qat" and "dq": the bits of each layer of the space, "8", "4", or "w4" (its weights alone).
        target_bits: of "a2q": bits of a node's features on average.
        prune: method, or None.
        sparsity: share that goes.
        schedule: "one-shot" or "gradual".
        full: trained for the full number of epochs; a short training tells which are worth that.
    """

    quant: str
    bits: tuple[str, ...] = ()
    target_bits: float | None = None
    prune: str | None = None
    sparsity: float | None = None
    schedule: str = "one-shot"
    full: bool = True

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return self.prune is not None or self.quant_trains

    @property
    def quant_trains(self) -> bool:
        """Whether the quantization is trained."""
        return self.quant in _TRAINED or RECIPES[self.quant].trains

    @property
    def dense(self) -> bool:
        """Whether this is the model as it is."""
        return self.quant == "none" and self.prune is None

    @property
    def preset(self) -> str | None:
        """The preset recipe that this is, if it is one and no more."""
        return None if self.prune is not None else self._preset_quant()

    def _preset_quant(self) -> str | None:
        if self.quant in _TRAINED:
            same = set(self.bits)
            return f"{self.quant}-int{same.pop()}" if len(same) == 1 and WEIGHTS not in same else None
        return self.quant if self.target_bits in (None, _target_bits(self.quant)) else None

    def recipe(self, space: Space) -> Recipe:
        """The recipe."""
        preset = self._preset_quant()
        if preset is not None:
            return RECIPES[preset]
        known = RECIPES.get(self.quant)
        if self.target_bits is not None and isinstance(known, A2Q):
            return dataclasses.replace(known, target_bits=self.target_bits)
        # Ranges and protection of 4 bits are for activations: weights have the range that they have.
        base = RECIPES[f"{self.quant}-int4" if FOUR in self.bits else f"{self.quant}-int8"]
        assert isinstance(base, QAT)
        fewer: dict[str, int] = {}
        for layer, bits in zip(space.layers, self.bits, strict=True):
            fewer |= dict.fromkeys({FOUR: layer.patterns, WEIGHTS: layer.weights}.get(bits, ()), 4)
        return dataclasses.replace(base, name=f"{self.quant}-mixed", bits=8, bits_of=fewer)

    def label(self, space: Space) -> str:
        """In a few words."""
        name = shown_name(self._preset_quant() or self.quant)
        if self.quant in _TRAINED and name == self.quant:
            name += " " + ", ".join(f"{layer.name} {b}" for layer, b in zip(space.layers, self.bits, strict=True))
        if self.target_bits is not None and self._preset_quant() is None:
            name += f" {self.target_bits:g} bits"
        gradual = ", gradual" if self.schedule == "gradual" else ""
        pruned = f"{self.prune} {self.sparsity:g}{gradual} + " if self.prune is not None else ""
        return f"{pruned}{name}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return dataclasses.asdict(self) | {"bits": list(self.bits)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Candidate:
        """The candidate of `to_dict`."""
        return cls(**(values | {"bits": tuple(values["bits"])}))

    def params(self, space: Space) -> dict[str, Any]:
        """The parameters of `suggest` that give this candidate."""
        found: dict[str, Any] = {"quant": self.quant, "prune": self.prune or "none"}
        found |= {f"bits of {layer.name}": b for layer, b in zip(space.layers, self.bits, strict=False)}
        if self.target_bits is not None:
            found["target_bits"] = self.target_bits
        if self.sparsity is not None:
            found["channels" if self.prune == "structured" else "kept"] = round(1 - self.sparsity, 3)
        if self.prune in _SCHEDULED:
            found["schedule"] = self.schedule
        return found


def space_of(model: nn.Module, task: Task) -> Space:
    """What can be chosen for a float model.

    Raises:
        UsageError, DataError: the model doesn't take the task's graphs.
    """
    recipes = [name for name in RECIPES if name != "a2q-groups" or not task.many]
    example = named_args(model, task, example_graph(task, 8))
    try:
        quantized = prepare(copied(model), RECIPES["dq-int8"], example, roles=task.roles)
    except QuantizeError:
        return Space((), tuple(name for name in recipes if not RECIPES[name].trains))
    weights = quantized.weight_points()
    convs = [path for path, module in model.named_modules() if isinstance(module, MessagePassing)]
    points: dict[str, list[str]] = {}
    for name in quantized.structure()["points"]:
        inside = [path for path in convs if path and name.startswith(f"{path}.")]
        points.setdefault(min(inside, key=len) if inside else name.rpartition(".")[0], []).append(name)
    order = [path for path, _ in model.named_modules()]
    paths = sorted(points, key=lambda path: order.index(path) if path in order else len(order))
    size = -(-len(paths) // _LAYERS)
    layers = []
    for start in range(0, len(paths), size):
        some = paths[start : start + size]
        own = tuple(name for path in some for name in points[path] if name in weights)
        layers.append(Layer(some[0], tuple(f"{path}.*" if path else "*" for path in some), own))
    return Space(tuple(layers), tuple(recipes))


def _target_bits(name: str) -> float | None:
    """The average width that a recipe's learnt widths are pulled down to; None where none are learnt."""
    known = RECIPES[name]
    return known.target_bits if isinstance(known, A2Q) else None


def presets(space: Space) -> list[Candidate]:
    """The preset recipes, the quickest first; the search starts from them."""
    found = []
    for name in space.recipes:
        method, bits = RECIPES[name].method, str(RECIPES[name].fewest_bits)
        if method in _TRAINED:
            found.append(Candidate(method, (bits,) * len(space.layers)))
        else:
            found.append(Candidate(name, target_bits=_target_bits(name)))
    return sorted(found, key=lambda c: (c.trains, c.quant.startswith("a2q"), c.quant == "qat"))


def starts(space: Space, minimize: str) -> list[Candidate]:
    """What is worth a try on any model, before anything is known of this one."""
    if "dq" not in space.methods:
        return []
    four, weights = (FOUR,) * len(space.layers), (WEIGHTS,) * len(space.layers)
    ways: list[tuple[str, float, tuple[str, ...]]]
    if minimize in ("size", "flash"):
        ways = [("global", 0.9, four), ("global", 0.95, weights), ("structured", 0.5, weights)]
    else:
        eight = (EIGHT,) * len(space.layers)
        ways = [("structured", 0.5, eight), ("structured", 0.7, eight), ("structured", 0.3, four)]
    return [Candidate("dq", bits, None, prune, sparsity, full=False) for prune, sparsity, bits in ways]


def suggest(trial: Trial, space: Space) -> Candidate:
    """The candidate that a trial of optuna asks for, with short training."""
    quant = trial.suggest_categorical("quant", space.methods)
    bits: tuple[str, ...] = ()
    if quant in _TRAINED:
        choices = (EIGHT, FOUR, WEIGHTS)
        bits = tuple(trial.suggest_categorical(f"bits of {layer.name}", choices) for layer in space.layers)
    target = round(trial.suggest_float("target_bits", 1.5, 4.0), 1) if quant.startswith("a2q") else None
    prune = trial.suggest_categorical("prune", _PRUNERS)
    sparsity, schedule = None, "one-shot"
    if prune == "structured":
        sparsity = round(1 - trial.suggest_float("channels", *_CHANNELS), 2)
    elif prune != "none":
        sparsity = round(1 - trial.suggest_float("kept", *_KEPT, log=True), 3)
    if prune in _SCHEDULED:
        schedule = trial.suggest_categorical("schedule", ("one-shot", "gradual"))
    chosen = Candidate(quant, bits, target, None if prune == "none" else prune, sparsity, schedule, full=False)
    return chosen if chosen.trains else dataclasses.replace(chosen, full=True)


def commands(
    candidate: Candidate,
    space: Space,
    *,
    model: str,
    source: list[str],
    where: list[str],
    epochs: int | None,
    seed: int,
    recipe_file: Path,
) -> tuple[str, str | None]:
    """How to make a candidate by hand: the command lines, and what has to be in `recipe_file` (None: it isn't needed).

    Args:
        candidate: the candidate.
        space: what it was chosen from.
        model: the model file.
        source: options that say how to open it.
        where: options of the export that name the device.
        epochs: of its trainings; None for the default.
        seed: of its trainings.
        recipe_file: where a recipe that has no name is kept.
    """
    quant, content = candidate._preset_quant(), None
    if quant is None and candidate.target_bits is not None:
        quant = f"{candidate.quant}:target_bits={candidate.target_bits}"
    elif quant is None:
        quant, content = str(recipe_file), json.dumps(candidate.recipe(space).to_dict(), indent=1) + "\n"
    training = [*(["--epochs", str(epochs)] if epochs is not None else []), *(["--seed", str(seed)] if seed else [])]
    if not candidate.trains:
        line = ["edgegnn", "export", model, *source, "--quant", quant, *where, "-o", "best"]
        return shlex.join(line), content
    pruned = []
    if candidate.prune is not None:
        pruned = ["--prune", candidate.prune, "--sparsity", f"{candidate.sparsity:g}"]
        pruned += ["--schedule", candidate.schedule] if candidate.schedule != "one-shot" else []
    trained = ["--quant", quant] if candidate.quant_trains else []
    first = ["edgegnn", "compress", model, *source, *pruned, *trained, *training, "-o", "best.pt"]
    after = [] if candidate.quant_trains else ["--quant", quant]
    second = ["edgegnn", "export", "best.pt", *source, *after, *where, "-o", "best"]
    return f"{shlex.join(first)} && {shlex.join(second)}", content
