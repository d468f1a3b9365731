"""What prepares features travels with the model: an artifact takes the features of the data as they are.

A transform that is a function of x (`edgegnn.tasks.transforms.INSIDE`) runs in front of the model while it is captured,
compared and proved, and so becomes standard operators in front of its first layer. Quantization points see what they
saw in training. What can't be part of the graph is a step that the manifest lists and the runtime does.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeGuard

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch_geometric.data import Data

from edgegnn.checkpoint.onnx_module import OnnxModule
from edgegnn.exporting.transforms_inside import encoding_steps, running_inside
from edgegnn.manifest import Preprocessing, PreprocessingStep
from edgegnn.quantize import QuantModel
from edgegnn.signature import RAW
from edgegnn.tasks import Task
from edgegnn.tasks.collating import by_name
from edgegnn.tasks.transforms import INSIDE, features_of
from edgegnn.tasks.user_transforms import Encoding, transforms_of

__all__ = ["described", "raw_features"]

Model = nn.Module | ExportedProgram
_WORDS = {
    "row-normalise": "each row of x is divided by its sum, or by 1 where that is less",
    "one-hot": "each column of x becomes a column for each of its categories",
}


@contextmanager
def raw_features(models: Sequence[Model | None], task: Task) -> Iterator[Task]:
    """While this lasts, models take the features that the data have, and the task has these.

    Args:
        models: modules that take the same inputs; a program takes what it was traced with.
        task: the data, with the features that the models were trained with.
    """
    takers = [model for model in models if _takes_more(model)]
    modules = [_inner(model) for model in takers]
    if task.spec.transforms and len(takers) == len([model for model in models if model is not None]):
        with running_inside(takers, task) as raw:
            yield raw
        return
    if not _inside(task) or len(modules) < len([model for model in models if model is not None]):
        yield task
        return
    names = _prepared(task.graphs[0])
    constants = task.spec.features

    def prepare(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        given = {**by_name(module, args), **kwargs}
        return (), {k: features_of(v, constants) if k in names else v for k, v in given.items()}

    with ExitStack() as stack:
        for module in dict.fromkeys(modules):
            stack.callback(module.register_forward_pre_hook(prepare, with_kwargs=True).remove)
        yield replace(task, graphs=[_raw(graph, names) for graph in task.graphs])


def described(model: Model, task: Task, names: Sequence[str]) -> Preprocessing:
    """The manifest's account of what lies between the data and a model with inputs of these names."""
    features = task.spec.features
    if task.spec.transforms:
        return _of_transforms(task, names)
    if _inside(task) and _takes_more(model):
        return Preprocessing(inside=[_WORDS[features["kind"]]], before=[])
    taken = [name for name in names if features and name in _prepared(task.graphs[0])]
    if taken:
        return Preprocessing(inside=[], before=[PreprocessingStep(input=taken[0], **features)])
    return Preprocessing(inside=[], before=[])


def _of_transforms(task: Task, names: Sequence[str]) -> Preprocessing:
    """Where the user's transforms are done: in the model, by the runtime, or by whoever calls it."""
    texts = task.spec.transforms
    traced = [text for text, each in zip(texts, transforms_of(texts), strict=True) if not isinstance(each, Encoding)]
    return Preprocessing(
        inside=[text for text in traced if text in task.inside],
        before=encoding_steps(task, names) if task.inside else [],
        outside=[text for text in texts if text not in task.inside],
    )


def _inside(task: Task) -> bool:
    return task.spec.features.get("kind") in INSIDE and task.graphs[0].get(RAW) is not None


def _takes_more(model: Model | None) -> TypeGuard[nn.Module]:
    """Whether operators can be put in front of a model: not of a program or an ONNX file, which is as it is."""
    return isinstance(model, nn.Module) and not isinstance(model, OnnxModule)


def _inner(model: nn.Module) -> nn.Module:
    return model.model if isinstance(model, QuantModel) else model


def _prepared(graph: Data) -> set[str]:
    """Attributes that are the prepared features, under any name."""
    tensors = {key: value for key, value in graph.to_dict().items() if isinstance(value, Tensor)}
    return {key for key, value in tensors.items() if value.data_ptr() == graph.x.data_ptr()}


def _raw(graph: Data, names: set[str]) -> Data:
    graph = copy.copy(graph)
    for name in names:
        graph[name] = graph[RAW]
    return graph
