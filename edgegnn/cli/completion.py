"""What a shell completes: names that are known without importing torch, and files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "complete_artifact",
    "complete_data",
    "complete_model",
    "complete_recipe",
    "complete_target",
    "complete_task",
]


def complete_recipe(incomplete: str) -> list[str]:
    """Names of recipes, and .json files here."""
    from edgegnn.quantize.recipe import RECIPES, shown_name

    return _starting(incomplete, [*map(shown_name, RECIPES), *_files(".json")])


def complete_model(incomplete: str) -> list[str]:
    """Names of the zoo's models."""
    from edgegnn.models.catalog import names

    return _starting(incomplete, names())


def complete_data(incomplete: str) -> list[str]:
    """Names of data sets (of a collection up to the colon), and data files here."""
    from edgegnn.tasks.catalog import FILE_ENDINGS, names

    return _starting(incomplete, [*(name.removesuffix("NAME") for name in names()), *_files(*FILE_ENDINGS)])


def complete_task(incomplete: str) -> list[str]:
    """Names of tasks."""
    from edgegnn.tasks.catalog import TASKS

    return _starting(incomplete, TASKS)


def complete_target(incomplete: str) -> list[str]:
    """Names of devices."""
    from edgegnn.devices.target import target_files

    return _starting(incomplete, ["local", *target_files()])


def complete_artifact(incomplete: str) -> list[str]:
    """Artifacts here: folders with a manifest, and archives."""
    here = (path for path in Path().iterdir() if (path / "manifest.json").is_file() or path.suffix == ".zip")
    return _starting(incomplete, sorted(map(str, here)))


def _files(*endings: str) -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.suffix in endings)


def _starting(incomplete: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if name.startswith(incomplete)]
