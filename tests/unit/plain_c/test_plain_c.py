"""The C form against the numpy reference of the operators: codes to the bit; graphs it can't take are refused."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import types

import c_models
import numpy as np
import pytest
from onnx import helper

from edgegnn.errors import ExportError, ParityError, UsageError
from edgegnn.exporting.early_checks import c_limits
from edgegnn.native import library
from edgegnn.plain_c.arena import Buffer, plan
from edgegnn.plain_c.check import TOLERANCE, _on_a_border, check, rounded_floats, with_codes
from edgegnn.plain_c.compiler import Program, Refused, compile_model, find_compiler
from edgegnn.plain_c.generate import generate
from edgegnn.plain_c.literals import float_literal
from edgegnn.plain_c.values import Limits

LIMITS = Limits(16, 40)
STRICT = ("-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror")
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The model's C form with its codes as outputs."""
    code = generate(with_codes(c_models.gin(), c_models.CODES), "tiny-gin", LIMITS)
    folder = tmp_path_factory.mktemp("c")
    return Program(code, compile_model(code, folder, find_compiler(), STRICT))


@needs_compiler
@pytest.mark.parametrize(
    ("nodes", "edges"), [(1, 0), (1, 3), (2, 1), (7, 0), (9, 40), (16, 12), (16, 40)], ids=lambda v: str(v)
)
def test_equals_the_reference(compiled, nodes, edges):
    for seed in range(3):
        inputs = c_models.graph(nodes, edges, seed)
        inputs["edge_index"] = inputs["edge_index"] // 2  # half of the nodes are isolated, edges occur twice
        inputs["x"][0, :3] = [np.nan, np.inf, -np.inf]
        wanted = c_models.answers(inputs)
        found = compiled.run(inputs)
        for name in c_models.CODES:
            assert np.array_equal(found[name], wanted[name]), name
        assert np.abs(found["logits"] - wanted["logits"]).max() <= TOLERANCE * np.abs(wanted["logits"]).max()


@needs_compiler
@pytest.mark.parametrize("bits", [(4, 4), (4, 8), (8, 4)])
def test_weights_of_4_bits_share_bytes(tmp_path, bits):
    """The rows have 5 and 12 elements: the last group of weights is not full."""
    code = generate(with_codes(c_models.gin(bits), c_models.CODES), "packed", LIMITS)
    sizes = dict(re.findall(r"int8_t qgemm(\w*)_weight_\d+\[(\d+)\]", code.files["model.c"]))
    assert sizes == {"": "48" if bits[0] == 4 else "96", "normfloat": "96" if bits[1] == 4 else "144"}
    compiled = Program(code, compile_model(code, tmp_path, find_compiler(), STRICT))
    for nodes, edges in [(1, 0), (7, 11), (16, 40)]:
        inputs = c_models.graph(nodes, edges, edges)
        wanted, found = c_models.answers(inputs, bits), compiled.run(inputs)
        for name in c_models.CODES:
            assert np.array_equal(found[name], wanted[name]), name
        assert np.abs(found["logits"] - wanted["logits"]).max() <= TOLERANCE * np.abs(wanted["logits"]).max()


@needs_compiler
def test_aggregations_equal_the_reference(tmp_path):
    code = generate(c_models.aggregations(), "sums", LIMITS)
    compiled = Program(code, compile_model(code, tmp_path, find_compiler(), STRICT))
    for nodes, edges in [(1, 0), (6, 11), (16, 40)]:
        inputs = c_models.graph(nodes, edges, edges)
        inputs["edge_weight"] = np.random.default_rng(edges).normal(size=edges).astype(np.float32)
        wanted = c_models.aggregated(inputs)
        found = compiled.run(inputs)
        for name in ("softmax", "normalised", "edge_product"):  # of floats that are summed in another order
            assert np.allclose(found.pop(name), wanted[name], rtol=2e-6, atol=1e-6)
        for name in ("pair", "pair_edges", "dot", "dot_edges", "mixed", "gated", "gated_edges"):  # of scores up to 100
            assert np.allclose(found.pop(name), wanted[name], rtol=1e-4, atol=1e-5), name
        for name, value in found.items():
            assert np.array_equal(value, wanted[name]), name


@needs_compiler
def test_refuses_what_it_can_not_take(compiled):
    good = c_models.graph(5, 6)
    for changed, code in [
        (c_models.graph(17, 6), 2),
        (c_models.graph(5, 41), 3),
        ({**good, "edge_index": np.array([[0, 5], [1, 1]])}, 4),
        ({**good, "edge_index": np.array([[0, 1], [-1, 1]])}, 4),
        ({**good, "x": good["x"][:0]}, 2),
    ]:
        with pytest.raises(Refused) as error:
            compiled.run(changed)
        assert error.value.code == code


@needs_compiler
def test_every_compiler_takes_it_without_a_warning(tmp_path):
    code = generate(c_models.gin(), "1 odd name", LIMITS)
    for name in filter(shutil.which, ("gcc", "clang")):
        compile_model(code, tmp_path, (name,), STRICT)
        example = [name, "-std=c99", *STRICT, "-o", str(tmp_path / "run"), "example.c", "model.c"]
        subprocess.run(example, cwd=tmp_path, check=True)
        shown = subprocess.run([tmp_path / "run"], capture_output=True, text=True, check=True).stdout
        assert len(shown.split()) == c_models.CLASSES
    (tmp_path / "a.cpp").write_text('#include "model.h"\nint main() { return EDGEGNN_M1_ODD_NAME_OK; }\n')
    if shutil.which("g++"):
        subprocess.run(["g++", *STRICT, "-c", "a.cpp"], cwd=tmp_path, check=True)


def test_floats_on_the_border_of_two_codes():
    """They may fall to either side, where floats are added up in another order, and nowhere else."""
    model = c_models.gin()
    assert rounded_floats(model) == set()  # its codes are those of its input, and of integer sums
    model.graph.node.append(helper.make_node("LayerNormalization", ["features", "gain"], ["normed"]))
    model.graph.node.append(helper.make_node("QuantizeLinear", ["normed", "x_scale", "x_zero"], ["more"]))
    assert rounded_floats(model) == {"more"}

    code = types.SimpleNamespace(codes=("hidden", "more", "last"))
    wanted = {name: np.full(2000, 90, np.uint8) for name in code.codes}

    def verdict(**changes):
        found = {name: array.copy() for name, array in wanted.items()}
        for name, (number, steps) in changes.items():
            found[name][:number] += np.uint8(steps)
        return _on_a_border("a", code, found, wanted, frozenset({"more"}))

    assert not verdict()
    assert verdict(more=(2, 1))
    assert verdict(more=(2, 1), last=(20, 3))  # what follows differs a little
    wrong = [
        {"hidden": (1, 1)},
        {"more": (3, 1)},
        {"more": (1, 2)},
        {"last": (1, 1)},
        {"more": (1, 1), "last": (90, 3)},
    ]
    for changes in wrong:
        with pytest.raises(ParityError, match="other codes than the ONNX artifact"):
            verdict(**changes)


@needs_compiler
@pytest.mark.skipif(library() is None, reason="the native library is not built")
def test_a_wrong_c_form_is_found():
    model = c_models.gin()
    graphs = [("a", c_models.graph(9, 30, 1)), ("b", c_models.graph(4, 0, 2))]
    code = generate(model, "gin", LIMITS)
    found = check(model, code, graphs, find_compiler())
    assert (found.graphs, found.codes) == (2, 3)
    assert found.error <= TOLERANCE
    text = code.files["model.c"].replace("sum = sum + product;", "sum = sum - product;")
    assert text != code.files["model.c"]
    wrong = dataclasses.replace(code, files={**code.files, "model.c": text})
    with pytest.raises(ParityError, match="on the graph a"):
        check(model, wrong, graphs, find_compiler())


def test_an_operator_without_a_c_form_is_named():
    model = c_models.gin()
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Det", ["scores"], ["logits"], "model.head"))
    with pytest.raises(ExportError, match=r"Det \(model.head\)"):
        generate(model, "gin", LIMITS)


def test_limits_are_checked_early():
    assert c_limits("onnx", 5, None) is None
    assert c_limits("c", 5, 7) == Limits(5, 7)
    for arguments in [("c", 5, None), ("c", None, 7), ("c", 0, 7), ("c", 5, 2**31), (None, None, 7)]:
        with pytest.raises(UsageError):
            c_limits(*arguments)


def test_buffers_that_live_together_never_overlap():
    draw = np.random.default_rng(0)
    for _ in range(50):
        buffers = []
        for i in range(12):
            first = int(draw.integers(0, 20))
            over = int(draw.integers(0, i)) if i and draw.random() < 0.5 else None
            buffers.append(Buffer(int(draw.integers(1, 90)), first, first + int(draw.integers(0, 6)), over))
        made = plan(buffers)
        for i, a in enumerate(buffers):
            assert made.offsets[i] % 4 == 0
            assert made.offsets[i] + a.size <= made.size
            for j, b in enumerate(buffers[:i]):
                taken = b.last == a.first and a.takes_over is not None
                if a.first <= b.last and b.first <= a.last and not taken:
                    apart = made.offsets[i] + a.size <= made.offsets[j] or made.offsets[j] + b.size <= made.offsets[i]
                    assert apart


@pytest.mark.parametrize("value", [0.0, -1.5, 0.1, 3.4028235e38, 1e-45, 12582912.0])
def test_literals_hold_every_bit(value):
    assert np.float32(float.fromhex(float_literal(value).rstrip("f"))) == np.float32(value)


@needs_compiler
@pytest.mark.slow
def test_sanitizers_find_nothing(tmp_path):
    """A program with the arena at its exact size, on the heap, over random graphs and bad ones."""
    code = generate(c_models.gin(), "gin", LIMITS)
    compile_model(code, tmp_path, find_compiler())
    (tmp_path / "fuzz.c").write_text(_FUZZ)
    flags = ["-std=c99", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([*find_compiler(), *flags, "-o", "fuzz", "fuzz.c", "model.c"], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "fuzz"], check=True)


_FUZZ = """
#include <stdlib.h>
#include "model.h"
int main(void) {
  srand(1);
  for (int turn = 0; turn < 2000; ++turn) {
    int n = 1 + rand() % 16, e = rand() % 41, bad = turn % 7 == 0 && e > 0;
    float *x = malloc((size_t)n * 5 * sizeof *x), *logits = malloc(3 * sizeof *logits);
    int32_t *edges = malloc((size_t)e * 2 * sizeof *edges + 1);
    void *arena = malloc(EDGEGNN_GIN_ARENA_BYTES);
    for (int i = 0; i < n * 5; ++i) x[i] = (float)(rand() % 2000 - 1000) / 50.0f;
    for (int i = 0; i < e * 2; ++i) edges[i] = rand() % n;
    if (bad) edges[rand() % (2 * e)] = turn % 2 ? -1 - rand() : n + rand() % 1000;
    edgegnn_gin_inputs in = {n, e, x, edges};
    edgegnn_gin_outputs out = {logits};
    if (edgegnn_gin_run(&in, &out, arena) != (bad ? EDGEGNN_GIN_BAD_INDEX : EDGEGNN_GIN_OK)) return 1;
    free(x); free(logits); free(edges); free(arena);
  }
  return 0;
}
"""
