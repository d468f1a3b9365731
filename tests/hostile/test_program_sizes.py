"""Programs whose tensors are shorter than their operators read: torch's own operators wouldn't look."""

import io
from pathlib import Path

import pytest
import torch
from torch.export import Dim, ExportedProgram
from torch.nn.functional import scaled_dot_product_attention

from edgegnn.checkpoint.exported_program import load_program
from edgegnn.errors import CheckpointError

CHANNELS = 8


class Attends(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(CHANNELS)
        self.own = torch.nn.BatchNorm1d(CHANNELS, track_running_stats=False)
        self.norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.own(self.norm(x)).unsqueeze(0)
        heads = h.view(1, -1, 2, CHANNELS // 2).transpose(1, 2)
        return scaled_dot_product_attention(heads, heads, heads, is_causal=True).permute(2, 0, 1, 3).view(-1, CHANNELS)


def loaded(program: ExportedProgram, path: Path) -> ExportedProgram:
    torch.export.save(program, path)
    return load_program(path)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, in run_decompositions
@pytest.mark.parametrize("decomposed", [False, True])
def test_programs_compute_what_they_did(decomposed: bool, tmp_path: Path) -> None:
    model = Attends().eval()
    program = torch.export.export(model, (torch.randn(6, CHANNELS),), dynamic_shapes=({0: Dim("n", min=2)},))
    found = loaded(program.run_decompositions() if decomposed else program, tmp_path / "model.pt2")
    x = torch.randn(11, CHANNELS)
    torch.testing.assert_close(found.module()(x), model(x))
    torch.export.save(found, io.BytesIO())  # it stays a program


class Inner(torch.nn.Module):
    """Calls an inner operator with statistics, or values, that the file holds."""

    def __init__(self, shape: tuple[int, ...], *, attention: bool) -> None:
        super().__init__()
        self.attention = attention
        self.register_buffer("held", torch.ones(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.attention:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(x, x, self.held)[0]
        return torch.ops.aten._native_batch_norm_legit_no_training(x, None, None, self.held, self.held, 0.1, 1e-5)[0]


@pytest.mark.parametrize(
    ("attention", "shape", "true", "forged"),
    [(False, (6, CHANNELS), (CHANNELS,), (3,)), (True, (2, 3, 5, 8), (2, 3, 5, 8), (2, 3, 2, 8))],
)
def test_what_is_too_short_is_not_read_beyond(
    attention: bool, shape: tuple[int, ...], true: tuple[int, ...], forged: tuple[int, ...], tmp_path: Path
) -> None:
    x = torch.randn(shape)
    program = torch.export.export(Inner(true, attention=attention), (x,))
    program.state_dict["held"] = torch.ones(forged)
    with pytest.raises(RuntimeError, match=r"should contain|Expected size"):
        loaded(program, tmp_path / "model.pt2").module()(x)


def test_outputs_for_training_are_refused(tmp_path: Path) -> None:
    class Training(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = torch.ops.aten.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)
            return out[0] + out[1]

    program = torch.export.export(Training(), (torch.randn(6, CHANNELS),))
    with pytest.raises(CheckpointError, match="only training has"):
        loaded(program, tmp_path / "model.pt2")
