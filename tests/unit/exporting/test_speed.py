"""The time of a quantized model beside its float form, as the manifest has it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from edgegnn.exporting.formats import Form, FormFacts
from edgegnn.exporting.proof_in_words import slower_than_float
from edgegnn.exporting.samples import Sample
from edgegnn.exporting.speed import speed_against_float
from edgegnn.manifest import SpeedAgainstFloat


def model(kind):
    text = f"""<ir_version: 9, opset_import: ["" : 18]>
agraph (float[n, 3] x) => (float[n, 3] y) {{ y = {kind} (x) }}"""
    return onnx.parser.parse_model(text)


def form(**given):
    facts = FormFacts(quantized_points=0, stayed_float=[], aggregations=[], fp32_model_file=0)
    return Form("onnxruntime", lambda inputs: inputs, "y", {}, facts, **given)


SAMPLES = [Sample(f"graph {n}", "test", {"x": np.ones((n, 3), np.float32)}) for n in range(1, 12)]


def test_both_forms_are_timed_on_the_first_graphs():
    found = speed_against_float(form(onnx=model("Relu"), float_model=model("Abs"), quantized=True), SAMPLES)
    assert found.reason == ""
    assert found.ms > 0
    assert found.float_ms > 0
    assert (found.graphs, found.threads) == (8, 1)
    assert found.rounds >= 3
    assert found.machine


def test_a_float_model_has_no_times():
    assert speed_against_float(form(onnx=model("Relu"), float_model=model("Relu")), SAMPLES) is None


@pytest.mark.parametrize(
    ("given", "samples", "reason"),
    [
        ({"onnx": model("Relu")}, SAMPLES, "several files"),
        ({"onnx": model("Relu"), "float_model": model("Relu")}, [], "no graph is shipped"),
        ({"onnx": model("Relu"), "float_model": model("NoSuchOperator")}, SAMPLES, "can't load"),
    ],
)
def test_what_is_not_timed_says_why(given, samples, reason):
    found = speed_against_float(form(quantized=True, **given), samples)
    assert found.ms is None
    assert found.float_ms is None
    assert reason in found.reason


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        (SpeedAgainstFloat(ms=3.0, float_ms=2.0, graphs=1), "3 ms, the same model in float 2 ms"),
        (SpeedAgainstFloat(ms=2.05, float_ms=2.0, graphs=1), ""),
        (SpeedAgainstFloat(ms=1.0, float_ms=2.0, graphs=1), ""),
        (SpeedAgainstFloat(reason="no graph is shipped"), ""),
        (None, ""),
    ],
)
def test_export_says_when_it_is_slower(speed, words):
    found = slower_than_float(SimpleNamespace(speed_against_float=speed))
    assert found.startswith(words)
    assert bool(found) == bool(words)
