"""A flipped bit in a file is seen before the file is used, or changes nothing of what is read."""

import io

import numpy as np
import pytest
import torch
from mutations import flip_bits
from torch_geometric.data import Data

from edgegnn.checkpoint import load_checkpoint
from edgegnn.errors import CheckpointError, DataError, EdgeGNNError
from edgegnn.runtime.npz import read_npz
from edgegnn.tasks.files import read_graphs


def refused(path, content, read, every):
    """How many of the damaged copies are refused; the others give what the file gives.

    Args:
        path: where a copy is put.
        content: the undamaged file.
        read: path -> a value that can be compared.
        every: one bit in so many is flipped.
    """
    path.write_bytes(content)
    whole = read(path)
    copies = flip_bits(content, every)
    assert len(copies) >= 300
    count = 0
    for place, damaged in enumerate(copies):
        path.write_bytes(damaged)
        try:
            found = read(path)
        except EdgeGNNError:
            count += 1
        else:
            assert found == whole, f"bit {place * every} is accepted"
    return count / len(copies)


def graph():
    g = torch.Generator().manual_seed(0)
    edges = torch.randint(90, (2, 300), generator=g)
    return Data(x=torch.randn(90, 9, generator=g), edge_index=edges, y=torch.arange(90) % 3)


def test_data_file(tmp_path):
    out = io.BytesIO()
    torch.save(graph(), out)

    def read(path):
        (data,) = read_graphs(path)
        return {key: data[key].tolist() for key in data.keys()}  # noqa: SIM118

    assert refused(tmp_path / "data.pt", out.getvalue(), read, every=211) > 0.8


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz(tmp_path, write):
    out = io.BytesIO()
    data = graph()
    write(out, x=data.x.numpy(), edge_index=data.edge_index.numpy(), none=np.zeros((0, 3), np.float32))

    def read(path):
        return {name: (str(v.dtype), v.tolist()) for name, v in read_npz(path, DataError).items()}

    assert refused(tmp_path / "data.npz", out.getvalue(), read, every=97) > 0.7


@pytest.mark.parametrize(("read", "error"), [(read_graphs, DataError), (load_checkpoint, CheckpointError)])
def test_a_file_without_checksums_is_refused_with_the_cure(tmp_path, read, error):
    path = tmp_path / "old.pt"
    torch.save({"x": torch.randn(3, 3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(error, match=r"write it again with torch\.save"):
        read(path)
