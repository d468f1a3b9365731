"""Algorithm 1, "saving the sparse model state": a `state_dict` as one block of bytes, in which zeros take little room.

Of the paper's algorithm only its purpose is known; the format is edgegnn's own. All numbers are
little-endian:

    0    8 bytes   "EGNNSPS1"
    8    uint32    CRC-32 of everything behind it
    12   uint32    bytes of the index
    16   index     JSON, zlib-compressed: a list with one entry for each tensor, in the order of the state
    ...  data      of each tensor, in that order, nothing between: positions, values, scales

An entry is `[name, dtype, shape, layout, values, count, extra, scales]`; `count` is the number of stored values. Each
tensor takes the smallest of these layouts; an element is zero when all of its bits are, so -0.0 is a value:

    dense                  every element                                     no positions
    bitmask                the elements that are not zero                    one bit for each element, lowest bit first
    gaps8, gaps16, gaps32  the same                                          `extra` numbers of 8, 16 or 32 bits
    same                   nothing: the tensor of entry `extra`, once more   (parameters that modules share)

Gaps are the column indices of a CSR matrix of one row (the flattened tensor), each as the number of zeros that it skips
since the value before. The largest number of its width skips that many elements and has no value, so that even a narrow
width reaches any distance; a pointer for each row, as CSR proper has, would cost more than these jumps do.

    values     stored as
    raw        the bits of the dtype
    float16    where that is exact, bit for bit
    int4, int8, int16   codes, two in a byte for int4 (the first in the low half): value = code * scale in float32, with
               one scale for all or one for each index of the first axis. Only for weights of quantized models, whose
               every forward rounds them to these values: what is stored is the rounded weight.

Reading trusts nothing: `decode_state`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgegnn.errors import CheckpointError, first_line

if TYPE_CHECKING:
    from edgegnn.quantize import QuantModel

__all__ = ["Grid", "decode_state", "encode_state", "state_layouts", "weight_grids"]

Bytes = npt.NDArray[np.uint8]

_MAGIC, _HEAD = b"EGNNSPS1", 16
_MOST_INDEX = 16 << 20  # bytes of an unpacked index: some 100,000 tensors
_MOST_DATA = 256 << 20  # bytes that a blob may unpack to, whatever its own size is
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64),
        *(torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
    )
}
_CODE_BITS = {"int4": 4, "int8": 8, "int16": 16}
_GAP_BYTES = {"gaps8": 1, "gaps16": 2, "gaps32": 4}

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A tensor of the index; see the module's text."""

    name: str
    dtype: str
    shape: Annotated[list[_Count], msgspec.Meta(max_length=32)]
    layout: Literal["dense", "bitmask", "gaps8", "gaps16", "gaps32", "same"]
    values: Literal["raw", "float16", "int4", "int8", "int16"]
    count: _Count
    extra: _Count
    scales: _Count

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def item_bytes(self) -> int:
        return _DTYPES[self.dtype].itemsize

    def position_bytes(self) -> int:
        if self.layout == "bitmask":
            return -(-self.elements // 8)
        return self.extra * _GAP_BYTES.get(self.layout, 0)

    def value_bytes(self) -> int:
        if self.values == "raw":
            return self.count * self.item_bytes
        return -(-self.count * _CODE_BITS.get(self.values, 16) // 8)


@dataclass(frozen=True)
class Grid:
    """The values that a quantized weight may have.

    Attributes:
        scale: float32 `[1]`, or `[C]` with one for each index of the weight's first axis.
        rounded: what every forward of the model makes of the weight: multiples of the scale.
    """

    scale: Tensor
    rounded: Callable[[Tensor], Tensor]


def weight_grids(model: QuantModel, prefix: str = "model.") -> dict[str, Grid]:
    """The grids of a model's quantized weights, by their names in its `state_dict`.

    Weights whose range was never observed are left out.
    """
    grids = {}
    for name, point in model.weight_points().items():
        if point.seen:
            scale, zero_point = point.parameters_of_range()
            rounded = partial(
                torch.ops.edgegnn.fake_quantize,
                scale=scale,
                zero_point=zero_point,
                axis=point.axis,
                bits=point.bits,
                name=point.name,
            )
            grids[prefix + name] = Grid(scale, rounded)
    return grids


# Writing ------------------------------------------------------------


def encode_state(state: Mapping[str, Tensor], grids: Mapping[str, Grid] | None = None) -> Tensor:
    """Write a state as one block of bytes.

    Args:
        state: name -> dense tensor, of any shape, dtype and strides.
        grids: name -> grid, for weights that may be stored as codes where that is smaller. Such a weight comes back as
            `grid.rounded` of itself, bit for bit; every other tensor as it is.

    Returns:
        uint8 `[bytes]`.

    Raises:
        CheckpointError: a tensor of a kind that has no plain elements (sparse, quantized, on no device).
    """
    entries: list[_Entry] = []
    blocks: list[bytes] = []
    first: dict[Any, int] = {}
    for name, tensor in state.items():
        value = _plain(name, tensor)
        key = (tensor.data_ptr(), tensor.device, value.dtype, value.shape, tensor.stride(), *_views(tensor))
        if value.numel() and key in first:
            entries.append(_Entry(name, _name(value), list(value.shape), "same", "raw", 0, first[key], 0))
            continue
        first[key] = len(entries)
        entry, block = _smallest(name, value, (grids or {}).get(name))
        entries.append(entry)
        blocks.append(block)
    index = zlib.compress(msgspec.json.encode(entries), 9)
    body = len(index).to_bytes(4, "little") + index + b"".join(blocks)
    return torch.frombuffer(bytearray(_MAGIC + zlib.crc32(body).to_bytes(4, "little") + body), dtype=torch.uint8)


def _plain(name: str, tensor: Tensor) -> Tensor:
    dense = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    if not dense or _name(tensor) not in _DTYPES:
        raise CheckpointError(f"{name} is no plain dense tensor ({tensor.dtype}, {tensor.layout}): it can't be saved")
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def _views(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_conj(), tensor.is_neg()


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _smallest(name: str, value: Tensor, grid: Grid | None) -> tuple[_Entry, bytes]:
    best: tuple[_Entry, bytes] | None = None
    for kind, items, scales in _forms(value, grid):
        filled = items.any(1)
        at, start = np.flatnonzero(filled), (name, _name(value), list(value.shape))
        skipped = np.diff(at, prepend=-1) - 1
        positions = {"dense": b"", "bitmask": np.packbits(filled, bitorder="little").tobytes()}
        positions |= {layout: _gaps(skipped, width) for layout, width in _GAP_BYTES.items()}
        for layout, block in positions.items():
            stored = items if layout == "dense" else items[at]
            extra = len(block) // _GAP_BYTES[layout] if layout in _GAP_BYTES else 0
            entry = _Entry(*start, layout, kind, len(stored), extra, len(scales))  # type: ignore[arg-type]
            if best is None or _size(entry) < _size(best[0]):
                best = entry, block + _pack(kind, stored) + scales.tobytes()
    assert best is not None
    return best


def _size(entry: _Entry) -> int:
    return entry.position_bytes() + entry.value_bytes() + 4 * entry.scales


def _gaps(skipped: npt.NDArray[np.int64], width: int) -> bytes:
    most = 2 ** (8 * width) - 1
    jumps = skipped // most
    numbers = np.full(len(skipped) + int(jumps.sum()), most, f"<u{width}")
    numbers[np.cumsum(jumps + 1) - 1] = skipped % most
    return numbers.tobytes()


def _forms(value: Tensor, grid: Grid | None) -> list[tuple[str, Bytes, npt.NDArray[np.float32]]]:
    """Ways to store the elements: the kind of values, bytes `[elements, width]` that are all 0 for a zero, scales."""
    none = np.zeros(0, np.float32)
    forms = [("raw", _bytes(value), none)]
    if value.dtype in (torch.float32, torch.float64):
        half = value.half()
        if np.array_equal(_bytes(half.to(value.dtype)), forms[0][1]):
            forms.append(("float16", _bytes(half), none))
    codes = None if grid is None else _codes(value, grid)
    if codes is not None and grid is not None:
        low, high = int(codes.min()), int(codes.max())
        kind = next(k for k, bits in _CODE_BITS.items() if -(2 ** (bits - 1)) <= low and high < 2 ** (bits - 1))
        stored = _bytes(codes if kind == "int16" else codes.to(torch.int8))
        forms.append((kind, stored, grid.scale.detach().cpu().numpy().reshape(-1).astype("<f4")))
    return forms


def _codes(value: Tensor, grid: Grid) -> Tensor | None:
    """What a weight is multiples of the scale of, int16; None where they would not give back its rounded form."""
    scale = grid.scale.detach().cpu().reshape(-1, *[1] * (value.dim() - 1))
    if value.dtype != torch.float32 or not value.numel() or scale.numel() not in (1, *value.shape[:1]):
        return None
    rounded = grid.rounded(value)
    codes = torch.round(rounded / scale)
    if not bool(torch.isfinite(codes).all()) or float(codes.abs().max()) >= 2**15:
        return None
    codes = codes.to(torch.int16)
    back = codes.to(torch.float32) * scale
    same = [np.array_equal(_bytes(v), _bytes(rounded)) for v in (back, grid.rounded(back))]
    return codes if all(same) else None


def _bytes(value: Tensor) -> Bytes:
    """The elements as bytes `[elements, item bytes]`; of a contiguous tensor not a copy."""
    width = value.dtype.itemsize
    if not value.numel():
        return np.zeros((0, width), np.uint8)
    flat: Bytes = value.contiguous().reshape(-1).view(torch.uint8).numpy().reshape(-1, width)
    return flat


def _pack(kind: str, items: Bytes) -> bytes:
    if kind != "int4":
        return items.tobytes()
    halves = np.zeros(-(-len(items) // 2) * 2, np.uint8)
    halves[: len(items)] = items[:, 0] & 15
    return (halves[0::2] | halves[1::2] << 4).tobytes()


# Reading ------------------------------------------------------------


def decode_state(blob: Tensor, *, most: int | None = None) -> dict[str, Tensor]:
    """Read what `encode_state` wrote.

    A blob may come from anywhere: it is checked (checksum, index, that all sizes agree to the byte) before anything of
    the sizes that it asks for is allocated.

    Args:
        blob: uint8 `[bytes]`.
        most: bytes that the tensors may take together; None for 64 times the blob's own size, 256 MB at least.

    Returns:
        Tensors that own their memory, in the order they were written.

    Raises:
        CheckpointError: not such a blob, damaged, or larger than `most`.
    """
    data = _data(blob)
    limit = max(_MOST_DATA, 64 * len(data)) if most is None else most
    entries, at = _index(data)
    _check(entries, len(data) - at, limit)
    state: dict[str, Tensor] = {}
    for entry in entries:
        if entry.layout == "same":
            state[entry.name] = state[entries[entry.extra].name]
            continue
        end = at + _size(entry)
        state[entry.name] = _read(entry, data[at:end])
        at = end
    return state


def state_layouts(blob: Tensor) -> dict[str, tuple[str, str, int]]:
    """Name of each tensor in a blob -> its layout, its kind of values, and the bytes that it takes.

    Raises:
        CheckpointError: not such a blob, or damaged.
    """
    return {e.name: (e.layout, e.values, _size(e)) for e in _index(_data(blob))[0]}


def _damaged(why: str) -> CheckpointError:
    return CheckpointError(f"the sparse state is damaged: {why}")


def _data(blob: Any) -> Bytes:
    if not isinstance(blob, Tensor) or blob.dtype != torch.uint8 or blob.dim() != 1 or blob.layout != torch.strided:
        raise _damaged("it is no row of bytes")
    data: Bytes = blob.detach().cpu().contiguous().numpy()
    return data


def _index(data: Bytes) -> tuple[list[_Entry], int]:
    """The entries, and where the data of the first begins."""
    head = data[:_HEAD].tobytes()
    if head[:8] != _MAGIC:
        raise _damaged("it does not begin with its mark")
    if len(head) < _HEAD:
        raise _damaged("it is cut short")
    if zlib.crc32(data[12:].data) != int.from_bytes(head[8:12], "little"):
        raise _damaged("its checksum differs")
    end = _HEAD + int.from_bytes(head[12:], "little")
    if end > len(data):
        raise _damaged("its index is cut short")
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(data[_HEAD:end].tobytes(), _MOST_INDEX)
        if not unpack.eof or unpack.unused_data:
            raise _damaged("its index is cut short or too long")
        return msgspec.json.decode(text, type=list[_Entry]), end
    except (zlib.error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _damaged(f"its index can't be read: {first_line(error)}") from error


def _check(entries: list[_Entry], size: int, limit: int) -> None:
    """That an index makes sense, and stays within `size` bytes of data and `limit` bytes of tensors."""
    total, names = 0, set()
    for i, e in enumerate(entries):
        if e.name in names:
            raise _damaged(f"it has two tensors named {e.name[:80]}")
        names.add(e.name)
        if e.dtype not in _DTYPES:
            raise _damaged(f"{e.name[:80]} has the unknown dtype {e.dtype[:20]}")
        if math.prod(max(d, 1) for d in e.shape) * e.item_bytes > limit:
            raise _damaged(f"{e.name[:80]} has the shape {e.shape}, more than the {limit} bytes that are allowed")
        if e.layout == "same":
            of = entries[e.extra] if e.extra < i else e
            if of.layout == "same" or (of.dtype, of.shape) != (e.dtype, e.shape) or e.count or e.scales:
                raise _damaged(f"{e.name[:80]} refers to a tensor that it is not the same as")
            continue
        total += e.elements * e.item_bytes
        codes = e.values in _CODE_BITS
        sensible = (
            e.count == e.elements if e.layout == "dense" else e.count <= e.elements,
            e.count <= e.extra if e.layout in _GAP_BYTES else e.extra == 0,
            e.scales in (1, e.shape[0] if e.shape else 1) if codes else e.scales == 0,
            e.dtype in (["float32"] if codes else ["float32", "float64"] if e.values == "float16" else _DTYPES),
        )
        if not all(sensible):
            raise _damaged(f"the numbers of {e.name[:80]} do not agree")
    if total > limit:
        raise _damaged(f"its tensors take {total} bytes, more than the {limit} that are allowed")
    needed = sum(_size(e) for e in entries)
    if needed != size:
        raise _damaged(f"it has {size} bytes of data, its index says {needed}")


def _read(e: _Entry, block: Bytes) -> Tensor:
    positions, values = e.position_bytes(), e.value_bytes()
    at = _positions(e, block[:positions])
    items = _values(e, block[positions : positions + values], block[positions + values :], at)
    if e.dtype == "bool" and (items > 1).any():
        raise _damaged(f"{e.name[:80]} has a truth value that is neither")
    whole = torch.zeros(e.shape, dtype=_DTYPES[e.dtype])
    _bytes(whole)[slice(None) if e.layout == "dense" else at] = items  # shares memory with `whole`
    return whole


def _positions(e: _Entry, block: Bytes) -> npt.NDArray[np.int64]:
    """Where the stored values belong, rising."""
    if e.layout == "dense":
        return np.arange(e.elements if e.scales else 0)
    if e.layout == "bitmask":
        bits = np.unpackbits(block, bitorder="little")
        at = np.flatnonzero(bits[: e.elements])
        if bits[e.elements :].any():
            raise _damaged(f"the positions of {e.name[:80]} go beyond its end")
    else:
        width = _GAP_BYTES[e.layout]
        most = 2 ** (8 * width) - 1
        numbers = block.view(f"<u{width}").astype(np.int64) if len(block) else np.zeros(0, np.int64)
        ends = np.cumsum(numbers + (numbers < most)) - 1
        at = ends[numbers < most]
        if len(ends) and ends[-1] >= e.elements:
            raise _damaged(f"the positions of {e.name[:80]} go beyond its end")
    if len(at) != e.count:
        raise _damaged(f"{e.name[:80]} has {len(at)} positions for {e.count} values")
    return at


def _values(e: _Entry, block: Bytes, scales: Bytes, at: npt.NDArray[np.int64]) -> Bytes:
    """The stored values as bytes `[count, item bytes]` of the tensor's dtype."""
    if e.values == "raw":
        return block.reshape(e.count, e.item_bytes)
    if e.values == "int4":
        halves = np.stack([block & 15, block >> 4], 1).reshape(-1)[: e.count].astype(np.int8)
        stored: npt.NDArray[Any] = np.where(halves > 7, halves - 16, halves)
    else:
        stored = np.frombuffer(block.tobytes(), {"float16": "<f2", "int8": "<i1", "int16": "<i2"}[e.values])
    with np.errstate(all="ignore"):  # a stranger's scales may be anything
        if e.values == "float16":
            number = stored.astype(np.dtype(e.dtype))
        else:
            scale = np.frombuffer(scales.tobytes(), "<f4")
            row = at // max(1, e.elements // e.scales) if e.scales else at
            number = stored.astype(np.float32) * scale[row]
    return number.reshape(-1, 1).view(np.uint8)
