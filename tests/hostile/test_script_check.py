"""TorchScript code and pickles of a stranger: what is on no list is refused, and tensors stay inside their storage."""

import io
import pickle
import zipfile

import pytest
import torch

from edgegnn.errors import ArtifactError
from edgegnn.runtime.operators import computes
from edgegnn.runtime.script import ScriptSession
from edgegnn.runtime.script_check import Foreign, check_pickle, checked_code

CODE = """
class Model(Module):
  __parameters__ = []
  __buffers__ = ["weight", ]
  weight : Tensor
  def forward(self: __torch__.edgegnn.Model,
    x: Tensor) -> Tensor:
    {}
    return torch.add(x, 1.0000000000000001e-05)
"""


@pytest.mark.parametrize(
    "line",
    [
        "y = torch.relu(self.weight)",
        "_0 = __torch__.edgegnn.exporting.torchscript.kernels.csr\n    a, b = _0(x, 3)",
        "n = annotate(List[Optional[Tensor]], [None, x])",
        "if bool(torch.gt(int(torch.max(x)), -3)):\n      pass\n    else:\n      ops.prim.RaiseException('no', None)",
        "for i in range(torch.len(torch.size(x))):\n      y = torch.select(x, 0, i)",
    ],
)
def test_code_of_a_model_is_taken(line):
    assert b"1e-05" in checked_code(CODE.format(line).encode())


@pytest.mark.parametrize(
    "line",
    [
        'x.save("stolen")',
        'torch.save(x, "stolen")',
        'torch . save(x, "stolen")',
        'torch.\\\n      save(x, "stolen")',
        'aten = ops.aten\n    aten.save(x, "stolen")',
        't = torch\n    t.save(x, "stolen")',
        'y = torch.from_file("victim", True, 16)',
        "y = torch.set_(x, x)",
        "y = torch._convert_indices_from_coo_to_csr(x, 3)",
        "y = torch.resize_(x, [1000000])",
        "y = ops.quantized.linear_unpack(x)",
        "y = ops.prim.BroadcastMKLDNNTensors(x)",
        "print(x)",
        "y = fork(self.forward, x)",
        "y : __torch__.torch.classes.quantized.LinearPackedParamsBase = x",
        "y = __torch__.torch.classes.x.Y(x)",
        "y = (lambda z: z)(x)",
        "import os",
        "y = [z for z in x]",
        "y = (x, torch.save)",
        "y = f'{x}'",
        "with x:\n      pass",
    ],
)
def test_code_that_does_more_is_refused(line):
    with pytest.raises(Foreign):
        checked_code(CODE.format(line).encode())


@pytest.mark.parametrize(
    "code",
    [
        b"\xff",
        b"def f(",
        b"(" * 100_000,
        b"def __setstate__(self: X, state: int) -> None:\n  pass\n",
        b"@torch.save\ndef f() -> None:\n  pass\n",
        b"class X(Interface):\n  pass\n",
        b"x = " + b"1 + " * 3_000_000 + b"1",
    ],
    ids=range(7),
)
def test_code_that_is_none(code):
    with pytest.raises(Foreign):
        checked_code(code)


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.arange(6.0).view(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, self.weight.t())


@pytest.fixture(scope="module")
def model():
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(Holder().eval()), out)
    with zipfile.ZipFile(out) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def packed(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, inside in entries.items():
            archive.writestr(f"top/{name}", inside)
    return out.getvalue()


def test_a_tensor_larger_than_its_storage(model):
    """torch's reader of these files takes the sizes for granted."""
    (want,) = ScriptSession(packed(model)).run(None, {"x": torch.ones(1, 3).numpy()})
    assert want.tolist() == [[3.0, 12.0]]
    shape = b"K\x02K\x03t"  # the sizes (2, 3)
    assert model["data.pkl"].count(shape) == 1
    larger = model["data.pkl"].replace(shape, b"K\xc8K\x03t")
    with pytest.raises(ArtifactError, match="a tensor that is larger than its storage"):
        ScriptSession(packed({**model, "data.pkl": larger}))
    with pytest.raises(ArtifactError, match="a storage of 6 elements, which its file doesn't have"):
        ScriptSession(packed({**model, "data/0": model["data/0"][:8]}))


class Evil:
    def __reduce__(self):
        return print, ("pwned",)


def test_pickles_hold_no_functions(capsys):
    for content in (
        pickle.dumps(Evil(), 2),
        pickle.dumps(Evil(), 4),
        b"cos\nsystem\n.",
        b"\x80\x02",
        b"",
        b"(" * 10**6,
    ):
        with pytest.raises(Foreign):
            check_pickle(content, {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "name",
    [
        *("from_file", "save", "set_", "resize_", "_convert_indices_from_coo_to_csr", "_weight_norm_interface"),
        *("_native_batch_norm_legit_no_training", "_scaled_dot_product_flash_attention_for_cpu"),
        *(
            "segment_reduce",
            "set_data",
            "sparse_coo_tensor",
            "add__",
            "_add",
            "",
        ),
    ],
)
def test_operators_that_do_more_or_do_not_look(name):
    assert not computes(name)


def test_operators_that_compute():
    assert all(
        computes(name)
        for name in (
            "add",
            "add_",
            "index_add_",
            "scatter_reduce",
            "_softmax",
            "zero_",
        )
    )


BATCH_NORM = "torch._native_batch_norm_legit_no_training(x, None, None, s, s, 0.1, 1e-5)"


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        ([4, 8], f"s = torch.narrow(x[0], 0, 0, 2)\n  y, _1, _2 = {BATCH_NORM}"),
        ([2, 3, 5, 8], "y = torch.scaled_dot_product_attention(x, x, torch.narrow(x, 2, 0, 1))"),
    ],
)
def test_what_is_too_short_is_not_read_beyond(shape, line):
    """torch's own operators answer, with what lies behind the statistics or the values."""
    code = checked_code(f"def f(x: Tensor) -> Tensor:\n  {line}\n  return y\n".encode())
    with pytest.raises(RuntimeError, match=r"should contain|Expected size"):
        torch.jit.CompilationUnit(code.decode()).f(torch.randn(shape))


def test_attention_in_another_layout_can_be_viewed():
    lines = """def f(x: Tensor) -> Tensor:
  y = torch.scaled_dot_product_attention(x, x, x)
  return torch.view(torch.permute(y, [2, 0, 1, 3]), [5, 48])
"""
    x = torch.randn(2, 3, 5, 8)
    found = torch.jit.CompilationUnit(checked_code(lines.encode()).decode()).f(x)
    attended = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    torch.testing.assert_close(found, attended.permute(2, 0, 1, 3).reshape(5, 48))
