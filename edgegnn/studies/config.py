"""study.toml: what a study compares. Wrong keys and values are named with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgegnn.errors import EdgeGNNError, StudyError, UsageError
from edgegnn.quantize.recipe import stored_name
from edgegnn.utils.files import read_toml

__all__ = ["Architecture", "Case", "Finetune", "Settings", "Study", "beside", "check_names", "read_study"]

Count = Annotated[int, msgspec.Meta(ge=1)]
Seed = Annotated[int, msgspec.Meta(ge=0)]
Sparsity = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Names = tuple[Name, ...]


class Architecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[case.architecture]`: what `edgegnn train` has options for; None: the model's default."""

    hidden: Count | None = None
    layers: Count | None = None
    heads: Count | None = None
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    pool_ratio: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[case.settings]`: fields of `FitConfig`; None: what suits model and data."""

    epochs: Count | None = None
    lr: Annotated[float, msgspec.Meta(gt=0)] | None = None
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] | None = None
    batch_size: Count | None = None
    patience: Count | None = None
    halve_lr_every: Count | None = None


class Finetune(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[case.finetune]`: the same, and how much is learnt from the dense model after pruning."""

    distill: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table `[[case]]`: every model on every data set, compressed in every way.

    Attributes:
        models: of the zoo, or of `[models.NAME]`.
        data: data sets by name, or files (beside study.toml).
        prune: pruning methods; None: the study's, like the next three.
        sparsities: share that goes, in [0, 1); 0 is the dense model, which every method shares.
        quant: recipes.
        seeds: of training.
        schedule: of fine-grained and global pruning.
        variant: of regularized pruning.
        task: what the data are for; None: as the labels say, like the next two.
        metric: what the model is judged by.
        split: which split.
        split_seed: of a split that is drawn.
        architecture: see `Architecture`.
        settings: of the dense training.
        finetune: of training after pruning and with fake quantization; see `Finetune`.
    """

    models: Annotated[Names, msgspec.Meta(min_length=1)]
    data: Annotated[Names, msgspec.Meta(min_length=1)]
    prune: Names | None = None
    sparsities: tuple[Sparsity, ...] | None = None
    quant: Names | None = None
    seeds: tuple[Seed, ...] | None = None
    schedule: Literal["one-shot", "gradual"] = "one-shot"
    variant: Literal["l1", "group-norm", "growing"] | None = None
    task: str | None = None
    metric: str | None = None
    split: str | None = None
    split_seed: Seed = 0
    architecture: Architecture = Architecture()
    settings: Settings = Settings()
    finetune: Finetune = Finetune()


class OwnModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table `[models.NAME]`: a model of one's own, which cases name as those of the zoo.

    Attributes:
        factory: "package.module:function" that builds it; imported only with `--allow-import`.
        args: its arguments.
    """

    factory: Name
    args: dict[str, Any] = {}


class Study(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study file.

    Attributes:
        case: see `Case`.
        models: see `OwnModel`.
        prune: of cases that don't say; like the next three.
        sparsities: see `Case`.
        quant: see `Case`.
        seeds: see `Case`.
        store: SQLite file of the results, beside study.toml; "": study.toml's own name with .db.
        timing: "full" measures as `edgegnn profile` does, "quick" as its --quick, "off" not at all.
        target: device to measure on.
        threads: of one inference; None: as the target says.
        keep_artifacts: artifacts stay after they were measured.
        path: the file; not a key of it.
    """

    case: Annotated[tuple[Case, ...], msgspec.Meta(min_length=1)]
    models: dict[str, OwnModel] = {}
    prune: Names = ()
    sparsities: tuple[Sparsity, ...] = (0.0,)
    quant: Names = ("none",)
    seeds: tuple[Seed, ...] = (0,)
    store: str = ""
    timing: Literal["full", "quick", "off"] = "full"
    target: Name = "local"
    threads: Annotated[int, msgspec.Meta(ge=0, le=1024)] | None = None
    keep_artifacts: bool = True
    path: str = ""

    @property
    def folder(self) -> Path:
        """Where study.toml lies; its paths start from there."""
        return Path(self.path).absolute().parent

    @property
    def store_path(self) -> Path:
        """The SQLite file."""
        return self.folder / (self.store or f"{Path(self.path).stem}.db")

    @property
    def files(self) -> Path:
        """The folder of checkpoints, artifacts and profile records."""
        return self.store_path.with_name(f"{self.store_path.stem}-files")

    def of(self, case: Case, key: str) -> Any:
        """The case's own value, or the study's."""
        own = getattr(case, key)
        value = getattr(self, key) if own is None else own
        return tuple(map(stored_name, value)) if key == "quant" else value  # cells keep their names in the store


def read_study(path: Path) -> Study:
    """Read a study file; names are not looked up yet (`check_names`).

    Raises:
        UsageError: there is no such file.
        StudyError: it can't be read, is no TOML, or has an unknown key or a wrong value: file, line and key are named.
    """
    if not path.exists():
        raise UsageError(f"there is no {path}: write one with `edgegnn study init`")
    text, values = read_toml(path, StudyError)
    if "path" in values:
        raise StudyError(f"{path}, line {_line(text, ['path'])}: unknown key 'path'; known are {_keys(Study)}")
    try:
        return msgspec.convert({**values, "path": str(path)}, Study)
    except msgspec.ValidationError as error:
        raise StudyError(f"{path}{_explain(str(error), text)}") from error


def check_names(study: Study) -> None:
    """Look up every name in the study before anything is trained.

    Raises:
        StudyError: one is unknown, or two values exclude each other; file, line and what is known are named.
    """
    from edgegnn.compression.plan import PrunePlan
    from edgegnn.devices import load_target
    from edgegnn.models import names as models
    from edgegnn.quantize import recipe

    text = Path(study.path).read_text(encoding="utf-8")

    def check(value: str, place: list[str | int], look_up: Callable[[], Any]) -> None:
        try:
            look_up()
        except EdgeGNNError as error:
            line = _line_of(text, value, _line(text, place))
            raise StudyError(f"{study.path}, line {line}: {_dotted(place)}: {error}") from error

    if study.timing != "off":
        check(study.target, ["target"], lambda: load_target(study.target))
    for name, own in study.models.items():
        check(own.factory, ["models", name], lambda n=name, o=own: _own_model(n, o, models()))  # type: ignore[misc]
    for i, case in enumerate(study.case):

        def place(key: str, i: int = i, case: Case = case) -> list[str | int]:
            return ["case", i, key] if getattr(case, key) is not None else [key]

        for model in case.models:
            known = [*models(), *study.models]
            check(model, place("models"), lambda m=model, k=known: _known("model", m, k))  # type: ignore[misc]
        for data in case.data:
            check(data, place("data"), lambda d=data: _data(study, d))  # type: ignore[misc]
        for name in study.of(case, "quant"):
            check(name, place("quant"), lambda n=name: recipe(beside(study, n)))  # type: ignore[misc]
        for method in study.of(case, "prune"):
            variant = case.variant if method == "regularized" else None
            schedule = case.schedule if method in ("fine-grained", "global") else "one-shot"
            check(method, place("prune"), lambda m=method, s=schedule, v=variant: PrunePlan(m, 0.5, s, v))  # type: ignore[misc]
        if case.task is not None:
            from edgegnn.tasks.catalog import TASKS, UNLABELLED

            labelled = [task for task in TASKS if task != UNLABELLED]
            check(case.task, place("task"), lambda t=case.task, k=labelled: _known("task", t, k))  # type: ignore[misc]


def beside(study: Study, name: str) -> str:
    """The path of a file that the study names, which lies beside it; other names as they are."""
    if name.endswith((".json", ".pt", ".pth", ".csv")):
        return str(study.folder / Path(name).expanduser())
    return name


def _data(study: Study, name: str) -> None:
    from edgegnn.tasks import names

    known = names()
    prefixes = tuple(form.removesuffix("NAME") for form in known if form.endswith(":NAME"))
    if name.lower() in known or name.lower().startswith(prefixes):
        return
    if beside(study, name) != name:
        if not Path(beside(study, name)).is_file():
            raise StudyError(f"there is no data file {beside(study, name)}: check the path")
        return
    _known("data set", name, known)


def _own_model(name: str, model: OwnModel, zoo: list[str]) -> None:
    from edgegnn.compression.new_model import check_new, is_factory

    if name in zoo:
        raise StudyError(f"{name} is a model of the zoo: give your own another name")
    if not is_factory(model.factory):
        raise StudyError(f"the factory {model.factory[:60]!r} is not of the form package.module:function")
    check_new(model.factory, None, None, model.args)


def _known(what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise StudyError(f"unknown {what} {name[:60]!r}: choose one of {', '.join(known)}")


# Where a key stands -------------------------------------------------------------------------------------------------


def _explain(message: str, text: str) -> str:
    """Line and key of a validation error: ", line 3: case[0].seeds: expected `int`, got `str`"."""
    at = re.search(r" - at `\$\.?(.*)`$", message)
    path = _tokens(at[1]) if at else []
    what = (message[: at.start()] if at else message).replace(" | null", "")
    unknown = re.search(r"unknown field `([^`]*)`", message)
    if unknown:
        return (
            f", line {_line(text, [*path, unknown[1]])}: unknown key {_dotted([*path, unknown[1]])!r}; "
            f"known are {_keys(_struct(path))}"
        )
    missing = re.search(r"missing required field `([^`]*)`", message)
    if missing:
        line = f", line {_line(text, path)}" if path else ""
        return f"{line}: {_dotted(path)}{': ' * bool(path)}the key {missing[1]!r} is missing"
    if not path:
        return f": {what[:1].lower()}{what[1:]}"
    return f", line {_line(text, path)}: {_dotted(path)}: {what[:1].lower()}{what[1:]}"


def _struct(path: list[str | int]) -> type[msgspec.Struct]:
    keys = [token for token in path if isinstance(token, str)]
    if keys[:1] != ["case"]:
        return OwnModel if keys[:1] == ["models"] else Study
    tables: dict[str, type[msgspec.Struct]] = {
        "architecture": Architecture,
        "settings": Settings,
        "finetune": Finetune,
    }
    return tables.get(keys[1], Case) if len(keys) > 1 else Case


def _keys(struct: type[msgspec.Struct]) -> str:
    return ", ".join(field for field in struct.__struct_fields__ if field != "path")


def _tokens(path: str) -> list[str | int]:
    """`case[1].seeds[0]` as ["case", 1, "seeds", 0]."""
    return [int(n) if n else word for word, n in re.findall(r"([A-Za-z0-9_-]+)(?![^\[]*\])|\[(\d+)\]", path)]


def _dotted(path: list[str | int]) -> str:
    text = "".join(f"[{token + 1}]" if isinstance(token, int) else f".{token}" for token in path)
    return text.lstrip(".")


def _line(text: str, path: list[str | int]) -> int:
    """The line where a key stands, or the table that it should stand in; 1 when neither can be found."""
    table: list[str] = []
    number_of_case = -1
    wanted_case = path[1] if path[:1] == ["case"] and len(path) > 1 else None
    keys = [token for token in path if isinstance(token, str)]
    best, depth = 1, -1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\[\]]+?)\s*\]+\s*(#.*)?$", line)
        if header:
            table = [part.strip(" \"'") for part in header[1].split(".")]
            number_of_case += table == ["case"]
            here = table
        else:
            assignment = re.match(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*[=.]""", line)
            if not assignment:
                continue
            here = [*table, assignment[1]]
        if here[0] == "case" and wanted_case is not None and number_of_case != wanted_case:
            continue
        if keys[: len(here)] == here and len(here) > depth:
            best, depth = number, len(here)
    return best


def _line_of(text: str, value: str, key_line: int) -> int:
    """The first line at or after its key's line that has this string; the key's line when none has."""
    for number, line in enumerate(text.splitlines(), 1):
        if number >= key_line and (f'"{value}"' in line or f"'{value}'" in line):
            return number
    return key_line
