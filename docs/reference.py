"""Write the reference pages while mkdocs builds: commands, functions, records and keys, from the code that has them.

A hook of mkdocs (`hooks` in mkdocs.yml). No page that it makes is kept in the repository, so none can be out of date.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import edgegnn
from edgegnn import errors, manifest
from edgegnn.cli import app
from edgegnn.profiling import record
from edgegnn.quantize import RECIPES
from edgegnn.quantize.recipe import shown_name

ROOT = Path(__file__).parent.parent
# Classes that the public functions take and return.
CLASSES = (
    "edgegnn.compression.model_source.ModelSource",
    "edgegnn.compression.model_source.DataSource",
    "edgegnn.training.config.FitConfig",
    "edgegnn.checkpoint.format.Checkpoint",
    "edgegnn.compression.compress.Compressed",
    "edgegnn.exporting.pipeline.ExportResult",
    "edgegnn.runtime.proof.VerifyReport",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of the folder."""
    for place, page in PAGES.items():
        files.append(File.generated(config, place, content=page()))
    return files


def commands() -> str:
    """Every command with its arguments and options, in the panels of its `--help`."""
    root: Any = typer.main.get_command(app.app)
    rows = [f"| [`{name}`](#edgegnn-{name}) | {one.get_short_help_str(300)} |" for name, one in root.commands.items()]
    pages = [page for name, one in root.commands.items() for page in command(one, f"edgegnn {name}")]
    return "\n".join(["# Commands\n", "| command | what it does |", "| --- | --- |", *rows, "", *pages])


def command(one: Any, name: str) -> Iterator[str]:
    """The section of a command, then those of the commands below it."""
    context = typer.Context(one, info_name=name)
    words, _, examples = (one.help or "").partition("\n\nExample")
    yield f"## `{name}` {{ #{name.replace(' ', '-')} }}\n\n{words}\n"
    usage = " ".join([name, *one.collect_usage_pieces(context)])
    lines = inspect.cleandoc(examples.partition(":")[2])
    yield f"```\n{usage}\n```\n\n" + (f"```bash\n{lines}\n```\n" if lines else "")
    panels: dict[str, list[str]] = {}
    for parameter in one.params:
        record = parameter.get_help_record(context)
        if record is not None and not parameter.hidden:
            panel = getattr(parameter, "rich_help_panel", None) or ("Arguments" if record[0][0] != "-" else "Options")
            panels.setdefault(panel, []).append(f"| `{record[0]}` | {_cell(record[1])} |")
    for panel, rows in panels.items():
        yield "\n".join([f"| {panel} | |", "| --- | --- |", *rows, ""])
    for below, child in getattr(one, "commands", {}).items():
        yield from command(child, f"{name} {below}")


def _cell(text: str) -> str:
    """Plain text in a cell of a table: no pipe divides it, and no bracket or star means anything."""
    return re.sub(r"([|\[\]*_`])", r"\\\1", html.escape(text, quote=False))


def python() -> str:
    """The public functions of the package."""
    names = [name for name in edgegnn.__all__ if name in edgegnn._PUBLIC and name not in errors.__all__]
    intro = (
        "# Python\n\n`import edgegnn` is cheap: torch and onnxruntime load with the first call that needs them. "
        "Errors are [here](errors.md), what a program calls an artifact with is [here](runtime.md).\n"
    )
    given = "\n## What they take and return\n"
    return "\n".join([intro, *(f"::: edgegnn.{name}\n" for name in names), given, *(f"::: {c}\n" for c in CLASSES)])


def runtime() -> str:
    """What a program calls an artifact with."""
    return "# Calling an artifact\n\n::: edgegnn.runtime.model.open\n\n::: edgegnn.runtime.model.Model\n"


def recipes() -> str:
    """The recipes with what they set, and every field of a recipe."""
    rows = []
    for recipe in RECIPES.values():
        own = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name != "name"}
        plain = type(recipe)("plain")
        settings = [f"`{name}`: {value}" for name, value in own.items() if value != getattr(plain, name)]
        rows.append(f"| `{shown_name(recipe.name)}` | {recipe.method} | {', '.join(settings)} |")
    table = "\n".join(["| name | method | what it sets beside the defaults |", "| --- | --- | --- |", *rows])
    classes = "\n".join(
        f"::: edgegnn.quantize.recipe.{c}\n" for c in ("Recipe", "Trained", "QAT", "DegreeQuant", "A2Q")
    )
    return f"# Recipes\n\n{table}\n\nA recipe file has `name`, `method` and the fields of its method.\n\n{classes}"


def target_file() -> str:
    """The keys of a target file."""
    return "# Target file\n\n::: edgegnn.devices.target.Target\n\n::: edgegnn.devices.target.Meter\n"


def study_file() -> str:
    """The commented study.toml that `edgegnn study init` writes."""
    text = (ROOT / "edgegnn/studies/presets/example.toml").read_text(encoding="utf-8")
    return f"# Study file\n\nWhat `edgegnn study init` writes, every key with its comment:\n\n```toml\n{text}```\n"


def profile_record() -> str:
    """The classes of a profile record, the record itself first."""
    structs = [name for name, value in vars(record).items() if isinstance(value, type) and _is_struct(value)]
    structs.sort(key=lambda name: name != "ProfileRecord")
    return "# Profile record\n\n" + "\n".join(f"::: edgegnn.profiling.record.{name}\n" for name in structs)


def _is_struct(value: type) -> bool:
    return issubclass(value, msgspec.Struct) and value.__module__ == record.__name__


def artifact_manifest() -> str:
    """The classes of `manifest.json`, the manifest itself first."""
    intro = "# Manifest\n\n`python -m edgegnn.manifest` prints the JSON Schema of `manifest.json`.\n"
    structs = [value for value in vars(manifest).values() if isinstance(value, type)]
    structs.sort(key=lambda value: value is not manifest.ArtifactManifest)
    return "\n".join([intro, *(f"::: {value.__module__}.{value.__name__}\n" for value in structs)])


def operators() -> str:
    """The native operators, from the page that lies beside them."""
    text = (ROOT / "edgegnn/native/OPS.md").read_text(encoding="utf-8")
    return text.replace("[reference.py](reference.py)", "`edgegnn/native/reference.py`")


def error_classes() -> str:
    """The tree of errors, with what the command line ends with."""
    rows = [
        f"| `{name}` | `{value.__base__.__name__}` | {value.exit_code} | {(value.__doc__ or '').splitlines()[0]} |"
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.EdgeGNNError)
    ]
    return "\n".join(
        [
            "# Errors\n",
            "An error on purpose is one line that says what is wrong and what to do. On the command line it goes to",
            "stderr, and `edgegnn --debug ...` shows the traceback, too. In a program it is one of these classes:\n",
            "| class | is a | exit | what |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "Warnings are `edgegnn.EdgeGNNWarning` or a class below it.",
            "",
        ]
    )


def _beside(name: str) -> Callable[[], str]:
    return lambda: (ROOT / name).read_text(encoding="utf-8")


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/python.md": python,
    "reference/runtime.md": runtime,
    "reference/recipes.md": recipes,
    "reference/target-file.md": target_file,
    "reference/study-file.md": study_file,
    "reference/profile-record.md": profile_record,
    "reference/manifest.md": artifact_manifest,
    "reference/operators.md": operators,
    "reference/errors.md": error_classes,
    "security.md": _beside("SECURITY.md"),
    "changelog.md": _beside("CHANGELOG.md"),
}
