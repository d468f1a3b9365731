"""Prove that the C form computes what the ONNX artifact computes: codes to the bit, floats within a tolerance.

Floats that are added up in another order differ in their last bits. Where such a float is rounded to a code, it may lie
so near to the border of two codes that it falls to the other side: one code more or less, in few elements. From there
on the codes of that graph differ, too, and only their mean is compared.
"""

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

__all__ = ["TOLERANCE", "Agreement", "check", "output_error", "rounded_floats", "with_codes"]

Array = npt.NDArray[np.generic]

# Of the largest output: onnxruntime adds up floats in another order, and has another exponential.
TOLERANCE = 2e-5
_TIED_TOLERANCE = 0.02  # in a graph where a float fell to the other side of a border
_TIES = 1e-3  # share of a tensor's codes that may lie on borders
_TIED_MEAN = 0.05  # codes; the mean difference of what follows
# Inputs of operators that write codes, whose floats are rounded.
_FLOATS = {"QuantizeLinear": (0,), "QuantizeRows": (0,), "QGemm": (3, 5), "QGemmNorm": (3, 5), "QSpMM": (5,)}


@dataclass(frozen=True)
class Agreement:
    """How the C form compares with the ONNX artifact.

    Attributes:
        graphs: how many were compared.
        codes: how many tensors of codes, equal to the bit in each graph.
        equal: of how many graphs the outputs are equal to the bit.
        error: largest difference of an output, as a share of the largest one; graphs in `tied` don't count.
        tied: names of graphs in which a float fell to the other side of the border between two codes.
    """

    graphs: int
    codes: int
    equal: int
    error: float
    tied: frozenset[str] = frozenset()


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
        ParityError: a code differs for another reason than a border, or an output by more than `TOLERANCE`; the
            message names the graph.
        ExportError: the C form doesn't compile, or refuses a graph.
    """
    watched = with_codes(model, code.codes)
    probe = generate(watched, code.name, code.limits) if code.codes else code
    session = make_session(watched.SerializeToString(), threads=1)
    names = [output.name for output in probe.outputs]
    compared, equal, worst, tied, rounded = 0, 0, 0.0, set(), rounded_floats(model)
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
            if _on_a_border(name, code, inside.run(inputs), wanted, rounded):
                tied.add(name)
            found = form.run(inputs)
            errors = [output_error(found[key], wanted[key], name, tied=name in tied) for key in found]
            worst = worst if name in tied else max(worst, *errors)
            equal += all(found[key].tobytes() == wanted[key].tobytes() for key in found)
    return Agreement(compared, len(code.codes), equal, worst, frozenset(tied))


def with_codes(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The model with tensors inside it as further outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.UINT8, None) for n in names)
    return watched


def rounded_floats(model: onnx.ModelProto) -> frozenset[str]:
    """The tensors of codes that are made of floats which the model has computed."""
    computed = {name for node in model.graph.node for name in node.output}
    return frozenset(
        node.output[0]
        for node in model.graph.node
        if any(place < len(node.input) and node.input[place] in computed for place in _float_places(node.op_type))
    )


def _float_places(kind: str) -> tuple[int, ...]:
    """Which inputs of an operator that writes codes are floats."""
    if "QuantizeGemm" in kind:
        return (0, 3, 5)
    if "Attention" in kind or "Weighted" in kind:
        return tuple(range(10))
    return _FLOATS.get(kind, ())


def _on_a_border(
    name: str, code: PlainC, found: Mapping[str, Array], wanted: Mapping[str, Array], rounded: frozenset[str]
) -> bool:
    """Whether a float of the graph fell to the other side of the border between two codes.

    Raises:
        ParityError: codes differ for another reason.
    """
    tied = False
    for key in code.codes:
        steps = np.abs(found[key].astype(np.int64) - wanted[key].reshape(found[key].shape).astype(np.int64))
        few = np.count_nonzero(steps) <= max(1, _TIES * steps.size)
        if not steps.any() or (tied and steps.mean() <= _TIED_MEAN):
            continue
        if not tied and key in rounded and few and steps.max() == 1:
            tied = True
            continue
        share = float(np.mean(steps > 0))
        raise ParityError(
            f"the C form computes other codes than the ONNX artifact: {share:.2%} of {key} on the graph {name}"
        )
    return tied


def output_error(result: Array, reference: Array, name: str, *, tied: bool = False) -> float:
    """The largest difference of an output, as a share of the graph's largest one.

    Args:
        result: of the C form.
        reference: onnxruntime's.
        name: of the graph, for the message.
        tied: a float of the graph fell to the other side of the border between two codes.

    Raises:
        ParityError: it is more than is accepted.
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
    accepted = _TIED_TOLERANCE if tied else TOLERANCE
    if error > accepted:
        raise ParityError(
            f"the C form differs from the ONNX artifact by {error:.2g} of the largest output on the graph {name}; "
            f"{accepted:g} are accepted"
        )
    return error
