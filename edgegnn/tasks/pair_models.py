"""A model that scores pairs of nodes: an encoder, run once for a graph, and a decoder, run for each query.

Any module becomes one. What it has decides:

    encode(x, edge_index, ...)         node embeddings z [N, D]; where it is missing, `forward` is the encoder
    decode(z, edge_label_index)        a logit for each pair, [P] or [P, 1]; where it is missing, the inner product

PyG's `GAE` has both.

One forward serves all who look at a model as a function, and its arguments say which part is meant:

    x, edge_index, ..., edge_label_index   logits [P, 1]
    x, edge_index, ...                     z [N, D]
    z, edge_label_index                    logits [P, 1]
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import GAE

from edgegnn.errors import DataError
from edgegnn.tasks.collating import INPUTS, PAIRS

__all__ = ["PairModel", "as_pair_model", "inner_product"]


class PairModel(nn.Module):
    """Scores pairs of nodes with the encoder and the decoder of another module.

    Args:
        model: the module; its parameters are shared.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._forward = self.forward = _Forward(self)

    def run(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        """What `forward` does; see above.

        Raises:
            DataError: the encoder doesn't give one row for each node, or the decoder one logit for each pair.
        """
        arguments = {**dict(zip(self._forward.__signature__.parameters, args, strict=False)), **kwargs}
        pairs = arguments.pop(PAIRS, None)
        z = arguments.pop("z", None)
        if z is None:
            z = self._encode(arguments)
        return z if pairs is None else self._decode(z, pairs)

    def _encode(self, arguments: dict[str, Tensor]) -> Tensor:
        x = arguments["x"]
        encode = _method(self.model, "encode") or self.model
        z: Any = encode(**arguments)
        if not isinstance(z, Tensor) or z.dim() != 2 or z.shape[0] != x.shape[0]:
            raise DataError(
                f"the encoder gives {_what(z)}, it must give one row for each of the {x.shape[0]} nodes: is it a model "
                "for node tasks?"
            )
        return z

    def _decode(self, z: Tensor, pairs: Tensor) -> Tensor:
        if isinstance(self.model, GAE):
            logits: Any = self.model.decode(z, pairs, sigmoid=False)
        else:
            logits = (_method(self.model, "decode") or inner_product)(z, pairs)
        if isinstance(logits, Tensor) and logits.dim() == 1:
            logits = logits.unsqueeze(1)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] != 1:
            raise DataError(f"decode gives {_what(logits)}, it must give one logit for each pair: [P] or [P, 1]")
        return logits


def inner_product(z: Tensor, edge_label_index: Tensor) -> Tensor:
    """Logits [P, 1] of pairs [2, P]: inner products of embeddings z [N, D] (Kipf & Welling 2016, arXiv 1611.07308)."""
    left, right = z.index_select(0, edge_label_index[0]), z.index_select(0, edge_label_index[1])
    return (left * right).sum(dim=1, keepdim=True)


class _Forward:
    """The forward of one PairModel, with a signature of its own; copied together with the model, as no closure is."""

    def __init__(self, owner: PairModel) -> None:
        self.owner = owner
        model = owner.model
        encode = _method(model, "encode") or model.forward
        if isinstance(model, GAE):  # its encode takes whatever its encoder does
            encode = model.encoder.forward
        own = [
            p for p in inspect.signature(encode).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        kept = sorted((p for p in own if p.name in INPUTS and p.name != PAIRS), key=lambda p: INPUTS.index(p.name))
        strange = [p for p in own if p.name not in INPUTS and p.default is p.empty]
        asked = inspect.Parameter(PAIRS, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        needed = [p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in (*kept, *strange) if p.default is p.empty]
        optional = [p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in kept if p.default is not p.empty]
        self.__signature__ = inspect.Signature([*needed[:2], asked, *needed[2:], *optional])

    def __call__(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        return self.owner.run(*args, **kwargs)


def _method(model: nn.Module, name: str) -> Callable[..., Any] | None:
    found = getattr(model, name, None)
    return found if callable(found) else None


def _what(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    sizes = ", ".join(str(size) if isinstance(size, int) else "?" for size in value.shape)
    return f"{value.dtype} [{sizes}]".replace("torch.", "")


def as_pair_model(model: nn.Module) -> nn.Module:
    """The module itself if it scores pairs already, else with what is missing."""
    return model if isinstance(model, PairModel) else PairModel(model)
