"""The command `edgegnn bench`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgegnn.cli.options import DEVICE, OUTPUT, Force, Host, Identity, Json, Port, Target, Threads
from edgegnn.errors import UsageError

if TYPE_CHECKING:
    from edgegnn.bench.runners import Runner
    from edgegnn.bench.tasks import BenchTask
    from edgegnn.devices.target import Target as TargetFile

__all__ = ["bench"]

TASKS, COMPARISON = "Tasks and runners", "Comparison"
_TIME = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(s|m|h)?")
_UNITS = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 24 * 3600.0


def bench(
    new: Annotated[
        Path | None, typer.Argument(metavar="NEW.json", help="With --compare: the newer results.", show_default=False)
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", metavar="NAMES", help="Tasks, with commas (default: all).", rich_help_panel=TASKS),
    ] = None,
    runner: Annotated[
        list[str] | None,
        typer.Option(
            "--runner",
            metavar="NAMES",
            help="edgegnn, edgegnn-fp32, onnxruntime, eager, c, openvino, or a runtime of yours as module:function; "
            "with commas, or several times (default: edgegnn).",
            rich_help_panel=TASKS,
        ),
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option(
            "--prepared",
            metavar="DIR",
            help="Folder of prepared tasks; copy it to compare devices (default: in the user's cache).",
            rich_help_panel=TASKS,
        ),
    ] = None,
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare", help="Make the tasks anew, and measure nothing: minutes of training.", rich_help_panel=TASKS
        ),
    ] = False,
    target: Target = "local",
    threads: Threads = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Short windows: for a first look, not for a result.", rich_help_panel=DEVICE)
    ] = False,
    sustained: Annotated[
        str | None,
        typer.Option(
            "--sustained",
            metavar="TIME",
            help="Then run each task so long without a pause (10m, 90s): throughput, temperature, throttling.",
            rich_help_panel=DEVICE,
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            metavar="OLD.json",
            help="Measure nothing: show what changed from these results to NEW.json.",
            rich_help_panel=COMPARISON,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of the results and the pictures.", rich_help_panel=OUTPUT
        ),
    ] = Path("bench"),
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run EdgeGNN-Bench: eight tasks of graph networks on a device, one graph at a time, at 99 % of fp32's quality.

    Writes results.json (records, checksums, versions) and a picture to show. The first run prepares the tasks.

    Examples:
        edgegnn bench --quick
        edgegnn bench --runner edgegnn,eager,onnxruntime -o bench-here
        edgegnn bench --target rpi --tasks cora-gcn,proteins-gin --sustained 10m
        edgegnn bench --compare bench-here/results.json bench/results.json
    """
    if compare is not None or new is not None:
        _compare(compare, new, as_json)
        return
    seconds = 0.0 if sustained is None else duration(sustained)
    from edgegnn.bench.runners import choose_runners
    from edgegnn.bench.tasks import choose
    from edgegnn.devices import load_target
    from edgegnn.devices.connection import at
    from edgegnn.utils.extras import need

    chosen, runners = choose(tasks or []), choose_runners(runner or [])
    if prepare:
        _prepare(chosen, prepared, as_json)
        return
    where = at(load_target(target), host=host, port=port, identity=identity)
    _check(where, runners, seconds, output, force=force)
    need("report", "the card of `edgegnn bench` needs")

    from edgegnn.bench.output import write_results  # only now: importing torch takes seconds
    from edgegnn.bench.run import run
    from edgegnn.cli.render import bench as render

    with render.running() as status:
        bundle = run(
            chosen,
            runners,
            where,
            folder=prepared,
            quick=quick,
            threads=threads,
            sustained=seconds,
            command=asked(chosen, runners, where.name, threads=threads, quick=quick, sustained=sustained),
            status=status,
        )
        written = write_results(bundle, output)
    render.ran(written, as_json)
    if not bundle.measured:
        raise typer.Exit(1)


def asked(
    tasks: list[BenchTask],
    runners: list[Runner],
    target: str,
    *,
    threads: int | None,
    quick: bool,
    sustained: str | None,
) -> str:
    """The command that repeats a run, without the places of this machine: results travel."""
    from edgegnn.bench.tasks import TASKS as ALL

    command = ["edgegnn bench", f"--runner {','.join(runner.name for runner in runners)}"]
    command += [f"--tasks {','.join(task.name for task in tasks)}"] if len(tasks) < len(ALL) else []
    command += [f"--target {target}"] if target != "local" else []
    command += [f"--threads {threads}"] if threads is not None else []
    command += ["--quick"] if quick else []
    command += [f"--sustained {sustained}"] if sustained else []
    return " ".join(command)


def duration(text: str) -> float:
    """Seconds of a time like 10m, 90s or 1h.

    Raises:
        UsageError: it is none, or longer than a day.
    """
    found = _TIME.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 1 <= seconds <= _LONGEST:
        raise UsageError(f"--sustained is a time like 10m, 90s or 1h, from 1 s to 24 h, not {text[:40]!r}")
    return seconds


def _check(target: TargetFile, runners: list[Runner], seconds: float, output: Path, *, force: bool) -> None:
    """Say what can't be had before minutes of measuring.

    Raises:
        UsageError: it can't.
    """
    from edgegnn.utils.files import check_free

    if target.transport == "microcontroller":
        raise UsageError(
            f"{target.name} is an emulated microcontroller, which has no times: edgegnn profile --target {target.name}"
        )
    for each in runners:
        reason = each.refusal(target)
        if reason:
            raise UsageError(reason)
        if seconds and not each.long:
            raise UsageError(f"--sustained: {each.name} can't tell how minutes went: leave one of them out")
    if seconds and target.transport == "emulated":
        raise UsageError(f"{target.name} is emulated: its times are not a measurement; leave --sustained out")
    check_free(output / "results.json", force=force)


def _prepare(tasks: list[BenchTask], folder: Path | None, as_json: bool) -> None:
    from edgegnn.bench.run import prepare_all
    from edgegnn.cli.render import bench as render

    with render.running() as status:
        found = prepare_all(tasks, folder, again=True, status=status)
    if render.prepared(found, as_json):
        raise typer.Exit(1)


def _compare(old: Path | None, new: Path | None, as_json: bool) -> None:
    if old is None:
        raise UsageError(f"{new} is the newer result of --compare OLD.json: leave it out, or see edgegnn bench --help")
    if new is None:
        raise UsageError("name two results: edgegnn bench --compare OLD.json NEW.json")
    from edgegnn.bench.comparing import compare_bundles
    from edgegnn.bench.files import read_bundle
    from edgegnn.cli.render import bench as render

    render.compared(compare_bundles(read_bundle(old), read_bundle(new)), as_json)
