"""Cut edges of one fixed graph that a model does well without (UGS: Chen et al. 2021, arXiv 2102.06790).

Every edge gets a soft mask, 1 at first, that multiplies its weight; masks and weights of the model are trained together
with an L1 penalty on the masks; the edges whose masks end lowest are cut and the model is trained on without them. Both
directions of an edge of an undirected graph share one mask, as do duplicates. Self loops stay, whether a layer adds
them or the data have them.

Any model with PyG layers: a layer that takes edge weights gets the masks as weights (so that a GCN normalizes with
them, as UGS does), any other has its messages multiplied.

The cut travels with the checkpoint as one bit an edge and a checksum of the whole graph's edge list: it is right for
that graph alone.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from edgegnn.errors import CheckpointError, DataError, PruneError, UsageError
from edgegnn.prune.masks import Masks
from edgegnn.signature import TypedGraph
from edgegnn.tasks import Task
from edgegnn.training import EpochLog, FitConfig, FitResult, fit
from edgegnn.utils.layer_caches import drop_graph_caches
from edgegnn.utils.model_copies import copied

__all__ = ["cut_edges", "describe_pruning", "edges_to_cut", "learn_edges", "pack_edges", "without_edges"]

PENALTY = 1e-2  # of UGS on Cora and CiteSeer
NOISE = 1e-3  # of the first masks: edges that no training node sees should not go in the order of the file


def learn_edges(
    model: nn.Module,
    task: Task,
    cut: int,
    config: FitConfig,
    *,
    masks: Masks | None = None,
    penalty: float = PENALTY,
    progress: Callable[[EpochLog], None] | None = None,
) -> tuple[Tensor, FitResult]:
    """Train masks on the edges together with the model, and choose the edges that stay.

    Args:
        model: a float module; its weights are trained in place.
        task: a node task.
        cut: how many edges shall go; one less where the last one would have to leave without its opposite.
        config: how to train; all epochs are run, the last one counts.
        masks: weights that are pruned and stay at zero.
        penalty: of the L1 norm of the edges' masks.
        progress: called after each epoch.

    Returns:
        bool [E], true for the edges that stay; and what training gave.

    Raises:
        PruneError: the task has more than one graph or type of nodes, too few edges can go, or no layer passes
            messages along them.
    """
    if task.many or task.spec.kind == "edge":
        raise PruneError("--prune edges is for tasks of one graph: it cuts edges of the graph that the model is for")
    if isinstance(task.graphs[0], TypedGraph):
        raise PruneError("--prune edges is for graphs with one type of nodes: take fine-grained, global or structured")
    edge_index = task.graphs[0].edge_index
    pair = _pairs(edge_index)
    free = int((pair >= 0).sum())
    if cut > free:
        raise PruneError(f"{cut} edges can't go: the graph has {free}, without self loops, which stay")
    if not any(isinstance(m, MessagePassing) for m in model.modules()):
        raise PruneError("the model has no message passing layer, so edges can't be cut for it")
    work = copied(model)  # masks need hooks
    drop_graph_caches(work)
    masked = _Masked(work, edge_index, pair, int(task.graphs[0].num_nodes), config.seed)

    def before_step(_: nn.Module) -> None:
        if masked.masks.grad is None:
            raise PruneError("no layer of the model uses the edges of the graph, so none can be chosen")
        masked.masks.grad.add_(penalty * masked.masks.detach().sign())

    hold = masks.bind(work) if masks is not None else None
    result = fit(masked, task, config, progress=progress, before_step=before_step, after_step=hold, keep_last=True)
    model.load_state_dict(work.state_dict())
    drop_graph_caches(model)
    return _lowest(masked.masks.detach().abs(), pair, cut), result


def cut_edges(task: Task, keep: Tensor) -> Task:
    """The task on the graph with the edges that stay (bool [E])."""
    data = copy.copy(task.graphs[0])
    for key, role in task.roles.items():
        if role.size == "num_edges" and data.get(key) is not None:
            data[key] = data[key][:, keep] if role.axis else data[key][keep]
    return dataclasses.replace(task, graphs=[data])


def pack_edges(task: Task, keep: Tensor, earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint says of the edges that stay.

    Args:
        task: before the cut.
        keep: bool [E], true for the edges that stay.
        earlier: what this function gave for an earlier cut, of which `task` has the graph.

    Returns:
        "kept": uint8 tensor, one bit an edge of the whole graph; "edges", "left": how many it had and has; "nodes";
        "sha256": of the whole graph's edge list.
    """
    if earlier is not None:
        whole = _unpack(earlier)
        whole[whole.nonzero().view(-1)[~keep]] = False
        return {**earlier, "kept": _bits(whole), "left": int(whole.sum())}
    data = task.graphs[0]
    return {
        "kept": _bits(keep),
        "edges": len(keep),
        "left": int(keep.sum()),
        "nodes": int(data.num_nodes),
        "sha256": _checksum(data.edge_index),
    }


def without_edges(task: Task, edges: Any) -> Task:
    """The task on the pruned graph of a checkpoint.

    Args:
        task: on the whole graph.
        edges: what `pack_edges` gave.

    Raises:
        CheckpointError: `edges` is damaged.
        DataError: it was made for another graph.
    """
    keep = _unpack(edges)
    data = task.graphs[0]
    if task.many or edges["sha256"] != _checksum(data.edge_index) or len(keep) != data.edge_index.shape[1]:
        raise DataError(
            f"the model's edges were pruned for a graph of {edges['nodes']} nodes and {edges['edges']} edges, and this "
            f"is another one ({task.spec.data}: {int(data.num_nodes)} nodes, {data.edge_index.shape[1]} edges): give "
            "that data set, or a model with all edges"
        )
    return cut_edges(task, keep)


def describe_pruning(pruning: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a checkpoint says of pruning in values for JSON: without the edges themselves, with how many are left."""
    if pruning is None:
        return None
    edges = pruning.get("edges")
    return {**pruning, "edges": {k: v for k, v in edges.items() if k != "kept"} if edges else None}


def edges_to_cut(edges: int, sparsity: float, earlier: dict[str, Any] | None) -> int:
    """How many of a graph's edges have to go, so that the share `sparsity` of the whole graph's is gone.

    Raises:
        UsageError: sparsity outside [0, 1).
        PruneError: that share is gone already.
    """
    if not 0 <= sparsity < 1:
        raise UsageError(f"sparsity must be at least 0 and below 1, not {sparsity}")
    whole = edges if earlier is None else int(earlier["edges"])
    cut = round(sparsity * whole) - (whole - edges)
    if cut < 0:
        raise PruneError(
            f"{whole - edges} of {whole} edges are gone already: ask for a higher sparsity than {sparsity:g}"
        )
    return cut


# ---------------------------------------------------------------------------------------------------------------------


class _Masked(nn.Module):
    """A model whose edges are weighted by masks; same forward arguments."""

    def __init__(self, model: nn.Module, edge_index: Tensor, pair: Tensor, nodes: int, seed: int) -> None:
        super().__init__()
        self.model, self.nodes = model, nodes
        count = int(pair.max()) + 1
        noise = torch.rand(count, generator=torch.Generator().manual_seed(seed))
        self.masks = nn.Parameter(1 + NOISE * (noise - 0.5))
        keys, order = self._keys(edge_index).sort()
        self.table = keys, pair[order]
        self.known: list[tuple[Tensor, Tensor]] = []  # an edge list, and the masks of its edges
        for module in model.modules():
            if isinstance(module, MessagePassing):
                self._weigh(module)

        def forward(*args: Tensor, **kwargs: Tensor) -> Tensor:
            return model(*args, **kwargs)

        forward.__signature__ = inspect.signature(model.forward)  # type: ignore[attr-defined]
        self.forward = forward

    def _keys(self, edge_index: Tensor) -> Tensor:
        return edge_index[0] * self.nodes + edge_index[1]

    def _of(self, edge_index: Tensor) -> Tensor:
        """Mask [E] of each edge of a list; 1 for self loops and whatever else the graph doesn't have."""
        index = next((i for e, i in self.known if e.shape == edge_index.shape and torch.equal(e, edge_index)), None)
        if index is None:
            keys, pair = self.table
            wanted = self._keys(edge_index)
            place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
            index = torch.where(keys[place] == wanted, pair[place], -1)
            self.known = [*self.known[-3:], (edge_index.clone(), index)]
        return torch.where(index >= 0, self.masks[index.clamp_min(0)], 1.0)

    def _weigh(self, conv: MessagePassing) -> None:
        signature = inspect.signature(conv.forward)
        if {"edge_index", "edge_weight"} <= set(signature.parameters):

            def weigh(_: nn.Module, args: Any, kwargs: Any) -> Any:
                given = signature.bind(*args, **kwargs)
                masks = self._of(given.arguments["edge_index"])
                weight = given.arguments.get("edge_weight")
                given.arguments["edge_weight"] = masks if weight is None else weight * masks
                return given.args, given.kwargs

            conv.register_forward_pre_hook(weigh, with_kwargs=True)
            return
        current: list[Tensor] = []

        def before(_: nn.Module, inputs: Any) -> None:
            current[:] = [inputs[0]]

        def after(_: nn.Module, __: Any, messages: Tensor) -> Tensor:
            shape = [1] * messages.dim()
            shape[conv.node_dim] = -1
            return messages * self._of(current[0]).view(shape)

        conv.register_propagate_forward_pre_hook(before)
        conv.register_message_forward_hook(after)


def _pairs(edge_index: Tensor) -> Tensor:
    """Number of the mask of each edge [E], -1 for self loops; opposites share one if all edges have one."""
    a, b = edge_index
    size = int(edge_index.max()) + 1 if edge_index.numel() else 1
    forth, back = a * size + b, b * size + a
    undirected = torch.equal(forth.unique(), back.unique())
    key = torch.minimum(forth, back) if undirected else forth
    pair = torch.full_like(a, -1)
    pair[a != b] = key[a != b].unique(return_inverse=True)[1]
    return pair


def _lowest(masks: Tensor, pair: Tensor, cut: int) -> Tensor:
    """Which edges [E] stay when at most `cut` edges, those with the lowest masks, go."""
    size = torch.bincount(pair[pair >= 0], minlength=len(masks))
    order = masks.argsort(stable=True)
    gone = torch.zeros(len(masks), dtype=torch.bool)
    gone[order] = size[order].cumsum(0) <= cut
    return ~(gone[pair.clamp_min(0)] & (pair >= 0))


def _checksum(edge_index: Tensor) -> str:
    return hashlib.sha256(edge_index.contiguous().numpy().astype("<i8").tobytes()).hexdigest()


def _bits(keep: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(keep.numpy()))


def _unpack(edges: Any) -> Tensor:
    """Which edges of the whole graph stay, bool [E].

    Raises:
        CheckpointError: not what `pack_edges` gives.
    """
    wanted = {"kept": Tensor, "edges": int, "left": int, "nodes": int, "sha256": str}
    good = isinstance(edges, dict) and all(type(edges.get(name)) is kind for name, kind in wanted.items())
    if good:
        kept, count = edges["kept"], edges["edges"]
        good = kept.dtype == torch.uint8 and kept.dim() == 1 and count >= 0 and len(kept) == -(-count // 8)
    if good:
        keep = torch.from_numpy(np.unpackbits(kept.numpy(), count=count).astype(bool))
        if int(keep.sum()) == edges["left"]:
            return keep
    raise CheckpointError("the list of the edges that were pruned is damaged: compress the model again")
