"""Transforms that the user named become operators in front of the model, where they trace.

What a transform makes of one graph has to be what its operators make of graphs side by side, and ONNX has to have these
operators; both are tried before the model is captured. Encodings of places are steps of the runtime. What is neither
stays outside, and the artifact says so.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from edgegnn.errors import EdgeGNNError, first_line
from edgegnn.exporting.capture import capture
from edgegnn.exporting.request import input_names
from edgegnn.exporting.tracing import quiet
from edgegnn.manifest import PreprocessingStep
from edgegnn.quantize import QuantModel
from edgegnn.runtime.roles import BATCH, FIXED, Role, usual_role
from edgegnn.signature import Output, Outputs, is_input, roles_of
from edgegnn.tasks import Task, collate
from edgegnn.tasks.collating import INPUTS
from edgegnn.tasks.notes import note
from edgegnn.tasks.points import point_graphs
from edgegnn.tasks.user_transforms import Encoding, Transform, transforms_of

__all__ = ["encoding_steps", "running_inside"]

_TRIED = 4  # graphs on which operators are held to the transform
_EDGES = "edge_index"


class _OutsideError(Exception):
    """Why transforms can't be part of the model."""


@dataclass(frozen=True)
class _Front:
    """What runs in front of the model.

    Attributes:
        transforms: these, one after the other.
        made: input of the model -> the attribute that the transforms make it, and its dtype.
        kept: inputs of the model that the graphs have as they are.
        takes: what the graphs must have.
    """

    transforms: tuple[Transform, ...]
    made: Mapping[str, tuple[str, torch.dtype]]
    kept: tuple[str, ...]
    takes: tuple[str, ...]

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs of the model, of attributes of the graphs."""
        graph = Data.from_dict({name: value.clone() for name, value in given.items() if usual_role(name) != BATCH})
        for transform in self.transforms:
            graph = transform(graph)
        return {name: given[name] for name in self.kept if name in given} | {
            name: graph[attribute].to(dtype) for name, (attribute, dtype) in self.made.items()
        }


@contextmanager
def running_inside(modules: Sequence[nn.Module], task: Task) -> Iterator[Task]:
    """While this lasts, modules take graphs as the data have them, and the task has these; else as they were.

    Args:
        modules: which take the same inputs.
        task: whose graphs transforms of the user's prepared.
    """
    names = input_names(modules[0], task)
    texts = task.spec.transforms
    try:
        front, raw = _front(task, [name for name in names if usual_role(name) != BATCH])
    except _OutsideError as reason:
        note(f"--transform {', '.join(texts)} stays outside of the artifact, which expects prepared graphs: {reason}")
        yield task
        return
    if not front.made:
        every = zip(texts, transforms_of(texts), strict=True)
        yield replace(task, inside=tuple(text for text, each in every if isinstance(each, Encoding)))
        return
    batch = [name for name in names if usual_role(name) == BATCH]
    with ExitStack() as stack:
        for module in dict.fromkeys(modules):
            _prepend(module, front, [*front.takes, *batch], stack)
        yield raw


def encoding_steps(task: Task, names: Sequence[str]) -> list[PreprocessingStep]:
    """The user's transforms that the runtime does, for a model with inputs of these names."""
    found = [each for each in transforms_of(task.spec.transforms) if isinstance(each, Encoding)]
    return [
        PreprocessingStep(kind=each.kind, input=each.attribute or "x", size=each.size)
        for each in found
        if (each.attribute or "x") in names
    ]


def _prepend(module: nn.Module, front: _Front, names: Sequence[str], stack: ExitStack) -> None:
    """Let a module's forward take what stands in front of the transforms, until the stack is left."""
    plain = module.model if isinstance(module, QuantModel) else module
    own, bound = plain.forward, getattr(plain.forward, "__func__", None)

    def forward(self: nn.Module, *args: Tensor, **kwargs: Tensor) -> Any:
        given = dict(zip(names, args, strict=False)) | kwargs
        inputs = front(given) | {name: value for name, value in given.items() if usual_role(name) == BATCH}
        return own(**inputs) if bound is None else bound(self, **inputs)

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    forward.own_inputs = tuple(names)  # type: ignore[attr-defined]
    had = plain.__dict__.get("forward")
    plain.forward = types.MethodType(forward, plain)
    stack.callback(_restore, plain, had)
    if isinstance(module, QuantModel):
        outer: Any = module.forward
        before = outer.__signature__, outer.own_inputs
        outer.__signature__, outer.own_inputs = inspect.signature(plain.forward), tuple(names)
        stack.callback(_put_back, outer, *before)


def _restore(module: nn.Module, forward: Any) -> None:
    module.__dict__.pop("forward")
    if forward is not None:
        module.forward = forward


def _put_back(forward: Any, signature: inspect.Signature, own_inputs: Any) -> None:
    forward.__signature__, forward.own_inputs = signature, own_inputs


# What runs in front ------------------------------------------------------------


def _front(task: Task, names: Sequence[str]) -> tuple[_Front, Task]:
    """What runs in front of the model, and the task whose graphs that takes."""
    if len(task.raw) != len(task.graphs) or task.spec.features:
        raise _OutsideError("other steps prepare the graphs, too")
    every = transforms_of(task.spec.transforms)
    rest = tuple(each for each in every if not isinstance(each, Encoding))
    raw = [_encoded(graph, every) for graph in task.raw]
    made, prepared = _applied(rest, raw[0]), task.graphs[0]
    sources = {name: _source(name, made, prepared) for name in names}
    changed = {
        name: (attribute, prepared[name].dtype)
        for name, attribute in sources.items()
        if not _same(raw[0].get(name), prepared[name])
    }
    kept = tuple(name for name in names if name not in changed)
    front = _Front(rest, changed, kept, ())
    if not changed:
        _check(front, raw, task)
        return front, task
    front = replace(front, takes=_takes(front, raw[0], prepared))
    _check(front, raw, task)
    graphs = [_given(graph, whole, front) for graph, whole in zip(raw, task.graphs, strict=True)]
    roles = roles_of(graphs)
    unknown = [name for name in front.takes if name not in roles and name != _EDGES]
    if unknown:
        raise _OutsideError(f"what {unknown[0]} belongs to can't be told")
    before = replace(task, graphs=graphs, roles=roles, raw=(), inside=tuple(task.spec.transforms))
    _check_onnx(front, before, task)
    return front, before


def _encoded(graph: Data, every: Sequence[Transform]) -> Data:
    """A graph of the data in types that an artifact takes, with its encodings."""
    graph = graph.clone()
    for name, value in graph.to_dict().items():
        if isinstance(value, Tensor) and value.layout == torch.strided:
            kind = torch.float32 if value.is_floating_point() else value.dtype
            graph[name] = value.to(torch.int64 if kind not in (torch.float32, torch.bool) else kind)
    for each in every:
        if isinstance(each, Encoding):
            graph = each(graph)
    return graph


@point_graphs()
def _applied(transforms: Sequence[Transform], graph: Data) -> Data:
    graph = graph.clone()
    try:
        for transform in transforms:
            graph = transform(graph)
    except Exception as error:
        raise _OutsideError(f"it fails behind the encodings ({first_line(error)})") from error
    return graph


def _source(name: str, made: Data, prepared: Data) -> str:
    """The attribute that the model takes under this name: of the same name, or with the same values."""
    if isinstance(made.get(name), Tensor):
        return name
    for other, value in made.to_dict().items():
        if isinstance(value, Tensor) and is_input(other) and _same(value, prepared[name]):
            return str(other)
    raise _OutsideError(f"where the model's {name} comes from can't be told")


def _same(one: Any, other: Tensor) -> bool:
    if not isinstance(one, Tensor) or one.shape != other.shape:
        return False
    return bool(torch.allclose(one.to(other.dtype), other, rtol=1e-4, atol=1e-6))


def _takes(front: _Front, raw: Data, prepared: Data) -> tuple[str, ...]:
    """The attributes that the transforms need, and those that the model takes as they are."""
    every = {
        name: value
        for name, value in raw.to_dict().items()
        if isinstance(value, Tensor) and is_input(name) and value.dim() and value.layout == torch.strided
    }
    for name in [name for name in every if name not in front.kept]:
        try:
            with quiet():
                without = front({key: value for key, value in every.items() if key != name})
        except Exception:  # it is needed
            continue
        if all(_same(without[key], prepared[key]) for key in front.made):
            every.pop(name)
    return (*(name for name in INPUTS if name in every), *(name for name in every if name not in INPUTS))


def _check(front: _Front, raw: Sequence[Data], task: Task) -> None:
    """Refuse transforms whose result changes when they run alone, after the encodings, or on a batch of graphs.

    Raises:
        _OutsideError: they do.
    """
    pairs = [([graph], [whole]) for graph, whole in zip(raw[:_TRIED], task.graphs[:_TRIED], strict=True)]
    if task.many and len(raw) > 1:
        pairs.append((list(raw[:_TRIED]), task.graphs[:_TRIED]))
    names = [*front.kept, *front.made]
    for graphs, whole in pairs:
        given, want = (_inputs(g, n) for g, n in ((graphs, front.takes or front.kept), (whole, names)))
        try:
            got = front(given)
        except Exception as error:
            raise _OutsideError(first_line(error)) from error
        wrong = [name for name in names if not _same(got.get(name), want[name])]
        if wrong:
            many = "several graphs at once" if len(graphs) > 1 else "the graphs as the data have them"
            raise _OutsideError(f"it makes another {wrong[0]} of {many}")


def _inputs(graphs: Sequence[Data], names: Sequence[str]) -> dict[str, Tensor]:
    if len(graphs) == 1:
        return {name: graphs[0][name] for name in names}
    some = [Data.from_dict({name: graph[name] for name in names}) for graph in graphs]
    for graph, whole in zip(some, graphs, strict=True):
        graph.num_nodes = whole.num_nodes
        if _EDGES not in graph:
            graph.edge_index = torch.zeros((2, 0), dtype=torch.int64)
    batch = collate(some)
    return {name: batch[name] for name in names}


def _given(raw: Data, prepared: Data, front: _Front) -> Data:
    """A graph of the task, with what the data have in place of what the transforms make."""
    graph = Data.from_dict({k: v for k, v in prepared.to_dict().items() if k not in front.made})
    for name in front.takes:
        graph[name] = raw[name]
    if _EDGES not in front.takes:
        graph.edge_index = raw[_EDGES] if _EDGES in raw else torch.zeros((2, 0), dtype=torch.int64)
    if raw.num_nodes != prepared.num_nodes:
        raise _OutsideError("it changes the number of nodes")
    graph.num_nodes = prepared.num_nodes
    return graph


def _check_onnx(front: _Front, before: Task, task: Task) -> None:
    """Capture the transforms alone, and hold the operators to them on two graphs.

    Raises:
        _OutsideError: they can't be captured, or compute something else.
    """
    graphs = sorted(before.graphs[:64], key=lambda graph: -int(graph.num_nodes or 0))
    graphs = [graphs[0], graphs[-1]]
    module = _alone(front)
    roles: dict[str, Role] = {name: before.roles[name] for name in front.takes if name in before.roles}
    outputs = Outputs((Output("made", FIXED),), "made")
    example = {name: graphs[0][name] for name in front.takes}
    try:
        model = capture(module, example, kind="node", roles=roles, outputs=outputs)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for graph in graphs:
            own = {each.name: graph[each.name].numpy() for each in session.get_inputs()}
            got = torch.from_numpy(session.run(None, own)[0])
            want = point_graphs()(module)(**{name: graph[name] for name in front.takes})
            if not torch.allclose(got, want, rtol=1e-3, atol=1e-3):
                raise _OutsideError("its operators give something else on graphs of other sizes")
    except _OutsideError:
        raise
    except EdgeGNNError as error:
        raise _OutsideError(f"it doesn't trace ({first_line(error)})") from error
    except Exception as error:
        raise _OutsideError(f"onnxruntime refuses it ({first_line(error)})") from error


def _alone(front: _Front) -> nn.Module:
    """A module that takes what the transforms take, and gives the sum of each thing that they make, [1, things]."""
    module = nn.Module()

    def forward(self: nn.Module, *args: Tensor, **kwargs: Tensor) -> Tensor:
        made = front(dict(zip(front.takes, args, strict=False)) | kwargs)
        return torch.stack([made[name].float().sum() for name in front.made]).reshape(1, -1)

    names = ("self", *front.takes)
    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    module.forward = types.MethodType(forward, module)
    return module
