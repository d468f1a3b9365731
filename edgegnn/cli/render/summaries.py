"""What the commands print: tables for people on stdout, progress on stderr, JSON when asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edgegnn.cli.render.bits import bits_in_words
from edgegnn.cli.render.forms import c_in_words, web_in_words
from edgegnn.cli.render.terminal import Terminal, complain, say, text_column
from edgegnn.errors import PruneError
from edgegnn.exporting.proof_in_words import (
    against_float,
    drift_in_words,
    kept_properties,
    shipped_samples,
    slower_than_float,
    taken_graphs,
)
from edgegnn.quantize.recipe import shown_name
from edgegnn.runtime.metrics import metric_name, metric_text, without_metric
from edgegnn.utils.files import size

if TYPE_CHECKING:
    from edgegnn.checkpoint import Checkpoint
    from edgegnn.cli.quickstart import QuickstartResult
    from edgegnn.compression.compress import Compressed
    from edgegnn.devices import TargetInfo
    from edgegnn.exporting.pipeline import ExportResult
    from edgegnn.manifest import Aggregation, ArtifactManifest, Metric, ScriptForm, StayedFloat
    from edgegnn.profiling import ProfileRecord
    from edgegnn.runtime import VerifyReport
    from edgegnn.training import EpochLog

__all__ = [
    "compressed",
    "exported",
    "measuring",
    "profiled",
    "quickstart",
    "swept",
    "targets",
    "trained",
    "training",
    "verified",
]


class TrainingProgress:
    """Turns epoch logs and status words into one progress bar."""

    def __init__(self, bars: Progress, title: str) -> None:
        self.bars, self.title = bars, title
        self.task = bars.add_task(title, total=None, detail="")

    def __call__(self, log: EpochLog) -> None:
        """Show one epoch."""
        detail = f"loss {log.train_loss:.3f}"
        if log.val_loss is not None and log.val_metric is not None:
            detail += f"  val loss {log.val_loss:.3f}  val {metric_text(log.metric, log.val_metric)}"
        self.bars.update(self.task, total=log.epochs, completed=log.epoch, detail=detail)

    def status(self, text: str) -> None:
        """Say what is being done now."""
        self.bars.update(self.task, description=text, total=None, completed=0, detail="")


@contextlib.contextmanager
def training(title: str) -> Iterator[TrainingProgress]:
    """A progress bar on stderr for a command that may train."""
    columns = (
        SpinnerColumn(),
        text_column("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        text_column("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    console = Terminal(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield TrainingProgress(bars, title)


@contextlib.contextmanager
def measuring(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr for `profile`; yields a function of what is being done."""
    console = Terminal(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(Text(title)) as status:
        yield lambda text: status.update(Text(f"{title}: {text}"))


def trained(checkpoint: Checkpoint, path: Path, as_json: bool) -> None:
    """Result of `train`."""
    step, task = checkpoint.history[-1], checkpoint.task
    assert task is not None
    if as_json:
        facts = {"task": task.to_dict(), "metrics": checkpoint.metrics, "source": checkpoint.source, **step}
        _json({"model": str(path), "bytes": path.stat().st_size, **facts})
        return
    table = _facts()
    table.add_row("model", f"{_source(checkpoint)}, {_parameters(checkpoint)} parameters, {size(path.stat().st_size)}")
    table.add_row("data", f"{task.data}, {task.name} task, {task.split} split")
    table.add_row("recipe", shown_name(step["recipe"]))
    table.add_row("best epoch", f"{step['best_epoch']} of {step['epochs_run']}, {step['seconds']:.1f} s")
    _grades_row(table, step)
    if "average_bits" in step:
        table.add_row("average bits", bits_in_words(step["average_bits"]))
    table.add_row("validation", f"{metric_text(task.metric, checkpoint.metrics['val'])} {metric_name(task.metric)}")
    table.add_row("test", f"{metric_text(task.metric, checkpoint.metrics['test'])} {metric_name(task.metric)}")
    for name, value in checkpoint.metrics.items():
        if name not in ("val", "test"):
            table.add_row(name.replace("_", " "), metric_text(name, value))
    _print(table)
    say(f"saved {path}")
    options = " --allow-import" * ("factory" in checkpoint.source) + " --quant dq-int8" * (step["recipe"] == "none")
    say(f"next: edgegnn export{options} {path}")


def _source(checkpoint: Checkpoint) -> str:
    return str(checkpoint.source.get("zoo") or checkpoint.source.get("factory"))


def imported(checkpoint: Checkpoint, path: Path, as_json: bool) -> None:
    """Result of `import`."""
    task = checkpoint.task
    assert task is not None
    if as_json:
        facts = {"task": task.to_dict(), "metrics": checkpoint.metrics, "source": checkpoint.source}
        _json({"model": str(path), "bytes": path.stat().st_size, **facts})
        return
    table = _facts()
    source = checkpoint.source
    table.add_row("model", f"{source['factory']}, {_parameters(checkpoint)} parameters, {size(path.stat().st_size)}")
    table.add_row("data", f"{task.data}, {task.name} task, {task.split} split")
    for name, value in checkpoint.metrics.items():
        metric = task.metric if name in ("val", "test") else name
        table.add_row({"val": "validation"}.get(name, name), f"{metric_text(metric, value)} {metric_name(metric)}")
    _print(table)
    say(f"saved {path}")
    say(f"next: edgegnn export --allow-import --quant dq-int8 {path}")


def exported(result: ExportResult, as_json: bool, *, asked: bool = True) -> None:
    """Result of `export`; `asked` says whether a recipe was named."""
    m = result.manifest
    if m.fallback:
        complain(f"exported as TorchScript, because ONNX can't express the model: {m.fallback}")
    if as_json:
        _json({"artifact": str(result.path), **m.to_dict()})
        return
    table = _facts()
    fp32, now = m.sizes.fp32_model_file or 0, m.sizes.model_file
    foreign = "onnx" in m.source
    table.add_row("recipe", shown_name(m.recipe) + _why_this(m.recipe, asked, "static-int8" if foreign else "dq-int8"))
    if takes := taken_graphs(m):
        table.add_row("takes", takes)
    table.add_row("model file", f"{size(now)} (fp32: {size(fp32)}, {now / fp32:.2f}x)")
    if m.average_bits:
        table.add_row("average bits", bits_in_words(m.average_bits))
    _parity_rows(table, m)
    if properties := kept_properties(m):
        table.add_row("properties", properties)
    if taken := shipped_samples(m):
        table.add_row("samples.npz", f"{size(m.files['samples.npz'].bytes)}: {taken}")
    for name, words in against_float(m).items():
        table.add_row(name, words)
    if slower := slower_than_float(m):
        table.add_row("slower than float", slower)
    if foreign:
        _rewritten_rows(table, m.aggregations)
    _float_rows(table, m.stayed_float)
    _script_rows(table, m.torchscript)
    if m.c is not None:
        table.add_row("C", c_in_words(m.c))
    if m.web is not None:
        table.add_row("web", web_in_words(m.web))
    for entry in m.native:
        missing = "" if entry.there else "none, so it runs there on onnxruntime's own operators: "
        table.add_row(f"kernels for {entry.machine}", missing + entry.origin)
    _print(table)
    say(f"wrote {result.path}\nnext: edgegnn profile {result.path}")


def _rewritten_rows(table: Table, found: Sequence[Aggregation]) -> None:
    """What became of the aggregations of an ONNX file of another program, and why some stayed."""
    native = sum(each.rule is not None for each in found)
    whole = f"{native} of {len(found)} aggregations run on native operators" if found else "no aggregation was found"
    table.add_row("rewritten", whole)
    for each in found:
        if each.reason:
            place = f"{each.layer}: " if each.layer else ""
            what = each.aggregation if each.rule is None else f"{each.aggregation}, by {each.rule}"
            table.add_row("stayed" if each.rule is None else "no faster one", f"{place}{what}: {each.reason}")


def _why_this(recipe: str, asked: bool, smaller: str) -> str:
    """Why an export has its recipe, where the user named none."""
    if asked:
        return ""
    if recipe == "none":
        return f": the model is float and no --quant was given; --quant {smaller} makes it smaller and faster"
    return ": the model was trained with it"


def compressed(results: Sequence[Compressed | PruneError], as_json: bool) -> None:
    """Result of `compress` at one sparsity: the dense model, then the compressed one."""
    dense, small = (r for r in results if not isinstance(r, PruneError))
    checkpoint, row = small.checkpoint, small.row
    if as_json:
        _json(_compressed_entry(small) | {"dense": dense.row, "history": checkpoint.history[-1:]})
        return
    task, recipe = checkpoint.task, checkpoint.recipe
    assert task is not None
    table = Table(box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    for name in ("dense", "compressed"):
        table.add_column(name, justify="right")

    def add(what: str, value: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(what, value(dense.row), value(row))

    add("sparsity", lambda r: _percent(r["achieved"]))
    add(f"validation {metric_name(task.metric)}", lambda r: metric_text(task.metric, r["val"]))
    add(f"test {metric_name(task.metric)}", lambda r: metric_text(task.metric, r["test"]))
    add("model file", lambda r: size(r["bytes"]))
    add("non-zero weights", lambda r: f"{r['nonzero']:,} of {r['parameters']:,}")
    add("PyTorch, eager, p50", lambda r: _eager(r["eager_ms"]))
    _print(table)
    _say_caveat(row)
    pruning = checkpoint.pruning or {}
    if row["sparsity"] is not None:
        say(f"pruned: {pruning['method']}, {row['sparsity']:g} asked, {row['achieved']:.4f} reached")
        for key, what in (("multiply_adds", "multiply-adds of one forward"), ("message_adds", "of which sums")):
            if key in pruning:
                before, after = pruning[key]["before"], pruning[key]["after"]
                say(f"{what}: {before:,} before, {after:,} after ({after / max(before, 1):.2f}x)")
        for entry in pruning.get("excluded", []):
            say(f"not pruned: {entry['tensor']}: {entry['why']}")
    if recipe is not None:
        bits = checkpoint.history[-1].get("average_bits")
        say(f"recipe: {recipe.name}" + (f", {bits_in_words(bits)}" if bits else ""))
    options = " --allow-import" * ("factory" in checkpoint.source)
    say(f"saved {small.path}\nnext: edgegnn export{options} {small.path}")


def swept(results: Sequence[Compressed | PruneError], sparsities: Sequence[float], as_json: bool) -> None:
    """Result of `compress` over a range of sparsities: the dense model, then one result for each."""
    asked: list[float | None] = [None, *sparsities]
    if as_json:
        _json(
            [
                {"sparsity": s, "error": str(r)} if isinstance(r, PruneError) else _compressed_entry(r)
                for s, r in zip(asked, results, strict=True)
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for column in ("sparsity", "reached", "val", "test", "file", "of dense", "non-zero", "eager p50"):
        table.add_column(column, justify="right", no_wrap=True)
    first = next(r for r in results if not isinstance(r, PruneError))
    full, task = first.row["bytes"], first.checkpoint.task
    metric = task.metric if task is not None else ""
    for s, r in zip(asked, results, strict=True):
        name = "dense" if s is None else f"{s:g}"
        if isinstance(r, PruneError):
            table.add_row(name, "-")
            continue
        scores = [metric_text(metric, r.row["val"]), metric_text(metric, r.row["test"])]
        cells = [f"{r.row['achieved']:.4f}", *scores, size(r.row["bytes"])]
        cells += [f"{r.row['bytes'] / full:.2f}x", f"{r.row['nonzero']:,}", _eager(r.row["eager_ms"])]
        table.add_row(name, *cells)
    _print(table)
    _say_caveat(first.row)
    for s, r in zip(asked, results, strict=True):
        if isinstance(r, PruneError):
            say(f"{s:g}: {r}")
        elif r.path is not None:
            say(f"saved {r.path}")
    say(f"val, test: {metric_name(metric)}")
    say("eager p50: median time of one forward in PyTorch, which gains nothing from single zeros")


def _compressed_entry(result: Compressed) -> dict[str, Any]:
    from edgegnn.prune.edges import describe_pruning

    checkpoint = result.checkpoint
    recipe = checkpoint.recipe.name if checkpoint.recipe else "none"
    path = str(result.path) if result.path is not None else None
    return {"model": path, **result.row, "recipe": recipe, "pruning": describe_pruning(checkpoint.pruning)}


def _say_caveat(row: dict[str, Any]) -> None:
    if row["caveat"]:
        say(f"test: {row['caveat']}")


def _eager(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"


def verified(report: VerifyReport, artifact: Path, as_json: bool) -> None:
    """Result of `verify`."""
    if as_json:
        _json(report.to_dict())
        return
    table = Table(box=None, pad_edge=False)
    for column in ("sample", "rows", "equal predictions", "largest difference"):
        table.add_column(column, justify="left" if column == "sample" else "right")
    shown = report.samples if len(report.samples) <= 12 else report.samples[:4]
    for s in shown:
        table.add_row(s.name, str(s.rows), f"{s.agreeing}/{s.rows}", f"{s.max_abs_error:.3g}")
    _print(table)
    if len(shown) < len(report.samples):
        say(f"... and {len(report.samples) - len(shown)} more samples")
    if report.metric is not None:
        value = metric_text(report.metric.name, report.metric.value)
        say(f"{metric_name(report.metric.name)} over {report.metric.n} rows of the samples: {value}")
    elif report.metric_reason:
        say(without_metric(report.metric_reason))
    for name, (agreement, worst) in report.outputs.items():
        say(f"output {name}: {agreement:.2%} of the rows equal, largest difference {worst:.3g}")
    for problem in report.problems:
        say(f"problem: {problem}")
    if report.kernels_differ is not None:
        say(f"edgegnn's kernels against onnxruntime's own operators: largest difference {report.kernels_differ:.3g}")
    if report.c_form:
        say(f"C form: {report.c_form}")
    if report.web_form:
        say(f"web form: {report.web_form}")
    if report.saturated is not None:
        say(f"values at an end of a quantization point: {report.saturated:.2%} at most")
    verdict = "holds" if report.ok else "DOES NOT HOLD"
    say(f"{artifact} {verdict}: {report.files} files, {len(report.samples)} samples")


def profiled(record: ProfileRecord, as_json: bool) -> None:
    """Result of `profile`."""
    if as_json:
        _json(record.to_dict())
        return
    from edgegnn.profiling import render, render_operators, render_sweep

    _print(render([record]))
    if record.sweep:
        _print(render_sweep(record))
    if record.operators is not None:
        _print(render_operators(record))


def targets(found: list[TargetInfo], as_json: bool) -> None:
    """Result of `targets`."""
    if as_json:
        _json([target.to_dict() for target in found])
        return
    from edgegnn.profiling import render_targets

    _print(render_targets(found))


def quickstart(result: QuickstartResult, as_json: bool) -> None:
    """Result of `quickstart`."""
    if as_json:
        _json(result.to_dict())
        return
    from edgegnn.profiling import render

    _print(render(result.records))
    for name, manifest in result.manifests.items():
        parity = manifest.parity
        say(f"{name}: {parity.agreement:.2%} of predictions equal PyTorch's, verified on {parity.graphs} graphs")
    say(
        f"everything is in {result.folder}/\n"
        "next: edgegnn train gcn cora -o model.pt && edgegnn export --quant dq-int8 model.pt"
    )


# ---------------------------------------------------------------------------------------------------------------------


def _parity_rows(table: Table, manifest: ArtifactManifest) -> None:
    parity, metric = manifest.parity, manifest.metric
    near = parity.tolerance.within
    reference = "the file" if "onnx" in manifest.source else "PyTorch"
    name = "equal predictions" if near is None else f"within {min(near):.3g} of {reference}"
    table.add_row(name, f"{parity.agreement:.2%} (needed {parity.tolerance.agreement:.2%})")
    table.add_row("largest difference", f"{parity.max_abs_error:.3g} over {parity.graphs} graphs")
    if parity.drift is not None:
        table.add_row(f"over {parity.drift.steps} steps", drift_in_words(parity.drift))
    for other in parity.outputs:
        table.add_row(
            f"output {other.name}", f"{other.agreement:.2%} equal, largest difference {other.max_abs_error:.3g}"
        )
    if parity.sensitive:
        table.add_row("turn on rounding", turning(parity.sensitive))
    for split, found in (("validation", manifest.validation), ("test", metric)):
        if found is not None:
            table.add_row(f"{split} {metric_name(found.name)}", _both(found, reference))
    for head in manifest.heads:
        table.add_row(f"test {head.output} {metric_name(head.name)}", _both(head, reference))
    if metric is not None and metric.caveat:
        table.add_row("note", metric.caveat)
    if manifest.accuracy:
        table.add_row("note", manifest.accuracy)


def turning(names: list[str]) -> str:
    """Graphs for which a limit was raised (`edgegnn.exporting.parity`)."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}: PyTorch's own answer changes there, the limits are what was seen"


def _both(metric: Metric, reference: str) -> str:
    """A metric of the artifact, beside the same metric of what it was made from."""
    values = [metric_text(metric.name, value) for value in (metric.artifact, metric.pytorch)]
    reason = f": {metric.reason}" if metric.reason else ""
    return f"{values[0]} ({reference} {values[1]}, n = {metric.n}){reason}"


def _grades_row(table: Table, step: dict[str, Any]) -> None:
    """When GradES froze what, if it was at work."""
    grades = step.get("grades")
    if grades is None:
        return
    frozen = grades["frozen"]
    steps = f"{grades['steps']} of {grades['planned_steps']} steps"
    text = f"{len(frozen)} of {grades['matrices']} matrices frozen, {steps}"
    if frozen:
        first, last = frozen[0], frozen[-1]
        text += f"; first {first['tensor']} in epoch {first['epoch']}, last {last['tensor']} in epoch {last['epoch']}"
    table.add_row("GradES", text)


def _script_rows(table: Table, script: ScriptForm | None) -> None:
    """The parts of a TorchScript model that run on sparse kernels."""
    if script is None:
        return
    for what, found in (("pruned layers", script.layers), ("aggregations", script.aggregation)):
        if found:
            sparse = sum(entry["choice"] == "sparse" for entry in found)
            table.add_row(what, f"{sparse} of {len(found)} on sparse kernels, where they are faster")
    table.add_row("TorchScript", f"model.ts.pt, and {script.twin.file} (torch.export) beside it")


def _float_rows(table: Table, left: list[StayedFloat]) -> None:
    if left:
        total = sum(entry.bytes for entry in left)
        table.add_row("stayed float", f"{len(left)} tensors, {size(total)} (edgegnn inspect says why)")


def _parameters(checkpoint: Checkpoint) -> str:
    from torch import nn

    model = checkpoint.model
    return f"{sum(p.numel() for p in model.parameters()):,}" if isinstance(model, nn.Module) else "?"


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f} %"


def _facts() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _print(what: Any) -> None:
    Terminal().print(what)


def _json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, allow_nan=False))
