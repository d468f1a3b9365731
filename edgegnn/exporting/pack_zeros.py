"""Zeros are not shipped: a constant matrix with many of them becomes the values that are left, and where they belong.

The matrix is put together again by standard operators when the model is loaded, in functions that the model carries:

    FromBitmask   one bit for each element, lowest bit first; values, behind one 0
    FromGaps      distances from value to value as bytes; where 255 don't reach, a value of 0 stands in between
    FromNibbles   4-bit codes, two in a byte, as onnx packs int4: onnxruntime 1.20 has the type, but no Cast of it

onnxruntime computes what depends on constants alone while it makes a session ("constant folding", on unless it is
turned off): after it has put function bodies in the place of their calls, and before it chooses kernels. What runs is
the model with the dense matrix, as fast as ever, and kernels that prepare constant weights find them. With the
optimizer off the functions run in every inference, with the same results. The size of what NonZero and Compress give
depends on values, and newer versions (1.31) don't fold that: the index of an element's value is the number of bits up
to it instead.

Other ways to carry zeros, and why not (benchmarks/sparse_files.py):

    sparse_initializer   its indices are int64: larger than the dense matrix up to two thirds zeros in float32, and
                         always in int8; onnxruntime reads int32 too, beyond the standard, which helps little
    .zip                 as small, but something has to unpack it before onnxruntime can open it, and then the file on
                         the device is as large as it ever was; an artifact that is a .zip profits from both

4-bit codes that the graph casts to int8 when it is loaded (QGemm) take part: their values stay packed, two in a byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from edgegnn.checkpoint.onnx_file import every_node
from edgegnn.exporting.weight_functions import DOMAIN, add_functions, free_name, standard_opset, weight_function

__all__ = ["DOMAIN", "pack_zeros", "spell_int4"]

Array = npt.NDArray[Any]

_WORTH = 0.95  # what is packed takes this share of the dense bytes at most
_LARGEST = 2**30  # elements; positions are int32
_INT4 = onnx.TensorProto.INT4
_TYPES = {onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.UINT8, _INT4}

_BODIES = {
    "FromBitmask": """
FromBitmask (mask, values, shape) => (dense)
{
  weight = Constant <value = uint8[8] {1, 2, 4, 8, 16, 32, 64, 128}> ()
  hit = BitwiseAnd (mask, weight)
  square = Cast <to = 9> (hit)
  down = Constant <value_ints = [-1]> ()
  padded = Reshape (square, down)
  first = Constant <value_ints = [0]> ()
  size = ReduceProd <keepdims = 1> (shape)
  truth = Slice (padded, first, size)
  bits = Cast <to = 6> (truth)
  along = Constant <value_int = 0> ()
  number = CumSum (bits, along)
  index = Mul (number, bits)
  flat = Gather (values, index)
  dense = Reshape (flat, shape)
}""",
    "FromGaps": """
FromGaps <type: int> (gaps, values, shape) => (dense)
{
  steps = Cast <to = 7> (gaps)
  along = Constant <value_int = 0> ()
  ends = CumSum (steps, along)
  one = Constant <value_int = 1> ()
  index = Sub (ends, one)
  none = Constant <value_float = 0.0> ()
  zero = Cast <to: int = @type> (none)
  size = ReduceProd <keepdims = 1> (shape)
  zeros = Expand (zero, size)
  flat = ScatterElements <axis = 0> (zeros, index, values)
  dense = Reshape (flat, shape)
}""",
    "FromNibbles": """
FromNibbles (bytes, shape) => (codes)
{
  places = Constant <value = uint8[2] {0, 4}> ()
  moved = BitShift <direction = "RIGHT"> (bytes, places)
  four_bits = Constant <value = uint8[1] {15}> ()
  nibbles = BitwiseAnd (moved, four_bits)
  index = Cast <to = 6> (nibbles)
  of_nibble = Constant <value = int8[16] {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1}> ()
  found = Gather (of_nibble, index)
  down = Constant <value_ints = [-1]> ()
  padded = Reshape (found, down)
  first = Constant <value_ints = [0]> ()
  size = ReduceProd <keepdims = 1> (shape)
  flat = Slice (padded, first, size)
  codes = Reshape (flat, shape)
}""",
}
_ZEROS = ("FromBitmask", "FromGaps")


def pack_zeros(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the zeros out of constant matrices, where that makes the file smaller.

    The last step before a model is written: nothing that looks for constants finds those that are packed.

    Args:
        model: any ONNX model of opset 18 or newer, without the functions above.

    Returns:
        A new model that computes the same, or `model` where nothing gets smaller.
    """
    opset = standard_opset(model)
    if opset < 18:
        return model
    names = _names(model.graph)
    inputs = {v.name for v in model.graph.input}
    found = [
        best
        for tensor in model.graph.initializer
        if tensor.name not in inputs and (best := _pack(tensor, model.graph, names)) is not None
    ]
    functions = []
    for kind in _ZEROS:
        function = weight_function(_BODIES[kind], opset)
        if sum(p.before - p.size for p in found if p.kind == kind) > function.ByteSize() + 2 * len(DOMAIN):
            functions.append(function)
    chosen = [p for p in found if p.kind in {f.name for f in functions}]
    return _with(model, chosen, functions) if chosen else model


def spell_int4(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write int4 constants that a Cast to int8 reads as bytes, which every onnxruntime can unpack.

    Args:
        model: any ONNX model of opset 18 or newer.

    Returns:
        A new model that computes the same, or `model` where it has no such constant.
    """
    new = onnx.ModelProto()
    new.CopyFrom(model)
    names, found = _names(new.graph), 0
    for tensor in new.graph.initializer:
        cast = _cast_to_int8(tensor.name, new.graph) if tensor.data_type == _INT4 else None
        if cast is None:
            continue
        codes = numpy_helper.to_array(tensor).astype(np.int8)
        shape = numpy_helper.from_array(np.asarray(tensor.dims, np.int64), free_name(f"{tensor.name}.shape", names))
        packed = np.frombuffer(_four_bits(codes.reshape(-1), "").raw_data, np.uint8).reshape(-1, 1)
        tensor.CopyFrom(numpy_helper.from_array(packed, tensor.name))
        new.graph.initializer.append(shape)
        del cast.attribute[:]
        cast.op_type, cast.domain, cast.name = "FromNibbles", DOMAIN, f"{tensor.name}/FromNibbles"
        cast.input.append(shape.name)
        found += 1
    if not found:
        return model
    add_functions(new, [weight_function(_BODIES["FromNibbles"], standard_opset(model))])
    return new


@dataclass(frozen=True)
class _Packed:
    """What takes the place of a constant."""

    kind: str
    constants: list[onnx.TensorProto]
    nodes: list[onnx.NodeProto]
    dense: onnx.TensorProto
    cast: onnx.NodeProto | None

    @property
    def size(self) -> int:
        return sum(t.ByteSize() for t in self.constants) + sum(n.ByteSize() for n in self.nodes)

    @property
    def before(self) -> int:
        return self.dense.ByteSize() + (self.cast.ByteSize() if self.cast is not None else 0)


def _pack(tensor: onnx.TensorProto, graph: onnx.GraphProto, names: set[str]) -> _Packed | None:
    """The smallest form of a constant; None where the dense one is, or where it can't be packed."""
    number = int(np.prod(tensor.dims, dtype=np.int64))
    if tensor.data_type not in _TYPES or len(tensor.dims) < 2 or not 0 < number <= _LARGEST or tensor.external_data:
        return None
    values, cast = numpy_helper.to_array(tensor), None
    if tensor.data_type == _INT4:
        values, cast = values.astype(np.int8), _cast_to_int8(tensor.name, graph)
        if cast is None:
            return None
    flat = values.reshape(-1)
    filled = np.flatnonzero(flat.view(f"u{flat.itemsize}"))  # by bits: -0.0 is a value
    forms = [_assemble(*form, tensor, cast, names) for form in (_bitmask(flat, filled), _gaps(flat, filled))]
    best = min(forms, key=lambda form: form.size)
    return best if best.size <= _WORTH * best.before else None


def _bitmask(flat: Array, filled: npt.NDArray[np.int64]) -> tuple[str, Array, Array]:
    bits = np.zeros(len(flat), np.bool_)
    bits[filled] = True
    values = np.concatenate([np.zeros(1, flat.dtype), flat[filled]])
    return "FromBitmask", np.packbits(bits, bitorder="little").reshape(-1, 1), values


def _gaps(flat: Array, filled: npt.NDArray[np.int64]) -> tuple[str, Array, Array]:
    at = filled if len(filled) else np.zeros(1, np.int64)
    steps = np.diff(at, prepend=-1)
    between = (steps - 1) // 255
    last = np.cumsum(between + 1) - 1
    gaps = np.full(last[-1] + 1, 255, np.uint8)
    gaps[last] = steps - 255 * between
    values = np.zeros(len(gaps), flat.dtype)
    values[last] = flat[at]
    return "FromGaps", gaps, values


def _assemble(
    kind: str,
    positions: Array,
    values: Array,
    tensor: onnx.TensorProto,
    cast: onnx.NodeProto | None,
    names: set[str],
) -> _Packed:
    where, what, shape, codes = (
        free_name(f"{tensor.name}.{end}", names) for end in ("where", "values", "shape", "codes")
    )
    constants = [
        numpy_helper.from_array(positions, where),
        numpy_helper.from_array(values, what) if cast is None else _four_bits(values, what),
        numpy_helper.from_array(np.asarray(tensor.dims, np.int64), shape),
    ]
    nodes, out = [], tensor.name
    if cast is not None:
        nodes.append(helper.make_node("Cast", [what], [codes], f"{tensor.name}/Cast", to=onnx.TensorProto.INT8))
        what, out = codes, cast.output[0]
    node = helper.make_node(kind, [where, what, shape], [out], f"{tensor.name}/{kind}", domain=DOMAIN)
    if kind == "FromGaps":
        node.attribute.append(helper.make_attribute("type", helper.np_dtype_to_tensor_dtype(values.dtype)))
    nodes.append(node)
    return _Packed(kind, constants, nodes, tensor, cast)


def _four_bits(codes: Array, name: str) -> onnx.TensorProto:
    halves = np.zeros(-(-len(codes) // 2) * 2, np.uint8)
    halves[: len(codes)] = codes.view(np.uint8) & 15
    packed = (halves[0::2] | halves[1::2] << 4).astype(np.uint8)
    return onnx.TensorProto(name=name, data_type=_INT4, dims=[len(codes)], raw_data=packed.tobytes())


def _cast_to_int8(name: str, graph: onnx.GraphProto) -> onnx.NodeProto | None:
    """The one node that reads a constant, when it is a Cast to int8."""
    readers = [node for node in every_node(graph) if name in node.input]
    own = [node for node in graph.node if name in node.input]
    if len(readers) != 1 or not own or own[0].op_type != "Cast" or own[0].attribute[0].i != onnx.TensorProto.INT8:
        return None
    return own[0]


def _with(model: onnx.ModelProto, packed: list[_Packed], functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    new = onnx.ModelProto()
    new.CopyFrom(model)
    graph = new.graph
    dense = {p.dense.name for p in packed}
    casts = {p.cast.output[0] for p in packed if p.cast is not None}
    constants = [t for t in graph.initializer if t.name not in dense] + [t for p in packed for t in p.constants]
    nodes = [n for p in packed for n in p.nodes] + [n for n in graph.node if not casts.intersection(n.output)]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(constants)
    graph.node.extend(nodes)
    add_functions(new, functions)
    return new


def _names(graph: onnx.GraphProto) -> set[str]:
    inner = {name for node in every_node(graph) for name in (*node.input, *node.output)}
    return inner | {v.name for v in (*graph.input, *graph.output, *graph.initializer)}
