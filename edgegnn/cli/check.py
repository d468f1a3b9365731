"""The commands that look at what there is: `edgegnn verify`, `inspect` and `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.completion import complete_artifact
from edgegnn.cli.options import DEVICE, OUTPUT, AllowImport, Factory, FactoryArgs, Force, Json, Runtime, UnsafePickle
from edgegnn.cli.values import json_object
from edgegnn.errors import DataError, UsageError

__all__ = ["inspect", "predict", "verify"]


def verify(
    artifact: Annotated[
        Path,
        typer.Argument(metavar="ARTIFACT", help="The artifact: a folder or a .zip.", autocompletion=complete_artifact),
    ],
    runtime: Runtime = None,
    as_json: Json = False,
) -> None:
    """Prove an artifact against its own samples; exit 1 when it does not hold.

    Examples:
        edgegnn verify model-dq-int8
        edgegnn verify model.zip --json
    """
    from edgegnn import api
    from edgegnn.cli.render import summaries

    report = api.verify(artifact, runtime=runtime)
    summaries.verified(report, artifact, as_json)
    if not report.ok:
        raise typer.Exit(1)


def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="model.pt, a .pt2 program, or an artifact.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Which rewrite rule applied to each aggregation, or why none did.")
    ] = False,
    factory: Factory = None,
    factory_args: FactoryArgs = None,
    allow_import: AllowImport = False,
    unsafe_pickle: UnsafePickle = False,
    as_json: Json = False,
) -> None:
    """Say what a model file or an artifact is: sizes, recipe, accuracy, what stayed float and why.

    Examples:
        edgegnn inspect model.pt
        edgegnn inspect model-dq-int8 --explain
    """
    from edgegnn import api
    from edgegnn.cli.render import inspection

    description = api.inspect(
        path,
        factory=factory,
        factory_args=json_object("--factory-args", factory_args),
        allow_import=allow_import,
        unsafe_pickle=unsafe_pickle,
    )
    inspection.described(description, as_json, explain=explain)


def predict(
    artifact: Annotated[
        Path,
        typer.Argument(metavar="ARTIFACT", help="The artifact: a folder or a .zip.", autocompletion=complete_artifact),
    ],
    input: Annotated[
        Path | None,
        typer.Argument(metavar="INPUT.npz", help="One array per model input: numpy.savez('in.npz', x=x, ...)."),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", min=0, help="Instead: graph N of those that the artifact ships, from 0."),
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option("--entry", metavar="NAME", help="Run this entry point alone: encode once, decode for each query."),
    ] = None,
    guard: Annotated[
        bool, typer.Option("--guard", help="A graph that saturates more than calibration did is an error.")
    ] = False,
    runtime: Runtime = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", metavar="N", min=0, help="Intra-op threads; 0: one per core.", rich_help_panel=DEVICE
        ),
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT.npz", help="Write logits and classes there.", rich_help_panel=OUTPUT
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Predict one graph with an artifact, as its own `run.pyz predict` does on the device.

    Examples:
        edgegnn predict model-dq-int8 --sample 0
        edgegnn predict model-dq-int8 graph.npz -o answer.npz
    """
    from edgegnn.runtime.cli import run

    if (input is None) == (sample is None):
        raise UsageError("name one graph: edgegnn predict ARTIFACT INPUT.npz, or --sample 0 for one that it ships")
    if input is not None and not input.is_file():
        raise DataError(f"there is no {input}: write it with numpy.savez, one array per model input")
    named = {"--artifact": artifact, "--input": input, "--sample": sample, "--entry": entry, "--output": output}
    named |= {"--runtime": runtime, "--threads": threads}
    words = [word for name, value in named.items() if value is not None for word in (name, str(value))]
    run(["predict", *words, *["--guard"] * guard, *["--force"] * force, *["--json"] * as_json])
