"""Exchange operators that trust the sizes they are given for the ones that compare them.

`torch.export` programs after `run_decompositions()` call the inner operators of batch norm, which read as many
channels as their input has, however long the statistics are. Attention on a CPU reads as many values as there are
keys. A program of a stranger can give them too little memory, and would answer with this process's memory.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from edgegnn.errors import CheckpointError

__all__ = ["EXCHANGED", "compare_sizes"]

Arguments = Mapping[str, Any]


def _batch_norm(given: Arguments) -> tuple[Any, ...]:
    statistics = given.get("running_mean"), given.get("running_var")
    training, rates = given.get("training", False), (given["momentum"], given["eps"])
    return (given["input"], given.get("weight"), given.get("bias"), *statistics, training, *rates, False)


def _attention(given: Arguments) -> tuple[Any, ...]:
    mask, dropout, causal = given.get("attn_mask"), given.get("dropout_p", 0.0), given.get("is_causal", False)
    return (given["query"], given["key"], given["value"], mask, dropout, causal, None)


def _attention_options(given: Arguments) -> dict[str, Any]:
    return {"scale": given.get("scale"), "enable_gqa": given.get("enable_gqa", False)}


_aten = torch.ops.aten
# Inner operators of batch norm, whose first output `aten.batch_norm` gives, too.
_BATCH_NORMS: frozenset[Any] = frozenset(
    {
        _aten._native_batch_norm_legit_no_training.default,
        _aten._native_batch_norm_legit.default,
        _aten._native_batch_norm_legit.no_stats,
        _aten.native_batch_norm.default,
    }
)
_INNER_ATTENTION = _aten._scaled_dot_product_flash_attention_for_cpu.default
_ATTENTION = _aten.scaled_dot_product_attention.default
_MATH: Any = _aten._scaled_dot_product_attention_math.default
_VIEW: Any = _aten.view.default
EXCHANGED = frozenset(op._schema.name.removeprefix("aten::") for op in (*_BATCH_NORMS, _INNER_ATTENTION))


def compare_sizes(program: ExportedProgram, where: str) -> None:
    """Exchange the operators in a program, in place; names of nodes and the signature stay.

    Args:
        program: as loaded, not run yet.
        where: its file, for the message.

    Raises:
        CheckpointError: the program uses an output that only an inner operator has.
    """
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in list(module.graph.nodes):
                _exchange(node, where)
            module.recompile()


def _exchange(node: Node, where: str) -> None:
    if node.op != "call_function":
        return
    if node.target in _BATCH_NORMS:
        for first in _first_outputs(node, where):
            first.target, first.args, first.kwargs = _aten.batch_norm.default, _batch_norm(_arguments(node)), {}
        node.graph.erase_node(node)
    elif node.target == _INNER_ATTENTION:
        _first_outputs(node, where)
        _by_math(node)
    elif node.target == _ATTENTION:
        with node.graph.inserting_before(node):
            math = node.graph.call_function(_ATTENTION, node.args, node.kwargs)
        math.meta = {**node.meta, "val": (node.meta.get("val"), None)}
        _by_math(math)
        node.target, node.args, node.kwargs = operator.getitem, (math, 0), {}
    elif node.target == _VIEW:  # refuses the order in which attention by `_MATH` lays out its answer
        node.target = _aten.reshape.default


def _by_math(node: Node) -> None:
    given = _arguments(node)
    node.target, node.args, node.kwargs = _MATH, _attention(given), _attention_options(given)


def _first_outputs(node: Node, where: str) -> list[Node]:
    """Readers of an operator's first output; readers of others, which nothing reads, are taken out."""
    first: list[Node] = []
    for reader in list(node.users):
        if reader.target is not operator.getitem or (reader.args[1] != 0 and reader.users):
            raise CheckpointError(
                f"{where} reads an output of {node.target} that only training has: export the model in eval mode"
            )
        if reader.args[1] == 0:
            first.append(reader)
        else:
            node.graph.erase_node(reader)
    return first


def _arguments(node: Node) -> dict[str, Any]:
    """Arguments of a call by name."""
    schema: Any = getattr(node.target, "_schema")  # noqa: B009
    return {**dict(zip((a.name for a in schema.arguments), node.args, strict=False)), **node.kwargs}
