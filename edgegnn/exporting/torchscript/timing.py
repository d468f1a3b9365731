"""Run a flat graph on one real graph, and time parts of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from edgegnn.exporting.torchscript.program import Program

__all__ = ["evaluate", "milliseconds"]


def evaluate(program: Program, inputs: Mapping[str, Tensor], wanted: set[fx.Node]) -> dict[fx.Node, Any]:
    """Values of some nodes of a program on one graph.

    Args:
        program: its graph.
        inputs: input name -> value.
        wanted: nodes.
    """
    env: dict[fx.Node, Any] = dict(program.constants)
    env.update({node: inputs[name] for node, name in program.inputs.items()})
    if program.counts is not None:
        env[program.counts] = torch.empty(int(inputs["batch"].max()) + 1, dtype=torch.uint8)
    left = {node: len(node.users) for node in program.graph.nodes}
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op != "call_function":
                continue
            env[node] = call(node, env)
            for used in node.all_input_nodes:
                left[used] -= 1
                if left[used] == 0 and used not in wanted:
                    del env[used]
    return {node: env[node] for node in wanted}


def call(node: fx.Node, env: Mapping[fx.Node, Any]) -> Any:
    """What a node computes."""
    args = fx.map_arg(node.args, lambda n: env[n])
    kwargs = fx.map_arg(node.kwargs, lambda n: env[n])
    return node.target(*args, **kwargs)  # type: ignore[operator]


def milliseconds(step: Callable[[], object], *, runs: int = 7, budget: float = 0.3) -> float:
    """The fastest of a few runs of `step`, after one that is not counted; fewer runs when they take over `budget` s."""
    with torch.no_grad():
        step()
        best, end = float("inf"), time.perf_counter() + budget
        for run in range(runs):
            begin = time.perf_counter()
            step()
            best = min(best, time.perf_counter() - begin)
            if run > 0 and time.perf_counter() > end:
                break
    return best * 1e3
