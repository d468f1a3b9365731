"""Each quantized weight has a zero point of its own: one for several is more than onnxruntime 1.32 loads exactly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgegnn.exporting.simplify import own_zero_points


def test_weights_that_shared_one():
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.integers(-127, 128, (16, 16)).astype(np.int8) for i in range(3)}
    constants = {**weights, "scale": np.float32(0.05), "zero": np.int8(0), "x_zero": np.uint8(0)}
    nodes, last = [], "x"
    for name in weights:
        nodes += [
            helper.make_node("QuantizeLinear", [last, "scale", "x_zero"], [f"{name}.codes"]),
            helper.make_node("DequantizeLinear", [f"{name}.codes", "scale", "x_zero"], [f"{name}.x"]),
            helper.make_node("DequantizeLinear", [name, "scale", "zero"], [f"{name}.float"]),
            helper.make_node("MatMul", [f"{name}.x", f"{name}.float"], [f"{name}.y"]),
        ]
        last = f"{name}.y"
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 16]) for n in ("x", last)]
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], stored)
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    own_zero_points(model.graph)
    zeros = [n.inputs[2].name for n in model.graph if n.op_type == "DequantizeLinear" and n.inputs[0].is_initializer()]
    assert len(set(zeros)) == 3
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    content = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    x = want = np.full((1, 16), 20, np.float32)
    for weight in weights.values():
        codes = np.clip(np.rint(want / np.float32(0.05)), 0, 255)
        want = ((codes @ weight.astype(np.float64)) * 0.05**2).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], want, rtol=1e-4)
