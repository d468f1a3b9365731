"""Open an ONNX file that another program wrote, without running what a stranger put into it.

The file is parsed and checked before onnxruntime sees it: standard operators only, tensors whose bytes fit their
shapes, and no data outside the file's folder. Nothing in it names code to load.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, TensorProto

from edgegnn.errors import CheckpointError, first_line

__all__ = ["OPSETS", "every_node", "is_onnx_file", "read_onnx"]

OPSETS = (13, 23)
MAX_BYTES = 2**31 - 1  # of a protocol buffer
_MOST_NODES = 100_000
_LONGEST_PLACE = 200  # letters of the name of a file beside the model
_STANDARD = ("", "ai.onnx")
_LOOPS = ("Loop", "Scan", "SequenceMap")
_TYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.INT64: "int64",
    TensorProto.INT32: "int32",
    TensorProto.BOOL: "bool",
}
# Rounds down: two 4-bit numbers share a byte.
_BITS: dict[int, int] = {TensorProto.INT4: 4, TensorProto.UINT4: 4}


def is_onnx_file(path: str | Path) -> bool:
    """Whether a file is meant as ONNX: by its ending, or by how ONNX files begin."""
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        return True
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(3)
    except OSError:
        return False
    return len(head) == 3 and head[0] == 0x08 and 3 <= head[1] <= 30 and head[2] in (0x12, 0x3A, 0x42)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file; data that it keeps in files beside it are read into it.

    Args:
        path: the file.

    Returns:
        The model, with operators of the standard domain ("") only, of opset 13 to 23.

    Raises:
        CheckpointError: it is no ONNX file, damaged, too large or too new, or has what is not read from a stranger's
            file: operators of other domains, functions, loops, data outside its folder.
    """
    model = _parse(path)
    _check_version(path, model)
    if model.functions:
        name = f"{model.functions[0].domain}.{model.functions[0].name}"[:80]
        raise CheckpointError(
            f"{path} has functions of its own ({name}): replace them by their operators first, "
            "onnx.inliner.inline_local_functions"
        )
    if not model.graph.input or not model.graph.output:
        raise CheckpointError(f"{path} has no inputs or no outputs: it computes nothing")
    for value in model.graph.input:
        if any(size.HasField("dim_value") and size.dim_value < 0 for size in value.type.tensor_type.shape.dim):
            raise CheckpointError(f"{path}: the input {_short(value.name)} has a negative size: the file is damaged")
    _check_nodes(path, model)
    left = MAX_BYTES
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            left = _load_external(path, tensor, left)
        _check_tensor(path, tensor)
    _check_values(path, model)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # onnx raises types of its own
        raise CheckpointError(f"{path} is no valid ONNX model: {first_line(error, 200)}") from error
    return model


def _parse(path: Path) -> onnx.ModelProto:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path} has more than 2 GiB: too large for an ONNX file")
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:
        raise CheckpointError(f"{path} is no ONNX file, or is truncated") from error
    if not model.graph.node and not model.graph.output:
        raise CheckpointError(f"{path} is no ONNX file, or has no graph")
    return model


def _check_version(path: Path, model: onnx.ModelProto) -> None:
    found = {entry.domain: entry.version for entry in model.opset_import}
    if "ai.onnx" in found:
        found[""] = found.pop("ai.onnx")
        for entry in model.opset_import:
            entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    version = found.get("")
    if version is None:
        raise CheckpointError(f"{path} doesn't say which version of ONNX's operators it uses: export it again")
    if not OPSETS[0] <= version <= OPSETS[1]:
        cure = "export it with opset 18" if version < OPSETS[0] else "export it with an older opset, 18 say"
        raise CheckpointError(f"{path} has opset {version}, {OPSETS[0]} to {OPSETS[1]} are read: {cure}")
    used = {node.domain for node in every_node(model.graph)}
    kept = [entry for entry in model.opset_import if entry.domain in used or entry.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _check_nodes(path: Path, model: onnx.ModelProto) -> None:
    version = next(entry.version for entry in model.opset_import if entry.domain == "")
    for count, node in enumerate(every_node(model.graph)):
        if count >= _MOST_NODES:
            raise CheckpointError(f"{path} has more than {_MOST_NODES} operators")
        if node.domain == "ai.edgegnn":
            raise CheckpointError(
                f"{path} was exported by edgegnn already (it has {_short(node.op_type)} of ai.edgegnn): take the model "
                "that it was made from"
            )
        if node.domain not in _STANDARD:
            raise CheckpointError(
                f"{path} has the operator {_short(node.op_type)} of {_short(node.domain)}, which is not one of ONNX's "
                "own: export it without optimizations of a runtime and without custom operators"
            )
        node.domain = ""
        if node.op_type in _LOOPS:
            raise CheckpointError(
                f"{path} has a loop ({node.op_type}): write the model without loops over data, or export the PyTorch "
                "model itself"
            )
        if not isinstance(node.op_type, str):  # bytes, where the text is damaged
            raise CheckpointError(f"{path} has an operator whose name is no text: the file is damaged")
        if not onnx.defs.has(node.op_type, max_inclusive_version=version):
            raise CheckpointError(f"{path} has the operator {_short(node.op_type)}, which opset {version} doesn't know")


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph, and of the graphs inside their attributes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from every_node(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Every tensor that is stored in a graph."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _check_tensor(path: Path, tensor: TensorProto) -> None:
    """Compare a tensor's bytes with its shape, before anything is made of it."""
    name = _short(tensor.name)
    if any(size < 0 for size in tensor.dims):
        raise CheckpointError(f"{path}: the constant {name} has the shape {list(tensor.dims)}")
    count = math.prod(tensor.dims)
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise CheckpointError(f"{path}: the constant {name} has an unknown type ({tensor.data_type})")
    if tensor.HasField("raw_data"):
        bits = _BITS.get(tensor.data_type) or 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        if len(tensor.raw_data) != -(-count * bits // 8):
            raise CheckpointError(
                f"{path}: the constant {name} of shape {list(tensor.dims)[:8]} has {len(tensor.raw_data)} bytes: the "
                "file is damaged"
            )
        return
    if count > 2**28:
        raise CheckpointError(f"{path}: the constant {name} of shape {list(tensor.dims)[:8]} has no such data")
    try:
        onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # of numpy and of onnx
        raise CheckpointError(
            f"{path}: the constant {name} doesn't hold what its shape says: the file is damaged"
        ) from error


def _load_external(path: Path, tensor: TensorProto, left: int) -> int:
    """Read a tensor from a file beside the model; how many bytes may still be read."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    name, location = _short(tensor.name), facts.get("location", "")
    folder = path.resolve().parent
    data = folder / location
    plain = location.isprintable() and len(location) <= _LONGEST_PLACE
    inside = plain and location and not Path(location).is_absolute() and ".." not in Path(location).parts
    if not inside or not data.resolve().is_relative_to(folder):
        raise CheckpointError(
            f"{path}: the constant {name} is kept outside the model's folder ({_short(location)}): refused"
        )
    if not data.is_file():
        raise CheckpointError(f"{path}: the file {_short(location)}, with the constant {name}, is not beside it")
    try:
        offset, length = int(facts.get("offset", "0")), int(facts.get("length", str(data.stat().st_size)))
    except ValueError as error:
        raise CheckpointError(f"{path}: the constant {name} has no readable place in {_short(location)}") from error
    if offset < 0 or not 0 <= length <= left or offset + length > data.stat().st_size:
        raise CheckpointError(f"{path}: the constant {name} ends beyond {_short(location)}: the file is damaged")
    with data.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]
    return left - length


def _check_values(path: Path, model: onnx.ModelProto) -> None:
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.tensor_type.elem_type
        if value.name not in stored and kind not in _TYPES:
            known = value.type.HasField("tensor_type") and kind in TensorProto.DataType.values()
            said = TensorProto.DataType.Name(kind).lower() if known else "no tensor of a known type"
            raise CheckpointError(
                f"{path}: {_short(value.name)} is {said}: inputs and outputs must be {', '.join(_TYPES.values())}"
            )


def _short(text: str | bytes) -> str:
    """A name out of the file, printable and never long; bytes are a name that is no text."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 60 else text[:57] + "..."
