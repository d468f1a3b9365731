"""`python run.pyz verify|bench|predict`: the whole program of the device side."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import edgegnn
from edgegnn.errors import DataError, EdgeGNNError, UsageError, drop_output, first_line, printable, refused_write
from edgegnn.runtime.artifact import Artifact, open_artifact
from edgegnn.runtime.benchmark import ENERGY, FULL, QUICK, Opener, Plan, bench
from edgegnn.runtime.cuda import PROCESSORS
from edgegnn.runtime.entries import find_entry
from edgegnn.runtime.inference import predict, predict_entry
from edgegnn.runtime.manifest import MODEL_FILES
from edgegnn.runtime.metrics import NUMBERS, as_rows, metric_text, predictions, probabilities, without_metric
from edgegnn.runtime.npz import read_npz
from edgegnn.runtime.proof import VerifyReport, verify
from edgegnn.runtime.ranges import RangeWarning
from edgegnn.runtime.recurrent import first_state, next_state, parse_states
from edgegnn.runtime.samples import read_samples

__all__ = ["main", "run"]

MAX_PRINTED_ROWS = 20


def main(argv: Sequence[str] | None = None, *, opener: Opener | None = None) -> int:
    """Run one command.

    Args:
        argv: its words; None: those of this process.
        opener: what opens the model for `bench`; None: the artifact's own runtime.

    Returns:
        0: done and everything holds; 1: something failed; 2: wrong usage; 130: interrupted.
    """
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    try:
        code = run(argv, opener=opener)
        if sys.stdout is None:  # it was closed before Python started
            return _fail("can't write to stdout: it is closed", 1)
        sys.stdout.flush()
        return code
    except EdgeGNNError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # who read our output is gone
        drop_output()
        return 1
    except Exception as error:
        if debug:
            raise
        drop_output()
        if refused := refused_write(error):
            return _fail(refused, 1)
        return _fail(f"unexpected {type(error).__name__}: {first_line(error)} (run again with --debug)", 1)


def run(argv: Sequence[str] | None = None, *, opener: Opener | None = None) -> int:
    """Run one command, with errors as exceptions.

    Args:
        argv: its words; None: those of this process.
        opener: as of `main`.

    Raises:
        EdgeGNNError: as the command says.
    """
    arguments = _parser().parse_args(argv, argparse.Namespace(opener=opener))
    code: int = arguments.run(arguments)
    return code


def _fail(message: str, code: int) -> int:
    print(f"edgegnn: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code


def _say(text: str) -> None:
    """Print a line; names and words in it may come from a stranger's artifact."""
    print(printable(text))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="run.pyz",
        description="Prove, measure and use an edgegnn artifact. Needs numpy and onnxruntime (torch for TorchScript).",
    )
    parser.add_argument("--version", action="version", version=f"edgegnn {edgegnn.__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="verify|bench|predict", parser_class=_Parser
    )
    common = _Parser(add_help=False)
    common.add_argument(
        "--artifact", type=Path, default=_here(), help="the artifact (default: the folder of this file)"
    )
    common.add_argument("--threads", type=int, default=0, help="threads of one inference (default: one per core)")
    common.add_argument(
        "--runtime", choices=tuple(MODEL_FILES), help="of an artifact with two models (default: its own)"
    )
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")

    command = commands.add_parser("verify", parents=[common], help="does it compute here what PyTorch computed?")
    command.set_defaults(run=_verify)

    command = commands.add_parser("bench", parents=[common], help="latency, memory, CPU use and energy on this machine")
    command.add_argument("--quick", action="store_true", help="seconds instead of a minute: short windows")
    command.add_argument("--no-spinning", action="store_true", help="threads sleep between inferences (saves energy)")
    command.add_argument("--energy", choices=ENERGY, default="device", help="who reads the energy (default: device)")
    command.add_argument("--readers", help="kinds of energy readers to try, in order (default: all that fit)")
    command.add_argument("--processor", choices=PROCESSORS, default="cpu", help="where the model runs (default: cpu)")
    command.add_argument("--operators", action="store_true", help="also time each operator")
    command.add_argument("--sweep-edges", help="also time graphs of so many edges: 1000,10000")
    command.add_argument("--sustained", type=float, default=0.0, metavar="SECONDS", help="then run for so long")
    command.add_argument("--events", action="store_true", help="for programs: one JSON object a line, the result last")
    for name, text in _PLAN.items():
        command.add_argument(f"--{name.replace('_', '-')}", type=type(getattr(FULL, name)), help=text)
    command.set_defaults(run=_bench)

    command = commands.add_parser("predict", parents=[common], help="predict one graph")
    graph = command.add_mutually_exclusive_group(required=True)
    graph.add_argument(
        "--input", type=Path, help=".npz with one array per model input: numpy.savez('in.npz', x=x, edge_index=edges)"
    )
    graph.add_argument("--sample", type=int, metavar="N", help="graph N of those that the artifact ships, from 0 on")
    command.add_argument("--output", type=Path, help="write logits and classes to this .npz")
    command.add_argument("--force", action="store_true", help="replace the output file")
    command.add_argument(
        "--guard", action="store_true", help="a graph that saturates more than calibration did is an error"
    )
    command.add_argument(
        "--state",
        type=Path,
        help="of a recurrent model: read its state from this .npz if it is there, and write it there",
    )
    command.add_argument("--entry", help="run this entry point alone: encode once, then decode for each query")
    command.set_defaults(run=_predict)
    return parser


_PLAN = {
    "warmup_runs": "least number of inferences before measuring",
    "warmup_seconds": "its least duration",
    "runs": "least number of timed inferences",
    "seconds": "least duration of the latency pass",
    "windows": "number of energy windows",
    "window_seconds": "least duration of each",
    "window_iterations": "least number of inferences in each",
}


def _here() -> Path:
    """The folder of run.pyz, or the working folder when the package runs otherwise."""
    program = Path(sys.argv[0])
    return program.resolve().parent if program.suffix == ".pyz" else Path()


def _verify(arguments: argparse.Namespace) -> int:
    report = verify(arguments.artifact, threads=arguments.threads, runtime=arguments.runtime)
    if arguments.json:
        print(_json(report.to_dict()))
    else:
        _print_report(report)
    if not report.ok:
        return _fail(f"the artifact doesn't hold: {report.problems[0]}", 1)
    return 0


def _print_report(report: VerifyReport) -> None:
    for problem in report.problems:
        _say(f"problem: {problem}")
    rows = sum(result.rows for result in report.samples)
    _say(f"{report.artifact}: {'holds' if report.ok else 'DOES NOT HOLD'}")
    _say(f"  files      {report.files} checksums equal")
    _say(f"  samples    {len(report.samples)} graphs, {rows} rows of logits")
    _say(f"  kernels    {' and '.join(report.kernels)}")
    _say(f"  agreement  {report.agreement:.3%} of the predictions are PyTorch's")
    _say(f"  difference {report.max_abs_error:.3g} at most")
    for name, (agreement, worst) in report.outputs.items():
        _say(f"  {name:10} {agreement:.3%} of the rows are PyTorch's, difference {worst:.3g} at most")
    if report.saturated is not None:
        _say(f"  ranges     {report.saturated:.2%} of the values of a point are at its ends, at most")
    if report.metric is not None:
        value = metric_text(report.metric.name, report.metric.value)
        _say(f"  {report.metric.name:10} {value} over {report.metric.n} rows")
    elif report.metric_reason:
        _say(f"  {without_metric(report.metric_reason)}")


def _bench(arguments: argparse.Namespace) -> int:
    if arguments.energy == "host" and not arguments.events:
        raise UsageError("--energy host needs --events: the program that starts this one reads the energy")
    result = bench(
        arguments.artifact,
        plan=_plan(arguments),
        threads=arguments.threads,
        spinning=not arguments.no_spinning,
        energy=arguments.energy,
        announce=_emit if arguments.events else _ignore,
        gate=_wait if arguments.events and arguments.energy == "host" else _ignore,
        runtime=arguments.runtime,
        processor=arguments.processor,
        readers=tuple(filter(None, (arguments.readers or "").split(","))),
        operators=arguments.operators,
        sweep=_edges(arguments.sweep_edges or ""),
        sustained_seconds=_seconds(arguments.sustained),
        opener=arguments.opener,
    )
    if arguments.events:
        _emit({"event": "result", "result": result})
    elif arguments.json:
        print(_json(result))
    else:
        _print_bench(result)
    return 0


def _plan(arguments: argparse.Namespace) -> Plan:
    given = {name: getattr(arguments, name) for name in _PLAN if getattr(arguments, name) is not None}
    for name, value in given.items():
        least = 1 if name in ("runs", "windows", "window_iterations") else 0
        if not (math.isfinite(value) and least <= value <= 1e6):
            raise UsageError(f"--{name.replace('_', '-')} must be between {least} and 1000000, not {value}")
    return replace(QUICK if arguments.quick else FULL, **given)


def _seconds(value: float) -> float:
    if not (math.isfinite(value) and 0 <= value <= 86_400):
        raise UsageError(f"--sustained must be between 0 and 86400 seconds, not {value}")
    return value


def _edges(text: str) -> list[int]:
    counts = [int(part) if part.isdecimal() and len(part) < 12 else 0 for part in text.split(",") if part]
    if any(not 1 <= count <= 10**9 for count in counts):
        raise UsageError(f"--sweep-edges is a list like 1000,10000, not {text[:40]!r}")
    return sorted(counts)


def _emit(event: dict[str, Any]) -> None:
    print(_json(event), flush=True)


def _ignore(event: dict[str, Any]) -> None:
    """Nobody listens."""


def _wait(event: dict[str, Any]) -> None:
    """Announce that a window is about to start, and wait for a line from the host."""
    _emit(event)
    if not sys.stdin.readline():
        raise UsageError("the program that reads the energy is gone")


def _print_bench(result: dict[str, Any]) -> None:
    latency, memory, energy = result["latency_ms"], result["memory_bytes"], result["energy_j"]
    device = result["device"]
    runs = f"torch {device['torch']}" if device["torch"] else f"onnxruntime {device['onnxruntime']}"
    _say(f"{result['artifact']} on {device['model']}, {latency['threads']} threads, {runs}")
    _say("  latency    " + ", ".join(f"{k} {latency[k]:.3f} ms" for k in ("p50", "p90", "p99", "min")))
    _say(f"             {latency['n']} inferences over {result['how']['graphs']} graphs")
    for entry in result["entries"]:
        pairs = "" if entry["pairs"] is None else f", {entry['pairs']} pairs"
        _say(f"  {entry['name']:10} p50 {entry['latency_ms']['p50']:.3f} ms alone{pairs}")
    _say(f"  start      {result['start_ms']['open']:.1f} ms to open, first {result['start_ms']['first']:.1f} ms")
    for node in sorted((result["operators"] or {"nodes": []})["nodes"], key=lambda n: -n["ms"])[:10]:
        _say(f"  operator   {node['ms']:.3f} ms {node['name']}")
    for point in result["sweep"]:
        time = point["reason"] or f"{point['p50_ms']:.3f} ms"
        _say(f"  {point['edges']} edges: {time}")
    _say(f"  throughput {result['throughput_per_s']:.1f} per second")
    _say(f"  CPU        {result['cpu_percent']:.0f} % of {device['cores']} cores")
    _say(f"  memory     {memory['peak_delta'] / 2**20:.1f} MiB over baseline, model file {memory['model_file']} bytes")
    if result["metric"] is not None:
        value = metric_text(result["metric"]["name"], result["metric"]["value"])
        _say(f"  {result['metric']['name']:10} {value} over {result['metric']['n']} rows")
    elif result["metric_reason"]:
        _say(f"  {without_metric(result['metric_reason'])}")
    if energy is None:
        _say(f"  energy     not known: {result['energy_reason']}")
    else:
        net = "below the idle noise" if energy["net"] is None else f"{energy['net'] * 1e3:.4g} mJ over idle"
        _say(f"  energy     {energy['gross'] * 1e3:.4g} mJ per inference, {net} ({energy['kind']}: {energy['source']})")
    if result["how"]["quick"]:
        _say("  quick: short windows, not the full protocol")


def _predict(arguments: argparse.Namespace) -> int:
    output: Path | None = arguments.output
    if output is not None and output.exists() and not arguments.force:
        raise UsageError(f"{output} exists: choose another name, or replace it with --force")
    # Files beside the model are no reason not to use it: people put their inputs there.
    artifact = open_artifact(arguments.artifact, extra_files=True, runtime=arguments.runtime)
    inputs = _graph(artifact, arguments)
    if arguments.state is not None:
        inputs = _with_state(artifact, inputs, arguments)
    if arguments.entry is not None:
        with _warnings_told():
            outputs = predict_entry(artifact, arguments.entry, inputs, threads=arguments.threads, guard=arguments.guard)
        if artifact.manifest.main.name not in outputs:
            return _print_arrays(outputs, output, arguments.json)
    else:
        with _warnings_told():
            given = predict(artifact, inputs, threads=arguments.threads, guard=arguments.guard)
        outputs = given if isinstance(given, dict) else {artifact.manifest.main.name: given}
    if arguments.state is not None:
        _save(arguments.state, **next_state(artifact.manifest, outputs))
    return _print_outputs(artifact, outputs, output, arguments.json)


def _with_state(artifact: Artifact, inputs: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """The inputs with the state of --state, or with the initial state where there is no such file yet."""
    states = parse_states(artifact.manifest)
    if not states or arguments.entry is not None:
        raise UsageError("--state is for a recurrent model, exported with --state INPUT=OUTPUT: leave it out")
    if not arguments.state.exists():
        return {**first_state(artifact.manifest, inputs), **inputs}
    known = read_npz(arguments.state, DataError)
    if sorted(known) != sorted(states):
        raise DataError(f"{arguments.state} holds {', '.join(known) or 'nothing'}, the state is {', '.join(states)}")
    return {**inputs, **known}


def _print_outputs(artifact: Artifact, outputs: dict[str, Any], output: Path | None, as_json: bool) -> int:
    """The main output as predictions, and the others as they are."""
    main = artifact.manifest.main.name
    logits = as_rows(outputs[main])
    others = {name: value for name, value in outputs.items() if name != main}
    target = artifact.manifest.target
    labels = predictions(logits, target)
    found = {"values": logits} if target in NUMBERS else {"logits": logits, target: labels}
    if artifact.manifest.kind == "link":
        found["probabilities"] = probabilities(logits)
    if others or outputs[main].ndim != 2:  # by the names that they have in the model
        named = found.pop("values", None) is None and found.pop("logits", None) is not None
        found = {**outputs, **(found if named else {})}
    if output is not None:
        _save(output, **found)
    if as_json:
        print(_json({name: value.tolist() for name, value in found.items()}))
    elif output is None:
        for row in range(min(len(labels), MAX_PRINTED_ROWS)):
            numbers = " ".join(f"{v:.5g}" for v in logits[row])
            if "probabilities" in found:
                numbers += f", probability {found['probabilities'][row]:.4f}"
            said = {"classes": f"class {labels[row]}, logits", "labels": f"labels {labels[row]}, logits"}
            _say(f"row {row}: {said.get(target, 'values')} {numbers}")
        if len(labels) > MAX_PRINTED_ROWS:
            _say(f"... {len(labels)} rows; --output y.npz writes them all")
        for name, value in others.items():
            _say(f"{name} {list(value.shape)}: --output y.npz writes it")
    else:
        _say(f"{output}: {len(labels)} rows")
    return 0


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Say what the range guard warns of in one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RangeWarning)
        yield
    for warning in caught:
        print(f"edgegnn: warning: {printable(' '.join(str(warning.message).split()))}", file=sys.stderr)


def _graph(artifact: Artifact, arguments: argparse.Namespace) -> dict[str, Any]:
    """The arrays of --input, or of the shipped graph that --sample names."""
    if arguments.input is not None:
        return read_npz(arguments.input, DataError)
    samples = read_samples(artifact)
    if not 0 <= arguments.sample < len(samples):
        raise UsageError(f"the artifact ships {len(samples)} graphs: --sample must be 0 to {len(samples) - 1}")
    inputs = samples[arguments.sample].inputs
    if arguments.entry is None:
        return inputs
    own = {spec.name for spec in find_entry(artifact.manifest.entries, arguments.entry).inputs}
    return {name: value for name, value in inputs.items() if name in own}


def _print_arrays(arrays: dict[str, Any], output: Path | None, as_json: bool) -> int:
    """Print the outputs of an entry that gives no predictions yet: embeddings."""
    if output is not None:
        _save(output, **arrays)
    if as_json:
        print(_json({name: value.tolist() for name, value in arrays.items()}))
    else:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in arrays.items())
        _say(f"{output}: {shapes}" if output is not None else f"{shapes}; --output z.npz writes them")
    return 0


def _save(path: Path, **arrays: Any) -> None:
    import numpy

    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            numpy.savez(file, **arrays)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise DataError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink()


def _json(value: Any) -> str:
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value
