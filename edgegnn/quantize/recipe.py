"""Recipes: what `--quant` names, as data.

A recipe is a frozen dataclass that round-trips through JSON; it is stored in checkpoints and manifests, and a JSON file
of the same shape may be given in place of a name.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from fnmatch import fnmatch
from typing import Any

from edgegnn.errors import UsageError
from edgegnn.quantize.method import METHODS, Method
from edgegnn.utils.files import at_hand

__all__ = ["RECIPES", "Recipe", "recipe", "recipe_from_dict", "shown_name", "stored_name"]

_ALIASES = {"fp32": "none"}


@dataclass(frozen=True)
class Recipe:
    """How a model is quantized.

    Attributes:
        name: what the user calls it.
        method: "none", "dynamic" and "static" (post-training, onnxruntime.quantization), "qat", "dq" (Degree-Quant) or
            "a2q" (learnt step and bit width per node; `edgegnn.quantize.a2q`).
        bits: width of weight and activation codes, 4 or 8. Of "a2q": of weights and of what is summed, and where the
            learnt widths start.
        observer: how training tracks an activation's range: "abs" (running min/max), "mom" (moving average of min/max)
            or "per" (percentiles).
        quantile: q of "per": the order statistics at q and 1-q bound the range.
        momentum: factor of "mom".
        clip_grad: True zeroes the gradient at the end codes (GC), False passes it (STE).
        protect_low: protection probability of a node of the lowest in-degree rank (Degree-Quant only).
        protect_high: the same of the highest rank.
        weight_per_channel: symmetric codes with one scale per output channel, from the weight itself; False is the
            paper's quantizer: one affine range per tensor, tracked like an activation's.
        placement: "inputs" puts points where an integer operator reads its input; "paper" where Degree-Quant does, also
            behind operators (training that follows the paper; such a model runs mostly in float).
        keep_float: glob patterns of module paths that stay float.
        bits_of: width of the codes at some points, in place of `bits` ("qat" and "dq"): glob pattern of points' names
            ("convs.0.*", "convs.0.lin.weight"; `QuantModel.structure()["points"]` lists them) -> 4 or 8. The first
            pattern that fits holds.
        target_bits: average width that learnt widths are pulled down to (this and what follows: "a2q" only).
        memory_weight: how strongly.
        groups: pairs of step and width that the nodes of graphs not seen before choose from.
        any_graph: the nodes of a fixed graph choose from groups, too: the model then takes any graph.
        local_gradient: train steps and widths of a fixed graph's nodes by their own rounding error, not by the loss.
        step_rate: learning rate of the logarithm of a node's or group's step.
        weight_rate: the same of a weight's.
        column_rate: the same of a column's, in front of sums.
        bits_rate: learning rate of bit widths.
    """

    name: str
    method: str = "none"
    bits: int = 8
    observer: str = "mom"
    quantile: float = 0.001
    momentum: float = 0.01
    clip_grad: bool = False
    protect_low: float = 0.0
    protect_high: float = 0.0
    weight_per_channel: bool = True
    placement: str = "inputs"
    keep_float: tuple[str, ...] = ()
    bits_of: dict[str, int] = field(default_factory=dict, hash=False)
    target_bits: float = 2.0
    memory_weight: float = 0.5
    groups: int = 1000
    any_graph: bool = False
    local_gradient: bool = True
    step_rate: float = 0.04
    weight_rate: float = 0.02
    column_rate: float = 0.04
    bits_rate: float = 0.1

    def __post_init__(self) -> None:
        problems = [
            (
                self.method not in METHODS,
                "method is none, dynamic, static, qat, dq or a2q",
            ),
            (self.bits not in {4, 8}, "bits is 4 or 8"),
            (self.observer not in {"abs", "mom", "per"}, "observer is abs, mom or per"),
            (self.placement not in {"inputs", "paper"}, "placement is inputs or paper"),
            (not 0 <= self.quantile < 0.5, "quantile lies in [0, 0.5)"),
            (not 0 < self.momentum <= 1, "momentum lies in (0, 1]"),
            (not 0 <= self.protect_low <= self.protect_high <= 1, "0 <= protect_low <= protect_high <= 1"),
            (self.method in {"dynamic", "static"} and self.bits != 8, "post-training recipes are 8 bits wide"),
            (self.method == "a2q" and self.placement != "inputs", "a2q has the placement inputs only"),
            (any(b not in (4, 8) or isinstance(b, bool) for b in self.bits_of.values()), "bits_of gives 4 or 8 bits"),
            (bool(self.bits_of) and self.method not in {"qat", "dq"}, "bits_of is for qat and dq"),
            (not 1 <= self.target_bits <= 8, "target_bits lies in [1, 8]"),
            (not 0 <= self.memory_weight < float("inf"), "memory_weight is 0 or more"),
            (self.groups < 1, "groups is at least 1"),
            (
                not all(0 <= r < 10 for r in (self.step_rate, self.weight_rate, self.column_rate, self.bits_rate)),
                "learning rates lie in [0, 10)",
            ),
        ]
        wrong = [text for bad, text in problems if bad]
        if wrong:
            raise UsageError(f"recipe {self.name!r} can't be used: {'; '.join(wrong)}")

    @property
    def does(self) -> Method:
        """What the method does."""
        return METHODS[self.method]

    @property
    def trains(self) -> bool:
        """Whether the recipe needs training with fake quantization (QAT, Degree-Quant, A2Q)."""
        return self.does.trains

    def bits_at(self, point: str) -> int:
        """Width of the codes of the point of that name."""
        return next((bits for pattern, bits in self.bits_of.items() if fnmatch(point, pattern)), self.bits)

    @property
    def fewest_bits(self) -> int:
        """The smallest width that any point may have."""
        return min((self.bits, *self.bits_of.values()))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        values = asdict(self)
        values["keep_float"] = list(self.keep_float)
        return values


def _dq(name: str, bits: int, quantile: float, low: float, high: float) -> Recipe:
    return Recipe(
        name, "dq", bits, observer="per", quantile=quantile, clip_grad=True, protect_low=low, protect_high=high
    )


RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe("none"),
        Recipe("dynamic-int8", "dynamic"),
        Recipe("static-int8", "static"),
        Recipe("qat-int8", "qat", 8),
        Recipe("qat-int4", "qat", 4),
        # Protection probabilities of the released REDDIT-BINARY configuration.
        _dq("dq-int8", 8, 0.001, 0.0, 0.1),
        _dq("dq-int4", 4, 0.01, 0.1, 0.2),
        Recipe("a2q", "a2q", 4),
        Recipe("a2q-groups", "a2q", 4, any_graph=True),
    )
}


def shown_name(name: str) -> str:
    """What people are told a recipe is called: "fp32" for the one that files store as "none"."""
    return "fp32" if name == "none" else name


def stored_name(name: str) -> str:
    """What files call a recipe: "none" for "fp32"."""
    return _ALIASES.get(name, name)


def recipe(name: str) -> Recipe:
    """The recipe of that name, or the one in the JSON file of that path; "a2q:target_bits=3" changes fields of one.

    "fp32" is the recipe that files store as "none"; both names are understood.

    Raises:
        UsageError: unknown name, unreadable file, unknown or wrong field.
    """
    name = stored_name(name)
    if name in RECIPES:
        return RECIPES[name]
    if name.endswith(".json"):
        try:
            values = json.loads(at_hand(name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"can't read the recipe file {name}: {error}") from error
        return recipe_from_dict(values)
    base, colon, changes = name.rpartition(":")
    if colon and "=" in changes:
        return recipe_from_dict({**recipe(base).to_dict(), **dict(map(_change, changes.split(",")))})
    known = [shown_name(each) for each in RECIPES]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}? Known" if near else "; known"
    raise UsageError(f"unknown recipe {name!r}{hint}: {', '.join(known)}, or a .json file")


def _change(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), value


def recipe_from_dict(values: Any) -> Recipe:
    """Rebuild a recipe from `Recipe.to_dict` (checkpoints, manifests, JSON files).

    Raises:
        UsageError: not an object, an unknown field, or a value of the wrong type.
    """
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise UsageError("a recipe is a JSON object with a 'name'")
    known = [f.name for f in fields(Recipe)]
    unknown = sorted(set(values).difference(known))
    if unknown:
        raise UsageError(f"recipe {values['name']!r} has an unknown field {unknown[0]!r}; known: {', '.join(known)}")
    example = Recipe(values["name"])
    cleaned: dict[str, Any] = {}
    for key, value in values.items():
        expected = type(getattr(example, key))
        if expected is tuple and isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
            cleaned[key] = tuple(value)
        elif expected is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            cleaned[key] = float(value)
        elif expected is dict and type(value) is dict and all(type(bits) is int for bits in value.values()):
            cleaned[key] = dict(value)
        elif type(value) is expected and expected is not dict:
            cleaned[key] = value
        else:
            raise UsageError(f"recipe {values['name']!r}: {key} must be {expected.__name__}, got {value!r}")
    return replace(example, **cleaned)
