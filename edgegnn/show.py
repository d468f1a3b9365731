"""What the commands print: tables for people on stdout, progress on stderr, JSON when asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from edgegnn.files import size

if TYPE_CHECKING:
    from edgegnn.checkpoint import Checkpoint
    from edgegnn.export.flow import ExportResult
    from edgegnn.profile import ProfileRecord, TargetInfo
    from edgegnn.quickstart import QuickstartResult
    from edgegnn.runtime import VerifyReport
    from edgegnn.train import EpochLog

__all__ = [
    "described",
    "exported",
    "measuring",
    "profiled",
    "quickstart",
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
        detail = f"loss {log.train_loss:.3f}  val loss {log.val_loss:.3f}  val {100 * log.val_metric:.1f} %"
        self.bars.update(self.task, total=log.epochs, completed=log.epoch, detail=detail)

    def status(self, text: str) -> None:
        """Say what is being done now."""
        self.bars.update(self.task, description=text, total=None, completed=0, detail="")


@contextlib.contextmanager
def training(title: str) -> Iterator[TrainingProgress]:
    """A progress bar on stderr for a command that may train."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield TrainingProgress(bars, title)


@contextlib.contextmanager
def measuring(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr for `profile`; yields a function of what is being done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(title) as status:
        yield lambda text: status.update(f"{title}: {text}")


def trained(checkpoint: Checkpoint, path: Path, as_json: bool) -> None:
    """Result of `train`."""
    step, task = checkpoint.history[-1], checkpoint.task
    assert task is not None
    if as_json:
        facts = {"task": task.to_dict(), "metrics": checkpoint.metrics, "source": checkpoint.source, **step}
        _json({"model": str(path), "bytes": path.stat().st_size, **facts})
        return
    table = _facts()
    table.add_row(
        "model", f"{checkpoint.source.get('zoo')}, {_parameters(checkpoint)} parameters, {size(path.stat().st_size)}"
    )
    table.add_row("data", f"{task.data}, {task.kind} task, {task.split} split")
    table.add_row("recipe", step["recipe"])
    table.add_row("best epoch", f"{step['best_epoch']} of {step['epochs_run']}, {step['seconds']:.1f} s")
    table.add_row("validation", f"{_percent(checkpoint.metrics['val'])} {task.metric}")
    table.add_row("test", f"{_percent(checkpoint.metrics['test'])} {task.metric}")
    _print(table)
    _say(f"saved {path}\nnext: edgegnn export --quant dq-int8 {path}")


def exported(result: ExportResult, as_json: bool) -> None:
    """Result of `export`."""
    m = result.manifest
    if as_json:
        _json({"artifact": str(result.path), **m})
        return
    table = _facts()
    fp32, now = m["sizes"]["fp32_model_file"], m["sizes"]["model_file"]
    table.add_row("recipe", m["recipe"])
    table.add_row("model file", f"{size(now)} (fp32: {size(fp32)}, {now / fp32:.2f}x)")
    _parity_rows(table, m)
    _float_rows(table, m["stayed_float"])
    _print(table)
    _say(f"wrote {result.path}\nnext: edgegnn profile {result.path}")


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
        _say(f"... and {len(report.samples) - len(shown)} more samples")
    if report.metric is not None:
        _say(f"{report.metric.name} over {report.metric.n} rows of the samples: {_percent(report.metric.value)}")
    for problem in report.problems:
        _say(f"problem: {problem}")
    if report.kernels_differ is not None:
        _say(f"edgegnn's kernels against onnxruntime's own operators: largest difference {report.kernels_differ:.3g}")
    verdict = "holds" if report.ok else "DOES NOT HOLD"
    _say(f"{artifact} {verdict}: {report.files} files, {len(report.samples)} samples")


def described(facts: dict[str, Any], as_json: bool, *, explain: bool = False) -> None:
    """Result of `inspect`."""
    if as_json:
        _json(facts)
        return
    table = _facts()
    for key, value in facts.items():
        if key not in {"stayed_float", "history", "aggregations"}:
            table.add_row(key.replace("_", " "), str(value))
    for i, step in enumerate(facts.get("history", []), 1):
        words = (
            f"{step.get('step')} ({step.get('recipe')}): {step.get('epochs_run')} epochs, best {step.get('best_epoch')}"
        )
        table.add_row(f"step {i}", words)
    _print(table)
    left = facts.get("stayed_float", [])
    if left:
        floats = Table(box=None, pad_edge=False, title="stayed float", title_justify="left")
        floats.add_column("tensor")
        floats.add_column("size", justify="right")
        floats.add_column("why")
        for entry in left:
            floats.add_row(entry["tensor"], size(entry["bytes"]), entry["why"])
        _print(floats)
    if explain:
        _aggregations(facts)


def _aggregations(facts: dict[str, Any]) -> None:
    """What became of each aggregation at export."""
    found = facts.get("aggregations")
    if not found:
        none = "it has no aggregation" if facts["kind"] == "artifact" else "rules apply at export: explain the artifact"
        _say(f"no rule applied: {none}")
        return
    table = Table(box=None, pad_edge=False, title="aggregations", title_justify="left")
    for column in ("layer", "what it computes", "rule", "why not"):
        table.add_column(column)
    for entry in found:
        table.add_row(entry["layer"], entry["aggregation"], entry["rule"] or "none", entry["reason"])
    _print(table)


def profiled(record: ProfileRecord, as_json: bool) -> None:
    """Result of `profile`."""
    if as_json:
        _json(record.to_dict())
        return
    from edgegnn.profile import render

    _print(render([record]))


def targets(found: list[TargetInfo], as_json: bool) -> None:
    """Result of `targets`."""
    if as_json:
        _json([target.to_dict() for target in found])
        return
    from edgegnn.profile import render_targets

    _print(render_targets(found))


def quickstart(result: QuickstartResult, as_json: bool) -> None:
    """Result of `quickstart`."""
    if as_json:
        _json(result.to_dict())
        return
    from edgegnn.profile import render

    _print(render(result.records))
    for name, manifest in result.manifests.items():
        parity = manifest["parity"]
        _say(f"{name}: {parity['agreement']:.2%} of predictions equal PyTorch's, verified on {parity['graphs']} graphs")
    _say(
        f"everything is in {result.folder}/\n"
        "next: edgegnn train gcn cora -o model.pt && edgegnn export --quant dq-int8 model.pt"
    )


# ---------------------------------------------------------------------------------------------------------------------


def _parity_rows(table: Table, manifest: dict[str, Any]) -> None:
    parity, metric = manifest["parity"], manifest["metric"]
    table.add_row("equal predictions", f"{parity['agreement']:.2%} (needed {parity['tolerance']['agreement']:.2%})")
    table.add_row("largest difference", f"{parity['max_abs_error']:.3g} over {parity['graphs']} graphs")
    table.add_row(
        f"test {metric['name']}",
        f"{_percent(metric['artifact'])} (PyTorch {_percent(metric['pytorch'])}, n = {metric['n']})",
    )


def _float_rows(table: Table, left: list[dict[str, Any]]) -> None:
    if left:
        total = sum(entry["bytes"] for entry in left)
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
    Console().print(what)


def _say(text: str) -> None:
    typer.echo(text)


def _json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, allow_nan=False))
