"""The commands that drive devices: `edgegnn targets ...` and `edgegnn ship`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgegnn.errors import UsageError

if TYPE_CHECKING:
    from edgegnn.profiling import ProfileRecord

__all__ = ["Compare", "FailAbove", "Host", "Identity", "Port", "baseline", "compared", "ship", "targets"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Host = Annotated[
    str | None, typer.Option("--host", metavar="[USER@]HOST", help="Name, address or SSH alias of the device.")
]
Port = Annotated[int | None, typer.Option("--port", help="Port of its SSH server.")]
Identity = Annotated[Path | None, typer.Option("--identity", metavar="KEY", help="File of the private key to use.")]
Compare = Annotated[
    Path | None,
    typer.Option("--compare", metavar="OLD.json", help="Also show what changed from this record, and how surely."),
]
FailAbove = Annotated[
    str | None,
    typer.Option("--fail-above", metavar="5%", help="With --compare: exit 1 when p50 grew by more, beyond noise."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the target.")]

targets = typer.Typer(
    name="targets",
    help="List the known devices, check one, or make one ready.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@targets.callback()
def list_targets(context: typer.Context, as_json: Json = False) -> None:
    """List the known devices: reachable, runtime found, native kernels, how energy would be read.

    Example: edgegnn targets
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise UsageError(f"put --json behind {context.invoked_subcommand}")
        return
    from edgegnn.cli.render import summaries
    from edgegnn.devices import targets as known

    with summaries.measuring("asking the devices"):
        found = known()
    summaries.targets(found, as_json)


@targets.command()
def check(
    name: Name,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    as_json: Json = False,
) -> None:
    """Is a device ready to be measured on? Step by step, each failure with its cure; exit 1 when it is not.

    Example: edgegnn targets check rpi
    """
    from edgegnn.cli.render import devices, summaries
    from edgegnn.devices import load_target
    from edgegnn.devices.connection import at
    from edgegnn.devices.readiness import check as look

    target = at(load_target(name), host=host, port=port, identity=identity)
    with summaries.measuring(f"checking {target.name}") as status:
        steps = look(target, tell=status)
    devices.checked(target.name, steps, as_json)
    if any(step.state == "failed" for step in steps):
        raise typer.Exit(1)


@targets.command()
def setup(
    name: Name,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    wheelhouse: Annotated[
        Path | None,
        typer.Option("--wheelhouse", help="Folder of wheels to install from, for a device without network."),
    ] = None,
    onnxruntime: Annotated[
        str | None,
        typer.Option("--onnxruntime", metavar="VERSION", help="Install this one, not the one known to work."),
    ] = None,
    torch: Annotated[
        bool, typer.Option("--torch", help="Also torch (for CPUs), which TorchScript artifacts need.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a device ready: a virtual environment with numpy and onnxruntime there; its address is remembered here.

    Nothing needs root there. Doing it again changes nothing.

    Example: edgegnn targets setup rpi --host pi@192.168.1.7
    """
    from edgegnn.cli.render import devices, summaries
    from edgegnn.devices import load_target
    from edgegnn.devices.connection import at
    from edgegnn.devices.setup import setup as make_ready

    target = at(load_target(name), host=host, port=port, identity=identity)
    with summaries.measuring(f"setting up {target.name}") as status:
        result = make_ready(target, wheelhouse=wheelhouse, onnxruntime=onnxruntime, torch=torch, tell=status)
    devices.ready(result, as_json)


def baseline(
    compare: Path | None, fail_above: str | None, measurements: int
) -> tuple[ProfileRecord | None, float | None]:
    """The record and the limit of `profile --compare OLD.json --fail-above 5%`, read before anything is measured.

    Raises:
        DataError: there is no such record.
        UsageError: the options don't fit together.
    """
    from edgegnn.profiling import parse_limit, read_record

    if compare is None:
        if fail_above is not None:
            raise UsageError("--fail-above says how much is allowed with --compare OLD.json")
        return None, None
    if measurements > 1:
        raise UsageError("--compare is for one artifact on one target")
    return read_record(compare), None if fail_above is None else parse_limit(fail_above)


def compared(old: ProfileRecord, new: ProfileRecord, limit: float | None, as_json: bool) -> None:
    """Show what changed; exit 1 when that is too much."""
    from edgegnn.cli.render import devices
    from edgegnn.profiling import compare

    comparison = compare(old, new, fail_above=limit)
    devices.compared(new, comparison, as_json)
    if comparison.failed:
        raise typer.Exit(1)


def ship(
    artifact: Annotated[
        str | None, typer.Argument(help="The artifact (default: the newest one here); with --rollback, its name.")
    ] = None,
    target: Annotated[str, typer.Option("--target", help="The device; see edgegnn targets.")] = "",
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the version before the one in use.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List what is installed there.")] = False,
    keep: Annotated[int, typer.Option("--keep", min=1, help="Versions that stay there.")] = 5,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    as_json: Json = False,
) -> None:
    """Install an artifact on a device and leave it there; it is proven there before it is used.

    Only files that changed travel. A program on the device opens the folder that is printed.

    Example: edgegnn ship model-dq-int8 --target rpi
    """
    from edgegnn.cli.render import devices, summaries
    from edgegnn.devices import load_target
    from edgegnn.devices import ship as shipping
    from edgegnn.devices.connection import at
    from edgegnn.profiling import newest_artifact

    if not target:
        raise UsageError("name the device with --target; edgegnn targets lists them")
    if rollback and listing:
        raise UsageError("--rollback and --list exclude each other")
    if rollback and artifact is None:
        raise UsageError("name the artifact to roll back: edgegnn ship --rollback NAME --target ...; --list lists them")
    device = at(load_target(target), host=host, port=port, identity=identity)
    if device.transport == "local":
        raise UsageError(f"{device.name} is this machine: an artifact needn't be shipped to it, copy its folder")
    if listing:
        with summaries.measuring(f"asking {device.name}") as status:
            found = shipping.installed(device, tell=status)
        devices.installed(device.name, found, as_json)
        return
    if rollback:
        assert artifact is not None
        with summaries.measuring(f"asking {device.name}") as status:
            result = shipping.rollback(shipping.name_of(artifact), device, tell=status)
    else:
        chosen = Path(artifact) if artifact is not None else newest_artifact(Path.cwd())
        with summaries.measuring(f"shipping {chosen.name}") as status:
            result = shipping.ship(chosen, device, keep=keep, tell=status)
    devices.shipped(result, as_json)
