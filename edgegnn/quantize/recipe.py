"""Recipes: what `--quant` names, as data.

A recipe is the frozen configuration of one method, a dataclass that round-trips through JSON; it is stored in
checkpoints and manifests, and a JSON file of the same shape may be given in place of a name.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from fnmatch import fnmatch
from typing import Any, ClassVar

from edgegnn.errors import UsageError
from edgegnn.quantize.method import METHODS, Method
from edgegnn.utils.files import at_hand, check_plain

__all__ = [
    "A2Q",
    "QAT",
    "RECIPES",
    "DegreeQuant",
    "Dynamic",
    "Recipe",
    "Static",
    "Trained",
    "recipe",
    "recipe_from_dict",
    "shown_name",
    "stored_name",
]

_ALIASES = {"fp32": "none"}


@dataclass(frozen=True)
class Recipe:
    """The recipe of a model that stays float, and what all recipes have.

    Attributes:
        name: what the user calls it.
        does: what its method does.
    """

    name: str
    does: ClassVar[Method] = METHODS["none"]

    def __post_init__(self) -> None:
        wrong = [text for bad, text in self._problems() if bad]
        if wrong:
            raise UsageError(f"recipe {self.name!r} can't be used: {'; '.join(wrong)}")

    def _problems(self) -> list[tuple[bool, str]]:
        """(whether it is so, what a field has to be)."""
        return []

    @property
    def method(self) -> str:
        """Name of the method, as files store it."""
        return self.does.name

    @property
    def trains(self) -> bool:
        """Whether the recipe needs training with fake quantization (QAT, Degree-Quant, A2Q)."""
        return self.does.trains

    @property
    def fewest_bits(self) -> int:
        """The smallest width of codes that any point may have."""
        return 8

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values: the name, the method, and the fields of its class."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"name": self.name, "method": self.method, **values}


@dataclass(frozen=True)
class Dynamic(Recipe):
    """8-bit weights; scales of activations are computed while the model runs."""

    does: ClassVar[Method] = METHODS["dynamic"]


@dataclass(frozen=True)
class Static(Recipe):
    """8-bit weights and activations, with ranges from calibration graphs."""

    does: ClassVar[Method] = METHODS["static"]


@dataclass(frozen=True)
class Trained(Recipe):
    """Fields of recipes that train with fake quantization.

    Attributes:
        bits: width of the codes of weights and activations, 4 or 8. A2Q: of weights and of what is summed, and where
            the learnt widths start.
        keep_float: glob patterns of module paths that stay float.
    """

    bits: int = 8
    keep_float: tuple[str, ...] = ()

    def _problems(self) -> list[tuple[bool, str]]:
        return [(self.bits not in {4, 8}, "bits is 4 or 8")]

    @property
    def fewest_bits(self) -> int:
        """The smallest width of codes that any point may have."""
        return self.bits


@dataclass(frozen=True)
class QAT(Trained):
    """Quantization-aware training.

    Attributes:
        observer: how training tracks an activation's range: "abs" (running min/max), "mom" (moving average of min/max)
            or "per" (percentiles).
        quantile: q of "per": the order statistics at q and 1-q bound the range.
        momentum: factor of "mom".
        clip_grad: True zeroes the gradient at the end codes (GC), False passes it (STE).
        weight_per_channel: symmetric codes with one scale per output channel, from the weight itself; False is
            Degree-Quant's quantizer: one affine range per tensor, tracked like an activation's.
        placement: "inputs" puts points where an integer operator reads its input; "paper" where Degree-Quant does, also
            behind operators (training that follows the paper; such a model runs mostly in float).
        bits_of: width of the codes at some points, in place of `bits`: glob pattern of points' names ("convs.0.*",
            "convs.0.lin.weight"; `QuantModel.structure()["points"]` lists them) -> 4 or 8. The first pattern that fits
            holds.
    """

    does: ClassVar[Method] = METHODS["qat"]
    observer: str = "mom"
    quantile: float = 0.001
    momentum: float = 0.01
    clip_grad: bool = False
    weight_per_channel: bool = True
    placement: str = "inputs"
    bits_of: dict[str, int] = field(default_factory=dict, hash=False)

    def _problems(self) -> list[tuple[bool, str]]:
        return [
            *super()._problems(),
            (self.observer not in {"abs", "mom", "per"}, "observer is abs, mom or per"),
            (self.placement not in {"inputs", "paper"}, "placement is inputs or paper"),
            (not 0 <= self.quantile < 0.5, "quantile lies in [0, 0.5)"),
            (not 0 < self.momentum <= 1, "momentum lies in (0, 1]"),
            (any(b not in (4, 8) or isinstance(b, bool) for b in self.bits_of.values()), "bits_of gives 4 or 8 bits"),
        ]

    @property
    def fewest_bits(self) -> int:
        """The smallest width of codes that any point may have."""
        return min((self.bits, *self.bits_of.values()))

    def bits_at(self, point: str) -> int:
        """Width of the codes of the point of that name."""
        return next((bits for pattern, bits in self.bits_of.items() if fnmatch(point, pattern)), self.bits)


@dataclass(frozen=True)
class DegreeQuant(QAT):
    """Degree-Quant: quantization-aware training that leaves some nodes unquantized, most often nodes of high in-degree.

    Attributes:
        protect_low: protection probability of a node of the lowest in-degree rank.
        protect_high: the same of the highest rank.
    """

    does: ClassVar[Method] = METHODS["dq"]
    protect_low: float = 0.0
    protect_high: float = 0.0

    def _problems(self) -> list[tuple[bool, str]]:
        ordered = 0 <= self.protect_low <= self.protect_high <= 1
        return [*super()._problems(), (not ordered, "0 <= protect_low <= protect_high <= 1")]


@dataclass(frozen=True)
class A2Q(Trained):
    """A2Q: a learnt step and bit width for each node, or for each of some groups (`edgegnn.quantize.a2q`).

    Attributes:
        target_bits: average width that learnt widths are pulled down to.
        memory_weight: how strongly.
        groups: pairs of step and width that the nodes of graphs not seen before choose from.
        any_graph: the nodes of a fixed graph choose from groups, too: the model then takes any graph.
        local_gradient: train steps and widths of a fixed graph's nodes by their own rounding error, not by the loss.
        step_rate: learning rate of the logarithm of a node's or group's step.
        weight_rate: the same of a weight's.
        column_rate: the same of a column's, in front of sums.
        bits_rate: learning rate of bit widths.
    """

    does: ClassVar[Method] = METHODS["a2q"]
    target_bits: float = 2.0
    memory_weight: float = 0.5
    groups: int = 1000
    any_graph: bool = False
    local_gradient: bool = True
    step_rate: float = 0.04
    weight_rate: float = 0.02
    column_rate: float = 0.04
    bits_rate: float = 0.1

    def _problems(self) -> list[tuple[bool, str]]:
        rates = (self.step_rate, self.weight_rate, self.column_rate, self.bits_rate)
        return [
            *super()._problems(),
            (not 1 <= self.target_bits <= 8, "target_bits lies in [1, 8]"),
            (not 0 <= self.memory_weight < float("inf"), "memory_weight is 0 or more"),
            (self.groups < 1, "groups is at least 1"),
            (not all(0 <= rate < 10 for rate in rates), "learning rates lie in [0, 10)"),
        ]


_CLASSES: dict[str, type[Recipe]] = {each.does.name: each for each in (Recipe, Dynamic, Static, QAT, DegreeQuant, A2Q)}


def _dq(name: str, bits: int, quantile: float, low: float, high: float) -> DegreeQuant:
    return DegreeQuant(
        name, bits, observer="per", quantile=quantile, clip_grad=True, protect_low=low, protect_high=high
    )


RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe("none"),
        Dynamic("dynamic-int8"),
        Static("static-int8"),
        QAT("qat-int8", 8),
        QAT("qat-int4", 4),
        # Protection probabilities of the released REDDIT-BINARY configuration.
        _dq("dq-int8", 8, 0.001, 0.0, 0.1),
        _dq("dq-int4", 4, 0.01, 0.1, 0.2),
        A2Q("a2q", 4),
        A2Q("a2q-groups", 4, any_graph=True),
    )
}


def shown_name(name: str) -> str:
    """The name shown to users: "fp32" for the recipe that files store as "none"."""
    return "fp32" if name == "none" else name


def stored_name(name: str) -> str:
    """The name in files: "none" for "fp32"."""
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
        check_plain(at_hand(name), UsageError)
        try:
            values = json.loads(at_hand(name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
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

    Files of older versions have the fields of all methods: those of another method are passed over where they have the
    default of that method.

    Raises:
        UsageError: not an object, an unknown method or field, or a value of the wrong type.
    """
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise UsageError("a recipe is a JSON object with a 'name'")
    name, method = values["name"], values.get("method", "none")
    if not isinstance(method, str) or method not in _CLASSES:
        raise UsageError(f"recipe {name!r} can't be used: method is {', '.join([*_CLASSES][:-1])} or a2q")
    example = _CLASSES[method](name)
    own = {f.name for f in fields(example)}
    cleaned: dict[str, Any] = {}
    for key, value in values.items():
        if key in own:
            cleaned[key] = _typed(name, key, value, getattr(example, key))
        elif key != "method":
            _check_foreign(name, method, key, value)
    return replace(example, **cleaned)


def _typed(recipe: str, key: str, value: Any, example: Any) -> Any:
    """A field's value with the type of its default."""
    expected = type(example)
    if expected is tuple and isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if expected is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if expected is dict and type(value) is dict and all(type(bits) is int for bits in value.values()):
        return dict(value)
    if type(value) is expected and expected is not dict:
        return value
    raise UsageError(f"recipe {recipe!r}: {key} must be {expected.__name__}, got {value!r}")


def _check_foreign(recipe: str, method: str, key: str, value: Any) -> None:
    """Refuse a field that the method hasn't, but for another method's default."""
    having = {name: getattr(each(recipe), key) for name, each in _CLASSES.items() if hasattr(each(recipe), key)}
    having = {name: default for name, default in having.items() if key in {f.name for f in fields(_CLASSES[name])}}
    if not having:
        known = [f.name for f in fields(_CLASSES[method])]
        raise UsageError(f"recipe {recipe!r} has an unknown field {key!r}; known of {method}: {', '.join(known)}")
    if value not in [*having.values(), *(list(d) for d in having.values() if isinstance(d, tuple))]:
        raise UsageError(f"recipe {recipe!r}: {key} is a field of {', '.join(having)}, not of {method}")
