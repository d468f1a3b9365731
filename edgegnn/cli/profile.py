"""The command `edgegnn profile`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgegnn.cli.completion import complete_artifact
from edgegnn.cli.options import OUTPUT, Host, Identity, Json, Port, Runtime, Targets, Threads
from edgegnn.errors import UsageError

if TYPE_CHECKING:
    from edgegnn.devices.target import Target
    from edgegnn.profiling import ProfileRecord

__all__ = ["profile"]

COMPARISON = "Comparison"
Compare = Annotated[
    Path | None,
    typer.Option(
        "--compare",
        metavar="OLD.json",
        help="Also show what changed from this record, and how surely.",
        rich_help_panel=COMPARISON,
    ),
]
FailAbove = Annotated[
    str | None,
    typer.Option(
        "--fail-above",
        metavar="LIMITS",
        help="With --compare: exit 1 when a figure grew by more, beyond noise: 5% (of the latency), or "
        "'latency=10% size=1% memory=10% energy=10% instructions=2% accuracy=0.5'.",
        rich_help_panel=COMPARISON,
    ),
]


def profile(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="ARTIFACT",
            help="The artifacts (default: the newest one here); with --compare also a record that was made before.",
            autocompletion=complete_artifact,
        ),
    ] = None,
    target: Targets = None,
    threads: Threads = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short windows: for a first look, not for a report.")] = False,
    runtime: Runtime = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="Also time each operator: where an inference spends its time.")
    ] = False,
    sweep_edges: Annotated[
        str | None,
        typer.Option(
            "--sweep-edges",
            metavar="EDGES",
            help="Also time smaller and larger graphs: 1k:1M (1k, 3k, 10k, ... edges), or a list like 5k,20k.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the records.", rich_help_panel=OUTPUT)
    ] = Path("profiles"),
    compare: Compare = None,
    fail_above: FailAbove = None,
    repeat: Annotated[
        int,
        typer.Option(
            "--repeat",
            metavar="N",
            min=1,
            max=50,
            help="Measure in N processes, one after the other: the spread from run to run is kept and compared.",
            rich_help_panel=COMPARISON,
        ),
    ] = 1,
    host: Host = None,
    port: Port = None,
    identity: Identity = None,
    as_json: Json = False,
) -> None:
    """Measure latency, memory, CPU, energy and accuracy of an artifact in a fresh process.

    The record goes to profiles/<target>/<artifact>.json.

    Several devices are measured side by side; a pair of artifact and device that fails stops no other.

    Examples:
        edgegnn profile model-dq-int8 --quick
        edgegnn profile model-* --target rpi --target x86
        edgegnn profile model-dq-int8 --operators --sweep-edges 1k:1M
        edgegnn profile model --compare old.json --fail-above "latency=10% size=1%" --repeat 5
        edgegnn profile --compare old.json --fail-above 5% new.json
    """
    from edgegnn.cli.render import devices, summaries
    from edgegnn.devices import load_target
    from edgegnn.devices.connection import at
    from edgegnn.profiling import newest_artifact
    from edgegnn.profiling import profile as run
    from edgegnn.profiling.parallel import profile_all

    chosen = artifacts or [newest_artifact(Path.cwd())]
    if len(chosen) == 1 and chosen[0].suffix == ".json" and chosen[0].is_file():
        if target or quick or operators or sweep_edges or repeat > 1:
            raise UsageError(
                f"{chosen[0]} is a profile record, nothing is measured: leave --target, --quick, --operators, "
                "--sweep-edges and --repeat out"
            )
        recorded(chosen[0], compare, fail_above, as_json)
        return
    found = {t.name: t for t in map(load_target, target or ["local"])}
    if (host or port or identity) and len(found) > 1:
        raise UsageError("--host, --port and --identity are for one --target: put them into the files of the targets")
    where = [at(t, host=host, port=port, identity=identity) for t in found.values()]
    small = [t for t in where if t.transport == "microcontroller"]
    if small:
        if operators or sweep_edges or repeat > 1:
            raise UsageError(
                "emulated microcontrollers count instructions: leave --operators, --sweep-edges and --repeat out"
            )
        weighed(chosen, small, where, output, as_json)
        return
    old, limits = baseline(compare, fail_above, len(chosen) * len(where))
    options: dict[str, Any] = {
        "quick": quick,
        "threads": threads,
        "runtime": runtime,
        "out": output,
        "operators": operators,
        "sweep": edge_counts(sweep_edges) if sweep_edges else (),
        "repeats": repeat,
    }
    if len(chosen) == len(where) == 1:
        with summaries.measuring(f"profiling {chosen[0].name}") as status:
            record = run(chosen[0], target=where[0], progress=status, keep=compare, **options)
        if old is not None:
            compared(old, record, limits, [compare.parent, output / where[0].name], as_json)  # type: ignore[union-attr]
            return
        summaries.profiled(record, as_json)
        return
    with devices.measuring_all([t.name for t in where]) as tell:
        pairs = profile_all(chosen, where, progress=tell, **options)
    devices.profiled_all(pairs, as_json)
    if any(pair.error is not None for pair in pairs):
        raise typer.Exit(1)


def edge_counts(text: str) -> list[int]:
    """Numbers of edges, of "1k:1M" (1, 3, 10, ... times the first, up to the second) or "5k,20k".

    Raises:
        UsageError: something else.
    """
    first, colon, last = text.partition(":")
    if not colon:
        return sorted({_count(part) for part in text.split(",")})
    low, high = _count(first), _count(last)
    steps = [low * 10**power * factor for power in range(10) for factor in (1, 3)]
    found = [step for step in steps if step <= high]
    if not found:
        raise UsageError(f"--sweep-edges {text[:40]} begins above its end")
    return found


def _count(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([kM]?)", text.strip())
    count = int(found[1]) * {"": 1, "k": 1000, "M": 1_000_000}[found[2]] if found else 0
    if not 1 <= count <= 10**9:
        raise UsageError(f"--sweep-edges is a range like 1k:1M or a list like 5k,20k, not {text[:40]!r}")
    return count


def weighed(artifacts: list[Path], small: list[Target], all_targets: list[Target], output: Path, as_json: bool) -> None:
    """`profile` on emulated microcontrollers."""
    from edgegnn.cli.render import boards, summaries
    from edgegnn.profiling.footprint import footprint

    if len(small) < len(all_targets):
        raise UsageError("emulated microcontrollers have no latency to compare: name them in a command of their own")
    found = []
    for artifact in artifacts:
        for target in small:
            with summaries.measuring(f"{artifact.name} on {target.name}") as status:
                found.append(footprint(artifact, target=target, out=output, progress=status))
    boards.weighed(found, as_json)


def baseline(
    compare: Path | None, fail_above: str | None, measurements: int
) -> tuple[ProfileRecord | None, dict[str, float]]:
    """The record and the limits of `profile --compare OLD.json --fail-above 5%`, read before anything is measured.

    Raises:
        DataError: there is no such record.
        UsageError: the options don't fit together.
    """
    from edgegnn.profiling import parse_limits, read_record

    if compare is None:
        if fail_above is not None:
            raise UsageError("--fail-above says how much is allowed with --compare OLD.json")
        return None, {}
    if measurements > 1:
        raise UsageError("--compare is for one artifact on one target")
    return read_record(compare), {} if fail_above is None else parse_limits(fail_above)


def recorded(path: Path, compare: Path | None, fail_above: str | None, as_json: bool) -> None:
    """`profile --compare OLD.json NEW.json`: nothing is measured.

    Raises:
        DataError: one of them is no record.
        UsageError: there is nothing to compare with.
    """
    from edgegnn.profiling import read_record

    new = read_record(path)
    old, limits = baseline(compare, fail_above, 1)
    if old is None or compare is None:
        raise UsageError(f"{path} is a profile record: compare it with an older one, --compare OLD.json {path}")
    compared(old, new, limits, [compare.parent, path.parent], as_json)


def compared(
    old: ProfileRecord, new: ProfileRecord, limits: dict[str, float], folders: list[Path], as_json: bool
) -> None:
    """Show what changed; exit 1 when that is too much."""
    from edgegnn.cli.render import devices
    from edgegnn.profiling import compare, machine_spread

    comparison = compare(old, new, fail_above=limits, machine=machine_spread(folders, new))
    devices.compared(new, comparison, as_json)
    if comparison.failed:
        raise typer.Exit(1)
