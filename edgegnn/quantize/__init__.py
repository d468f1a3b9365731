"""Quantization of graph neural networks: quantizers and range observers; QAT and Degree-Quant as recipes over them."""

from edgegnn.quantize.degree_protection import add_protection, protection_probability
from edgegnn.quantize.finetune import finetune
from edgegnn.quantize.model import QuantModel
from edgegnn.quantize.preparing import prepare
from edgegnn.quantize.recipe import RECIPES, Recipe, recipe, recipe_from_dict

__all__ = [
    "RECIPES",
    "QuantModel",
    "Recipe",
    "add_protection",
    "finetune",
    "prepare",
    "protection_probability",
    "recipe",
    "recipe_from_dict",
]
