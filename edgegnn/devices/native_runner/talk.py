"""What the native runner says while it measures, turned into the result of `run.pyz bench`."""

from __future__ import annotations

import json
import math
import re
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgegnn.errors import TargetError
from edgegnn.runtime import Artifact
from edgegnn.runtime.benchmark import BENCH_FORMAT
from edgegnn.runtime.measure import Latency
from edgegnn.runtime.proof import judge
from edgegnn.runtime.samples import Sample

__all__ = ["FORMAT", "Lines", "Talk", "parse_output", "read_outputs"]

FORMAT = "edgegnn-native/1"
_MOST_TIMES, _MOST_WINDOWS, _MOST_FACTS = 20_000_000, 100_000, 100
_RESULT = '{"event": "result"'
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_OUTPUT = re.compile(r"output ([0-9]{1,6})(?: ([0-9a-f]*))?")  # none of a graph without edges


class Lines(Protocol):
    """A program whose stdout is read line by line (`edgegnn.profiling.runner.Runner`)."""

    def next_line(self, deadline: float) -> str | None:
        """The next line, None at the end."""

    def open_gate(self) -> None:
        """Let it go on to the window it has announced."""

    def finish(self, deadline: float) -> tuple[int, str]:
        """Exit status, and the end of stderr."""

    def end(self) -> None:
        """See that nothing of it runs any more."""


@dataclass
class Talk:
    """The runner on a device: passes its events on, and keeps the rest for the result.

    Attributes:
        lines: the program.
        artifact: what it measures.
        samples: the graphs that it has.
        timed: how many of them are measured.
        target: its name, for messages.
        skew: the device's clock minus ours, seconds.
    """

    lines: Lines
    artifact: Artifact
    samples: Sequence[Sample]
    timed: int
    target: str
    skew: float = 0.0
    _facts: dict[str, str] = field(default_factory=dict)
    _numbers: dict[str, list[int]] = field(default_factory=dict)
    _times: array[float] = field(default_factory=lambda: array("d"))
    _windows: list[dict[str, Any]] = field(default_factory=list)
    _outputs: dict[int, bytes] = field(default_factory=dict)

    def next_line(self, deadline: float) -> str | None:
        """The next event."""
        while (line := self.lines.next_line(deadline)) is not None:
            text = line.strip()
            if text.startswith(_RESULT):
                return json.dumps({"event": "result", "result": self._result()})
            if text.startswith("{"):
                return text
            try:
                self._keep(text)
            except ValueError as error:
                raise TargetError(f"{self.target}: the runner says what makes no sense: {text[:60]!r}") from error
        return None

    def open_gate(self) -> None:
        """See `Lines`."""
        self.lines.open_gate()

    def finish(self, deadline: float) -> tuple[int, str]:
        """See `Lines`."""
        return self.lines.finish(deadline)

    def end(self) -> None:
        """See `Lines`."""
        self.lines.end()

    def _keep(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        if word == "fact":
            name, _, value = rest.partition(" ")
            self._facts[name[:40]] = value[:300]
            if name == "time":
                self.skew = _whole(value) - time.time()
        elif word in ("pass", "memory", "warmup"):
            self._numbers[word] = [_whole(n) for n in rest.split()]
        elif word == "times":
            self._times.extend(_whole(n) * 1e-6 for n in rest.split())
        elif word == "window":
            load, iterations, ns = (_whole(n) for n in rest.split())
            seconds = ns * 1e-9
            self._windows.append({"load": bool(load), "seconds": seconds, "iterations": iterations, "joules": None})
        elif found := parse_output(text):
            if found[0] >= len(self.samples) or len(found[1]) != 4 * self.samples[found[0]].expected.size:
                raise ValueError
            self._outputs[found[0]] = found[1]
        elif word == "format" and rest != FORMAT:
            raise TargetError(f"{self.target}: the runner there speaks {rest[:40]!r}, this edgegnn {FORMAT!r}")
        if len(self._times) > _MOST_TIMES or len(self._windows) > _MOST_WINDOWS or len(self._facts) > _MOST_FACTS:
            raise ValueError

    def _result(self) -> dict[str, Any]:
        manifest = self.artifact.manifest
        try:
            wall, cpu = self._numbers["pass"]
            before, peak, _ = self._numbers["memory"]
            (warmup,) = self._numbers["warmup"]
            latency = Latency(self._times, wall * 1e-9, cpu * 1e-9)
            cores, memory = _whole(self._facts["cores"]), _whole(self._facts["memory"])
        except (KeyError, ValueError) as error:
            raise TargetError(f"{self.target}: the runner's result is none: {error} is missing") from error
        if not self._times or wall <= 0 or cores < 1:
            raise TargetError(f"{self.target}: the runner's result is none: it has timed nothing")
        outputs = read_outputs(self._outputs, self.samples, self.target)
        report = judge(manifest, list(self.samples), [{manifest.main.name: out} for out in outputs])
        if report.problems:
            raise TargetError(f"{self.target}: the artifact doesn't hold there: {report.problems[0]}")
        return {
            "format": BENCH_FORMAT,
            "latency_ms": {
                "p50": latency.percentile(50),
                "p90": latency.percentile(90),
                "p99": latency.percentile(99),
                "min": min(latency.times),
                "mean": sum(latency.times) / len(latency.times),
                "n": len(latency.times),
                "threads": 1,
                "blocks": latency.blocks(self.timed),
            },
            "throughput_per_s": len(latency.times) / latency.wall_seconds,
            "cpu_percent": 100.0 * latency.cpu_seconds / latency.wall_seconds / cores,
            "memory_bytes": {
                "peak_delta": max(0, peak - before),
                "model_file": manifest.model_bytes,
                "baseline": max(0, before),
                "gpu_peak": None,
            },
            "metric": None if report.metric is None else asdict(report.metric),
            "agreement": report.agreement,
            "native_kernels": False,
            "energy_j": None,
            "windows": self._windows,
            "how": {"warmup_runs": warmup, "latency_seconds": latency.wall_seconds},
            "device": self._device(cores, memory),
        }

    def _device(self, cores: int, memory: int) -> dict[str, Any]:
        facts = self._facts

        def number(name: str, scale: float) -> float | None:
            try:
                found = float(facts[name]) * scale
            except (KeyError, ValueError):
                return None
            return found if math.isfinite(found) else None

        return {
            "model": facts.get("model", ""),
            "arch": facts.get("machine", ""),
            "cores": cores,
            "memory_bytes": memory,
            "governor": facts.get("governor", ""),
            "load_average": number("load", 1.0),
            "os": facts.get("os", ""),
            "kernel": facts.get("kernel", ""),
            "python": "",
            "numpy": "",
            "onnxruntime": "",
            "temperature_before": number("temperature_before", 1e-3),
            "temperature_after": number("temperature_after", 1e-3),
            "frequency_mhz": number("frequency_after", 1e-3),
        }


def _whole(text: str) -> int:
    """A number that the runner says: whole, of at most 18 digits.

    Raises:
        ValueError: it is none.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:20]!r} is no whole number")
    return int(text)


def parse_output(line: str) -> tuple[int, bytes] | None:
    """The number of a graph and its output's bytes, of a line that says them."""
    found = _OUTPUT.fullmatch(line.strip())
    values = (found[2] or "") if found else ""
    return (int(found[1]), bytes.fromhex(values)) if found and len(values) % 2 == 0 else None


def read_outputs(said: dict[int, bytes], samples: Sequence[Sample], target: str) -> list[npt.NDArray[Any]]:
    """The outputs of the samples, float32 of the shapes that are expected.

    Raises:
        TargetError: one is missing, or has another size.
    """
    outputs = []
    for i, sample in enumerate(samples):
        found = said.get(i)
        if found is None or len(found) != 4 * sample.expected.size:
            raise TargetError(f"{target}: the runner gives no output of the right size for {sample.name}")
        outputs.append(np.frombuffer(found, "<f4").reshape(sample.expected.shape))
    return outputs
