"""Does the model give the same outputs for the same inputs? If not, which line of it is random?

A random model can't be compared with anything. It is run twice, each time with other random numbers. When the outputs
differ, it runs again and again with the same random numbers everywhere but in one call: the first call that changes the
outputs is named. Without such a call (a model that draws with numpy, or keeps a state), the first layer is named that
gives other outputs for equal inputs.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgegnn.errors import ExportError
from edgegnn.exporting.diagnostics import layer_of, outside
from edgegnn.exporting.node_limits import complete
from edgegnn.quantize import QuantModel
from edgegnn.tasks.points import point_graphs

__all__ = ["check_repeats"]

_Call = tuple[str, str, str]  # layer, function and " (file.py:12)"; "" for what isn't known
_ROUNDING = 1e-5  # of the largest output: sums by several threads may add up in another order
_MOST_CALLS = 64  # that are tried one by one
_CURE = {
    "dropout": "pass training=self.training",
    "bernoulli": "draw only where self.training is set",
}


@point_graphs()
def check_repeats(model: nn.Module | ExportedProgram, args: Mapping[str, Tensor]) -> None:
    """Run a model twice on the same inputs, with other random numbers, and compare.

    Randomness that leaves the outputs as they are is no error. Neither is a model that fails: what comes next says so.

    Args:
        model: what is exported; it is switched to eval mode.
        args: inputs of one real graph, by name.

    Raises:
        ExportError: the outputs differ; the message names the layer, the function and the line that is random.
    """
    module: nn.Module = model.module() if isinstance(model, ExportedProgram) else model.eval()

    def run() -> Any:
        with torch.no_grad():
            if isinstance(model, ExportedProgram):
                return module(*args.values())
            return module(**complete(module, args))

    try:
        outputs = [_drawn(run, seed) for seed in (1, 2)]
    except Exception:
        return
    if _same(*outputs):
        return
    own = module.model if isinstance(module, QuantModel) else module
    where, what, line = _random_call(run, own, model) or _random_layer(run, own) or ("", "", "")
    layer = where or ("the program" if isinstance(model, ExportedProgram) else f"the model ({type(own).__name__})")
    if not what:
        raise ExportError(
            f"{layer} gives other outputs when it runs again on the same graph: it draws random numbers or keeps a "
            "state; make forward depend on its inputs alone in eval mode"
        )
    kind = next((kind for kind in _CURE if kind in what), "bernoulli")
    cure = _CURE[kind]
    if isinstance(model, ExportedProgram):
        cure = f"call model.eval() before torch.export, or {cure}"
    raise ExportError(
        f"{layer} is random in eval mode: {what}{line} gives other outputs each time, which no artifact can match; "
        f"{cure}"
    )


def _drawn(run: Callable[[], Any], seed: int) -> Any:
    """The result of `run` with other random numbers; the caller's generators keep their state."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            return run()
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _same(first: Any, second: Any) -> bool:
    """Whether two results hold the same numbers, up to the rounding of sums."""
    one, other = tree_leaves(first), tree_leaves(second)
    return len(one) == len(other) and all(map(_same_leaf, one, other))


def _same_leaf(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return isinstance(one, Tensor) == isinstance(other, Tensor)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    largest = float(one[torch.isfinite(one)].abs().max()) if torch.isfinite(one).any() else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=_ROUNDING * largest, equal_nan=True)


# Calls of random functions ------------------------------------------------------------


class _Draws(TorchDispatchMode):
    """Give every random operator a seed of its own, and one of them another; note where that one was called.

    Args:
        other: which call, counted from 0; None for none.
        place: finds the place of that call, by its number and operator.
    """

    def __init__(self, other: int | None = None, place: Callable[[int, Any], Any] = lambda *_: None) -> None:
        super().__init__()
        self.calls, self.other, self.place, self.found = 0, other, place, None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            torch.manual_seed(2 * self.calls + (self.calls == self.other))
            if self.calls == self.other:
                self.found = self.place(self.calls, func)
            self.calls += 1
        return func(*args, **(kwargs or {}))


def _random_call(run: Callable[[], Any], own: nn.Module, model: nn.Module | ExportedProgram) -> _Call | None:
    """Layer, function and line of the first random call that changes the outputs; None where there is none."""
    modules = {id(m): (path, m) for path, m in own.named_modules()}

    def place(call: int, func: Any) -> _Call:
        if isinstance(model, ExportedProgram):
            return _in_program(model, call)
        return _in_frames(sys._getframe(2), func, modules)

    def drawn(other: int | None) -> tuple[_Draws, Any]:
        with _Draws(other, place) as draws:
            out = _drawn(run, 0)
        return draws, out

    draws, first = drawn(None)
    if not _same(first, drawn(None)[1]):
        return None  # it changes without random numbers, too
    for call in range(min(draws.calls, _MOST_CALLS)):
        again, out = drawn(call)
        if not _same(first, out):
            return again.found
    return None


def _in_frames(frame: FrameType | None, func: Any, modules: Mapping[int, tuple[str, nn.Module]]) -> _Call:
    """Where the random operator `func` was called: the innermost layer, the function, the line outside torch."""
    where, what, line = "", _operator(func), ""
    while frame is not None and not (where and line):
        known = modules.get(id(frame.f_locals.get("self")))
        if known is not None and not where:
            where = _layer(known) if known[0] else f"the model ({type(known[1]).__name__})"
        name = frame.f_code.co_name
        if outside(frame.f_code.co_filename):
            line = line or f" ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
        elif not where and not line and not name.startswith("_") and name not in ("inner", "wrapper"):
            what = name  # of the functions that the user's line called, the outermost: dropout, not bernoulli
        frame = frame.f_back
    return where, what, line


def _in_program(program: ExportedProgram, call: int) -> _Call:
    """The same in a program: its nodes remember the layer and the line that they were traced from."""
    random_ones = [n for n in program.graph.nodes if torch.Tag.nondeterministic_seeded in getattr(n.target, "tags", ())]
    drawing = [n for n in random_ones if "dropout" not in str(n.target) or n.args[2:3] != (False,)]
    node = drawing[min(call, len(drawing) - 1)]
    layer = layer_of(node)
    where = f"{layer[0]} ({layer[1]})" if layer is not None and layer[0] else ""
    places = re.findall(r'File "([^"]+)", line (\d+)', str(node.meta.get("stack_trace") or ""))
    own = [f" ({Path(file).name}:{number})" for file, number in places if outside(file)]
    return where, _operator(node.target), own[-1] if own else ""


def _operator(func: Any) -> str:
    return str(func).removeprefix("aten.").split(".")[0].strip("_").removeprefix("native_")


def _layer(known: tuple[str, nn.Module]) -> str:
    return f"{known[0]} ({type(known[1]).__name__})"


# Layers ------------------------------------------------------------


def _random_layer(run: Callable[[], Any], own: nn.Module) -> _Call | None:
    """The first layer, by the end of its run, that gives other outputs for equal inputs."""
    traces = []
    for seed in (1, 2):
        with _recorded(own) as calls:
            _drawn(run, seed)
        traces.append(calls)
    for (path, module, inputs, out), (_, _, others, second) in zip(*traces, strict=False):
        if path and _same(inputs, others) and not _same(out, second):
            return _layer((path, module)), "", ""
    return None


@contextmanager
def _recorded(own: nn.Module) -> Iterator[list[tuple[str, nn.Module, Any, Any]]]:
    """Note path, module, inputs and outputs of every call of a layer."""
    calls: list[tuple[str, nn.Module, Any, Any]] = []

    def noted(path: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        return lambda module, args, kwargs, out: calls.append((path, module, [args, kwargs], out))

    hooks = [m.register_forward_hook(noted(path), with_kwargs=True) for path, m in own.named_modules()]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
