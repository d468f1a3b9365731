"""The commands that drive devices: `edgegnn targets ...` and `edgegnn ship`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgegnn.cli.completion import complete_artifact, complete_target
from edgegnn.cli.options import DEVICE, Force, Host, Identity, Json, Port
from edgegnn.errors import UsageError

__all__ = ["ship", "targets"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the target.", autocompletion=complete_target)]

targets = typer.Typer(
    name="targets",
    help="List the known devices, describe a new one, check one, or make one ready.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@targets.callback()
def list_targets(context: typer.Context, as_json: Json = False) -> None:
    """List the known devices: reachable, runtime found, native kernels, how energy would be read.

    Examples:
        edgegnn targets
        edgegnn targets init shelf --host pi@192.168.1.7
        edgegnn targets setup shelf
        edgegnn targets check shelf
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
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new target: small letters, digits, - and _.")],
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            metavar="ARCH",
            help="aarch64 or x86_64 (default: what the device says, else aarch64).",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    description: Annotated[
        str | None,
        typer.Option("--description", metavar="TEXT", help="One line (default: what the device says it is)."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Describe a device of your own in ./targets/NAME.toml; it is asked over SSH what it is, if it answers.

    Without --host the address is asked for.

    Examples:
        edgegnn targets init shelf --host pi@192.168.1.7
        edgegnn targets init lab --host lab-board --port 2222 --identity ~/.ssh/lab --arch aarch64
    """
    from edgegnn.cli.render import devices, summaries
    from edgegnn.devices.new_target import check_new, write_target

    check_new(name, force=force)
    if host is None:
        host = str(typer.prompt("its address (user@host, or an alias of your SSH configuration)", err=True))
    with summaries.measuring(f"asking {host}") as status:
        made = write_target(
            name, host, port=port, identity=identity, arch=arch, description=description, force=force, tell=status
        )
    devices.described(made, as_json)


@targets.command()
def check(
    name: Name,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    as_json: Json = False,
) -> None:
    """Is a device ready to be measured on? Step by step, each failure with its cure; exit 1 when it is not.

    Examples:
        edgegnn targets check rpi
        edgegnn targets check rpi --host pi@192.168.1.7 --json
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
        typer.Option(
            "--wheelhouse", metavar="DIR", help="Folder of wheels to install from, for a device without network."
        ),
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

    Examples:
        edgegnn targets setup rpi --host pi@192.168.1.7
        edgegnn targets setup rpi --wheelhouse wheels
    """
    from edgegnn.cli.render import devices, summaries
    from edgegnn.devices import load_target
    from edgegnn.devices.connection import at
    from edgegnn.devices.setup import setup as make_ready

    target = at(load_target(name), host=host, port=port, identity=identity)
    with summaries.measuring(f"setting up {target.name}") as status:
        result = make_ready(target, wheelhouse=wheelhouse, onnxruntime=onnxruntime, torch=torch, tell=status)
    devices.ready(result, as_json)


def ship(
    artifact: Annotated[
        str | None,
        typer.Argument(
            metavar="ARTIFACT",
            help="The artifact (default: the newest one here); with --rollback, its name.",
            autocompletion=complete_artifact,
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="NAME",
            help="The device; see edgegnn targets.",
            autocompletion=complete_target,
            rich_help_panel=DEVICE,
        ),
    ] = "",
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the version before the one in use.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List what is installed there.")] = False,
    keep: Annotated[int, typer.Option("--keep", metavar="N", min=1, help="Versions that stay there.")] = 5,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    as_json: Json = False,
) -> None:
    """Install an artifact on a device and leave it there; it is proven there before it is used.

    Only files that changed travel. A program on the device opens the folder that is printed.

    Examples:
        edgegnn ship model-dq-int8 --target rpi
        edgegnn ship --target rpi --list
        edgegnn ship --target rpi --rollback model-dq-int8
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
