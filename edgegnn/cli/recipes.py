"""The command `edgegnn recipes`."""

from __future__ import annotations

from edgegnn.cli.options import Json

__all__ = ["recipes"]


def recipes(as_json: Json = False) -> None:
    """List the ways to quantize: what each does, whether it trains, what it needs, and how small the file gets.

    Sizes are shares of the fp32 model file, of small models on real data sets. A .json file may stand for a name.

    Examples:
        edgegnn recipes
        edgegnn recipes --json
        edgegnn export model.pt --quant dq-int8
    """
    from edgegnn.cli.render import tools
    from edgegnn.quantize.facts import known_recipes

    tools.recipes(known_recipes(), as_json)
