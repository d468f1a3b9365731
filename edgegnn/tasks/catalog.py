"""What there is by name: data sets, kinds of tasks, splits. Nothing here imports torch or opens a data set."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgegnn.errors import DataError, UsageError
from edgegnn.utils.extras import need
from edgegnn.utils.files import at_hand, check_plain

__all__ = [
    "ALIASES",
    "CITATION",
    "FILE_ENDINGS",
    "KINDS",
    "NODE_SETS",
    "SUPERPIXELS",
    "TASKS",
    "UNLABELLED",
    "WITHOUT_LABELS",
    "check_data",
    "check_labels",
    "check_metric",
    "check_split",
    "check_task",
    "check_transforms",
    "closest",
    "is_file",
    "labels_of",
    "names",
    "node_set_name",
    "object_name",
    "transform_name",
]

KINDS = ("node", "edge", "graph", "link")
WITHOUT_LABELS = "choose --quant static-int8, dynamic-int8 or none, or name a task whose labels the data have"
UNLABELLED = "none"  # the task of data whose labels, if they have any, are not looked at
# Name of a kind of task -> what gets an answer (None: the model's outputs say), and what the answer is.
TASKS: dict[str, tuple[str | None, str]] = {
    "node": ("node", "classes"),
    "node-multilabel": ("node", "labels"),
    "node-regression": ("node", "values"),
    "edge": ("edge", "classes"),
    "edge-multilabel": ("edge", "labels"),
    "edge-regression": ("edge", "values"),
    "graph": ("graph", "classes"),
    "graph-multilabel": ("graph", "labels"),
    "graph-regression": ("graph", "values"),
    "link-prediction": ("link", "classes"),
    UNLABELLED: (None, "none"),
}
CITATION = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
ALIASES = {"proteins": "tu:PROTEINS", "reddit-binary": "tu:REDDIT-BINARY", "bbbp": "molnet:BBBP"}
SUPERPIXELS = {"mnist-superpixels": "MNIST", "cifar10-superpixels": "CIFAR10"}
NODE_SETS = {
    "hetero": ("Roman-empire", "Amazon-ratings", "Minesweeper", "Tolokers", "Questions"),
    "webkb": ("Cornell", "Texas", "Wisconsin"),
    "wikipedia": ("Chameleon", "Squirrel"),
}
FILE_ENDINGS = (".pt", ".pth", ".npz", ".csv")
_PREFIXES = ("tu", "molnet", *NODE_SETS)
_OBJECT = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(.*\))?", re.DOTALL)
_TRANSFORM = re.compile(r"(?:([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):)?([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(.*\))?", re.DOTALL)
_OF_PYG = ("torch_geometric.transforms", "T")
_SPLIT = re.compile(r"public|full|stratified|scaffold|given|random(:.*)?|fold:\d+|file:.*", re.DOTALL)


def title(data: str) -> str:
    """The name of a data set as its authors write it; what is no known name stays as it is."""
    known = ALIASES.get(data.lower(), data)
    name = CITATION.get(known.lower(), known)
    prefix, colon, rest = name.partition(":")
    name = rest if colon and prefix in _PREFIXES else name
    return name.replace("+attributes", " with attributes")


def names() -> list[str]:
    """Return the names of the data sets, and the forms of those known by prefix."""
    prefixed = [f"{prefix}:NAME" for prefix in _PREFIXES]
    return [*CITATION, *ALIASES, "digits", "digits-knn", "zinc", *SUPERPIXELS, *prefixed]


def is_file(data: str) -> bool:
    """Return whether a task's data is the path of a user's file, or of a folder of .pt files, rather than a name."""
    if _is_name(data) or object_name(data) is not None:
        return False
    return data.endswith(FILE_ENDINGS) or Path(data).is_file() or any(Path(data).glob("*.pt")) or _processed(data)


def _processed(data: str) -> bool:
    return any(Path(data).glob("processed/*.pt"))


def object_name(data: str) -> tuple[str, str, str] | None:
    """Module, name and arguments in parentheses of data that a program makes; None for other data."""
    found = _OBJECT.fullmatch(data)
    if found is None or _is_name(data) or Path(data).exists():
        return None
    return found[1], found[2], found[3] or ""


def _is_name(data: str) -> bool:
    return data.lower() in names() or data.lower().startswith(tuple(f"{prefix}:" for prefix in _PREFIXES))


def check_data(data: str) -> None:
    """Refuse what names no data set and no file that is there.

    Raises:
        UsageError: an unknown name.
        DataError: a file that is not there.
    """
    if _is_name(data):
        prefix, _, rest = ALIASES.get(data.lower(), data).lower().partition(":")
        if prefix == "molnet":
            need("molecules", "molecules need", DataError)
        if prefix in NODE_SETS:
            node_set_name(prefix, rest)
        elif ":" in data and rest in ("", "name"):
            raise UsageError(f"{data} names a collection, not a data set: write {prefix}: and a name behind it")
        return
    if is_file(data):
        if not at_hand(data).exists():
            raise DataError(f"there is no data file {data}: check the path")
        check_plain(at_hand(data), DataError)
        if data.endswith(".csv"):
            need("molecules", "molecules need", DataError)
        return
    named = object_name(data)
    if named is not None:
        _check_module(data, named[0])
        return
    if any(Path(data).glob("*.npz")):  # a folder of graphs as arrays
        return
    if "/" in data or "\\" in data:
        raise DataError(f"there is no data file {data}: check the path")
    known = names()
    raise UsageError(
        f"unknown data set {data!r}{closest(data, known)}: choose one of {', '.join(known)}, or pass --data FILE.pt"
    )


def transform_name(text: str) -> tuple[str, str, str]:
    """Module ("" for PyG's transforms), name and arguments in parentheses of a transform that a user names.

    Raises:
        UsageError: it names none.
    """
    found = _TRANSFORM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"can't read --transform {text}: write NormalizeFeatures, or MODULE:FUNCTION(size=3)")
    module, name, call = found[1] or "", found[2], found[3] or ""
    if not module and "." in name:
        module, _, name = name.rpartition(".")
        if module not in _OF_PYG:
            raise UsageError(f"can't read --transform {text}: write {module}:{name}")
    return ("" if module in _OF_PYG and "." not in name else module), name, call


def check_transforms(texts: Sequence[str]) -> None:
    """Refuse transforms of modules that are nowhere, before anything is imported.

    Raises:
        UsageError: as of `transform_name`, or there is no such module.
    """
    for text in texts:
        module = transform_name(text)[0]
        if module and not _has_module(module):
            raise UsageError(f"--transform {text}: there is no module {module}: check the name")


def _has_module(module: str) -> bool:
    """Whether a module can be imported, as far as that can be told without importing; here, too."""
    top = module.partition(".")[0]
    if Path(f"{top}.py").is_file() or Path(top).is_dir():
        return True
    try:
        return find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _check_module(data: str, module: str) -> None:
    """Refuse data of a module that is nowhere, before anything is imported; the working folder is searched, too."""
    top = module.partition(".")[0]
    if not _has_module(module):
        prefix = data.partition(":")[0].lower()
        raise UsageError(
            f"unknown data set {data!r}{closest(prefix, list(_PREFIXES))}: there is no collection and no module {top}; "
            f"choose one of {', '.join(names())}, or run in the folder of {top}.py"
        )


def node_set_name(collection: str, name: str) -> str:
    """Return the name of a graph of `NODE_SETS` as it was published.

    Raises:
        UsageError: the collection has no such graph.
    """
    known = {n.lower(): n for n in NODE_SETS[collection]}
    key = name.lower().replace("_", "-")
    if key not in known:
        hint = closest(key, [n.lower() for n in known])
        raise UsageError(f"{collection} has no data set {name!r}{hint}: choose one of {', '.join(known.values())}")
    return known[key]


def check_task(task: str | None) -> None:
    """Refuse an unknown task, "node" or "node:paper" (about one type of nodes); None is none asked for.

    Raises:
        UsageError: it is none of `TASKS`.
    """
    if task is not None and task.partition(":")[0] not in TASKS:
        raise UsageError(f"unknown task {task!r}{closest(task, list(TASKS))}: choose one of {', '.join(TASKS)}")


def labels_of(targets: Sequence[str]) -> dict[str, str]:
    """Of what --target is given, name of an output -> the attribute with its labels (OUTPUT=ATTRIBUTE).

    Raises:
        UsageError: one side of a "=" is empty.
    """
    found = {}
    for text in targets:
        name, equal, attribute = text.partition("=")
        if equal and not (name and attribute):
            raise UsageError(f"can't read --target {text}: write --target OUTPUT=ATTRIBUTE, or the name of a device")
        if equal:
            found[name] = attribute
    return found


def check_labels(task: str | None, what: str, cure: str) -> None:
    """Refuse a task without labels where something is trained or judged by them.

    Args:
        task: one of `TASKS`, or None.
        what: what can't be had, and why, in words: "dq-int8 trains".
        cure: what to do instead.

    Raises:
        UsageError: the task has no labels.
    """
    if task == UNLABELLED:
        raise UsageError(f"{what}, and --task none has no labels to train with: {cure}")


def check_metric(metric: str | None) -> None:
    """Refuse an unknown metric; None is none asked for.

    Raises:
        UsageError: no kind of target has it.
    """
    if metric is None:
        return
    from edgegnn.runtime.metrics import METRICS  # numpy, which completion in a shell does not wait for

    if metric not in METRICS:
        hint = closest(metric, list(METRICS))
        raise UsageError(f"unknown metric {metric!r}{hint}: choose one of {', '.join(METRICS)}")


def check_split(split: str | None) -> None:
    """Refuse what is no split of any data; None is none asked for.

    Raises:
        UsageError: an unknown name, or a file that is not there.
    """
    if split is None:
        return
    if not _SPLIT.fullmatch(split):
        raise UsageError(
            f"unknown split {split!r}: choose public, full, stratified, scaffold, random, given or fold:0 to fold:9"
        )
    file = split.removeprefix("file:")
    if file != split and not at_hand(file).is_file():
        raise UsageError(f"--split-file {file}: there is no such file")


def closest(name: str, known: list[str]) -> str:
    """ " (did you mean NAME?)", or "" when nothing is alike."""
    found = difflib.get_close_matches(name.lower(), known, 1)
    return f" (did you mean {found[0]}?)" if found else ""
