"""Is the artifact of a random model right? An independent check: none of edgegnn's own comparisons is used.

The artifact runs on graphs that it wasn't proved with, by onnxruntime with the native library and without it, and is
held against the float model, and against the PyTorch model with quantization points where the recipe has one.

    none                 every number equals the float model's, up to a multiple of its own rounding
    recipes that train   every number equals the quantized model's, but for codes that rounding turns over; those may
                         cost no more than a share of what quantization costs
    all that quantize    on graphs like the data, the noise is below the signal, or the classes are nearly always the
                         same; on awkward graphs, unless the artifact warned that they are out of its range, the noise
                         is no larger than the signal, or than a few times what rounding the inputs of the float
                         model's products does on that graph
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from random_spec import Spec, arguments, awkward_graphs, fresh_graphs
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import Linear

from edgegnn.errors import DataError
from edgegnn.native import library
from edgegnn.runtime import check_inputs, make_session, open_artifact, over_range_here

_SAME = 1e-3  # of the outputs' span
_FLOOR = {8: 3.0, 4: -3.0}  # dB, on graphs like the data
_FALL = 15.0  # dB, from the data to graphs like them
_AGREEMENT = 0.8  # of classes, where the noise is above the floor
_DRAWS = 8


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        problem: what is wrong; "" when all is right.
        known: dB of the outputs on the data, fresh: on graphs like them (of recipes that quantize).
        graphs: how many were compared.
        skipped: how many the model itself, or a limit in the artifact's manifest, excludes.
        warned: how many the artifact called out of its range.
        runtime: of the artifact.
    """

    problem: str
    known: float | None
    fresh: float | None
    graphs: int
    skipped: int
    warned: int
    runtime: str


class Wrong(AssertionError):
    """The artifact computes something else."""


def check(spec: Spec, plain: nn.Module, quantized: nn.Module | None, graphs: list[Data], path: Path) -> Checked:
    """Hold an artifact against its models.

    Args:
        spec: what was exported.
        plain: the user's float model.
        quantized: the PyTorch model with quantization points; None for recipes without one.
        graphs: the user's data.
        path: the artifact's folder.
    """
    artifact = open_artifact(path)
    counts = {"graphs": 0, "skipped": 0, "warned": 0}
    bits = 4 if spec.recipe in ("dq-int4", "a2q", "a2q-groups") else 8
    names = [value.name for value in artifact.manifest.inputs]
    runs = _sessions(artifact)
    known: float | None = None
    fresh: float | None = None
    try:
        data = _compared(_of_data(spec, graphs, names), spec, plain, artifact, counts)
        signal = np.concatenate([pair.float_ for pair in data])
        span = float(np.abs(signal).max()) or 1.0
        likes = _compared(fresh_graphs(spec), spec, plain, artifact, counts, names)
        others = _compared(awkward_graphs(spec), spec, plain, artifact, counts, names)
        for pair in data + likes + others:
            pair.got = {name: run(pair.inputs) for name, run in runs.items()}
            _check_equal(pair, spec, plain, quantized, span)
        if spec.recipe != "none":
            known, fresh = _decibels(data, signal), _decibels([p for p in likes if not p.warned], signal)
            same = _agreement(data + likes) if spec.target == "classes" else 0.0
            if same < _AGREEMENT:
                _check_noise(known, fresh, _FLOOR[bits])
            _check_awkward(Rounded(plain, [pair.args for pair in data], 2**bits - 1), others, signal, known)
        problem = ""
    except Wrong as error:
        problem = str(error)
    return Checked(problem, known, fresh, **counts, runtime=artifact.manifest.runtime)


@dataclass
class _Pair:
    """One graph: the artifact's inputs, the float model's arguments and outputs, the artifact's outputs by session."""

    name: str
    inputs: dict[str, Any]
    args: dict[str, torch.Tensor]
    float_: Any
    warned: bool
    got: dict[str, Any]


def _of_data(spec: Spec, graphs: list[Data], names: list[str]) -> dict[str, Data]:
    if spec.task == "node":
        return {"data": graphs[0]}
    if "batch" in names:
        return {"data": Batch.from_data_list(graphs)}
    return {f"data {i}": graph for i, graph in enumerate(graphs[:16])}


def _compared(
    found: dict[str, Data],
    spec: Spec,
    plain: nn.Module,
    artifact: Any,
    counts: dict[str, int],
    names: list[str] | None = None,
) -> list[_Pair]:
    """The graphs that both the model and the artifact's limits allow."""
    pairs = []
    for name, data in found.items():
        if names is not None and name == "batch" and "batch" not in names:
            continue
        args = arguments(spec, data)
        inputs = {k: v.numpy() for k, v in args.items() if names is None or k in names}
        inputs = {k: v for k, v in inputs.items() if k in [s.name for s in artifact.manifest.inputs]}
        try:
            with torch.no_grad():
                out = plain(**args).numpy()
            inputs = check_inputs(artifact.manifest.inputs, inputs, limits=artifact.manifest.limits)
        except (DataError, RuntimeError, IndexError, ValueError):
            counts["skipped"] += 1
            continue
        if not np.isfinite(out).all():
            counts["skipped"] += 1
            continue
        warned = bool(over_range_here(artifact, inputs, threads=1))
        counts["graphs"] += 1
        counts["warned"] += warned
        pairs.append(_Pair(name, inputs, args, out, warned, {}))
    return pairs


def _sessions(artifact: Any) -> dict[str, Callable[[dict[str, Any]], Any]]:
    if artifact.manifest.runtime != "onnxruntime":
        session = make_session(artifact, threads=1)
        return {"torchscript": lambda inputs: session.run(None, inputs)[0]}
    if artifact.manifest.entries:  # one model a part: which is for what, only the runtime knows
        return {
            name: _runner(make_session(artifact, threads=1, native=native))
            for name, native in (("library", True), ("stock", False))
        }
    found = {}
    for name, native in (("library", True), ("stock", False)):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        if native:
            options.register_custom_ops_library(str(library()))
        found[name] = _runner(onnxruntime.InferenceSession(str(artifact.model), options))
    return found


def _runner(session: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda inputs: session.run(None, inputs)[0]


# Equality ------------------------------------------------------------


def _check_equal(pair: _Pair, spec: Spec, plain: nn.Module, quantized: nn.Module | None, span: float) -> None:
    with torch.no_grad():
        want = pair.float_ if quantized is None else quantized(**pair.args).numpy()
    for name, got in pair.got.items():
        where = f"on {pair.name!r} with {name}"
        if got.shape != want.shape:
            raise Wrong(f"{where}: shape {got.shape}, not {want.shape}")
        if not np.isfinite(got).all():
            raise Wrong(f"{where}: NaN or infinite, where PyTorch has none")
        if spec.recipe in ("static-int8", "dynamic-int8"):
            continue
        error = float(np.abs(got - want).max(initial=0))
        if error <= _SAME * span:
            continue
        allowed = 4 * _reach(plain if quantized is None else quantized, pair.args, want, span)
        if quantized is not None:
            with quantized.as_float() as tuned, torch.no_grad():
                allowed = max(allowed, float(np.abs(tuned(**pair.args).numpy() - want).max(initial=0)))
        if error > allowed:
            what = "the float model" if quantized is None else "the quantized model"
            raise Wrong(f"{where}: {error:.3g} from {what} (span {span:.3g}, explained {allowed:.3g})")
    if {"library", "stock"} <= set(pair.got) and spec.recipe in ("static-int8", "dynamic-int8"):
        apart = float(np.abs(pair.got["library"] - pair.got["stock"]).max(initial=0))
        noise = float(np.abs(pair.got["stock"] - want).max(initial=0))
        if apart > max(_SAME * span, noise):
            raise Wrong(f"on {pair.name!r}: the library and stock onnxruntime are {apart:.3g} apart (span {span:.3g})")


def _reach(model: nn.Module, args: dict[str, torch.Tensor], want: Any, span: float) -> float:
    """How far PyTorch's outputs move when numbers are rounded otherwise."""
    generator = torch.Generator().manual_seed(0)
    moved = 0.0

    def nudged(value: torch.Tensor) -> torch.Tensor:
        if not value.is_floating_point():
            return value
        return value * (1 + 2.0**-22 * torch.randn(value.shape, generator=generator))

    quantized = hasattr(model, "noise")
    for_nodes = quantized and model.recipe.method == "a2q"  # may know the nodes by their numbers
    with torch.no_grad(), model.noise() if quantized else nullcontext():
        for _ in range(_DRAWS):
            given = {k: nudged(v) for k, v in args.items()}
            others = [model(**given).numpy()]
            if not for_nodes:
                others.append(_renumbered(model, args, generator))
            moved = max(moved, *(float(np.abs(other - want).max(initial=0)) for other in others))
    if not quantized:
        exact = copy.deepcopy(model).double()
        doubled = {k: v.double() if v.is_floating_point() else v for k, v in args.items()}
        with torch.no_grad():
            moved = max(moved, float(np.abs(exact(**doubled).numpy() - want).max(initial=0)))
    return moved if math.isfinite(moved) else span


def _renumbered(model: nn.Module, args: dict[str, torch.Tensor], generator: torch.Generator) -> Any:
    """The model's outputs when the nodes of each graph have other numbers: of equal scores it may pick others."""
    nodes = len(args["x"])
    graph = args.get("batch", torch.zeros(nodes, dtype=torch.long))
    order = torch.argsort(graph + torch.rand(nodes, generator=generator).double() / 2)
    number = torch.empty_like(order)
    number[order] = torch.arange(nodes)
    out = model(**{**args, "x": args["x"][order], "edge_index": number[args["edge_index"]]}).numpy()
    return out if "batch" in args else out[number.numpy()]


# Noise ------------------------------------------------------------


def _decibels(pairs: list[_Pair], signal: Any) -> float | None:
    """Signal-to-noise of the outputs that are worse, with the data's own variance as signal."""
    if not pairs:
        return None
    power = float(((signal - signal.mean(axis=0)) ** 2).mean())
    worst = max(float(np.mean(np.concatenate([(p.got[name] - p.float_) ** 2 for p in pairs]))) for name in pairs[0].got)
    return 140.0 if worst == 0 else min(140.0, 10 * math.log10(power / worst))


def _agreement(pairs: list[_Pair]) -> float:
    """Share of the classes that the worse session gets as the float model."""
    want = np.concatenate([pair.float_.argmax(1) for pair in pairs])
    return min(
        float((np.concatenate([pair.got[name].argmax(1) for pair in pairs]) == want).mean()) for name in pairs[0].got
    )


def _check_noise(known: float | None, fresh: float | None, floor: float) -> None:
    assert known is not None
    if known < floor:
        raise Wrong(f"little is left of the outputs on the data: {known:.1f} dB")
    if fresh is not None and fresh < min(floor, known) - 1:
        raise Wrong(f"little is left of the outputs on graphs like the data: {fresh:.1f} dB, {known:.1f} on the data")
    if fresh is not None and fresh < known - _FALL:
        raise Wrong(f"from {known:.1f} dB on the data to {fresh:.1f} on graphs like them, without a warning")


class Rounded:
    """The float model with noise in front of its products: as large as a code, of the range seen on the data."""

    def __init__(self, model: nn.Module, data: list[dict[str, torch.Tensor]], codes: int) -> None:
        self.model, self.codes = model, codes
        self.step: dict[nn.Module, float] = {}
        with torch.no_grad(), self._hooked(self._watch):
            for args in data:
                model(**args)

    def reach(self, pair: _Pair) -> float:
        """How far the outputs move on a graph."""
        torch.manual_seed(0)
        with torch.no_grad(), self._hooked(self._add):
            found = [self.model(**pair.args).numpy() for _ in range(_DRAWS)]
        return max(float(np.sqrt(np.mean((out - pair.float_) ** 2))) for out in found)

    @contextmanager
    def _hooked(self, hook: Callable[..., Any]) -> Iterator[None]:
        products = [m for m in self.model.modules() if isinstance(m, (nn.Linear, Linear, nn.RNNCellBase))]
        handles = [m.register_forward_pre_hook(hook) for m in products]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].numel():
            step = float(args[0].max().clamp(min=0) - args[0].min().clamp(max=0)) / self.codes
            self.step[module] = max(self.step.get(module, 0.0), step)

    def _add(self, module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0] + self.step.get(module, 0.0) * (torch.rand_like(args[0]) - 0.5), *args[1:])


def _check_awkward(rounded: Rounded, others: list[_Pair], signal: Any, known: float | None) -> None:
    deviation = float(np.sqrt(((signal - signal.mean(axis=0)) ** 2).mean()))
    noise = deviation * 10 ** (-(known or 0) / 20)
    for pair in others:
        for name, got in pair.got.items():
            error = float(np.sqrt(np.mean((got - pair.float_) ** 2)))
            if pair.warned or error <= max(deviation, 10 * noise):
                continue
            if error > 4 * rounded.reach(pair):
                raise Wrong(
                    f"on {pair.name!r} with {name}: {error:.3g} from the float model, whose outputs deviate by "
                    f"{deviation:.3g}, without a warning"
                )
