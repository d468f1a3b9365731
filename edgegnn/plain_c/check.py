"""Prove that the C form computes what the ONNX artifact computes: codes to the bit, floats within a tolerance."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from edgegnn.errors import ParityError
from edgegnn.plain_c.compiler import Program, compile_model
from edgegnn.plain_c.generate import PlainC, generate
from edgegnn.runtime import make_session

__all__ = ["TOLERANCE", "Agreement", "check", "output_error", "with_codes"]

Array = npt.NDArray[np.generic]

# Of the largest output: onnxruntime adds up floats in another order, and has another exponential.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Agreement:
    """How the C form compares with the ONNX artifact.

    Attributes:
        graphs: how many were compared.
        codes: how many tensors of codes, equal to the bit in each graph.
        equal: of how many graphs the outputs are equal to the bit.
        error: largest difference of an output, as a share of the largest one.
    """

    graphs: int
    codes: int
    equal: int
    error: float


def check(
    model: onnx.ModelProto, code: PlainC, graphs: Sequence[tuple[str, Mapping[str, Array]]], compiler: Sequence[str]
) -> Agreement:
    """Compile the C form and run it, and onnxruntime, on graphs.

    Args:
        model: the artifact's ONNX graph.
        code: its C form.
        graphs: name and inputs of each, none larger than the limits.
        compiler: the compiler's command.

    Raises:
        ParityError: a code differs, or an output by more than `TOLERANCE`; the message names the graph.
        ExportError: the C form doesn't compile, or refuses a graph.
    """
    watched = with_codes(model, code.codes)
    probe = generate(watched, code.name, code.limits) if code.codes else code
    session = make_session(watched.SerializeToString(), threads=1)
    names = [output.name for output in probe.outputs]
    compared, equal, worst = 0, 0, 0.0
    with tempfile.TemporaryDirectory(prefix="edgegnn-c-") as place:
        folders = [Path(place, "form"), Path(place, "probe")]
        for folder in folders:
            folder.mkdir()
        form = Program(code, compile_model(code, folders[0], compiler))
        inside = Program(probe, compile_model(probe, folders[1], compiler))
        for name, inputs in graphs:
            try:
                answers = session.run(names, dict(inputs))
            except Exception:  # onnxruntime's own kinds: the model has no answer for this graph
                continue
            wanted = dict(zip(names, answers, strict=True))
            compared += 1
            _check_codes(name, code, inside.run(inputs), wanted)
            found = form.run(inputs)
            worst = max(worst, *(output_error(found[key], wanted[key], name) for key in found))
            equal += all(found[key].tobytes() == wanted[key].tobytes() for key in found)
    return Agreement(compared, len(code.codes), equal, worst)


def with_codes(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with tensors inside it as further outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UINT8, None) for n in names)
    return watched


def _check_codes(name: str, code: PlainC, found: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    for key in code.codes:
        if not np.array_equal(found[key], wanted[key].reshape(found[key].shape)):
            share = float(np.mean(found[key] != wanted[key].reshape(found[key].shape)))
            raise ParityError(
                f"the C form computes other codes than the ONNX artifact: {share:.2%} of {key} on the graph {name}"
            )


def output_error(result: Array, reference: Array, name: str) -> float:
    """The largest difference of an output, as a share of the graph's largest one.

    Args:
        result: of the C form.
        reference: onnxruntime's.
        name: of the graph, for the message.

    Raises:
        ParityError: it is more than `TOLERANCE`.
    """
    if result.dtype != np.float32 or not result.size:
        return 0.0
    found, wanted = result.astype(np.float64), reference.reshape(result.shape).astype(np.float64)
    finite = np.isfinite(wanted)
    if not np.array_equal(finite, np.isfinite(found)):
        raise ParityError(f"the C form has an infinity or NaN where the ONNX artifact has none, on the graph {name}")
    if not finite.any():
        return 0.0
    scale = max(float(np.abs(wanted[finite]).max()), 1e-30)
    error = float(np.abs(found[finite] - wanted[finite]).max()) / scale
    if error > TOLERANCE:
        raise ParityError(
            f"the C form differs from the ONNX artifact by {error:.2g} of the largest output on the graph {name}; "
            f"{TOLERANCE:g} are accepted"
        )
    return error
