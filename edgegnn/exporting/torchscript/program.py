"""A captured model as one flat, functional graph of torch operators, and the constants it reads.

`torch.export` has traced the model with free sizes: the graph computes every size from its inputs. What TorchScript has
no use for is left out (assertions about sizes, aliases, nested graphs), and what is computed twice is computed once.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from edgegnn.errors import ExportError
from edgegnn.exporting.diagnostics import layer_of

__all__ = ["Program", "flatten", "path_of"]

_ATEN = torch.ops.aten
_CHECKS = {
    "_assert_async",
    "_assert_scalar",
    "_assert_tensor_metadata",
    "_functional_assert_async",
    "_functional_assert_scalar",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
    "_functional_sym_constrain_range",
    "_functional_sym_constrain_range_for_size",
}
_SAME = {"alias", "detach", "detach_", "lift_fresh", "lift_fresh_copy"}
_RANDOM = ("rand", "bernoulli", "multinomial", "normal", "uniform", "exponential")
_WRAPPERS = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}  # leading arguments that are settings


@dataclass
class Program:
    """A graph whose placeholders are either inputs or constants.

    Attributes:
        graph: functional torch operators.
        inputs: placeholder -> the model's input it stands for, in order.
        constants: placeholder -> value.
        names: placeholder of a constant -> its path in the user's module.
        counts: placeholder whose length stands for the number of graphs, or None.
    """

    graph: fx.Graph
    inputs: dict[fx.Node, str] = field(default_factory=dict)
    constants: dict[fx.Node, Tensor] = field(default_factory=dict)
    names: dict[fx.Node, str] = field(default_factory=dict)
    counts: fx.Node | None = None

    def copy(self) -> Program:
        """A program to change without changing this one; constants are shared."""
        env: dict[fx.Node, Any] = {}
        graph = fx.Graph()
        graph.output(graph.graph_copy(self.graph, env))
        return Program(
            graph,
            {env[node]: name for node, name in self.inputs.items()},
            {env[node]: value for node, value in self.constants.items()},
            {env[node]: name for node, name in self.names.items()},
            None if self.counts is None else env[self.counts],
        )

    def constant(self, name: str, value: Tensor) -> fx.Node:
        """A new constant."""
        with self.graph.inserting_before(next(iter(self.graph.nodes))):
            node = self.graph.placeholder("c_" + "".join(c if c.isalnum() else "_" for c in name))
        node.meta["val"] = value
        self.constants[node], self.names[node] = value, name
        return node

    def tidy(self) -> None:
        """Remove nodes that nothing uses."""
        for node in reversed(list(self.graph.nodes)):
            if not node.users and (node.op == "call_function" or node in self.constants):
                self.constants.pop(node, None)
                self.names.pop(node, None)
                self.graph.erase_node(node)


def flatten(program: ExportedProgram, names: Sequence[str], *, prefix: str) -> Program:
    """Make a flat graph of an exported program, which is used up.

    Args:
        program: what `torch.export` gave.
        names: the model's input names, in the order of the program's inputs. A program with one input more has the
            helper whose length is the number of graphs.
        prefix: path of the user's module in what was exported.

    Raises:
        ExportError: an operator that is not one of torch's own.
    """
    program = program.run_decompositions({})  # no operator is taken apart, but none writes to its arguments any more
    flat = Program(fx.Graph())
    env: dict[fx.Node, Any] = {}
    given = list(names)
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs if hasattr(spec.arg, "name")}
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        spec = specs[node.name]
        new = flat.graph.placeholder(node.name)
        new.meta = dict(node.meta)
        env[node] = new
        if spec.kind is InputKind.USER_INPUT:
            if given:
                flat.inputs[new] = given.pop(0)
            else:
                flat.counts = new
            continue
        target = str(spec.target)
        value = program.state_dict.get(target, program.constants.get(target))
        if not isinstance(value, Tensor):
            raise ExportError(f"the model holds {target}, which is not a tensor: it has no TorchScript form")
        flat.constants[new] = value.detach()
        flat.names[new] = target.removeprefix(f"{prefix}.") if prefix else target
    out = _copy(program.graph_module, flat, env, {})
    # Functional programs return changed buffers first; eval mode changes none.
    outputs = tuple(out[-len(program.graph_signature.user_outputs) :])
    flat.graph.output(outputs if len(outputs) > 1 else outputs[0])
    flat.tidy()
    return flat


def path_of(node: fx.Node) -> str:
    """Path of the layer that made a node; "" for the model itself."""
    place = layer_of(node)
    return place[0] if place else ""


def _copy(module: fx.GraphModule, flat: Program, env: dict[fx.Node, Any], seen: dict[Any, fx.Node]) -> Sequence[Any]:
    """Copy the nodes of a (nested) graph; `seen` holds what is computed already: the same again is the same node."""
    for node in module.graph.nodes:
        if node.op == "placeholder":
            continue
        if node.op == "output":
            found = fx.map_arg(node.args[0], lambda n: env[n])
            return list(found) if isinstance(found, (tuple, list)) else [found]
        if node.op == "get_attr":
            env[node] = _attribute(module, node, flat)
            continue
        args = fx.map_arg(node.args, lambda n: env[n])
        kwargs = fx.map_arg(node.kwargs, lambda n: env[n])
        name = _name(node.target)
        if name in _CHECKS:
            continue
        if name in _SAME or (name == "clone" and not kwargs):  # dropout is a clone in eval mode
            env[node] = args[0]
            continue
        if node.target is operator.getitem and isinstance(args[0], (tuple, list)):
            env[node] = args[0][args[1]]
            continue
        if name in _WRAPPERS:
            inner, given = args[_WRAPPERS[name]], args[_WRAPPERS[name] + 1 :]
            places = [n for n in inner.graph.nodes if n.op == "placeholder"]
            env[node] = _copy(inner, flat, {**env, **dict(zip(places, given, strict=True))}, seen)
            continue
        target, args, kwargs = _torchs_own(node.target, args, kwargs)
        _check(node, target)
        key = (target, repr(args), repr(kwargs))
        if key not in seen:
            new = flat.graph.call_function(target, args, kwargs)
            new.meta = dict(node.meta)
            seen[key] = new
        env[node] = seen[key]
    raise AssertionError("a graph without an output")


def _attribute(module: fx.GraphModule, node: fx.Node, flat: Program) -> Any:
    value: Any = module
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return flat.constant(str(node.target), value.detach()) if isinstance(value, Tensor) else value


def _name(target: Any) -> str:
    packet = getattr(target, "overloadpacket", None)
    if packet is not None:
        return str(packet.__name__)
    return str(getattr(target, "__name__", target))


def _torchs_own(target: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
    """The call by operators of torch: recurrent layers of any length; sorts that put the lower index first."""
    aten = torch.ops.aten
    if str(target) in ("edgegnn.lstm.default", "edgegnn.gru.default"):
        own = aten.lstm.input if "lstm" in str(target) else aten.gru.input
        return own, (*args[:5], 0.0, False, *args[5:]), {}
    if target is aten.sort.default:
        given = dict(zip(("dim", "descending"), args[1:], strict=False)) | kwargs
        return aten.sort.stable, args[:1], {"stable": True, **given}
    return target, args, kwargs


def _check(node: fx.Node, target: Any) -> None:
    """Torch's own functional operators, and arithmetic on sizes."""
    if not isinstance(target, torch._ops.OpOverload):
        if isinstance(target, torch._ops.HigherOrderOperator):
            raise ExportError(f"{_where(node)} uses {target}, which has no TorchScript form")
        return
    if str(target) in ("edgegnn.fake_quantize.default", "edgegnn.learnt_quantize.default"):
        return
    if target.namespace != "aten":
        raise ExportError(f"{_where(node)} uses {target}, which is not one of torch's own operators")
    if _name(target).startswith(_RANDOM):
        raise ExportError(f"{_where(node)} draws random numbers ({target}), also in eval mode")


def _where(node: fx.Node) -> str:
    place = layer_of(node)
    return "the model" if place is None else f"{place[0]} ({place[1]})" if place[0] else place[1]
