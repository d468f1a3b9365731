"""The sparse state: tensors come back bit for bit, files are as small as they should be, and nothing is trusted."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn
from torch_geometric.nn import GCNConv

from edgegnn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgegnn.checkpoint.sparse_state import Grid, decode_state, encode_state, state_layouts, weight_grids
from edgegnn.errors import CheckpointError
from edgegnn.quantize import prepare, recipe

DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64),
    *(torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
]
GRAPH = torch.randn(9, 6), torch.randint(0, 9, (2, 20))
PRUNED = {"method": "global", "sparsity": 0.5, "achieved": 0.5, "tensors": [], "excluded": []}


def bits(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)


def round_trip(tensor: torch.Tensor) -> tuple[torch.Tensor, str, str]:
    blob = encode_state({"t": tensor})
    layout, values, _ = state_layouts(blob)["t"]
    return decode_state(blob)["t"], layout, values


def sparse(*shape: int, sparsity: float, seed: int = 0) -> torch.Tensor:
    """Normal numbers of which the smallest are zero."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values.masked_fill(values.abs() <= values.abs().quantile(sparsity), 0.0)


# Round trips ------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_shape_and_share_of_zeros(dtype):
    for shape in ((), (1,), (0,), (3, 0, 2), (7,), (5, 13), (2, 3, 300)):
        for share in (0.0, 0.03, 0.5, 1.0):
            generator = np.random.default_rng(1)
            items = generator.integers(0, 256, (int(np.prod(shape)), dtype.itemsize), np.uint8)
            if dtype == torch.bool:
                items %= 2
            items[generator.random(len(items)) >= share] = 0
            tensor = torch.from_numpy(items.reshape(-1)).view(dtype).reshape(shape)
            assert same(round_trip(tensor)[0], tensor), f"{shape}, {share} of the elements"


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.int8, np.complex64]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=20),
        fill=st.just(0),
    )
)
def test_any_array(array):
    tensor = torch.from_numpy(array.copy())
    assert same(round_trip(tensor)[0], tensor)


def test_bit_patterns_that_compare_equal_are_kept_apart():
    words = [0, 0x80000000, 0x7FC00000, 0x7FC00001, 0xFFC00000, 0x7F800001, 0x7F800000, 0xFF800000, 1, 0x80000001]
    tensor = torch.from_numpy(np.array(words * 3, np.uint32).view(np.float32))
    again, _, values = round_trip(tensor)
    assert same(again, tensor)
    assert values == "raw"
    for exact in (
        torch.tensor([0.0, -0.0, 1.5, float("inf"), -65504.0]),
        torch.tensor([2.0**-24], dtype=torch.float64),
    ):
        again, _, values = round_trip(exact)
        assert same(again, exact)
        assert values == "float16"
    for rounded in (1 + 2.0**-11, 65520.0, 2.0**-25):
        assert round_trip(torch.tensor([rounded]))[2] == "raw"


def test_views_of_other_tensors():
    base = sparse(8, 10, sparsity=0.7)
    for view in (base.t(), base[::2, 1::3], base[3:4].expand(5, 10), base.to(torch.complex64).conj(), base[2, 3]):
        assert same(round_trip(view)[0], view)
    parameter = nn.Parameter(base)
    assert not round_trip(parameter)[0].requires_grad


def test_order_names_and_shared_tensors():
    shared = sparse(40, 50, sparsity=0.5)
    state = {
        "b": shared,
        "a/é": torch.ones(2),
        "": shared,
        "t": shared.t(),
        "empty": torch.zeros(0),
        "e": torch.zeros(0),
    }
    blob = encode_state(state)
    again = decode_state(blob)
    assert list(again) == list(state)
    assert all(same(again[k], v) for k, v in state.items())
    layouts = state_layouts(blob)
    assert layouts[""] == ("same", "raw", 0)
    assert layouts["t"][0] == "bitmask"
    assert not decode_state(encode_state({}))
    z = torch.randn(50, dtype=torch.complex64)
    assert all(
        same(v, w)
        for v, w in zip(decode_state(encode_state({"z": z, "c": z.conj()})).values(), (z, z.conj()), strict=True)
    )


def test_the_smallest_layout_is_taken():
    cases = {
        "dense": torch.randn(100, 100),
        "bitmask": sparse(100, 100, sparsity=0.5),
        "gaps8": sparse(100, 100, sparsity=0.95),
        "gaps16": torch.zeros(2_000_000).index_fill_(0, torch.arange(0, 2_000_000, 20_000), 1.1),
        "gaps32": torch.zeros(2_000_000).index_fill_(0, torch.tensor([1_999_999]), 1.1),
    }
    for layout, tensor in cases.items():
        again, found, _ = round_trip(tensor)
        assert found == layout
        assert same(again, tensor)
    n = 100 * 100
    sizes = {k: state_layouts(encode_state({"t": v}))["t"][2] for k, v in cases.items()}
    assert sizes["dense"] == 4 * n
    assert sizes["bitmask"] == n // 8 + 4 * n // 2
    assert sizes["gaps32"] == 8


@pytest.mark.parametrize("skip", [0, 1, 254, 255, 256, 509, 510, 511, 65534, 65535, 65536, 70000])
def test_gaps_around_the_largest_number(skip):
    tensor = torch.zeros(3 * skip + 700)
    tensor[[skip, 2 * skip + 1]] = 1.1
    again, layout, _ = round_trip(tensor)
    assert same(again, tensor)
    assert layout.startswith("gaps")


def test_tensors_that_have_no_plain_elements():
    for tensor in (torch.eye(3).to_sparse(), torch.empty(3, device="meta")):
        with pytest.raises(CheckpointError, match="weird is no plain dense tensor"):
            encode_state({"weird": tensor})


# Codes ------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("dq-int8", "int8"), ("dq-int4", "int4")])
@pytest.mark.parametrize("per_channel", [True, False])
def test_quantized_weights_become_codes(name, kind, per_channel):
    from dataclasses import replace

    torch.manual_seed(3)
    made = replace(recipe(name), weight_per_channel=per_channel)
    model = prepare(GCNConv(6, 40), made, GRAPH).train()
    model.model.lin.weight.data.masked_fill_(torch.rand(40, 6) > 0.5, 0.0)
    model(*GRAPH)
    model.eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    blob = encode_state(state, weight_grids(model))
    layout, values, _ = state_layouts(blob)["model.lin.weight"]
    assert layout == "bitmask"
    assert values == kind or (values == "int16" and not per_channel)  # a zero point makes them as long as 2 * 255
    again = decode_state(blob)
    for key, value in state.items():
        if key != "model.lin.weight":
            assert same(again[key], value)
    (point,) = model.weight_points().values()
    assert same(again["model.lin.weight"], point(state["model.lin.weight"]))
    expected = model(*GRAPH)
    model.load_state_dict(again)
    assert torch.equal(model.eval()(*GRAPH), expected)
    assert same(decode_state(encode_state(again, weight_grids(model)))["model.lin.weight"], again["model.lin.weight"])


def test_a_point_that_saw_nothing_rounds_nothing():
    model = prepare(GCNConv(6, 40), recipe("dq-int8"), GRAPH)
    assert weight_grids(model) == {}


@pytest.mark.parametrize(
    ("scale", "bound", "kind"),
    [(0.5, 3, "int4"), (0.5, 8, "int8"), (0.1, 127, "int8"), (0.1, 255, "int16"), (0.1, 40_000, "raw")],
)
def test_codes_take_the_narrowest_width(scale, bound, kind):
    codes = torch.arange(-bound, bound + 1)
    one = torch.tensor([scale])
    value = (codes * one).reshape(-1, 1) * torch.ones(1, 3)
    blob = encode_state({"w": value}, {"w": Grid(one, lambda v: torch.round(v / one) * one)})
    assert state_layouts(blob)["w"][1] == kind
    assert same(decode_state(blob)["w"], value)


def test_a_grid_that_does_not_hold_the_weight_is_not_used():
    value = torch.randn(50, 4)
    grids = {
        "unlike": Grid(torch.tensor([0.1]), lambda v: v),
        "moving": Grid(torch.tensor([0.1]), lambda v: torch.round(v / 0.1) * 0.1 + 1),
        "wrong": Grid(torch.full((3,), 0.1), lambda v: v),
        "nan": Grid(torch.tensor([float("nan")]), lambda v: v * float("nan")),
    }
    blob = encode_state(dict.fromkeys(grids, value) | {k: value.clone() for k in grids}, grids)
    assert {v[1] for v in state_layouts(blob).values()} == {"raw"}
    assert all(same(v, value) for v in decode_state(blob).values())


# Damage ------------------------------------------------------------

STATE = {
    "dense": torch.randn(4, 3),
    "mask": sparse(20, 30, sparsity=0.5),
    "gaps": sparse(40, 30, sparsity=0.97),
    "steps": torch.tensor(7),
    "flags": torch.tensor([True, False, True]),
    "half": torch.tensor([0.5, 0.0, -2.0]),
    "codes": torch.arange(-8, 8).reshape(4, 4) * 0.1,
}
BLOB = bytes(encode_state(STATE, {"codes": Grid(torch.tensor([0.1]), lambda v: torch.round(v / 0.1) * 0.1)}).numpy())


def tensor_of(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.zeros(0, dtype=torch.uint8)


def sealed(index: bytes, data: bytes) -> torch.Tensor:
    """A blob whose checksum is right, whatever it holds."""
    packed = zlib.compress(index)
    body = struct.pack("<I", len(packed)) + packed + data
    return tensor_of(b"EGNNSPS1" + struct.pack("<I", zlib.crc32(body)) + body)


def parts(content: bytes) -> tuple[list, bytes]:
    length = struct.unpack("<I", content[12:16])[0]
    return json.loads(zlib.decompress(content[16 : 16 + length])), content[16 + length :]


def refused(blob: torch.Tensor, **options: int) -> str:
    with pytest.raises(CheckpointError) as error:
        decode_state(blob, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_cut_is_seen():
    for end in range(len(BLOB)):
        assert "the sparse state is damaged" in refused(tensor_of(BLOB[:end]))
    assert "the sparse state is damaged" in refused(tensor_of(BLOB + b"\0"))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 8 * len(BLOB) - 1))
def test_every_flipped_bit_is_seen(bit):
    content = bytearray(BLOB)
    content[bit // 8] ^= 1 << bit % 8
    assert "sparse state" in refused(tensor_of(bytes(content)))


LIMIT = 1 << 20


def bytes_read(blob: torch.Tensor) -> int:
    """Bytes of all tensors that a blob of at most LIMIT bytes holds; 0 where it is refused with an error of ours."""
    try:
        state = decode_state(blob, most=LIMIT)
    except CheckpointError:
        return 0
    return sum({id(v): v.numel() * v.element_size() for v in state.values()}.values())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(content):
    assert bytes_read(tensor_of(content)) <= LIMIT
    assert bytes_read(tensor_of(b"EGNNSPS1" + struct.pack("<I", zlib.crc32(content)) + content)) <= LIMIT


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_data_with_a_forged_checksum(data):
    index, block = parts(BLOB)
    changed = bytearray(block)
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    assert bytes_read(sealed(json.dumps(index).encode(), bytes(changed))) <= LIMIT


number = st.one_of(st.integers(-2, 20), st.sampled_from([2**31, 2**40, 2**63, 2**64, -(2**63)]))
anything = st.one_of(
    number,
    st.lists(number, max_size=6),
    st.sampled_from(
        ["float32", "int64", "bool", "raw", "int4", "int8", "float16", "dense", "bitmask", "gaps8", "same"]
    ),
    st.text(max_size=3),
    st.none(),
    st.floats(),
)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_an_index_with_a_forged_checksum(data):
    index, block = parts(BLOB)
    for _ in range(data.draw(st.integers(1, 3))):
        entry = data.draw(st.sampled_from(index))
        entry[data.draw(st.integers(0, len(entry) - 1))] = data.draw(anything)
    assert bytes_read(sealed(json.dumps(index).encode(), block)) <= LIMIT


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=2),
            st.sampled_from(["float32", "float64", "bool", "int64", "bfloat16", "complex128"]),
            st.lists(st.integers(0, 40), max_size=3),
            st.sampled_from(["dense", "bitmask", "gaps8", "gaps16", "gaps32", "same"]),
            st.sampled_from(["raw", "float16", "int4", "int8", "int16"]),
            *[st.integers(0, 40)] * 3,
        ),
        max_size=3,
    ),
    st.binary(max_size=400),
)
def test_an_index_out_of_thin_air(entries, block):
    assert bytes_read(sealed(json.dumps(entries).encode(), block)) <= LIMIT


@pytest.mark.parametrize(
    ("entry", "data", "message"),
    [
        (["t", "float32", [2**20, 2**20], "gaps8", "raw", 0, 0, 0], b"", "more than the .* bytes that are allowed"),
        (["t", "float32", [0, 2**40, 2**40], "dense", "raw", 0, 0, 0], b"", "more than the .* bytes that are allowed"),
        (["t", "float32", [2**41], "dense", "raw", 0, 0, 0], b"", "can't be read"),
        (["t", "float32", [-1], "dense", "raw", 0, 0, 0], b"", "can't be read"),
        (["t", "float32", [10**30], "dense", "raw", 0, 0, 0], b"", "can't be read"),
        (["t", "float32", [1] * 40, "dense", "raw", 1, 0, 0], b"1234", "can't be read"),
        (["t", "float31", [1], "dense", "raw", 1, 0, 0], b"1234", "unknown dtype"),
        (["t", "float32", [2], "dense", "raw", 1, 0, 0], b"1234", "numbers of t do not agree"),
        (["t", "float32", [2], "bitmask", "raw", 3, 0, 0], b"\0" * 13, "numbers of t do not agree"),
        (["t", "int64", [1], "dense", "int8", 1, 0, 1], b"\0" * 5, "numbers of t do not agree"),
        (["t", "float32", [1], "dense", "int8", 1, 0, 0], b"\0", "numbers of t do not agree"),
        (["t", "float32", [2], "dense", "raw", 2, 0, 0], b"1234", "has 4 bytes of data, its index says 8"),
        (["t", "float32", [4], "bitmask", "raw", 1, 0, 0], b"\x20" + b"1234", "go beyond its end"),
        (["t", "float32", [4], "bitmask", "raw", 1, 0, 0], b"\x03" + b"1234", "2 positions for 1 values"),
        (["t", "float32", [4], "gaps8", "raw", 1, 1, 0], b"\x04" + b"1234", "go beyond its end"),
        (["t", "float32", [4], "gaps8", "raw", 1, 1, 0], b"\xff" + b"1234", "go beyond its end"),
        (["t", "float32", [400], "gaps8", "raw", 1, 1, 0], b"\xff" + b"1234", "0 positions for 1 values"),
        (["t", "bool", [2], "dense", "raw", 2, 0, 0], b"\x02\x01", "truth value"),
        (["t", "float32", [4], "same", "raw", 0, 0, 0], b"", "refers to a tensor"),
        (["t", "float32", [4], "same", "raw", 0, 7, 0], b"", "refers to a tensor"),
    ],
)
def test_numbers_that_do_not_agree(entry, data, message):
    import re

    assert re.search(message, refused(sealed(json.dumps([entry]).encode(), data)))


def test_other_ways_to_be_wrong():
    entry = ["t", "float32", [1], "dense", "raw", 1, 0, 0]
    assert "two tensors named t" in refused(sealed(json.dumps([entry, entry]).encode(), b"12345678"))
    for index in (b"{}", b"[1]", b"[[]]", b"[" * 100_000, b"\xff", b"[[" + b"9" * 5000 + b"]]", b""):
        assert "can't be read" in refused(sealed(index, b""))
    assert "index" in refused(sealed(b" " * (17 << 20), b""))  # 17 MB in a few bytes
    for blob in (torch.zeros(16), torch.zeros(4, 4, dtype=torch.uint8), None, b"EGNNSPS1"):
        assert "no row of bytes" in refused(blob)
    assert "more than the 100 bytes that are allowed" in refused(tensor_of(BLOB), most=100)
    assert "its tensors take 7" in refused(tensor_of(BLOB), most=5000)


# Checkpoints ------------------------------------------------------------


class Wide(nn.Module):
    """Nearly all weights."""

    def __init__(self, width: int = 600) -> None:
        super().__init__()
        self.conv = GCNConv(6, width)
        self.out = GCNConv(width, width)

    def forward(self, x, edge_index):
        return self.out(self.conv(x, edge_index).relu(), edge_index)


def wide() -> Wide:
    return Wide()


def cut(model: nn.Module, sparsity: float) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            threshold = parameter.detach().abs().flatten().kthvalue(max(1, int(sparsity * parameter.numel()))).values
            parameter.data[parameter.abs() <= threshold] = 0


SOURCE = {"factory": f"{__name__}:wide", "args": {}}


@pytest.mark.parametrize(
    ("sparsity", "quant", "share"),
    [(0.5, None, 0.54), (0.9, None, 0.14), (0.5, "dq-int8", 0.17), (0.9, "dq-int8", 0.06)],
)
def test_size_of_a_checkpoint(sparsity, quant, share, tmp_path):
    torch.manual_seed(0)
    model = Wide().eval()
    save_checkpoint(Checkpoint(model, SOURCE), tmp_path / "dense.pt")
    cut(model, sparsity)
    if quant is not None:
        model = prepare(model, recipe(quant), GRAPH).train()
        model(*GRAPH)
        model.eval()
    save_checkpoint(Checkpoint(model, SOURCE, pruning=PRUNED), tmp_path / "small.pt")
    dense, small = ((tmp_path / name).stat().st_size for name in ("dense.pt", "small.pt"))
    assert small <= share * dense
    again = load_checkpoint(tmp_path / "small.pt", factory=SOURCE["factory"], factory_args={})
    assert torch.equal(again.model(*GRAPH), model(*GRAPH))
    assert again.pruning == PRUNED


def test_format_of_a_pruned_checkpoint(tmp_path):
    model = Wide(8).eval()
    for pruning, name in ((None, "edgegnn-checkpoint/1"), (PRUNED, "edgegnn-checkpoint/2")):
        save_checkpoint(Checkpoint(model, SOURCE, pruning=pruning), tmp_path / "m.pt", force=True)
        content = torch.load(tmp_path / "m.pt", weights_only=True)
        assert content["format"] == name
        assert ("state_dict" in content, "sparse_state" in content) == (pruning is None, pruning is not None)


def test_a_damaged_sparse_checkpoint(tmp_path):
    path = tmp_path / "m.pt"
    save_checkpoint(
        Checkpoint(Wide(8).eval(), {"factory": f"{__name__}:Wide", "args": {"width": 8}}, pruning=PRUNED), path
    )
    content = torch.load(path, weights_only=True)
    blob = content["sparse_state"]
    huge = ["conv.bias", "float32", [2**30], "gaps8", "raw", 0, 0, 0]
    cases = {
        "checksum differs": torch.cat([blob[:-1], blob[-1:] ^ 1]),
        "no row of bytes": {"not": "a tensor"},
        "more than the .* bytes that are allowed": sealed(json.dumps([huge]).encode(), b""),
        "does not fit its module": encode_state({"conv.bias": torch.zeros(3)}),
    }
    for message, state in cases.items():
        torch.save({**content, "sparse_state": state}, path)
        with pytest.raises(CheckpointError, match=message) as error:
            load_checkpoint(path, allow_import=True)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
    torch.save({k: v for k, v in content.items() if k != "sparse_state"}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, allow_import=True)
