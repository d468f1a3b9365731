"""`edgegnn quickstart`: the whole flow on data that comes with the install."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgegnn import api
from edgegnn.cli.options import Json
from edgegnn.errors import ExportError, UsageError

if TYPE_CHECKING:
    from edgegnn.manifest import ArtifactManifest
    from edgegnn.profiling import ProfileRecord

__all__ = ["QuickstartResult", "quickstart", "run"]

# Data that needs no download, with the model and the training that suit it.
EMBEDDED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "digits": ("gin", {"hidden": 64, "layers": 3}, {"epochs": 20}),
    "digits-knn": ("gcn", {}, {"epochs": 100}),
}


@dataclass(frozen=True)
class QuickstartResult:
    """Where everything is, the profile records (fp32 first), and the manifests of the artifacts by name."""

    folder: Path
    records: list[ProfileRecord]
    manifests: dict[str, ArtifactManifest]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values."""
        records = [record.to_dict() for record in self.records]
        manifests = {name: manifest.to_dict() for name, manifest in self.manifests.items()}
        return {"folder": str(self.folder), "records": records, "manifests": manifests}


def run(
    data: str,
    folder: Path,
    *,
    progress: api.Progress | None = None,
    status: Callable[[str], None] = lambda _: None,
) -> QuickstartResult:
    """Train, export as fp32 and dq-int8, verify and profile both.

    Args:
        data: "digits" or "digits-knn".
        folder: gets model.pt, both artifacts and profiles/; an earlier quickstart's are replaced.
        progress: called after each epoch.
        status: told in a few words what is being done.

    Raises:
        UsageError: other data, or a folder that holds something else.
    """
    from edgegnn.profiling import profile

    if data not in EMBEDDED:
        raise UsageError(
            f"quickstart runs on {' or '.join(EMBEDDED)}; for {data!r}: edgegnn train gcn {data} -o model.pt"
        )
    marker = folder / "model.pt"
    if folder.exists() and any(folder.iterdir()) and not marker.is_file():
        raise UsageError(f"{folder} holds something else: choose another folder with -o")
    model, architecture, settings = EMBEDDED[data]
    status(f"training {model} on {data}")
    checkpoint = api.train(
        model, data, output=marker, architecture=architecture, settings=settings, force=True, progress=progress
    )
    shutil.rmtree(folder / "profiles", ignore_errors=True)
    records, manifests = [], {}
    for recipe in ("none", "dq-int8"):
        name = f"{data}-fp32" if recipe == "none" else f"{data}-{recipe}"
        exported = api.export(
            marker,
            quant=recipe,
            output=folder / name,
            force=True,
            command="edgegnn quickstart",
            progress=progress,
            status=status,
        )
        status(f"verifying {name}")
        report = api.verify(exported.path)
        if not report.ok:
            raise ExportError(f"{exported.path} does not verify: {report.problems[0]}")
        manifests[name] = exported.manifest
        status(f"profiling {name}")
        records.append(profile(exported.path, quick=True, out=folder / "profiles"))
    assert checkpoint.task is not None
    return QuickstartResult(folder, records, manifests)


def quickstart(
    data: Annotated[
        str, typer.Option("--data", metavar="DATA", help="digits (graphs) or digits-knn (nodes).")
    ] = "digits",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for everything it makes.")
    ] = Path("edgegnn-quickstart"),
    as_json: Json = False,
) -> None:
    """Train, export as fp32 and INT8, verify and profile both, on data that comes with the install.

    Examples:
        edgegnn quickstart
        edgegnn quickstart --data digits-knn -o first-look
    """
    from edgegnn.cli.render import summaries

    with summaries.training("quickstart") as progress:
        result = run(data, output, progress=progress, status=progress.status)
    summaries.quickstart(result, as_json)
