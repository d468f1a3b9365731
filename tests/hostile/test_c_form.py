"""The C form of a stranger's model: making it is bounded, and running it can do nothing but compute."""

from __future__ import annotations

import dataclasses
import re

import c_models
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgegnn.errors import ArtifactError, ExportError
from edgegnn.plain_c import compiler
from edgegnn.plain_c.apart import generate_apart
from edgegnn.plain_c.compiler import Program, compile_model, find_compiler
from edgegnn.plain_c.generate import generate
from edgegnn.plain_c.literals import string_literal
from edgegnn.plain_c.values import Limits

LIMITS = Limits(16, 40)
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
DOES = {
    "SIGSEGV": "*(volatile int *)8 = 1;",
    "took too long": "for (;;) (void)*(volatile const int *)arena;",
    "SIGKILL": 'fclose(fopen(MADE, "w"));',
}


@needs_compiler
@pytest.mark.parametrize(("why", "does"), DOES.items(), ids=list(DOES))
def test_code_that_does_something_else_ends_in_one_line(tmp_path, monkeypatch, why, does):
    monkeypatch.setattr(compiler, "_RUN_SECONDS", 1)
    code = generate(c_models.gin(), "gin", LIMITS)
    text = code.files["model.c"].replace("  (void)base;", f"  (void)base; {does}")
    made = tmp_path / "made"
    head = f'#include <stdio.h>\n#define MADE "{made}"\n'
    changed = dataclasses.replace(code, files={**code.files, "model.c": head + text})
    program = Program(changed, compile_model(changed, tmp_path, find_compiler()))
    with pytest.raises(ExportError, match=why) as error:
        program.run(c_models.graph(5, 6))
    assert "\n" not in str(error.value)
    assert not made.exists()


def model(nodes, shape=("num_nodes", 2), **constants):
    """A model of these operators, from x to y."""
    value = helper.make_tensor_value_info
    given = [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()]
    graph = helper.make_graph(
        nodes,
        "bomb",
        [value("x", TensorProto.FLOAT, ["num_nodes", 2])],
        [value("y", TensorProto.FLOAT, shape)],
        given,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def sizes(op):
    """A chain of sizes, each made of the one before and itself."""
    nodes = [helper.make_node("Shape", ["x"], ["s0"]), helper.make_node("Gather", ["s0", "first"], ["n0"])]
    nodes += [helper.make_node("Sub", ["n0", "one"], ["m0"])] if op == "Sub" else []
    for i in range(200):
        before = (f"n{i}", f"m{i}") if op == "Sub" else (f"n{i}", f"n{i}")
        nodes.append(helper.make_node(op, before, [f"n{i + 1}"]))
        nodes += [helper.make_node("Max", [f"n{i}", f"m{i}"], [f"m{i + 1}"])] if op == "Sub" else []
    return [*nodes, helper.make_node("Expand", ["x", "n200"], ["y"])]


BOMBS = {
    "code of sizes": lambda: model(sizes("Sub"), first=[0], one=[1]),
    "numbers of sizes": lambda: model(sizes("Mul"), first=[0]),
    "constants": lambda: model(
        [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])],
        s=[2**13, 2**12],
    ),
    "axes": lambda: model([helper.make_node("Reshape", ["x", "s"], ["y"])], s=[-1] + [1] * 5000),
    "operators": lambda: model([helper.make_node("Relu", ["x"], [f"y{i}"]) for i in range(30_000)]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_model_makes_no_endless_code(name):
    with pytest.raises(ExportError, match=r"C form|for C"):
        generate(BOMBS[name](), "bomb", LIMITS)


def test_an_operator_of_many_inputs_makes_as_much_code_as_it_has_inputs():
    made = generate(model([helper.make_node("Max", ["x"] * 5000, ["y"])]), "many", LIMITS)
    assert len(made.files["model.c"]) < 2**20


def _shorter(name):
    """The small GIN with one constant that has half of its elements."""

    def change(model):
        tensor = next(t for t in model.graph.initializer if t.name == name)
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array[: max(len(array) // 2, 2)]), name))

    return change


def _reads(op, place, name):
    """The small GIN in which an operator reads another tensor."""

    def change(model):
        next(node for node in model.graph.node if node.op_type == op).input[place] = name

    return change


WRONG = {
    "weights": _shorter("w1"),
    "scales": _shorter("scale2"),
    "bias": _shorter("bias2"),
    "gains": _shorter("gain"),
    "columns of no graph": _reads("QSpMM", 2, "first"),
    "order that is none": _reads("SegmentMean", 1, "col"),
    "edges that are features": _reads("CooToCsr", 0, "x"),
}


@pytest.mark.parametrize("what", WRONG)
def test_sizes_that_memory_depends_on_are_compared(what):
    changed = c_models.gin()
    WRONG[what](changed)
    with pytest.raises((ExportError, ValueError), match=r"C form|broadcast"):
        generate(changed, "wrong", LIMITS)


def test_what_takes_too_much_memory_ends_in_one_line():
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    bomb = model(nodes, s=np.array([2**35, 2], np.int64))
    with pytest.raises(ArtifactError, match="bomb: no C form can be made") as error:
        generate_apart(bomb.SerializeToString(), "bomb", LIMITS)
    assert "\n" not in str(error.value)


def test_a_name_is_a_string_in_c_whatever_it_holds():
    assert re.fullmatch(r'"[0-9a-zA-Z _.\\-]*"', string_literal('x??/";system("id");//\n\x00é'))
