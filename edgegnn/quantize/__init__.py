"""Quantization of graph neural networks: quantizers and range observers; QAT and Degree-Quant as recipes over them.

The recipes are known without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.quantize.recipe import (
    A2Q,
    QAT,
    RECIPES,
    DegreeQuant,
    Dynamic,
    Recipe,
    Static,
    Trained,
    recipe,
    recipe_from_dict,
)
from edgegnn.utils.lazy import on_first_use

if TYPE_CHECKING:
    from edgegnn.quantize.degree_protection import add_protection, protection_probability
    from edgegnn.quantize.finetuning import finetune
    from edgegnn.quantize.model import prepare
    from edgegnn.quantize.quant_model import QuantModel
else:
    __getattr__ = on_first_use(
        __name__,
        {
            "degree_protection": ("add_protection", "protection_probability"),
            "finetuning": ("finetune",),
            "model": ("prepare",),
            "quant_model": ("QuantModel",),
        },
    )

__all__ = [
    "A2Q",
    "QAT",
    "RECIPES",
    "DegreeQuant",
    "Dynamic",
    "QuantModel",
    "Recipe",
    "Static",
    "Trained",
    "add_protection",
    "finetune",
    "prepare",
    "protection_probability",
    "recipe",
    "recipe_from_dict",
]
