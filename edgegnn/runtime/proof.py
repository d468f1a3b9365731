"""Does the artifact, here, compute what its PyTorch model computed?"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegnn.runtime.artifact import Artifact, open_artifact
from edgegnn.runtime.inference import guarded
from edgegnn.runtime.manifest import Manifest, Metric
from edgegnn.runtime.metrics import LOWER_IS_BETTER, as_rows, compare, predictions, same_rows
from edgegnn.runtime.outputs import OutputLimit, parse_limits
from edgegnn.runtime.samples import Sample, read_samples, samples_score
from edgegnn.runtime.session import make_session, native_kernels, run_every

__all__ = ["SampleResult", "VerifyReport", "metric_problems", "verify"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SampleResult:
    """One sample: rows of logits, how many predict the same class, largest absolute difference of a logit."""

    name: str
    origin: str
    rows: int
    agreeing: int
    max_abs_error: float


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        artifact: its name.
        problems: what doesn't, one line each.
        files: files whose checksums were compared.
        samples: result of each sample.
        agreement: share of equal predictions over all rows of the samples from data, in [0, 1].
        max_abs_error: largest difference of a logit over all samples.
        outputs: name of each output but the main one -> its share of equal rows, and its largest difference.
        metric: the task metric over the samples, computed here; None when they have no labels.
        expected_metric: the same in the manifest.
        metric_reason: why there is no metric, where that is known.
        saturated: the largest share of values at an end of a quantization point in one sample; None without points.
        kernels: what was checked: "edgegnn" (native kernels) and "onnxruntime" (standard operators), or "torchscript".
            The numbers above are those of the first.
        c_form: how the C form was proven, in words; "" where there is none, or on a device.
        web_form: the same of the WebAssembly form.
        kernels_differ: largest difference of a logit between the two; None where only one could be run.
    """

    artifact: str
    problems: tuple[str, ...]
    files: int
    samples: tuple[SampleResult, ...]
    agreement: float
    max_abs_error: float
    metric: Metric | None
    expected_metric: Metric | None
    kernels: tuple[str, ...] = ("onnxruntime",)
    kernels_differ: float | None = None
    metric_reason: str = ""
    saturated: float | None = None
    outputs: dict[str, tuple[float, float]] = field(default_factory=dict)
    c_form: str = ""
    web_form: str = ""

    @property
    def ok(self) -> bool:
        """Everything holds."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able values; `max_abs_error` is None where the logits were not finite."""
        values = {"ok": self.ok, **asdict(self)}
        values["outputs"] = {
            name: {"agreement": agreement, "max_abs_error": worst if np.isfinite(worst) else None}
            for name, (agreement, worst) in self.outputs.items()
        }
        for entry in [values, *values["samples"]]:
            for key in ("max_abs_error", "kernels_differ"):
                if entry.get(key) is not None and not np.isfinite(entry[key]):
                    entry[key] = None  # JSON has no infinity
        return values


def verify(
    artifact: Artifact | str | os.PathLike[str], *, threads: int = 0, runtime: str | None = None
) -> VerifyReport:
    """Check all files, run all samples, compare with PyTorch's logits and with the metric in the manifest.

    A model with `ai.edgegnn` operators is run twice where the native library is there: with it, and without.

    Args:
        artifact: an open artifact, or the path of one.
        threads: as in `make_session`.
        runtime: as in `open_artifact`, when that is a path.

    Returns:
        The report; `ok` is False when the model computes something else than it should.

    Raises:
        ArtifactError: the artifact is damaged, or its model can't be loaded or run.
    """
    opened = artifact if isinstance(artifact, Artifact) else open_artifact(artifact, runtime=runtime)
    samples = read_samples(opened)
    session = make_session(opened, threads=threads)
    outputs = [run_every(session, opened.manifest, sample.inputs) for sample in samples]
    report = replace(judge(opened.manifest, samples, outputs), saturated=saturated(opened, samples, threads))
    if not native_kernels(session):
        return replace(report, kernels=(opened.manifest.runtime,))
    # One file for both worlds: the same model has to hold where nobody has our library.
    portable = make_session(opened, threads=threads, native=False)
    others = [run_every(portable, opened.manifest, sample.inputs) for sample in samples]
    problems = [f"on onnxruntime's own operators: {p}" for p in judge(opened.manifest, samples, others).problems]
    pairs = [(own[name], other[name]) for own, other in zip(outputs, others) for name in own]  # noqa: B905
    differ = max(compare(as_rows(one), as_rows(two))[2] for one, two in pairs if one.dtype.kind == "f")
    return replace(
        report,
        problems=(*report.problems, *problems),
        kernels=("edgegnn", "onnxruntime"),
        kernels_differ=differ,
    )


def saturated(artifact: Artifact, samples: list[Sample], threads: int) -> float | None:
    """The largest share of values at an end of a quantization point in a sample; None of a form without points."""
    model = guarded(artifact, threads=threads)
    found = [model.run(sample.inputs).saturated for sample in samples] if model.watches else []
    return max((share for share in found if share is not None), default=None)


def judge(manifest: Manifest, samples: list[Sample], every: list[dict[str, Array]]) -> VerifyReport:
    """Compare all outputs of the samples with what the manifest promises."""
    outputs = [as_rows(found[manifest.main.name]) for found in every]
    results, problems = [], []
    for i, sample in enumerate(samples):
        rows, agreeing, error = compare(sample.expected, outputs[i], target=manifest.target, within=manifest.within)
        results.append(SampleResult(sample.name, sample.origin, rows, agreeing, error))
        limit = manifest.max_abs_error
        # Written so that NaN and infinity fail too; a model without a limit still has to give finite logits.
        if not (error <= limit if limit is not None else np.isfinite(error)):
            problems.append(_where(i, sample, outputs[i], limit))
    agreement, wanted = _agreement(manifest, results)
    if agreement < wanted - 1e-9:
        problems.append(_disagreement(manifest, samples, outputs, results, agreement, wanted))
    metric, expected = None, manifest.samples_metric
    if expected is not None:
        metric = samples_score(expected.name, samples, outputs)
        problems.extend(metric_problems(metric, expected, manifest))
    others = {}
    for limit_of in parse_limits(manifest.raw, manifest.outputs):
        if limit_of.name not in every[0]:  # the C form gives the main output alone
            continue
        others[limit_of.name], problem = _other(limit_of, samples, every)
        problems += [problem] * bool(problem)
    worst = max(r.max_abs_error for r in results)
    return VerifyReport(
        manifest.name,
        tuple(problems),
        len(manifest.files),
        tuple(results),
        agreement,
        worst,
        metric,
        expected,
        metric_reason=manifest.metric_reason,
        outputs=others,
    )


def _other(limit: OutputLimit, samples: list[Sample], every: list[dict[str, Array]]) -> tuple[tuple[float, float], str]:
    """Share of equal rows and largest difference of an output without labels; and what is wrong, "" for nothing."""
    rows = same = 0
    worst = 0.0
    for sample, found in zip(samples, every):  # noqa: B905 (Python 3.9; as many)
        want, got = (as_rows(values[limit.name]).astype(np.float32) for values in (sample.others, found))
        count, equal, error = compare(want, got, target="none", within=limit.within)
        worst = max(worst, error)
        if sample.origin == "data":
            rows, same = rows + count, same + equal
    agreement = same / rows if rows else 1.0
    # The limit is for the whole test split: chance may bring a few rows more into the shipped part of it.
    spare = 3 * math.sqrt(limit.min_agreement * (1 - limit.min_agreement) / max(rows, 1)) + 1e-9
    most = limit.max_abs_error
    if not np.isfinite(worst) or (most is not None and worst > most):
        allowed = "finite values are needed" if most is None else f"{most:.3g} is allowed"
        return (agreement, worst), f"the output {limit.name} is {worst:.3g} from PyTorch's, {allowed}"
    if agreement < limit.min_agreement - spare:
        return (agreement, worst), (
            f"{agreement:.3%} of the rows of the output {limit.name} are PyTorch's, {limit.min_agreement:.3%} are "
            "needed"
        )
    return (agreement, worst), ""


def _agreement(manifest: Manifest, results: list[SampleResult]) -> tuple[float, float]:
    """Share of equal predictions over the real graphs, and the share that is needed.

    The manifest's limit is for the whole test split. The shipped part of it may by chance lie below: then what the
    export itself saw on this part is the limit.
    """
    counted = [r for r in results if r.origin == "data"] or results
    rows = sum(r.rows for r in counted)
    if rows == 0:
        return 1.0, 0.0
    known = [manifest.agreement.get(r.name, manifest.min_agreement) * r.rows for r in counted]
    return sum(r.agreeing for r in counted) / rows, min(manifest.min_agreement, sum(known) / rows)


def _where(i: int, sample: Sample, got: Array, limit: float | None) -> str:
    difference = np.abs(sample.expected.astype(np.float64) - got.astype(np.float64))
    difference[~np.isfinite(got)] = np.inf
    row, column = np.unravel_index(int(difference.argmax()), difference.shape)
    allowed = "finite values are needed" if limit is None else f"{limit:.3g} is allowed"
    return (
        f"sample {i} ({sample.name}): row {row}, class {column}: expected {sample.expected[row, column]:.6g}, "
        f"got {got[row, column]:.6g}; the largest difference is {difference[row, column]:.3g}, {allowed}"
    )


def _disagreement(
    manifest: Manifest,
    samples: list[Sample],
    outputs: list[Array],
    results: list[SampleResult],
    agreement: float,
    wanted: float,
) -> str:
    text = f"{agreement:.3%} of the predictions are PyTorch's, {wanted:.3%} are needed"
    for i, result in enumerate(results):
        if result.agreeing < result.rows and result.origin == "data":
            row = int((~same_rows(samples[i].expected, outputs[i], manifest.target, manifest.within)).argmax())
            want, got = (predictions(v, manifest.target)[row].tolist() for v in (samples[i].expected, outputs[i]))
            what = "class " if manifest.target == "classes" else ""
            text += f"; first in sample {i} ({result.name}), row {row}: expected {what}{want}, got {what}{got}"
            return f"{text} ({result.rows - result.agreeing} of {result.rows} rows differ)"
    return text


def metric_problems(metric: Metric | None, expected: Metric, manifest: Manifest) -> list[str]:
    """How a metric over the samples differs from the export's; [] when it doesn't."""
    if metric is None:
        return [f"the manifest has a {expected.name} over the samples, but their labels give none"]
    if metric.n != expected.n:
        return [f"the {expected.name} is over {metric.n} rows here, over {expected.n} in the manifest"]
    # Another CPU may round a row across a tie, or a code; more than that is another model.
    allowed = max(0.002, 1.0 / metric.n)
    if metric.name in LOWER_IS_BETTER:
        allowed = 0.02 * (expected.value + max(manifest.within or (0.0,)))
    if abs(metric.value - expected.value) <= allowed + 1e-9:
        return []
    return [f"the {expected.name} over the samples is {metric.value:.4f} here, {expected.value:.4f} in the manifest"]
