"""What each recipe does, needs and costs, in words: for `edgegnn recipes`. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgegnn.quantize.recipe import A2Q, RECIPES, Recipe, shown_name

__all__ = ["RecipeFacts", "known_recipes"]


@dataclass(frozen=True)
class _Method:
    """What the recipes of one method have in common.

    Attributes:
        words: what it does.
        needs: what it needs from the model and its data.
        size: of the model file as a share of fp32's, for each width in bits.
    """

    words: str
    needs: str
    size: dict[int, str]


# Shares of the model file: GCN and GIN on Cora, GIN on PROTEINS and BBBP (benchmarks, and the profiles of paper-quick).
# Small models have much that is no weight, so theirs are the larger ones.
_METHODS = {
    "none": _Method("float32, as trained", "any model", {8: "1"}),
    "dynamic": _Method(
        "after training: INT8 weights, scales of activations found at run time",
        "dense products with constant weights; no --format torchscript",
        {8: "from 0.26"},
    ),
    "static": _Method(
        "after training: INT8 weights and activations, ranges from calibration",
        "as dynamic-int8, and data for calibration",
        {8: "from 0.26"},
    ),
    "qat": _Method(
        "fine-tuning with fake quantization; products and sums in integers",
        "a module that trains (no .pt2), data with labels",
        {8: "0.26 to 0.42", 4: "0.12 to 0.30"},
    ),
    "dq": _Method(
        "Degree-Quant: as qat, with nodes of many neighbours protected while training",
        "a module that trains (no .pt2), data with labels",
        {8: "0.26 to 0.42", 4: "0.12 to 0.30"},
    ),
    "a2q": _Method(
        "A2Q: fine-tuning learns a step and a width for each node",
        "a module that trains (no .pt2), data with labels; of one graph, that graph only",
        {4: "0.15 to 0.6"},
    ),
}


@dataclass(frozen=True)
class RecipeFacts:
    """A recipe in words.

    Attributes:
        name: what `--quant` calls it.
        stored: what files call it, where that differs.
        method: how it quantizes.
        bits: width of the codes; "32" for floats, "1 to 8" where widths are learnt.
        trains: whether it fine-tunes.
        needs: what it needs from the model.
        size: of the model file as a share of fp32's, typically.
    """

    name: str
    stored: str
    method: str
    bits: str
    trains: bool
    needs: str
    size: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        return asdict(self)


def known_recipes() -> list[RecipeFacts]:
    """The built-in recipes, from the least to the most that they change."""
    return [_facts(recipe) for recipe in RECIPES.values()]


def _facts(recipe: Recipe) -> RecipeFacts:
    method = _METHODS[recipe.method]
    bits = str(recipe.fewest_bits) if recipe.does.quantizes else "32"
    words, needs = method.words, method.needs
    if isinstance(recipe, A2Q):
        bits = "1 to 8"
    if isinstance(recipe, A2Q) and recipe.any_graph:
        words = words.replace("each node", "groups, of which the nodes of any graph choose")
        needs = needs.split(";")[0]
    return RecipeFacts(
        shown_name(recipe.name), recipe.name, words, bits, recipe.trains, needs, method.size[recipe.fewest_bits]
    )
