"""Public data sets by name: where their raw files are, and PyG's classes that read them.

Raw files are read where they lie. What PyG makes of them (`processed/`) always goes to the user's cache folder, so that
a shared or read-only data folder stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch_geometric
from torch_geometric.data import Data

from edgegnn.errors import DataError, first_line
from edgegnn.tasks.catalog import CITATION
from edgegnn.tasks.unpickling import arrays_only

__all__ = ["ATTRIBUTES", "NoAttributesError", "cache_folder", "load_raw", "planetoid", "quiet", "tu"]

_TIMEOUT_S = 10.0
ATTRIBUTES = "+attributes"  # behind the name of a TU set


class NoAttributesError(DataError):
    """Node attributes are asked for that the data set doesn't have."""


def cache_folder() -> Path:
    """Return the folder of downloaded and processed data: `edgegnn/data` in the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgegnn")) / "data"


def planetoid(name: str, root: Path | None) -> list[Data]:
    """Load Cora, CiteSeer or PubMed with bags of words as features and the public masks.

    Raises:
        DataError: no raw files and no network, or files that can't be read.
    """
    from torch_geometric.datasets import Planetoid

    folder = CITATION[name]
    files = [f"ind.{name}.{part}" for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")]
    url = f"{Planetoid.url}/{files[0]}"
    return load_raw(folder, files, root, url, lambda at: Planetoid(at, folder))


def tu(name: str, root: Path | None) -> list[Data]:
    """Load a set of the TU collection with its node labels as features.

    Args:
        name: "PROTEINS"; with node attributes in front of the labels: "PROTEINS+attributes".
        root: folder of the data sets; None: the environment's, else the user's cache.

    Raises:
        DataError: unknown name, no attributes, no raw files and no network, or files that can't be read.
    """
    from torch_geometric.datasets import TUDataset

    wanted = name.endswith(ATTRIBUTES)
    name = name.removesuffix(ATTRIBUTES)
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise DataError(f"{name!r} is no name of a TU data set: see https://chrsmrrs.github.io/datasets")
    files = [f"{name}_A.txt", f"{name}_graph_indicator.txt"]
    url = f"{TUDataset.url}/{name}.zip"

    attributes: list[int] = []

    def read(at: str) -> Any:
        labelled = TUDataset(at, name)
        # Sets without node labels may still have attributes: better those than the bare degree.
        attributes.append(labelled.num_node_attributes)
        use = attributes[-1] > 0 and (wanted or labelled.num_node_labels == 0)
        return TUDataset(at, name, use_node_attr=True) if use else labelled

    graphs = load_raw(name, files, root, url, read)
    if wanted and not attributes[-1]:
        raise NoAttributesError(f"{name} has no node attributes: leave {ATTRIBUTES} out")
    for graph in graphs:
        for key in ("x", "edge_attr"):  # PyG leaves matrices without columns where there are no labels
            if graph.get(key) is not None and graph[key].dim() == 2 and graph[key].size(1) == 0:
                del graph[key]
    return graphs


def load_raw(
    name: str, files: list[str], root: Path | None, url: str, read: Callable[[str], Any], *, inside: str = "raw"
) -> list[Data]:
    """Find or download the raw files, let PyG process them in the cache folder, and return the graphs.

    Args:
        name: of the folder in `root` that has them.
        files: their names.
        root: folder of the data sets; None: the environment's, else the user's cache.
        url: where PyG downloads the first of them.
        read: given a folder, makes PyG's data set there.
        inside: where in `name` PyG expects the raw files.

    Raises:
        DataError: no raw files and no network, or files that can't be read.
    """
    read = arrays_only()(read)
    environment = os.environ.get("EDGEGNN_DATA")
    given = root or (Path(environment) if environment else None)
    if given is not None and not given.is_dir():
        said = "" if root else " (from EDGEGNN_DATA)"
        raise DataError(f"there is no data folder {given}{said}: create it, or choose another with --data-root")
    for place in dict.fromkeys(p for p in (given, cache_folder()) if p is not None):
        source = _find_raw(place, name, files, inside)
        if source is not None:
            return _process(source, name, files, read, inside)
    with quiet(), _writable_cache() as cache:
        # A folder that was named for this call takes the download; one from the environment is left as it is.
        target = root or cache
        _download(name, url, target, read, inside)
        source = _find_raw(target, name, files, inside)
        if source is None:
            raise DataError(f"the download of {name} from {url} is incomplete: try again")
        return _process(source, name, files, read, inside)


def _find_raw(place: Path, name: str, files: list[str], inside: str) -> Path | None:
    """Return the folder name/raw or name, in any case, that has the files, or the archive name.zip."""
    try:
        folders = sorted(p for p in place.iterdir() if p.name.lower() == name.lower() and p.is_dir())
    except OSError:
        return None
    for folder in (f for p in folders for f in (p / inside, p / "raw", p)):
        if all((folder / f).is_file() for f in files):
            return folder
    archive = place / f"{name}.zip"
    return archive if archive.is_file() else None


def _process(source: Path, name: str, files: list[str], read: Callable[[str], Any], inside: str) -> list[Data]:
    """Read raw files through PyG, reusing what an earlier run with the same files and PyG version made of them."""
    members = [source] if source.is_file() else sorted(p for p in source.iterdir() if p.is_file())
    # The key holds what could change the result; PyG's processed files may not load in another PyG version.
    stamp = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in members]
    key = repr((str(source.resolve()), stamp, torch_geometric.__version__))
    with quiet(), _writable_cache() as cache:
        ready = cache / "processed" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        if ready.is_dir():
            with contextlib.suppress(Exception):  # a damaged cache entry is made again
                return list(read(str(ready)))
            shutil.rmtree(ready, ignore_errors=True)
        ready.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ready.parent, prefix=".making-") as making:
            raw = Path(making) / name / inside
            raw.mkdir(parents=True)
            if source.is_file():
                _unpack(source, raw, files)
            else:
                for member in members:
                    shutil.copyfile(member, raw / member.name)
            try:
                graphs = list(read(making))
            except DataError:
                raise
            except Exception as e:
                raise DataError(
                    f"the raw files of {name} in {source} can't be read ({_first_line(e)}): fetch them again"
                ) from e
            # Another process may have been faster; its result is as good.
            with contextlib.suppress(OSError):
                shutil.rmtree(raw)
                raw.mkdir()
                for f in files:
                    (raw / f).touch()  # PyG only looks whether they are there
                Path(making).rename(ready)
                Path(making).mkdir()
            return graphs


def _unpack(archive: Path, raw: Path, files: list[str]) -> None:
    """Copy the data files of an archive, by their last name only, so that no member can leave the folder."""
    prefix = files[0].removesuffix("A.txt")
    try:
        with zipfile.ZipFile(archive) as z:
            for info in z.infolist():
                base = Path(info.filename).name
                if not info.is_dir() and (base.startswith(prefix) or base in files):
                    with z.open(info) as src, (raw / base).open("wb") as dst:
                        shutil.copyfileobj(src, dst)
    except (zipfile.BadZipFile, OSError, EOFError) as e:
        raise DataError(f"the archive {archive} is damaged ({_first_line(e)}): fetch it again") from e
    missing = [f for f in files if not (raw / f).is_file()]
    if missing:
        raise DataError(f"the archive {archive} lacks {', '.join(missing)}: fetch it again")


def _download(name: str, url: str, folder: Path, read: Callable[[str], Any], inside: str) -> None:
    """Let PyG download a data set's raw files into a folder, after a look whether the network answers at all."""
    where = f"put its raw files into DATA_ROOT/{name}/raw and pass --data-root DATA_ROOT"
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "edgegnn"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as e:
        if e.code == 404:
            raise DataError(f"there is no data set {name} at {url}: check the name, or {where}") from None
    except (OSError, ValueError) as e:
        raise DataError(
            f"{name} is not on this machine and {url} can't be reached ({_first_line(e)}): no network? {where}"
        ) from None
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
            read(temporary)
            (folder / name).mkdir(exist_ok=True)
            shutil.rmtree(folder / name / inside, ignore_errors=True)
            (folder / name / inside).parent.mkdir(parents=True, exist_ok=True)
            (Path(temporary) / name / inside).rename(folder / name / inside)
    except Exception as e:
        raise DataError(f"the download of {name} from {url} failed ({_first_line(e)}): try again, or {where}") from e
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _writable_cache() -> Iterator[Path]:
    """Yield the cache folder, or a temporary one when the user's cache can't be written."""
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError:
        with tempfile.TemporaryDirectory(prefix="edgegnn-") as temporary:
            yield Path(temporary)
    else:
        yield cache


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what PyG prints and warns, and rdkit's log, while data are read: the user can do nothing about them."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        with contextlib.suppress(ImportError):
            from rdkit import rdBase

            stack.enter_context(rdBase.BlockLogs())
        logging.getLogger("fsspec").setLevel(logging.ERROR)
        yield


def _first_line(error: BaseException) -> str:
    reason = getattr(error, "reason", None)  # urllib wraps the cause
    return first_line(reason if isinstance(reason, BaseException) else error)
