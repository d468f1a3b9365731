"""The command `edgegnn doctor`."""

from __future__ import annotations

import typer

from edgegnn.cli.options import Json

__all__ = ["doctor"]


def doctor(as_json: Json = False) -> None:
    """Look at this machine: packages, kernels, compilers, devices, data folders; each with its state and its cure.

    Exit 1 only when training, exporting or measuring can't work here.

    Examples:
        edgegnn doctor
        edgegnn doctor --json
    """
    from edgegnn.cli.checkup import checkup
    from edgegnn.cli.render import tools

    found = checkup()
    tools.doctor(found, as_json)
    if any(finding.state == "broken" for finding in found):
        raise typer.Exit(1)
