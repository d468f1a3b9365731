"""From the options of a command to the values that functions take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegnn.errors import UsageError

if TYPE_CHECKING:
    from edgegnn.compression.model_source import DataSource, ModelSource

__all__ = ["data_source", "json_object", "model_source", "quant_of", "settings_of", "split_of"]


def settings_of(
    epochs: int | None,
    lr: float | None,
    weight_decay: float | None,
    batch_size: int | None,
    patience: int | None,
    early_stop: str | None,
    seed: int,
) -> dict[str, Any]:
    """Fields of `FitConfig`; None where the default shall hold."""
    stop: dict[str, Any] = {}
    if early_stop is not None:
        from edgegnn.training.config import parse_early_stop

        stop = parse_early_stop(early_stop)
    return {
        "epochs": epochs,
        "lr": lr,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
        **stop,
    }


def split_of(split: str | None, file: Path | None) -> str | None:
    """The split as the functions of the same names take it: "file:PATH" for one in a file.

    Raises:
        UsageError: both are given.
    """
    if split is not None and file is not None:
        raise UsageError("--split and --split-file both name a split: give one of them")
    return split if file is None else f"file:{file}"


def model_source(
    path: Path | None, factory: str | None, factory_args: str | None, allow_import: bool, unsafe_pickle: bool
) -> ModelSource:
    """How the model file at `path` is opened (None: which file, is said elsewhere).

    Raises:
        UsageError, CheckpointError: there is no such file, or an option that can't be read.
    """
    from edgegnn.compression.model_source import ModelSource

    source = ModelSource(factory, json_object("--factory-args", factory_args), allow_import, unsafe_pickle)
    source.check(path)
    return source


def data_source(
    data: str | None,
    task: str | None,
    split: str | None,
    split_file: Path | None,
    split_seed: int,
    data_root: Path | None,
    inputs: list[str] | None = None,
    transforms: list[str] | None = None,
) -> DataSource:
    """Which data are named.

    Raises:
        UsageError, DataError: an unknown name, or a file that is not there.
    """
    from edgegnn.compression.model_source import DataSource

    chosen = split_of(split, split_file)
    told = pairs_of("--input", inputs)
    source = DataSource(data, task, chosen, split_seed, data_root, told, transforms=tuple(transforms or ()))
    source.check()
    return source


def quant_of(quant: str | None, target_bits: float | None) -> str | None:
    """The recipe with an average number of bits as its target.

    Raises:
        UsageError: the number is out of range, or the recipe learns no widths.
    """
    if target_bits is None:
        return quant
    if quant is None or not (quant.startswith("a2q") or quant.endswith(".json")):
        raise UsageError(f"--target-bits is for --quant a2q, not for {quant or 'a model that is not quantized'}")
    if not 1 <= target_bits <= 8:
        raise UsageError(f"--target-bits {target_bits:g} is out of range: an average of 1 to 8 bits can be asked for")
    return f"{quant}:target_bits={target_bits}"


def pairs_of(option: str, texts: list[str] | None) -> dict[str, str]:
    """The values of an option that is given as NAME=VALUE, as often as needed.

    Raises:
        UsageError: one has no "=", or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, equal, value = text.partition("=")
        if not (name and equal and value):
            raise UsageError(f"can't read {option} {text}: write {option} NAME=VALUE")
        if name in found:
            raise UsageError(f"{option} {name} is given twice: keep one")
        found[name] = value
    return found


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """Read the JSON object given to `option`.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{option} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f'{option} must be a JSON object, such as {{"hidden": 64}}')
    return value
