"""A profile record with round numbers."""

from __future__ import annotations

from typing import Any

from edgegnn.profiling.record import Device, Energy, EnergyWindow, How, Latency, Memory, Metric, ProfileRecord
from edgegnn.runtime.benchmark import Plan

BLINK = Plan(True, 1, 0.01, 5, 0.02, 2, 0.03, 2)  # a measurement of a moment
# The same on a board over SSH, whose windows have to hold a look at the clock there.
BLINK_THERE = Plan(True, warmup_runs=2, warmup_seconds=0.02, runs=5, seconds=0.05, windows=2, window_seconds=0.1)


def record(**changes: Any) -> ProfileRecord:
    windows = [
        EnergyWindow(load=False, seconds=10.0, iterations=0, joules=50.0),
        EnergyWindow(load=True, seconds=10.0, iterations=10, joules=90.0, steps=900.0),
    ]
    energy = Energy(
        gross=9.0,
        net=4.0,
        source="RAPL (package-0)",
        scope="CPU package",
        kind="measured",
        gross_range=(8.0, 10.0),
        net_range=(3.0, 5.0),
        idle_watts=5.0,
        load_watts=9.0,
        windows=windows,
    )
    values: dict[str, Any] = {
        "target": "x86",
        "artifact": "a",
        "recipe": "none",
        "model_sha256": "0" * 64,
        "created": "2026-01-01T00:00:00Z",
        "edgegnn": "0",
        "latency_ms": Latency(p50=2.0, p90=3.0, p99=4.0, min=1.0, mean=2.5, n=200, threads=2),
        "throughput_per_s": 400.0,
        "cpu_percent": 55.5,
        "memory_bytes": Memory(peak_delta=2_000_000, model_file=800, baseline=50_000_000),
        "energy_j": energy,
        "energy_reason": "",
        "metric": Metric(name="accuracy", value=0.8, n=1000),
        "agreement": 1.0,
        "native_kernels": False,
        "how": How(
            quick=False,
            warmup_runs=10,
            warmup_seconds=1.0,
            runs=200,
            seconds=10.0,
            latency_seconds=10.1,
            windows=5,
            window_seconds=10.0,
            window_iterations=10,
            graphs=1,
            spinning=True,
            runner="artifact",
        ),
        "device": Device(
            model="A CPU",
            arch="x86_64",
            cores=2,
            memory_bytes=2**34,
            governor="performance",
            load_average=0.0,
            os="Linux",
            kernel="6",
            python="3.11",
            numpy="2",
            onnxruntime="1.31.1",
        ),
    }
    return ProfileRecord(**{**values, **changes})
