"""LSTM and GRU over sequences whose length only the data know: operators that stay whole until they become ONNX's own.

`torch.export` unrolls a recurrent layer step by step, which it can't for a length without a number (the most neighbours
that a node has). While tracing, such a call becomes one of these two operators; calls of a fixed length stay as they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript.function_libs.torch_lib.ops.core import aten_gru, aten_lstm
from torch import Tensor

__all__ = ["recurrent_call", "recurrent_table"]


@torch.library.custom_op("edgegnn::lstm", mutates_args=())
def lstm(
    x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor], biases: bool, layers: int, both: bool, first: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.lstm` in eval mode.

    Args:
        x: sequences.
        state: first hidden and cell state.
        weights: of all layers and directions, in torch's order.
        biases: they are among the weights.
        layers: number of layers.
        both: forwards and backwards.
        first: x is `[sequences, steps, features]`, else `[steps, sequences, features]`.

    Returns:
        The outputs, the last hidden and the last cell state.
    """
    return torch.lstm(x, list(state), list(weights), biases, layers, 0.0, False, both, first)


@lstm.register_fake
def _(x: Tensor, state: Any, weights: Any, biases: bool, layers: int, both: bool, first: bool) -> Any:
    width = state[0].shape[-1] * (2 if both else 1)
    return x.new_empty(*x.shape[:2], width), torch.empty_like(state[0]), torch.empty_like(state[1])


@torch.library.custom_op("edgegnn::gru", mutates_args=())
def gru(
    x: Tensor, state: Tensor, weights: Sequence[Tensor], biases: bool, layers: int, both: bool, first: bool
) -> tuple[Tensor, Tensor]:
    """`torch.gru` in eval mode; takes what `lstm` takes, with the hidden state alone."""
    return torch.gru(x, state, list(weights), biases, layers, 0.0, False, both, first)


@gru.register_fake
def _(x: Tensor, state: Tensor, weights: Any, biases: bool, layers: int, both: bool, first: bool) -> Any:
    width = state.shape[-1] * (2 if both else 1)
    return x.new_empty(*x.shape[:2], width), torch.empty_like(state)


def recurrent_call(name: str, args: Sequence[Any]) -> Any:
    """Call the operator in the place of `torch.lstm(*args)` or `torch.gru(*args)`.

    Returns:
        What torch's function returns; None for another function, a packed sequence, or one of a fixed length.
    """
    if name not in {"lstm", "gru"} or len(args) != 9 or isinstance(args[3], (list, tuple)):
        return None
    x, state, weights, biases, layers, _, _, both, first = args
    if type(x.shape[1 if first else 0]) is int:
        return None
    operator = torch.ops.edgegnn.lstm if name == "lstm" else torch.ops.edgegnn.gru
    return operator(x, state, weights, biases, layers, both, first)


def recurrent_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The exporter's translations of both operators."""

    def to_lstm(x, state, weights, biases: bool, layers: int, both: bool, first: bool):  # type: ignore[no-untyped-def]
        return aten_lstm(x, state, weights, biases, layers, 0.0, False, both, first)

    def to_gru(x, state, weights, biases: bool, layers: int, both: bool, first: bool):  # type: ignore[no-untyped-def]
        return aten_gru(x, state, weights, biases, layers, 0.0, False, both, first)

    return {torch.ops.edgegnn.lstm.default: to_lstm, torch.ops.edgegnn.gru.default: to_gru}
