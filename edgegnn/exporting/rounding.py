"""Where does PyTorch itself turn on rounding? A model runs again with its numbers rounded otherwise.

A model that sorts nodes by a score, takes the largest of two numbers or compares them may answer otherwise when a sum
is added up in another order, or when a tanh is right to another last digit. Where PyTorch answers otherwise itself, no
artifact can be held to one of the answers.

What moves, each time at random:

    inputs          floats, by half a unit in the last place
    results         of operators that round, by a unit in the last place
    outputs         floats, by the rounding of a sum of terms as large as the graph's largest output
    points          what a quantization point rounds, by the rounding error of a float sum (`QuantModel.noise`)

Whole numbers stay, as inputs and where sums and products give them: they are exact. A tanh of 1 isn't. Of numbers that
are equal all the same the lower index comes first, here (`edgegnn.exporting.ties`) and in the artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from edgegnn.exporting.parity import torch_outputs
from edgegnn.exporting.samples import Sample
from edgegnn.quantize import QuantModel
from edgegnn.tasks.notes import note

__all__ = ["rounded_otherwise"]

Array = npt.NDArray[Any]
_UNIT = 2.0**-23
# Operators without the tag of those that work on each element that round all the same. What they give for whole numbers
# may be whole and exact; what the second set gives is right to a unit or two in the last place, and never exact.
_SUMS = {
    "_native_batch_norm_legit_no_training", "_segment_reduce", "addbmm", "addmm", "addmv", "baddbmm", "bmm",
    "convolution", "cumsum", "dot", "fake_quantize", "index_add", "index_add_", "index_reduce", "index_reduce_",
    "learnt_quantize", "mkldnn_rnn_layer", "mm", "mv", "native_batch_norm", "scatter_add", "scatter_add_",
    "scatter_reduce", "scatter_reduce_",
}  # fmt: skip
_INEXACT = {
    "_cdist_forward", "_log_softmax", "_softmax", "cos", "erf", "exp", "exp2", "expm1", "gelu", "log", "log1p", "log2",
    "logsumexp", "native_group_norm", "native_layer_norm", "pow", "rsqrt", "sigmoid", "silu", "sin", "softplus",
    "tanh",
}  # fmt: skip
_COPIES = {"clone", "copy_", "fill_"}
_NEIGHBOURS = {"farthest_points", "knn", "radius"}


def rounded_otherwise(
    model: nn.Module | ExportedProgram, sample: Sample, draws: int = 16, name: str = ""
) -> list[npt.NDArray[np.float32]]:
    """PyTorch's logits on a sample when numbers are rounded otherwise: as it is, then `draws` times moved a little.

    Or another output than the main one, by its name.

    Where points get other neighbours, that is said.
    """
    random = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    found = torch_outputs(model, [sample], name)
    made: list[list[Tensor]] = []
    with model.noise() if isinstance(model, QuantModel) else nullcontext():
        for _ in range(draws):
            moved = replace(sample, inputs={k: _moved(v, random) for k, v in sample.inputs.items()})
            with _RoundedOtherwise(generator) as rounded:
                found += torch_outputs(model, [moved], name)
            made.append(rounded.graphs)
    if any(_differ(made[0], other) for other in made[1:]):
        note(
            f"on the graph {sample.name} points are so nearly equally far that rounding decides which are neighbours, "
            "in PyTorch as in the artifact"
        )
    size = max((float(np.abs(out).max(initial=0.0)) for out in found), default=0.0)
    shifts = [_UNIT * size * random.standard_normal(out.shape).astype(np.float32) for out in found[1:]]
    return found[:1] + [out + shift for out, shift in zip(found[1:], shifts, strict=True)]


def _moved(value: Array, random: np.random.Generator) -> Array:
    if value.dtype != np.float32:
        return value
    factor = (1 + _UNIT / 2 * random.standard_normal(value.shape)).astype(np.float32)
    return np.where(value == np.round(value), value, value * factor)


def _differ(graphs: list[Tensor], others: list[Tensor]) -> bool:
    """Whether points were joined otherwise."""
    return any(not torch.equal(a, b) for a, b in zip(graphs, others, strict=True))


class _RoundedOtherwise(TorchDispatchMode):
    """Move what operators give, and keep the graphs that they make from points."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator
        self.graphs: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.split("::")[-1]
        out = func(*args, **(kwargs or {}))
        if name in _NEIGHBOURS:
            self.graphs.append(out)
        by_element = torch.Tag.pointwise in func.tags or torch.Tag.reduction in func.tags
        inexact = name.removesuffix("_") in _INEXACT or name in _INEXACT
        if (not by_element and name not in _SUMS and not inexact) or name in _COPIES:
            return out
        return tree_map(lambda leaf: self._rounded(leaf, exact=not inexact, inside=func._schema.is_mutable), out)

    def _rounded(self, value: Any, *, exact: bool, inside: bool) -> Any:
        """A result, moved; in place for an operator that works in place."""
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        factor = 1 + _UNIT * torch.randn(value.shape, generator=self.generator)
        if exact:
            factor[value == value.round()] = 1
        return value.mul_(factor) if inside else value * factor
