"""Ask an exported graph questions, and edit it: what every rewrite rule is written with.

Asking: what is constant, which index a tensor of indices comes from, whether two sizes are the same number.
Editing: `Sheet` makes nodes that carry the name of the layer they come from, and makes shared things once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as passes

__all__ = [
    "LAYER",
    "NEAREST",
    "REASON",
    "RULE",
    "Sheet",
    "alone",
    "array",
    "axis_of",
    "layer_path",
    "made_by",
    "number",
    "rank",
    "same_size",
    "same_values",
    "tail_of",
    "uniform",
]

# What rules leave on nodes for `rewrite` to report; stripped before it returns.
RULE, REASON, NEAREST, LAYER = "edgegnn.rule", "edgegnn.reason", "edgegnn.nearest", "edgegnn.layer"


# Asking ------------------------------------------------------------


def made_by(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """The node that makes a value, when it is one of these operators (any, when none is named)."""
    node = None if value is None else value.producer()
    return node if node is not None and (not kinds or node.op_type in kinds) else None


def array(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """A constant's elements; None for what is computed from the inputs."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def rank(value: ir.Value | None) -> int | None:
    """Number of dimensions, where it is known."""
    return None if value is None or value.shape is None else len(value.shape)


def tail_of(value: ir.Value) -> tuple[int, ...] | None:
    """All sizes but the first; None when they are not all known."""
    if value.shape is None or not len(value.shape):
        return None
    sizes = tuple(value.shape)[1:]
    return tuple(s for s in sizes if isinstance(s, int)) if all(isinstance(s, int) for s in sizes) else None


def alone(value: ir.Value) -> bool:
    """Whether exactly one node uses a value, and the graph doesn't give it out."""
    return len(value.uses()) == 1 and not value.is_graph_output()


_LAYOUT = {"Reshape", "Unsqueeze", "Squeeze", "Expand", "Identity", "Flatten", "Tile"}


def number(node: ir.Node, name: str) -> int:
    """An integer attribute, 0 where the node doesn't have it."""
    given = node.attributes.get(name)
    return 0 if given is None else given.as_int()


def axis_of(node: ir.Node) -> int:
    """The attribute `axis`, of an operator where it is 0 unless said."""
    return number(node, "axis")


def uniform(value: ir.Value | None) -> float | None:
    """The number that every element of a tensor is, whatever its size."""
    known = array(value)
    if known is not None:
        return float(known.flat[0]) if known.size and (known == known.flat[0]).all() else None
    node = made_by(value)
    if node is None:
        return None
    if node.op_type == "ConstantOfShape":
        fill = node.attributes.get("value")
        return 0.0 if fill is None else float(fill.as_tensor().numpy().flat[0])
    if node.op_type in _LAYOUT | {"Cast", "Gather", "GatherND"}:
        return uniform(node.inputs[0])
    return None


def same_values(value: ir.Value | None) -> ir.Value | None:
    """The tensor before reshapes that keep its first axis: the same elements in the same order."""
    node = made_by(value, "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten")
    if node is None or value is None:
        return value
    source = node.inputs[0]
    if source is None or not (rank(source) and rank(value)) or not _same_first(source, value):
        return value
    return same_values(source)


def _same_first(a: ir.Value, b: ir.Value) -> bool:
    """Whether a new layout keeps the first axis: it does when the sizes after it multiply to the same number."""
    tails = tail_of(a), tail_of(b)
    return None not in tails and np.prod(tails[0] or (1,)) == np.prod(tails[1] or (1,)) != 0


# Editing ------------------------------------------------------------


class Sheet:
    """One graph while rules rewrite it.

    Nodes are put in front of the one that asked for them; `tidy` brings them in order and sweeps what is unused.

    Attributes:
        rule: name of the rule that is at work.
    """

    def __init__(self, model: ir.Model) -> None:
        self.model, self.graph, self.rule = model, model.graph, ""
        self._shared: dict[tuple[Any, ...], tuple[ir.Value, ...]] = {}

    def make(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        at: ir.Node,
        like: ir.Value | None = None,
        dtype: ir.DataType | None = None,
        shape: Sequence[Any] | None = None,
        domain: str = "",
    ) -> ir.Value:
        """A new node in front of `at`, of the same layer; its one output.

        Args:
            kind: operator.
            inputs: its inputs.
            attributes: its attributes.
            at: the node for which it is made.
            like: a value of the same dtype and shape; `dtype` and `shape` say what is different.
            dtype: of the output.
            shape: of the output.
            domain: of the operator.
        """
        (out,) = self.make_all(kind, inputs, attributes, at=at, outputs=1, domain=domain)
        out.type = ir.TensorType(dtype) if dtype is not None else (None if like is None else like.type)
        out.shape = ir.Shape(shape) if shape is not None else (None if like is None else like.shape)
        return out

    def make_all(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        at: ir.Node,
        outputs: int,
        domain: str = "",
    ) -> Sequence[ir.Value]:
        """A new node with several outputs, see `make`."""
        layer = layer_path(at)
        node = ir.node(kind, inputs, attributes, domain=domain, num_outputs=outputs, name=f"{layer}/{kind}".lstrip("/"))
        node.metadata_props.update(at.metadata_props)
        node.metadata_props[LAYER] = layer
        if domain:
            node.metadata_props[RULE] = self.rule
        for mark in (REASON, NEAREST):
            node.metadata_props.pop(mark, None)
        self.graph.insert_before(at, node)
        return node.outputs

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Use `new` wherever `old` was used; an output of the graph keeps its name."""
        new.shape = new.shape or old.shape
        new.type = new.type or old.type
        if old.is_graph_output():
            if new.is_graph_output() or new.is_graph_input() or new.is_initializer():
                node = old.producer()
                assert node is not None
                new = self.make("Identity", [new], at=node, like=old)
            name, old.name = old.name, None
            new.name = name
        old.replace_all_uses_with(new, replace_graph_outputs=True)

    def once(self, key: Iterable[Any], make: Any) -> tuple[ir.Value, ...]:
        """The result of `make()`, or the earlier result for an equal key while that is still in the graph."""
        known = self._shared.get(tuple(key))
        if known is not None and all(_is_here(self.graph, v) for v in known):
            return known
        made = make()
        self._shared[tuple(key)] = made = (made,) if isinstance(made, ir.Value) else tuple(made)
        return made

    # Constants

    def integers(self, values: int | Sequence[int]) -> ir.Value:
        """An int64 constant."""
        return self.constant(np.asarray(values, np.int64))

    def floats(self, values: Any) -> ir.Value:
        """A float32 constant."""
        return self.constant(np.asarray(values, np.float32))

    def constant(self, values: npt.NDArray[Any]) -> ir.Value:
        """A constant with the dtype of the array; equal ones are one."""

        def make() -> ir.Value:
            name = f"constant_{len(self._shared)}"
            while name in self.graph.initializers:
                name += "_"
            tensor = ir.tensor(values, name=name)
            value = ir.Value(
                name=name, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self.graph.register_initializer(value)
            return value

        return self.once(("constant", values.dtype.str, values.shape, values.tobytes()), make)[0]

    # Shapes and sizes

    def shaped(self, value: ir.Value, tail: Sequence[int], at: ir.Node) -> ir.Value:
        """A new layout with the same first axis and these sizes after it."""
        if tail_of(value) == tuple(tail):
            return value
        first = None if value.shape is None else value.shape[0]

        def make() -> ir.Value:
            target = self.integers([-1, *tail])
            return self.make("Reshape", [value, target], at=at, dtype=value.dtype, shape=[first, *tail])

        return self.once(("shaped", value, tuple(tail)), make)[0]

    def transposed(self, value: ir.Value, order: Sequence[int], at: ir.Node) -> ir.Value:
        """Axes in another order."""
        sizes = None if value.shape is None else [value.shape[i] for i in order]

        def make() -> ir.Value:
            return self.make("Transpose", [value], {"perm": list(order)}, at=at, dtype=value.dtype, shape=sizes)

        return self.once(("transposed", value, tuple(order)), make)[0]

    def size(self, value: ir.Value, axis: int, at: ir.Node) -> ir.Value:
        """A size of a tensor, int64 []; the same value for sizes that are known to be equal."""
        return self._sized(_size_key(value, axis), lambda: self._size_of(value, axis, at), at)

    def first_element(self, vector: ir.Value, at: ir.Node) -> ir.Value:
        """The first element of a shape, int64 []; the same value for sizes that are known to be equal."""
        head = _head(vector)
        scalar = _scalar_of(head)
        if scalar is not None:
            return self._sized(scalar_key(scalar), lambda: scalar, at)

        def make() -> ir.Value:
            if rank(head) == 1 and head.shape is not None and head.shape[0] == 1:
                return self.make("Squeeze", [head], at=at, dtype=INT64, shape=[])
            return self.make("Gather", [head, self.integers(0)], {"axis": 0}, at=at, dtype=INT64, shape=[])

        return self._sized(_vector_key(head), make, at)

    def _sized(self, key: tuple[Any, ...], make: Any, at: ir.Node) -> ir.Value:
        if key[0] == "number":
            return self.integers(key[1])
        if key[0] == "dimension":
            return self.once(("size", *key), lambda: self._first_with(key[1], make, at))[0]
        return self.once(("size", *key), make)[0]

    def _first_with(self, name: str, make: Any, at: ir.Node) -> ir.Value:
        """A dimension's size from the first tensor that has it, so that everything after that can share it."""
        for value in (*self.graph.inputs, *(v for node in self.graph for v in node.outputs)):
            for axis, size in enumerate(value.shape or ()):
                if not isinstance(size, int) and size.value == name:
                    return self._size_of(value, axis, at)
        return make()

    def _size_of(self, value: ir.Value, axis: int, at: ir.Node) -> ir.Value:
        vector = self.make("Shape", [value], {"start": axis, "end": axis + 1}, at=at, dtype=INT64, shape=[1])
        return self.make("Squeeze", [vector], at=at, dtype=INT64, shape=[])

    # Order

    def tidy(self) -> None:
        """Remove what nothing uses, and sort."""
        passes.RemoveUnusedNodesPass()(self.model)
        self.graph.sort()


INT64 = ir.DataType.INT64


def _is_here(graph: ir.Graph, value: ir.Value) -> bool:
    node = value.producer()
    if node is not None:
        return node.graph is graph
    return value.is_graph_input() or value.name in graph.initializers


def layer_path(node: ir.Node) -> str:
    """Path of the layer that a node comes from, "" for the model itself."""
    return node.metadata_props.get(LAYER) or (node.name or "").rpartition("/")[0]


# Sizes ------------------------------------------------------------


def _head(vector: ir.Value) -> ir.Value:
    """The part of a shape vector that its first element is in."""
    node = made_by(vector, "Concat")
    if node is not None and node.inputs[0] is not None:
        return _head(node.inputs[0])
    return vector


def _scalar_of(vector: ir.Value) -> ir.Value | None:
    """The scalar that a vector of one element was made from."""
    node = made_by(vector, "Reshape", "Unsqueeze")
    source = None if node is None else node.inputs[0]
    if source is None:
        return None
    return source if rank(source) == 0 else _scalar_of(source)


def scalar_key(value: ir.Value) -> tuple[Any, ...]:
    """Equal for two scalars that are known to be the same number."""
    known = array(value)
    if known is not None:
        return ("number", int(known.flat[0]))
    node = made_by(value, "Squeeze", "Reshape", "Gather", "Identity")
    if node is None or node.inputs[0] is None:
        return ("value", value)
    if node.op_type == "Gather":
        at = array(node.inputs[1])
        shape = made_by(node.inputs[0], "Shape")
        if at is None or shape is None or shape.inputs[0] is None:
            return ("value", value)
        return _size_key(shape.inputs[0], int(at.flat[0]) + number(shape, "start"))
    return _vector_key(node.inputs[0])


def _vector_key(vector: ir.Value) -> tuple[Any, ...]:
    """A key that is equal for two shapes whose first elements are known to be equal."""
    known = array(vector)
    if known is not None and known.size:
        return ("number", int(known.flat[0]))
    node = made_by(vector, "Shape")
    if node is not None and node.inputs[0] is not None:
        return _size_key(node.inputs[0], number(node, "start"))
    return scalar_key(vector) if rank(vector) == 0 else ("value", vector)


def _size_key(value: ir.Value, axis: int) -> tuple[Any, ...]:
    size = None if value.shape is None else value.shape[axis]
    if isinstance(size, int):
        return ("number", size)
    name = None if size is None else size.value
    return ("axis", value, axis) if name is None else ("dimension", name)


def same_size(a: ir.Value, b: ir.Value) -> bool:
    """Whether two scalars are known to be the same number."""
    return a is b or scalar_key(a) == scalar_key(b)
