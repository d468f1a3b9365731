"""Damaged ONNX files that a fuzzer found: names that are no text, sizes that are none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgegnn.checkpoint.onnx_file import read_onnx
from edgegnn.checkpoint.onnx_module import OnnxInput
from edgegnn.errors import CheckpointError, UsageError
from edgegnn.exporting.foreign.made_graphs import _values
from edgegnn.exporting.foreign.roles import _free_size
from edgegnn.runtime.roles import EDGES


def model(rows: int = 3) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_the_name_of_an_operator_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model().SerializeToString().replace(b"Sigmoid", b"Sigm\xffid"))
    with pytest.raises(CheckpointError):
        read_onnx(path)


def test_an_input_has_a_negative_size(tmp_path: Path) -> None:
    onnx.save(model(-5), tmp_path / "m.onnx")
    with pytest.raises(CheckpointError, match="the input x has a negative size: the file is damaged"):
        read_onnx(tmp_path / "m.onnx")
    onnx.save(model(), tmp_path / "m.onnx")
    assert len(read_onnx(tmp_path / "m.onnx").graph.node) == 1


def test_a_list_of_edges_without_a_second_axis() -> None:
    edges = OnnxInput("edges", "edges", "int64", (7,))
    module = SimpleNamespace(inputs=[edges], proto=model())
    found = SimpleNamespace(edges="edges", turned=None, joined=())
    assert _free_size(module, found) == ""
    with pytest.raises(UsageError, match=r"uses edges as a list of edges, but its shape is \[7\], not \[2, edges\]"):
        _values(edges, EDGES, {"num_nodes": 3, "num_edges": 4}, 2, np.random.default_rng(0))
